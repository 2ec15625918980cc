package inbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/inbox"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

var shared brokertest.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// redisDatabase is for this package alone: the keys are the same in each run, and a Redis that runs already may have them.
const redisDatabase = 15

func TestARealRedis(t *testing.T) {
	t.Parallel()
	server := shared.Redis(t)
	client := redis.NewClient(&redis.Options{Addr: server.Address(), DB: redisDatabase})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := errors.Join(client.FlushDB(ctx).Err(), client.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := client.FlushDB(t.Context()).Err(); err != nil { // of a run that was killed
		t.Fatal(err)
	}

	all := redisDesks(t, fmt.Sprintf("redis://%s/%d", server.Address(), redisDatabase))
	for name, d := range all {
		exercise(t, name, d)
	}
	t.Run("a pending entry that was deleted is passed over", func(t *testing.T) {
		passesOverDeleted(t, all["a Redis stream"], client)
	})
	t.Run("a list that is none is refused", func(t *testing.T) {
		if err := client.Set(t.Context(), "text", "no list", 0).Err(); err != nil {
			t.Fatal(err)
		}
		s := all["a Redis list with a processing list"].settings
		s.Queue, s.Taker = "text", "ann"
		if _, err := openWith(t, s).Take(t.Context(), 0); !errors.Is(err, inbox.ErrRefused) {
			t.Errorf("%v, want ErrRefused", err)
		}
	})
	t.Run("a group that is missing is refused", func(t *testing.T) {
		s := all["a Redis stream"].settings
		s.ConsumerGroup, s.Taker = "none", "ann"
		if _, err := openWith(t, s).Take(t.Context(), 0); !errors.Is(err, inbox.ErrRefused) {
			t.Errorf("%v, want ErrRefused", err)
		}
	})
}

// rabbitDesk is a RabbitMQ queue with another for what is rejected.
func rabbitDesk(t *testing.T, uri, queue string, args amqp.Table) desk {
	t.Helper()
	conn, err := amqp.Dial(uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	args["x-dead-letter-exchange"], args["x-dead-letter-routing-key"] = "", queue+":failed"
	for name, args := range map[string]amqp.Table{queue: args, queue + ":failed": nil} {
		if _, err := channel.QueueDeclare(name, true, false, false, false, args); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func(t *testing.T, name string) int64 {
		t.Helper()
		q, err := channel.QueueDeclarePassive(name, true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		return int64(q.Messages)
	}
	if err := channel.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return desk{
		settings: inbox.Settings{URI: uri, Queue: queue, Patience: 5 * time.Second},
		send: func(t *testing.T, body string) {
			t.Helper()
			confirm, err := channel.PublishWithDeferredConfirm("", queue, false, false, amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent})
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := confirm.WaitContext(t.Context()); err != nil || !ok {
				t.Fatal(ok, err)
			}
		},
		counts: func(t *testing.T) counts {
			t.Helper()
			return counts{Waiting: waiting(t, queue), Failed: waiting(t, queue+":failed")}
		},
		forgets:  true, // AMQP does not tell what is held
		eventual: true, // what goes to another queue takes a moment
	}
}

func TestARealRabbitMQ(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	uri := rabbit.VhostURI(brokertest.Vhost(t, rabbit))
	server, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := server.User.Password()
	// with is the URI with another user or server.
	with := func(user *url.Userinfo, host string) string {
		changed := *server
		changed.User, changed.Host = user, host
		return changed.String()
	}
	classic := rabbitDesk(t, uri, "classic", amqp.Table{})
	exercise(t, "a classic queue", classic)
	quorum := rabbitDesk(t, uri, "quorum", amqp.Table{"x-queue-type": "quorum"})
	exercise(t, "a quorum queue", quorum)

	t.Run("a taker that died leaves its message to others", func(t *testing.T) {
		before := classic.counts(t)
		classic.send(t, "seven")
		dead := classic.open(t, "ann")
		take(t, dead, "seven")
		classic.shows(t, counts{Failed: before.Failed})
		if err := dead.Close(); err != nil {
			t.Fatal(err)
		}
		classic.shows(t, counts{Waiting: 1, Failed: before.Failed})
		settle(t, take(t, classic.open(t, "bob"), "seven"), inbox.Done)
	})
	t.Run("a message that is lost is said to be", func(t *testing.T) {
		s := classic.settings
		classic.send(t, "eight")
		proxy := startProxy(t, server.Host)
		s.URI = with(server.User, proxy.address)
		box := openWith(t, s)
		message := take(t, box, "eight")
		proxy.cut()
		select {
		case err := <-message.Lost:
			if !errors.Is(err, inbox.ErrUnreachable) {
				t.Errorf("%v, want ErrUnreachable", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("losing it was not said within 10 s")
		}
		if err := message.Settle(t.Context(), inbox.Done); !errors.Is(err, inbox.ErrUnreachable) {
			t.Errorf("settling it: %v, want ErrUnreachable", err)
		}
		settle(t, take(t, openWith(t, s), "eight"), inbox.Done) // over a new connection
	})
	t.Run("a broker that stops while it lets a taker in is tried again", func(t *testing.T) {
		classic.send(t, "nine")
		s := classic.settings
		s.URI = with(server.User, startStopping(t, server.Host, 2))
		settle(t, take(t, openWith(t, s), "nine"), inbox.Done)
	})
	for name, change := range map[string]func(*inbox.Settings){
		"a queue that is missing":   func(s *inbox.Settings) { s.Queue = "missing" },
		"a wrong password":          func(s *inbox.Settings) { s.Password = "mobydick" },
		"a wrong user":              func(s *inbox.Settings) { s.Username = "mobydick" },
		"a vhost that is not there": func(s *inbox.Settings) { s.URI += "none" },
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			s := classic.settings
			change(&s)
			s.Patience = time.Hour // which would be a long time to try
			if _, err := openWith(t, s).Take(t.Context(), 0); !errors.Is(err, inbox.ErrRefused) || strings.Contains(err.Error(), server.User.String()) {
				t.Errorf("%v, want ErrRefused, and no password", err)
			}
		})
	}
	t.Run("a user and password of their own go before the URI's", func(t *testing.T) {
		s := classic.settings
		s.URI = with(url.UserPassword("nobody", "nothing"), server.Host)
		s.Username, s.Password = server.User.Username(), password
		if _, err := openWith(t, s).Take(t.Context(), 0); !errors.Is(err, inbox.ErrEmpty) {
			t.Errorf("%v, want ErrEmpty", err)
		}
	})
}

// proxy passes connections on to a server until it is cut.
type proxy struct {
	address string
	cut     context.CancelFunc
}

// startProxy cuts the connections of the time when it is asked to, and passes on those that follow.
func startProxy(t *testing.T, server string) proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	ctx, cut := context.WithCancel(t.Context())
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			go pass(near, far)
			go pass(far, near)
			if ctx.Err() == nil {
				context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() })
			}
		}
	}()
	return proxy{address: listener.Addr().String(), cut: cut}
}

// startStopping passes connections on to a RabbitMQ, and hangs up on the first of them when they ask for their virtual host.
func startStopping(t *testing.T, server string, first int) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for n := 0; ; n++ {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			go pass(near, far)
			if n < first {
				go pass(stopping{far}, near)
			} else {
				go pass(far, near)
			}
		}
	}()
	return listener.Addr().String()
}

// stopping is a connection that fails when it is to carry AMQP's connection.open: class 10, method 40.
type stopping struct{ net.Conn }

func (s stopping) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte{0, 10, 0, 40}) {
		return 0, net.ErrClosed
	}
	return s.Conn.Write(b)
}

// pass copies until either end is closed, and closes both.
func pass(to, from net.Conn) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		if err == nil {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			_, _ = to.Close(), from.Close()
			return
		}
	}
}
