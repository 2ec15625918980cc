package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	transcodeworker "github.com/longhaul-dev/longhaul/cmd/transcode-worker"
)

// program is the worker, and a broker and a clip for it.
type program struct {
	path, clip, out string
	server          *miniredis.Miniredis
}

// playWorker is the variable that makes the test binary play the worker.
const playWorker = "TEST_PLAY_TRANSCODE_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(playWorker) != "" {
		os.Exit(transcodeworker.Run())
	}
	os.Exit(m.Run())
}

func prepare(t *testing.T) program {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := program{path: path, clip: filepath.Join(t.TempDir(), "clip.y4m"), out: t.TempDir(), server: miniredis.RunT(t)}
	if said, code := p.run(t, nil, "make-clip", "--frames", "30", "--size", "64x36", "--out", p.clip); code != 0 {
		t.Fatalf("make-clip: exit code %d: %s", code, said)
	}
	return p
}

// command is the worker with nothing in its environment but what is given and the broker.
func (p program) command(t *testing.T, env []string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.path, args...)
	cmd.Env = append([]string{playWorker + "=1", "QUEUE_URI=redis://:mobydick@" + p.server.Addr(), "OUTPUT_DIR=" + p.out, "ENCODER=builtin", "WAIT=0s"}, env...)
	said := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	return cmd, said
}

func (p program) run(t *testing.T, env []string, args ...string) (said string, code int) {
	t.Helper()
	cmd, out := p.command(t, env, args...)
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func (p program) order(t *testing.T, id string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"id": id, "input": p.clip})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func (p program) send(t *testing.T, list string, messages ...string) {
	t.Helper()
	if _, err := p.server.RPush(list, messages...); err != nil {
		t.Fatal(err)
	}
}

func (p program) list(name string) []string {
	all, err := p.server.List(name)
	if err != nil {
		return nil // there is none
	}
	return all
}

func TestTheProgram(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		env, args []string
		message   string // empty for an order that is good
		code      int
		says      string
	}{
		"a message is carried out": {
			env: []string{"QUEUE=videos", "PROCESSING_LIST=busy"}, code: 0, says: "30 frames",
		},
		"a flag goes before its variable": {
			env: []string{"QUEUE=other"}, args: []string{"--queue", "videos"}, code: 0, says: "30 frames",
		},
		"the trigger's own variable goes before the common one": {
			env: []string{"QUEUE=other", "QUEUE_FIRST_CLASS=videos", "LONGHAUL_TRIGGER=first-class"}, code: 0, says: "30 frames",
		},
		"and that of another trigger does not": {
			env: []string{"QUEUE_SECOND=other", "QUEUE=videos", "LONGHAUL_TRIGGER=first-class"}, code: 0, says: "30 frames",
		},
		"an empty queue": {
			env: []string{"QUEUE=other"}, code: 3, says: "no message waits in queue other, and none came within 0s",
		},
		"a bad message": {
			env: []string{"QUEUE=videos"}, message: "transcode this!", code: 65, says: "not JSON",
		},
		"a flag that is not known":    {args: []string{"--quue", "videos"}, code: 64, says: "--quue"},
		"a variable that makes sense": {env: []string{"QUEUE=videos", "REQUEUE=true", "MAX_SPEED=0", "START_DELAY=1ms"}, code: 0, says: "30 frames"},
		"a variable that makes none":  {env: []string{"QUEUE=videos", "START_DELAY=long"}, code: 64, says: "START_DELAY"},
		"no queue":                    {code: 64, says: "QUEUE nor STREAM"},
		"a wrong password":            {env: []string{"QUEUE=videos", "QUEUE_PASSWORD=ahab"}, code: 78, says: "WRONGPASS"},
		"a broker that is not there": {
			env: []string{"QUEUE=videos", "QUEUE_URI=amqp://u:mobydick@127.0.0.1:1", "PATIENCE=10ms"}, code: 75, says: "connection refused",
		},
		"a clip of no size":  {args: []string{"make-clip", "--out", "x", "--size", "64"}, code: 64, says: "--size"},
		"a clip without out": {args: []string{"make-clip"}, code: 64, says: "--out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := prepare(t)
			p.server.RequireAuth("mobydick")
			message := tt.message
			if message == "" {
				message = p.order(t, "8141")
			}
			p.send(t, "videos", message)
			said, code := p.run(t, tt.env, tt.args...)
			if code != tt.code || !strings.Contains(said, tt.says) {
				t.Errorf("exit code %d, want %d and %q; it said:\n%s", code, tt.code, tt.says, said)
			}
			if strings.Contains(said, "mobydick") || strings.Contains(said, "ahab") {
				t.Errorf("it shows the password:\n%s", said)
			}
			if code == 0 && len(p.list("videos")) > 0 {
				t.Errorf("left in the queue: %q", p.list("videos"))
			}
		})
	}
}

func TestASignalStopsTheProgramAndTheNextTryOfItsJobGoesOn(t *testing.T) {
	t.Parallel()
	p := prepare(t)
	status := filepath.Join(t.TempDir(), "termination-log")
	env := []string{
		"QUEUE=videos", "PROCESSING_LIST=busy", "LONGHAUL_TERMINATION_LOG=" + status,
		"LONGHAUL_SCALEDJOB=transcode", "LONGHAUL_SEQUENCE=000042",
	}
	one, two := p.order(t, "one"), p.order(t, "two")
	p.send(t, "videos", one, two)
	for _, end := range []struct {
		signal        syscall.Signal
		code          int
		waiting, busy []string
	}{
		{syscall.SIGTERM, 143, []string{one, two}, nil},
		{syscall.SIGKILL, -1, []string{two}, []string{one}},
	} {
		cmd, said := p.command(t, append([]string{"MAX_SPEED=0.1"}, env...)) // ten seconds, were it not stopped
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool {
			content, err := os.ReadFile(status)
			return err == nil && bytes.Contains(content, []byte(`"one","progress":0.`))
		})
		if err := cmd.Process.Signal(end.signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the exit code says it
		if code := cmd.ProcessState.ExitCode(); code != end.code {
			t.Errorf("%s: exit code %d, want %d:\n%s", end.signal, code, end.code, said)
		}
		if diff := cmp.Diff([][]string{end.waiting, end.busy}, [][]string{p.list("videos"), p.list("busy")}); diff != "" {
			t.Errorf("%s: waiting and busy (-want +got):\n%s", end.signal, diff)
		}
		if err := os.Remove(status); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"one", "two"} {
		if said, code := p.run(t, env); code != 0 || !strings.Contains(said, "done with message "+id) {
			t.Errorf("the next try: exit code %d, and not done with %s:\n%s", code, id, said)
		}
	}
}

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to that in 20 s")
		}
	}
}
