package redis_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/redis"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/triggertest"
	"github.com/longhaul-dev/longhaul/test/fixture/broker"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

var shared brokertest.Shared

// TestMain fails too if a reader that was closed left something behind.
func TestMain(m *testing.M) {
	goredis.SetLogger(quiet{})
	code := shared.Run(m)
	// This one tries a server that did not answer once a second, and ends when it finds its client closed.
	trying := goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
	if err := goleak.Find(trying); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// quiet logs nothing: that servers do not answer is what half of the tests are about.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

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

// settings are how to reach a server, and the Secret that they refer to.
type settings struct {
	connection v1alpha1.RedisConnection
	secrets    secrets
}

func settingsFor(addresses ...string) settings {
	return settings{connection: v1alpha1.RedisConnection{Addresses: addresses}}
}

// with are the same settings, with a Secret's key changed.
func (s settings) with(key, value string) settings {
	s.secrets = maps.Clone(s.secrets)
	if s.secrets == nil {
		s.secrets = secrets{}
	}
	s.secrets[key] = value
	return s
}

// withPassword are the same settings, with a user and its password.
func (s settings) withPassword(user, password string) settings {
	if user != "" {
		s = s.with("username", user)
		s.connection.Username = ref("username")
	}
	s = s.with("password", password)
	s.connection.Password = ref("password")
	return s
}

// withSentinelPassword are the same settings, with a user of the Sentinels and its password.
func (s settings) withSentinelPassword(user, password string) settings {
	if user != "" {
		s = s.with("sentinel username", user)
		s.connection.SentinelUsername = ref("sentinel username")
	}
	s = s.with("sentinel password", password)
	s.connection.SentinelPassword = ref("sentinel password")
	return s
}

// withCertificates are the same settings, with TLS, the authority to trust and the client's certificate to show.
func (s settings) withCertificates(t *testing.T, c *broker.Certificates) settings {
	t.Helper()
	s = s.with("ca.crt", content(t, c.CA)).with("tls.crt", content(t, c.ClientCert)).with("tls.key", content(t, c.ClientKey))
	s.connection.TLS = &v1alpha1.TLS{CA: ref("ca.crt"), Certificate: ref("tls.crt"), Key: ref("tls.key")}
	return s
}

// at are the same settings, with other addresses.
func (s settings) at(addresses ...string) settings {
	s.connection.Addresses = addresses
	return s
}

// kind is how messages wait.
type kind struct {
	stream bool
	// processing says that what is taken from a list is moved to another.
	processing bool
	// deletes says that what is acknowledged is deleted from the stream.
	deletes bool
}

// kinds are the ways in which messages may wait, and be worked on.
var kinds = map[string]kind{
	"a list":                          {},
	"a list with a processing list":   {processing: true},
	"a stream":                        {stream: true},
	"a stream whose workers clean up": {stream: true, deletes: true},
}

const group = "workers"

func processingList(list string) string { return list + " in work" }

func (s settings) source(t *testing.T, k kind, queue string) trigger.Source {
	t.Helper()
	var source trigger.Source
	var err error
	if k.stream {
		source, err = redis.StreamSource(&v1alpha1.RedisStreamTrigger{
			RedisConnection: s.connection, Stream: queue, ConsumerGroup: group,
		}, s.secrets.read)
	} else {
		spec := v1alpha1.RedisListTrigger{RedisConnection: s.connection, List: queue}
		if k.processing {
			spec.ProcessingList = processingList(queue)
		}
		source, err = redis.ListSource(&spec, s.secrets.read)
	}
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// dialect is how queues of one kind are spoken to. The client is for producers and workers.
func dialect(client goredis.UniversalClient, k kind, s settings) triggertest.Dialect {
	d := triggertest.Dialect{
		Source: func(t *testing.T, name string) trigger.Source { t.Helper(); return s.source(t, k, name) },
		Queue: func(t *testing.T, name string) triggertest.Queue {
			t.Helper()
			if k.stream {
				return &stream{client: client, name: name, deletes: k.deletes}
			}
			return &list{client: client, name: name, processing: k.processing}
		},
		EmptyIsMissing: !k.stream,
	}
	if k.stream || k.processing {
		d.Tells = triggertest.HeldLive
	}
	return d
}

// list is a list as producers and workers meet it.
type list struct {
	client     goredis.UniversalClient
	name       string
	processing bool
	held       []string
}

// Create implements triggertest.Queue. A list is there when it is not empty.
func (l *list) Create(context.Context) error { return nil }

// Put implements triggertest.Queue.
func (l *list) Put(ctx context.Context) error {
	return l.client.LPush(ctx, l.name, brokertest.Unique("work")).Err()
}

// Take implements triggertest.Queue.
func (l *list) Take(ctx context.Context) error {
	var taken *goredis.StringCmd
	if l.processing {
		taken = l.client.LMove(ctx, l.name, processingList(l.name), "right", "left")
	} else {
		taken = l.client.RPop(ctx, l.name)
	}
	message, err := taken.Result()
	l.held = append(l.held, message)
	return err
}

func (l *list) oldest() string {
	oldest := l.held[0]
	l.held = l.held[1:]
	return oldest
}

// Acknowledge implements triggertest.Queue.
func (l *list) Acknowledge(ctx context.Context) error {
	message := l.oldest()
	if !l.processing {
		return nil
	}
	return removed(l.client.LRem(ctx, processingList(l.name), 1, message))
}

// Reject implements triggertest.Queue.
func (l *list) Reject(ctx context.Context) error {
	message := l.oldest()
	_, err := l.client.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		if l.processing {
			p.LRem(ctx, processingList(l.name), 1, message)
		}
		p.RPush(ctx, l.name, message)
		return nil
	})
	return err
}

// Purge implements triggertest.Queue.
func (l *list) Purge(ctx context.Context) error { return l.client.Del(ctx, l.name).Err() }

// Delete implements triggertest.Queue.
func (l *list) Delete(ctx context.Context) error { return l.client.Del(ctx, l.name).Err() }

// stream is a stream with a consumer group as producers and workers meet it.
type stream struct {
	client  goredis.UniversalClient
	name    string
	deletes bool
	held    []goredis.XMessage
}

// Create implements triggertest.Queue.
func (s *stream) Create(ctx context.Context) error {
	return s.client.XGroupCreateMkStream(ctx, s.name, group, "0").Err()
}

// Put implements triggertest.Queue.
func (s *stream) Put(ctx context.Context) error { return s.put(ctx, 1) }

func (s *stream) put(ctx context.Context, messages int) error {
	_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for range messages {
			p.XAdd(ctx, &goredis.XAddArgs{Stream: s.name, Values: []string{"message", "work"}})
		}
		return nil
	})
	return err
}

// Take implements triggertest.Queue.
func (s *stream) Take(ctx context.Context) error { return s.take(ctx, 1) }

// take takes as many messages, or all where there are fewer.
func (s *stream) take(ctx context.Context, most int) error {
	read, err := s.client.XReadGroup(ctx, &goredis.XReadGroupArgs{
		Group: group, Consumer: "worker", Streams: []string{s.name, ">"}, Count: int64(most), Block: -1,
	}).Result()
	if err != nil {
		return err
	}
	s.held = append(s.held, read[0].Messages...)
	return nil
}

func (s *stream) oldest() goredis.XMessage {
	oldest := s.held[0]
	s.held = s.held[1:]
	return oldest
}

// Acknowledge implements triggertest.Queue.
func (s *stream) Acknowledge(ctx context.Context) error {
	message := s.oldest()
	if err := removed(s.client.XAck(ctx, s.name, group, message.ID)); err != nil || !s.deletes {
		return err
	}
	return s.client.XDel(ctx, s.name, message.ID).Err()
}

// Reject implements triggertest.Queue. A stream has no word for it: the message is acknowledged, and added once more.
func (s *stream) Reject(ctx context.Context) error {
	message := s.oldest()
	_, err := s.client.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		p.XAck(ctx, s.name, group, message.ID)
		if s.deletes {
			p.XDel(ctx, s.name, message.ID)
		}
		p.XAdd(ctx, &goredis.XAddArgs{Stream: s.name, Values: message.Values})
		return nil
	})
	return err
}

// Purge implements triggertest.Queue.
func (s *stream) Purge(ctx context.Context) error { return s.client.XTrimMaxLen(ctx, s.name, 0).Err() }

// Delete implements triggertest.Queue.
func (s *stream) Delete(ctx context.Context) error { return s.client.Del(ctx, s.name).Err() }

// removed says that something was there to remove.
func removed(c *goredis.IntCmd) error {
	if n, err := c.Result(); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("%d messages were removed", n))
	}
	return nil
}

// attempt is how long the meter gives one connecting and one reading.
const attempt = 10 * time.Second

// open opens a reader, which is closed when the test is over.
func open(t *testing.T, source trigger.Source) trigger.Reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), attempt)
	defer cancel()
	reader, err := source.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	return reader
}

// read reads all sources, which are of one endpoint, in one go.
func read(t *testing.T, reader trigger.Reader, sources ...trigger.Source) []trigger.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), attempt)
	defer cancel()
	var queues []trigger.Queue
	for _, source := range sources {
		queues = append(queues, source.Queue)
	}
	results, err := reader.Read(ctx, queues)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func content(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
