// Package examples_test has the consumers that docs/consumers.md shows do what it says of them, one suite for all.
package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

var brokers brokertest.Shared

func TestMain(m *testing.M) { os.Exit(brokers.Run(m)) }

// patience is how long anything here may take on a busy machine.
const patience = 20 * time.Second

// example is how a consumer is run, and where it answers.
type example struct {
	name         string
	needs        []string
	program      func(t *testing.T) []string
	state, fence string
}

func examples() []example {
	script := func(of ...string) func(*testing.T) []string { return func(*testing.T) []string { return of } }
	return []example{
		{"Go", []string{"go"}, build, "/longhaul/state", "/longhaul/fence"},
		{"Python", []string{"python3"}, script("python3", "consumer.py"), "/longhaul/state", "/longhaul/fence"},
		{"shell", []string{"sh", "busybox", "flock", "redis-cli"}, script("sh", "consumer.sh"), "/cgi-bin/state", "/cgi-bin/fence"},
	}
}

var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "longhaul-example-")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "consumer")
	out, err := exec.Command("go", "build", "-o", binary, "./go").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build ./go: %w\n%s", err, out)
	}
	return binary, nil
})

func build(t *testing.T) []string {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return []string{binary}
}

// consumer is an example that runs.
type consumer struct {
	example

	t       *testing.T
	address string
	redis   *redis.Client
	list    string
	// works is the folder in which its program says what it works on, and is told to be done.
	works   string
	command *exec.Cmd
	ended   chan error
}

// start runs an example. Its program works on a message until it is told to be done, and fails for one called "broken".
func (e example) start(t *testing.T, hold string) *consumer {
	t.Helper()
	for _, program := range e.needs {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is missing: make brokers installs it on Debian", program)
			}
			t.Skipf("needs %s", program)
		}
	}
	server := brokers.Redis(t)
	c := &consumer{example: e, t: t, redis: server.Client(), list: brokertest.Unique("videos"), works: t.TempDir(), ended: make(chan error, 1)}
	t.Cleanup(func() { _ = c.redis.Close() })
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = listener.Addr().String()
	_ = listener.Close()
	work := filepath.Join(c.works, "work")
	text := "#!/bin/sh\ncd \"$(dirname \"$0\")\"\n: >\"$1.started\"\nwhile [ ! -e \"$1.done\" ]; do sleep 0.05; done\n[ \"$1\" != broken ]\n"
	if err := os.WriteFile(work, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	program := e.program(t)
	c.command = exec.Command(program[0], program[1:]...)
	c.command.Env = append(os.Environ(), "REDIS="+server.Address(), "LIST="+c.list, "LISTEN="+c.address, "WORK="+work, "HOLD="+hold, "STATE="+t.TempDir())
	var said bytes.Buffer
	c.command.Stdout, c.command.Stderr = &said, &said
	c.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.ended <- c.command.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-c.command.Process.Pid, syscall.SIGKILL)
		if t.Failed() {
			t.Logf("%s said:\n%s", e.name, said.String())
		}
	})
	c.until("it to answer", func() bool { code, _ := c.ask(http.MethodGet, c.state); return code == http.StatusOK })
	return c
}

// ask asks the consumer, and returns the code, 0 where it does not answer, and what it says.
func (c *consumer) ask(method, path string) (int, map[string]any) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	said := map[string]any{}
	if err := errors.Join(err, json.Unmarshal(body, &said)); err != nil {
		c.t.Errorf("%s %s is answered with %q: %v", method, path, body, err)
	}
	return response.StatusCode, said
}

func (c *consumer) wantCode(method string, want int, when string) {
	c.t.Helper()
	if code, _ := c.ask(method, c.fence); code != want {
		c.t.Errorf("%s, %s %s is answered with %d, not %d", when, method, c.fence, code, want)
	}
}

func (c *consumer) until(what string, holds func() bool) {
	c.t.Helper()
	for began := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > patience {
			c.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// says waits until it says this of itself.
func (c *consumer) says(want map[string]any) {
	c.t.Helper()
	var said map[string]any
	c.until(fmt.Sprint("it to say ", want), func() bool {
		_, said = c.ask(http.MethodGet, c.state)
		return cmp.Equal(want, said)
	})
}

func (c *consumer) put(messages ...any) {
	c.t.Helper()
	if err := c.redis.RPush(c.t.Context(), c.list, messages...).Err(); err != nil {
		c.t.Fatal(err)
	}
}

// done lets the work on a message end.
func (c *consumer) done(message string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.works, message+".done"), nil, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// takesNothing checks for a while that a message is left alone.
func (c *consumer) takesNothing(message, when string) {
	c.t.Helper()
	time.Sleep(500 * time.Millisecond) // nothing may come of it
	if _, err := os.Stat(filepath.Join(c.works, message+".started")); err == nil {
		c.t.Errorf("%s it works on message %s", when, message)
	}
	c.lists(1, 0, 0)
}

// lists checks how many messages wait, are held, and have failed.
func (c *consumer) lists(waiting, held, failed int64) {
	c.t.Helper()
	var got []int64
	for _, list := range []string{c.list, c.list + ":processing", c.list + ":failed"} {
		n, err := c.redis.LLen(c.t.Context(), list).Result()
		if err != nil {
			c.t.Fatal(err)
		}
		got = append(got, n)
	}
	if diff := cmp.Diff([]int64{waiting, held, failed}, got); diff != "" {
		c.t.Errorf("messages that wait, are held, and have failed (-want +got):\n%s", diff)
	}
}

var (
	idle   = map[string]any{"busy": false}
	fenced = map[string]any{"busy": false, "fenced": true}
)

func busy(message string) map[string]any { return map[string]any{"busy": true, "messageID": message} }

func TestEachExampleKeepsTheContract(t *testing.T) {
	t.Parallel()
	for _, e := range examples() {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			c := e.start(t, "60")
			c.put("8141")
			c.says(fenced)
			c.takesNothing("8141", "before it is let")
			c.wantCode(http.MethodDelete, http.StatusOK, "held")
			c.says(busy("8141"))
			c.wantCode(http.MethodPost, http.StatusConflict, "busy")
			c.lists(0, 1, 0)
			c.done("8141")
			c.says(idle)
			c.lists(0, 0, 0)

			c.wantCode(http.MethodPost, http.StatusOK, "idle")
			c.wantCode(http.MethodPost, http.StatusOK, "fenced")
			c.says(fenced)
			c.put("8142")
			c.takesNothing("8142", "fenced")
			c.wantCode(http.MethodDelete, http.StatusOK, "fenced")
			c.says(busy("8142"))

			drained := make(chan int, 1)
			go func() {
				code, _ := c.ask(http.MethodGet, c.fence)
				drained <- code
			}()
			select {
			case <-drained:
				t.Error("busy, it says that it is drained")
			case <-time.After(300 * time.Millisecond):
			}
			c.done("8142")
			if code := <-drained; code != http.StatusOK {
				t.Errorf("draining is answered with %d", code)
			}
			c.says(fenced)
			c.put("broken")
			c.takesNothing("broken", "drained")
			c.wantCode(http.MethodDelete, http.StatusOK, "drained")
			c.says(busy("broken"))
			c.done("broken")
			c.says(idle)
			c.lists(0, 0, 1)

			c.put("8143")
			c.says(busy("8143"))
			if err := c.command.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-c.ended:
				t.Fatalf("on SIGTERM it ends in the middle of its work: %v", err)
			case <-time.After(500 * time.Millisecond):
			}
			c.put("8144")
			c.done("8143")
			select {
			case err := <-c.ended:
				if err != nil {
					t.Errorf("on SIGTERM it ends with %v", err)
				}
			case <-time.After(patience):
				t.Fatal("on SIGTERM it does not end when its work is done")
			}
			c.lists(1, 0, 1)
		})
	}
}

func TestAnExampleThatNobodyLetsBeginsByItself(t *testing.T) {
	t.Parallel()
	for _, e := range examples() {
		if e.name == "Go" {
			continue // its ten seconds are package worker's, and tested there
		}
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			c := e.start(t, "1")
			c.put("8141")
			c.says(busy("8141"))
			c.done("8141")
			c.says(idle)
		})
	}
}

func TestAFenceThatIsAnsweredHoldsWhateverComes(t *testing.T) {
	t.Parallel()
	for _, e := range examples() {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			c := e.start(t, "0.1")
			drained := 0
			for n := range 40 {
				message := fmt.Sprint(9000 + n)
				c.done(message) // it takes no time
				c.put(message)
				time.Sleep(time.Duration(n*7) * time.Millisecond % (250 * time.Millisecond))
				code, _ := c.ask(http.MethodPost, c.fence)
				if code != http.StatusOK {
					continue
				}
				drained++
				before := c.redis.LLen(t.Context(), c.list).Val()
				if held := c.redis.LLen(t.Context(), c.list+":processing").Val(); held != 0 {
					t.Errorf("it says that it is drained, and holds %d messages", held)
				}
				time.Sleep(30 * time.Millisecond)
				if after := c.redis.LLen(t.Context(), c.list).Val(); after != before {
					t.Errorf("it says that it is drained, and takes %d messages", before-after)
				}
				c.wantCode(http.MethodDelete, http.StatusOK, "drained")
			}
			if drained == 0 {
				t.Error("it was never drained: nothing was tried")
			}
		})
	}
}
