package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/rabbitmq"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/triggertest"
	"github.com/longhaul-dev/longhaul/test/fixture/broker"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

var shared brokertest.Shared

// TestMain fails too if a reader that was closed left something behind.
func TestMain(m *testing.M) {
	code := shared.Run(m)
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// secrets are what the Secret named broker holds, by key.
type secrets map[string]string

func (s secrets) read(name, key string) (string, error) {
	value, ok := s[key]
	if name != "broker" || !ok {
		return "", fmt.Errorf("key %q of Secret %q does not exist", key, name)
	}
	return value, nil
}

func ref(key string) *v1alpha1.SecretKeyRef { return &v1alpha1.SecretKeyRef{Name: "broker", Key: key} }

// settings are a trigger's, and the Secret that they refer to.
type settings struct {
	spec    v1alpha1.RabbitMQTrigger
	secrets secrets
}

// settingsFor reach a vhost of a broker as its administrator.
func settingsFor(t *testing.T, rabbit *broker.RabbitMQ, vhost string, management bool) settings {
	t.Helper()
	s := settings{
		spec:    v1alpha1.RabbitMQTrigger{URI: v1alpha1.URISource{SecretKeyRef: ref("uri")}},
		secrets: secrets{"uri": rabbit.VhostURI(vhost)},
	}
	if management {
		s.spec.ManagementURI = &v1alpha1.URISource{SecretKeyRef: ref("management")}
		s.secrets["management"] = rabbit.ManagementURI()
	}
	return s
}

// with are the same settings, with a Secret's key changed.
func (s settings) with(key, value string) settings {
	s.secrets = maps.Clone(s.secrets)
	s.secrets[key] = value
	return s
}

func (s settings) source(t *testing.T, queue string) trigger.Source {
	t.Helper()
	s.spec.Queue = queue
	source, err := rabbitmq.Source(&s.spec, s.secrets.read)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// dialect is how queues of one type in one vhost are spoken to.
func dialect(rabbit *broker.RabbitMQ, vhost, queueType string, s settings) triggertest.Dialect {
	d := triggertest.Dialect{
		Source: s.source,
		Queue: func(t *testing.T, name string) triggertest.Queue {
			t.Helper()
			return &queue{name: name, queueType: queueType, channel: dial(t, rabbit, vhost)}
		},
	}
	if s.spec.ManagementURI != nil {
		d.Tells = triggertest.HeldLive
		if queueType == "quorum" {
			d.Tells = triggertest.Held
		}
	}
	return d
}

// dial opens a channel on a connection of its own.
func dial(t *testing.T, rabbit *broker.RabbitMQ, vhost string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.DialConfig(rabbit.VhostURI(vhost), amqp.Config{TLSClientConfig: rabbit.TLS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := channel.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return channel
}

// queue is a queue as producers and workers meet it.
type queue struct {
	name, queueType string
	channel         *amqp.Channel
	held            []amqp.Delivery
}

// Create implements triggertest.Queue.
func (q *queue) Create(context.Context) error {
	arguments := amqp.Table{"x-queue-type": q.queueType}
	if q.queueType == "quorum" {
		arguments["x-delivery-limit"] = 1000 // newer servers have a limit of their own
	}
	_, err := q.channel.QueueDeclare(q.name, true, false, false, false, arguments)
	return err
}

// Put implements triggertest.Queue.
func (q *queue) Put(ctx context.Context) error {
	message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("work")}
	confirmation, err := q.channel.PublishWithDeferredConfirmWithContext(ctx, "", q.name, true, false, message)
	if err != nil {
		return err
	}
	if stored, err := confirmation.WaitContext(ctx); err != nil || !stored {
		return fmt.Errorf("stored: %v, %w", stored, err)
	}
	return nil
}

// Take implements triggertest.Queue.
func (q *queue) Take(context.Context) error {
	delivery, ok, err := q.channel.Get(q.name, false)
	if err == nil && !ok {
		err = errors.New("no message waits")
	}
	q.held = append(q.held, delivery)
	return err
}

// Acknowledge implements triggertest.Queue. The broker does not confirm it: what is asked after it on the same channel is
// answered after it.
func (q *queue) Acknowledge(context.Context) error {
	if err := q.oldest().Ack(false); err != nil {
		return err
	}
	_, err := q.waiting()
	return err
}

// Reject implements triggertest.Queue. The broker does not confirm it: it is done when who did it sees it.
func (q *queue) Reject(ctx context.Context) error {
	before, err := q.waiting()
	if err != nil {
		return err
	}
	if err := q.oldest().Reject(true); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if after, err := q.waiting(); err != nil || after == before+1 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("the message does not come back: %w", ctx.Err())
}

func (q *queue) oldest() amqp.Delivery {
	oldest := q.held[0]
	q.held = q.held[1:]
	return oldest
}

func (q *queue) waiting() (int, error) {
	state, err := q.channel.QueueDeclarePassive(q.name, true, false, false, false, nil)
	return state.Messages, err
}

// Purge implements triggertest.Queue.
func (q *queue) Purge(context.Context) error {
	_, err := q.channel.QueuePurge(q.name, false)
	return err
}

// Delete implements triggertest.Queue.
func (q *queue) Delete(context.Context) error {
	_, err := q.channel.QueueDelete(q.name, false, false, false)
	return err
}

// difficultVhost makes a vhost for this test, of a name that needs care in URIs.
func difficultVhost(t *testing.T, rabbit *broker.RabbitMQ) string {
	t.Helper()
	vhost := brokertest.Unique("videos/100% é")
	if err := rabbit.AddVhost(t.Context(), vhost); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rabbit.DeleteVhost(context.WithoutCancel(t.Context()), vhost); err != nil {
			t.Error(err)
		}
	})
	return vhost
}

// host is the host and port of a URI.
func host(t *testing.T, uri string) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// atHost is a URI with another host and port.
func atHost(t *testing.T, uri, address string) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = address
	return u.String()
}

// declare makes queues of which one in three is empty, one has one message and one has two.
func declare(t *testing.T, channel *amqp.Channel, s settings, queues int) []trigger.Source {
	t.Helper()
	sources := make([]trigger.Source, queues)
	for i := range sources {
		q := queue{name: fmt.Sprintf("videos-%d", i), queueType: "classic", channel: channel}
		if err := q.Create(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range i % 3 {
			if err := q.Put(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		sources[i] = s.source(t, q.name)
	}
	return sources
}

// open opens a reader, which is closed when the test is over.
func open(t *testing.T, source trigger.Source) trigger.Reader {
	t.Helper()
	reader, err := source.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	return reader
}

// read reads all sources, which are of one endpoint, in one go.
func read(t *testing.T, reader trigger.Reader, sources []trigger.Source) []trigger.Result {
	t.Helper()
	var queues []trigger.Queue
	for _, source := range sources {
		queues = append(queues, source.Queue)
	}
	results, err := reader.Read(t.Context(), queues)
	if err != nil {
		t.Fatal(err)
	}
	return results
}
