package main_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// within waits until something is so.
func within(t *testing.T, patience time.Duration, what string, so func() bool) {
	t.Helper()
	for began := time.Now(); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// ask asks a consumer, and returns the code; 0 where nobody answers.
func ask(ctx context.Context, method, url string) int {
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return 0
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

func TestAConsumerTakesOneMessageAfterAnotherUnlessItIsFenced(t *testing.T) {
	t.Parallel()
	p := prepare(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	put := func(messages ...string) {
		t.Helper()
		if _, err := p.server.Push("videos", messages...); err != nil {
			t.Fatal(err)
		}
	}
	done := func(id string) func() bool {
		return func() bool {
			_, err := os.Stat(filepath.Join(p.out, id+".avi"))
			return err == nil
		}
	}
	p.server.RequireAuth("mobydick")
	put(p.order(t, "1"), "no order", p.order(t, "2"))

	cmd, said := p.command(t, []string{"QUEUE=videos", "PROCESSING_LIST=videos:processing"}, "consume", "--listen", address, "--hold", "10m")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	fence := "http://" + address + "/longhaul/fence"
	nothing := func(id, why string) {
		t.Helper()
		time.Sleep(200 * time.Millisecond) // nothing may come of it
		if done(id)() {
			t.Errorf("%s took a message", why)
		}
	}
	within(t, 20*time.Second, "the consumer to answer", func() bool {
		return ask(t.Context(), http.MethodGet, "http://"+address+"/longhaul/state") == http.StatusOK
	})
	nothing("1", "a consumer that is held")
	if code := ask(t.Context(), http.MethodDelete, fence); code != http.StatusOK {
		t.Errorf("letting it is answered with %d", code)
	}
	within(t, 20*time.Second, "both good orders", func() bool { return done("1")() && done("2")() })
	within(t, 10*time.Second, "the consumer to be idle and fenced", func() bool { return ask(t.Context(), http.MethodPost, fence) == http.StatusOK })
	put(p.order(t, "3"))
	nothing("3", "a fenced consumer")
	if code := ask(t.Context(), http.MethodDelete, fence); code != http.StatusOK {
		t.Errorf("taking the fence back is answered with %d", code)
	}
	within(t, 10*time.Second, "the order that waited for the fence", done("3"))
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("on SIGTERM it ends with %v", err)
	}
	for _, words := range []string{"done with message 1", "rejected a message", "done with message 2", "done with message 3"} {
		if !strings.Contains(said.String(), words) {
			t.Errorf("it does not say %q:\n%s", words, said)
		}
	}
	if left, _ := p.server.List("videos:processing"); len(left) > 0 {
		t.Errorf("messages are held still: %q", left)
	}
}

func TestAConsumerWhoseSettingsAreNoGoodSaysWhich(t *testing.T) {
	t.Parallel()
	p := prepare(t)
	for setting, complaint := range map[string]string{"LISTEN=nowhere": `LISTEN "nowhere"`, "HOLD=-1s": "HOLD must not be negative"} {
		said, code := p.run(t, []string{"QUEUE=videos", setting}, "consume")
		if code != 64 || !strings.Contains(said, complaint) {
			t.Errorf("with %s the exit code is %d: %s", setting, code, said)
		}
	}
}
