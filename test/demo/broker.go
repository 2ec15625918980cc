package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/alicebob/miniredis/v2"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/test/fixture/broker"
)

// brokerKind names a broker, as in BROKER.
type brokerKind string

const (
	redisBroker  brokerKind = "redis"
	rabbitBroker brokerKind = "rabbitmq"
)

func (k brokerKind) String() string {
	if k == rabbitBroker {
		return "RabbitMQ"
	}
	return "Redis"
}

// serveCommand is the argument with which this program is a broker: a part as the others are, that can stay.
const serveCommand = "serve"

// access is how to reach the broker. It has passwords in it and is only ever written to a file of the user's own.
type access struct {
	URI        string `json:"uri"`
	Management string `json:"management,omitempty"`
}

// accessFile is where the broker says that it is ready, and how to reach it.
func accessFile(dir string) string { return filepath.Join(dir, "access.json") }

// serve is a broker until the context ends.
func serve(ctx context.Context, kind brokerKind, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the broker's folder: %w", err)
	}
	var a access
	if kind == rabbitBroker {
		rabbit, err := broker.StartRabbitMQ(ctx, broker.RabbitMQOptions{Dir: dir})
		if errors.Is(err, broker.ErrNotInstalled) {
			return fmt.Errorf("BROKER=rabbitmq needs RabbitMQ (Debian, Ubuntu: sudo apt-get install rabbitmq-server; "+
				"or make brokers), and BROKER=redis needs nothing: %w", err)
		}
		if err != nil {
			return fmt.Errorf("starting RabbitMQ: %w", err)
		}
		defer func() { _ = rabbit.Kill() }() // in order it would take seconds, and what it stored goes too
		a = access{URI: rabbit.URI(), Management: rabbit.ManagementURI()}
	} else {
		server := miniredis.NewMiniRedis()
		if err := server.Start(); err != nil {
			return fmt.Errorf("starting miniredis: %w", err)
		}
		defer server.Close()
		a = access{URI: "redis://" + server.Addr() + "/0"}
	}
	content, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("telling how to reach the broker: %w", err)
	}
	path := accessFile(dir)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return fmt.Errorf("telling how to reach the broker: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("telling how to reach the broker: %w", err)
	}
	<-ctx.Done()
	return nil
}

// readAccess reads how to reach the broker in a folder, once it is ready.
func readAccess(dir string) (a access, err error) {
	content, err := os.ReadFile(accessFile(dir))
	if err != nil {
		return a, fmt.Errorf("reading how to reach the broker: %w", err)
	}
	if err := json.Unmarshal(content, &a); err != nil {
		return a, fmt.Errorf("reading how to reach the broker: %w", err)
	}
	return a, nil
}

// The names that the samples use.
const (
	queueName      = "videos"
	processingName = "videos:processing"
	failedName     = "videos:failed"
)

// queue is where the messages wait.
type queue interface {
	// Put adds a message.
	Put(ctx context.Context, body string) error
	// Waiting is how many messages no one has taken.
	Waiting(ctx context.Context) (int, error)
	// Rejected is how many messages were no good.
	Rejected(ctx context.Context) (int, error)
	Close() error
}

// openQueue connects to the broker and makes the queue, where that has to be made.
func openQueue(kind brokerKind, a access) (queue, error) {
	if kind == rabbitBroker {
		return openRabbitQueue(a.URI)
	}
	options, err := redis.ParseURL(a.URI)
	if err != nil {
		return nil, fmt.Errorf("connecting to Redis: %w", err)
	}
	return redisQueue{redis.NewClient(options)}, nil
}

type redisQueue struct{ client *redis.Client }

func (q redisQueue) Put(ctx context.Context, body string) error {
	return q.client.RPush(ctx, queueName, body).Err()
}

func (q redisQueue) Waiting(ctx context.Context) (int, error) {
	n, err := q.client.LLen(ctx, queueName).Result()
	return int(n), err
}

func (q redisQueue) Rejected(ctx context.Context) (int, error) {
	n, err := q.client.LLen(ctx, failedName).Result()
	return int(n), err
}

func (q redisQueue) Close() error { return q.client.Close() }

type rabbitQueue struct {
	connection *amqp.Connection
	channel    *amqp.Channel
}

// openRabbitQueue makes the queue with one beside it for what is rejected, as the sample advises.
func openRabbitQueue(uri string) (_ *rabbitQueue, err error) {
	q := &rabbitQueue{}
	if q.connection, err = amqp.Dial(uri); err != nil {
		return nil, fmt.Errorf("connecting to RabbitMQ: %w", err)
	}
	if q.channel, err = q.connection.Channel(); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to RabbitMQ: %w", err), q.Close())
	}
	deadLetters := amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": failedName}
	_, failedErr := q.channel.QueueDeclare(failedName, true, false, false, false, nil)
	_, queueErr := q.channel.QueueDeclare(queueName, true, false, false, false, deadLetters)
	if err := errors.Join(failedErr, queueErr); err != nil {
		return nil, errors.Join(fmt.Errorf("declaring the queues: %w", err), q.Close())
	}
	if err := q.channel.Confirm(false); err != nil {
		return nil, errors.Join(fmt.Errorf("asking for confirms: %w", err), q.Close())
	}
	return q, nil
}

func (q *rabbitQueue) Put(ctx context.Context, body string) error {
	message := amqp.Publishing{ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: []byte(body)}
	confirm, err := q.channel.PublishWithDeferredConfirmWithContext(ctx, "", queueName, true, false, message)
	if err != nil {
		return err
	}
	if taken, err := confirm.WaitContext(ctx); err != nil || !taken {
		return errors.Join(errors.New("RabbitMQ has not confirmed the message"), err)
	}
	return nil
}

func (q *rabbitQueue) Waiting(context.Context) (int, error)  { return q.length(queueName) }
func (q *rabbitQueue) Rejected(context.Context) (int, error) { return q.length(failedName) }

func (q *rabbitQueue) length(name string) (int, error) {
	state, err := q.channel.QueueDeclarePassive(name, true, false, false, false, nil)
	return state.Messages, err
}

func (q *rabbitQueue) Close() error { return q.connection.Close() }

// sample is the manifest in config/samples, but for where the broker is. With RabbitMQ that is in a Secret, and the manifest is
// as it is.
func sample(root string, kind brokerKind, a access) (name, manifest string, err error) {
	file := map[brokerKind]string{redisBroker: "transcode", rabbitBroker: "transcode-rabbitmq"}[kind]
	content, err := os.ReadFile(filepath.Join(root, "config", "samples", file+".yaml"))
	if err != nil {
		return "", "", fmt.Errorf("reading the sample: %w", err)
	}
	if kind == rabbitBroker {
		return file, string(content), nil
	}
	const address = "redis.default.svc:6379"
	options, err := redis.ParseURL(a.URI)
	if err != nil {
		return "", "", fmt.Errorf("reading where Redis is: %w", err)
	}
	if n := strings.Count(string(content), address); n != 2 {
		return "", "", fmt.Errorf("the sample %s names %s %d times: once for the trigger and once for the worker were expected",
			file, address, n)
	}
	return file, strings.ReplaceAll(string(content), address, options.Addr), nil
}
