package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/inbox"
)

// rabbitServer is the program itself: the one on the PATH changes user.
const rabbitServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// lacking skips a test for want of a broker, but not where all tests are to run.
func lacking(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// freePort finds a port of the loopback that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// startServer runs a program until the test ends, which fails where it is not ready in time.
func startServer(t *testing.T, cmd *exec.Cmd, ready func() error) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // should the tests themselves be killed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := ready()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("%s is not ready: %v\n%s", cmd.Path, err, said)
		}
	}
}

func TestARealRedis(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		lacking(t, "there is no redis-server on the PATH: install Debian's redis-server")
	}
	port := fmt.Sprint(freePort(t))
	cmd := exec.Command(program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port})
	defer client.Close()
	startServer(t, cmd, func() error { return client.Ping(t.Context()).Err() })

	all := redisDesks(t, "redis://127.0.0.1:"+port)
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

// startRabbitMQ starts a RabbitMQ of the test's own, with its port mapper, and returns its URI.
func startRabbitMQ(t *testing.T) string {
	t.Helper()
	mapper, err := exec.LookPath("epmd")
	if err == nil {
		_, err = os.Stat(rabbitServer)
	}
	if err != nil {
		lacking(t, "there is no RabbitMQ here: install Debian's rabbitmq-server")
	}
	folder := t.TempDir()
	port, mapperPort, nodePort := freePort(t), freePort(t), freePort(t)
	mapperAddress := fmt.Sprintf("127.0.0.1:%d", mapperPort)
	startServer(t, exec.Command(mapper, "-address", "127.0.0.1", "-port", fmt.Sprint(mapperPort)), func() error {
		conn, err := net.Dial("tcp", mapperAddress)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	config := fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\ndistribution.listener.interface = 127.0.0.1\n"+
		"distribution.listener.port_range.min = %d\ndistribution.listener.port_range.max = %d\n", port, nodePort, nodePort)
	for name, content := range map[string]string{"rabbitmq.conf": config, "plugins": "[]."} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(rabbitServer)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + folder,
		"RUNNING_UNDER_SYSTEMD=true", // the script becomes the server then, and does not stay beside it
		fmt.Sprintf("RABBITMQ_NODENAME=worker%d@localhost", port),
		"RABBITMQ_MNESIA_BASE=" + folder, "RABBITMQ_LOG_BASE=" + folder,
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(folder, "rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(folder, "plugins"),
		"ERL_EPMD_ADDRESS=127.0.0.1", fmt.Sprintf("ERL_EPMD_PORT=%d", mapperPort),
	}
	uri := fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", port)
	startServer(t, cmd, func() error {
		conn, err := amqp.Dial(uri)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return uri
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
	uri := startRabbitMQ(t)
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
		proxy := startProxy(t, strings.TrimSuffix(strings.TrimPrefix(uri, "amqp://guest:guest@"), "/"))
		s.URI = "amqp://guest:guest@" + proxy.address
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
			if _, err := openWith(t, s).Take(t.Context(), 0); !errors.Is(err, inbox.ErrRefused) || strings.Contains(err.Error(), "guest:guest") {
				t.Errorf("%v, want ErrRefused, and no password", err)
			}
		})
	}
	t.Run("a user and password of their own go before the URI's", func(t *testing.T) {
		s := classic.settings
		s.URI = strings.Replace(uri, "guest:guest@", "nobody:nothing@", 1)
		s.Username, s.Password = "guest", "guest"
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
