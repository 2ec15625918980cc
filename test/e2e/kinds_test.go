package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

// kind is one way for messages to wait.
type kind struct {
	name  string
	queue func(t *testing.T) queue
}

// queue is what one test puts its messages into.
type queue struct {
	trigger v1alpha1.Trigger
	// secret is what the Secret called broker holds; its key uri is the worker's QUEUE_URI.
	secret map[string]string
	// env tells the worker where to take messages.
	env []corev1.EnvVar
	put func(ctx context.Context, messages []string) error
}

func kinds() []kind {
	return []kind{
		{"classic", func(t *testing.T) queue { t.Helper(); return rabbitQueue(t, "classic", false) }},
		{"classic-management", func(t *testing.T) queue { t.Helper(); return rabbitQueue(t, "classic", true) }},
		{"quorum", func(t *testing.T) queue { t.Helper(); return rabbitQueue(t, "quorum", false) }},
		{"list", func(t *testing.T) queue { t.Helper(); return redisList(t, false) }},
		{"list-processing", func(t *testing.T) queue { t.Helper(); return redisList(t, true) }},
		{"stream", redisStream},
	}
}

func secretKey(key string) v1alpha1.URISource {
	return v1alpha1.URISource{SecretKeyRef: &v1alpha1.SecretKeyRef{Name: "broker", Key: key}}
}

func rabbitQueue(t *testing.T, queueType string, management bool) queue {
	t.Helper()
	rabbit := brokers.RabbitMQ(t)
	uri := rabbit.VhostURI(brokertest.Vhost(t, rabbit))
	p := &publisher{uri: uri}
	if err := p.connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	if _, err := p.channel.QueueDeclare("videos", true, false, false, false, amqp.Table{"x-queue-type": queueType}); err != nil {
		t.Fatal(err)
	}
	spec := &v1alpha1.RabbitMQTrigger{Queue: "videos", URI: secretKey("uri")}
	if management {
		spec.ManagementURI = ptr.To(secretKey("management"))
	}
	return queue{
		trigger: v1alpha1.Trigger{RabbitMQ: spec},
		secret:  map[string]string{"uri": uri, "management": rabbit.ManagementURI()},
		env:     []corev1.EnvVar{{Name: "QUEUE", Value: "videos"}},
		put:     p.put,
	}
}

// publisher puts messages into a queue and waits until the broker has them for good.
type publisher struct {
	uri     string
	conn    *amqp.Connection
	channel *amqp.Channel
}

func (p *publisher) connect() error {
	if p.conn != nil && !p.conn.IsClosed() {
		return nil
	}
	var err error
	if p.conn, err = amqp.Dial(p.uri); err != nil {
		return err
	}
	if p.channel, err = p.conn.Channel(); err != nil {
		return err
	}
	return p.channel.Confirm(false)
}

func (p *publisher) close() {
	if p.conn != nil {
		_ = p.conn.Close()
	}
}

func (p *publisher) put(ctx context.Context, messages []string) error {
	// Connecting may be tried again. Publishing may not: the message might be there twice.
	err := wait(ctx, time.Minute, "RabbitMQ", func() (bool, error) { return p.connect() == nil, nil })
	if err != nil {
		return err
	}
	confirmations := make([]*amqp.DeferredConfirmation, len(messages))
	for i, m := range messages {
		confirmations[i], err = p.channel.PublishWithDeferredConfirmWithContext(ctx, "", "videos", true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(m)})
		if err != nil {
			return err
		}
	}
	for _, c := range confirmations {
		if ok, err := c.WaitContext(ctx); err != nil || !ok {
			return errors.Join(err, errors.New("RabbitMQ did not confirm a message"))
		}
	}
	return nil
}

func redisClient(t *testing.T) (*redis.Client, string) {
	t.Helper()
	server := brokers.Redis(t)
	c := server.Client()
	t.Cleanup(func() { _ = c.Close() })
	return c, server.Address()
}

func redisList(t *testing.T, processing bool) queue {
	t.Helper()
	c, address := redisClient(t)
	key := brokertest.Unique("videos")
	q := queue{
		trigger: v1alpha1.Trigger{RedisList: &v1alpha1.RedisListTrigger{
			RedisConnection: v1alpha1.RedisConnection{Addresses: []string{address}}, List: key,
		}},
		secret: map[string]string{"uri": "redis://" + address + "/0"},
		env:    []corev1.EnvVar{{Name: "QUEUE", Value: key}},
		put: func(ctx context.Context, messages []string) error {
			values := make([]any, len(messages))
			for i, m := range messages {
				values[i] = m
			}
			return c.RPush(ctx, key, values...).Err()
		},
	}
	if processing {
		q.trigger.RedisList.ProcessingList = key + ":processing"
		q.env = append(q.env, corev1.EnvVar{Name: "PROCESSING_LIST", Value: key + ":processing"})
	}
	return q
}

func redisStream(t *testing.T) queue {
	t.Helper()
	c, address := redisClient(t)
	key := brokertest.Unique("videos")
	if err := c.XGroupCreateMkStream(t.Context(), key, "workers", "0").Err(); err != nil {
		t.Fatal(err)
	}
	return queue{
		trigger: v1alpha1.Trigger{RedisStream: &v1alpha1.RedisStreamTrigger{
			RedisConnection: v1alpha1.RedisConnection{Addresses: []string{address}}, Stream: key, ConsumerGroup: "workers",
		}},
		secret: map[string]string{"uri": "redis://" + address + "/0"},
		env:    []corev1.EnvVar{{Name: "STREAM", Value: key}, {Name: "CONSUMER_GROUP", Value: "workers"}},
		put: func(ctx context.Context, messages []string) error {
			_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, m := range messages {
					p.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []string{"message", m}})
				}
				return nil
			})
			return err
		},
	}
}

// orders are messages for the sample worker, with the numbers from first to last.
func orders(clip, output string, first, last int) ([]string, error) {
	var messages []string
	for n := first; n <= last; n++ {
		id := fmt.Sprintf("video-%03d", n)
		text, err := json.Marshal(map[string]string{"id": id, "input": clip, "output": output + "/" + id + ".avi"})
		if err != nil {
			return nil, err
		}
		messages = append(messages, string(text))
	}
	return messages, nil
}
