package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/encode"
	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/inbox"
	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/worker"
)

// site is a worker's place of work: a queue, a clip, a folder for what it makes.
type site struct {
	server   *miniredis.Miniredis
	clip     string
	out      string
	settings worker.Settings
	log      *lines
}

// lines keeps what is written to it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{server: miniredis.RunT(t), clip: filepath.Join(t.TempDir(), "clip.y4m"), out: t.TempDir(), log: &lines{}}
	if err := encode.MakeClip(s.clip, encode.Pattern{Frames: 60, Width: 64, Height: 36, Rate: 30}); err != nil {
		t.Fatal(err)
	}
	s.settings = worker.Settings{
		Inbox: inbox.Settings{
			URI: "redis://" + s.server.Addr(), Queue: "videos", ProcessingList: "videos:processing", Taker: "transcode-1", Patience: time.Second,
		},
		Encoder:     "builtin",
		OutputDir:   s.out,
		StatusFiles: []string{filepath.Join(t.TempDir(), "status")},
		Log:         s.log,
	}
	return s
}

func (s *site) send(t *testing.T, message string) {
	t.Helper()
	if _, err := s.server.RPush("videos", message); err != nil {
		t.Fatal(err)
	}
}

func (s *site) order() string {
	return fmt.Sprintf(`{"id": "8141", "input": %q, "priority": 3}`, s.clip)
}

// queues says what is in each list.
func (s *site) queues() map[string][]string {
	found := map[string][]string{}
	for _, list := range []string{"videos", "videos:processing", "videos:failed"} {
		if all, err := s.server.List(list); err == nil {
			found[list] = all
		}
	}
	return found
}

func (s *site) status(t *testing.T) worker.Status {
	t.Helper()
	content, err := os.ReadFile(s.settings.StatusFiles[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(content, []byte("\n")); n != 1 {
		t.Errorf("the status has %d lines, want one: %q", n, content)
	}
	return parseStatus(t, content)
}

func parseStatus(t *testing.T, content []byte) worker.Status {
	t.Helper()
	first, rest, _ := bytes.Cut(content, []byte("\n"))
	var status worker.Status
	if err := json.Unmarshal(first, &status); err != nil {
		t.Fatalf("status %q, and then %q: %v", first, rest, err)
	}
	return status
}

func TestAMessageIsCarriedOutAndGone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ message, output string }{
		"an output named after the id":     {`{"id": "8141", "input": %q}`, "8141.avi"},
		"an output that is named":          {`{"id": "8141", "input": %q, "output": "made/small.avi", "more": {"x": 1}}`, "made/small.avi"},
		"an output without an extension":   {`{"id": "8141", "input": %q, "output": "small"}`, "small.avi"},
		"an id with all that it may have":  {`{"id": "8-1_4.1:x@y+Z", "input": %q}`, "8-1_4.1:x@y+Z.avi"},
		"an output elsewhere, by its path": {`{"id": "8141", "input": %q, "output": "ELSEWHERE/x.avi"}`, "ELSEWHERE/x.avi"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			elsewhere := t.TempDir()
			s.send(t, strings.Replace(fmt.Sprintf(tt.message, s.clip), "ELSEWHERE", elsewhere, 1))
			if err := worker.Run(t.Context(), s.settings); err != nil {
				t.Fatal(err)
			}
			output := strings.Replace(filepath.Join(s.out, tt.output), filepath.Join(s.out, "ELSEWHERE"), elsewhere, 1)
			info, err := os.Stat(output)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string][]string{}, s.queues()); diff != "" {
				t.Errorf("messages are left (-want +got):\n%s", diff)
			}
			got := s.status(t)
			got.MessageID = ""
			want := worker.Status{Progress: 1, Result: &encode.Result{Encoder: "builtin", Output: output, Frames: 60, Bytes: info.Size()}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
			for _, want := range []string{"took message 8", "transcoding " + s.clip, "progress 100%", "60 frames"} {
				if !strings.Contains(s.log.String(), want) {
					t.Errorf("the log does not say %q:\n%s", want, s.log)
				}
			}
		})
	}
}

func TestRelativeInputsBeginInTheirFolder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.settings.InputDir = filepath.Dir(s.clip)
	s.send(t, `{"id": "8141", "input": "clip.y4m"}`)
	if err := worker.Run(t.Context(), s.settings); err != nil {
		t.Fatal(err)
	}
}

func TestABadMessageIsRejectedAndKept(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ message, says string }{
		"no JSON":                          {`transcode this!`, "transcode this!"},
		"an id that is a number":           {`{"id": 8141, "input": "/clip"}`, "id"},
		"no id":                            {`{"input": "/clip"}`, "id"},
		"an id that leads elsewhere":       {`{"id": "../8141", "input": "/clip"}`, "id"},
		"no input":                         {`{"id": "8141"}`, "input"},
		"an input that is not there":       {`{"id": "8141", "input": "/not/there.y4m"}`, "/not/there.y4m"},
		"an input that is no clip":         {`{"id": "8141", "input": "/dev/null"}`, "/dev/null"},
		"an input that leads elsewhere":    {`{"id": "8141", "input": "../clip.y4m"}`, "leads out"},
		"an output that leads elsewhere":   {`{"id": "8141", "input": "/clip", "output": "../../out.avi"}`, "leads out"},
		"nothing":                          {``, "JSON"},
		"a lot of it, which is not quoted": {strings.Repeat("x", 1<<16), "xxx"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.send(t, tt.message)
			err := worker.Run(t.Context(), s.settings)
			if code := worker.ExitCode(err); code != worker.ExitRejected {
				t.Fatalf("exit code %d for %v, want %d", code, err, worker.ExitRejected)
			}
			if !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 500 {
				t.Errorf("%q does not say %q, or too much", err, tt.says)
			}
			if diff := cmp.Diff(map[string][]string{"videos:failed": {tt.message}}, s.queues()); diff != "" {
				t.Errorf("queues (-want +got):\n%s", diff)
			}
			if status := s.status(t); status.Error == "" || status.Result != nil {
				t.Errorf("status %+v, want one with an error", status)
			}
		})
	}
}

func TestAnEmptyQueueIsSaid(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	err := worker.Run(t.Context(), s.settings)
	if code := worker.ExitCode(err); code != worker.ExitEmpty || !strings.Contains(err.Error(), "queue videos") {
		t.Errorf("exit code %d for %v, want %d and the queue's name", code, err, worker.ExitEmpty)
	}
}

func TestAStoppedWorkerGivesItsMessageBackAndLeavesNoOutput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.settings.MaxSpeed = 0.1 // twenty seconds, were it not stopped
	s.send(t, s.order())
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx, s.settings) }()
	waitFor(t, func() bool { return strings.Contains(s.log.String(), "transcoding") })
	if diff := cmp.Diff(map[string][]string{"videos:processing": {s.order()}}, s.queues()); diff != "" {
		t.Errorf("while it works (-want +got):\n%s", diff)
	}
	cancel(fmt.Errorf("%w by a test", worker.ErrStopped))
	err := <-done
	if code := worker.ExitCode(err); code != worker.ExitStopped {
		t.Errorf("exit code %d for %v, want %d", code, err, worker.ExitStopped)
	}
	if diff := cmp.Diff(map[string][]string{"videos": {s.order()}}, s.queues()); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	if left, err := os.ReadDir(s.out); err != nil || len(left) > 0 {
		t.Errorf("left in the output folder: %v, %v", left, err)
	}
}

func TestAWorkerThatIsStoppedBeforeItHasAMessageTakesNone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*worker.Settings){
		"while it starts": func(s *worker.Settings) { s.StartDelay = time.Hour },
		"while it waits":  func(s *worker.Settings) { s.Inbox.Queue, s.Wait = "other", time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.send(t, s.order())
			change(&s.settings)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(50*time.Millisecond, func() { cancel(worker.ErrStopped) })
			if err := worker.Run(ctx, s.settings); !errors.Is(err, worker.ErrStopped) {
				t.Errorf("%v, want ErrStopped", err)
			}
			if diff := cmp.Diff(map[string][]string{"videos": {s.order()}}, s.queues()); diff != "" {
				t.Errorf("queues (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFailureThatIsNotTheMessagesFaultGivesItBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.settings.OutputDir = s.clip // a file, in which nothing can be made
	s.send(t, s.order())
	err := worker.Run(t.Context(), s.settings)
	if code := worker.ExitCode(err); code != worker.ExitFailed {
		t.Errorf("exit code %d for %v, want %d", code, err, worker.ExitFailed)
	}
	if diff := cmp.Diff(map[string][]string{"videos": {s.order()}}, s.queues()); diff != "" {
		t.Errorf("queues (-want +got):\n%s", diff)
	}
}

func TestABrokerThatGoesAwayBeforeTheMessageIsAcknowledgedMakesForAnotherTry(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.settings.MaxSpeed = 4 // half a second
	s.send(t, s.order())
	done := make(chan error, 1)
	go func() { done <- worker.Run(t.Context(), s.settings) }()
	waitFor(t, func() bool { return strings.Contains(s.log.String(), "transcoding") })
	s.server.SetError("LOADING and loading")
	err := <-done
	if code := worker.ExitCode(err); code != worker.ExitUnreachable {
		t.Errorf("exit code %d for %v, want %d", code, err, worker.ExitUnreachable)
	}
	s.server.SetError("")
	s.send(t, "the next, which is for another")
	if err := worker.Run(t.Context(), s.settings); err != nil {
		t.Errorf("the next try: %v", err)
	}
	if diff := cmp.Diff(map[string][]string{"videos": {"the next, which is for another"}}, s.queues()); diff != "" {
		t.Errorf("queues (-want +got):\n%s", diff)
	}
}

func TestTheStatusIsKeptWhileItWorks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.settings.MaxSpeed = 1 // two seconds
	log := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(log, bytes.Repeat([]byte("of another time\n"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	s.settings.StatusFiles = append(s.settings.StatusFiles, "/not/there/status", log)
	s.send(t, s.order())
	done := make(chan error, 1)
	go func() { done <- worker.Run(t.Context(), s.settings) }()
	waitFor(t, func() bool { return strings.Contains(s.log.String(), "transcoding") })
	var seen []float64
	for len(done) == 0 {
		for _, name := range []string{s.settings.StatusFiles[0], log} {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			status := parseStatus(t, content)
			if status.MessageID != "8141" {
				t.Fatalf("status %+v of another message", status)
			}
			seen = append(seen, status.Progress)
		}
		time.Sleep(time.Millisecond)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.settings.StatusFiles = []string{log}
	if last := s.status(t); last.Progress != 1 || last.Result == nil {
		t.Errorf("in the end the status is %+v, want one with the result", last)
	}
	slices.Sort(seen)
	if steps := slices.Compact(seen); len(steps) < 4 {
		t.Errorf("progress took %d steps, %v, want some", len(steps), steps)
	}
	if n := strings.Count(s.log.String(), "cannot be written"); n != 1 {
		t.Errorf("that a status file cannot be written was said %d times, want 1:\n%s", n, s.log)
	}
	if n := strings.Count(s.log.String(), "progress "); n < 2 || n > 5 {
		t.Errorf("%d lines of progress in two seconds, want one for each:\n%s", n, s.log)
	}
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*worker.Settings){
		"an unknown encoder":  func(s *worker.Settings) { s.Encoder = "vhs" },
		"a negative wait":     func(s *worker.Settings) { s.Wait = -1 },
		"a negative patience": func(s *worker.Settings) { s.Inbox.Patience = -1 },
		"a negative delay":    func(s *worker.Settings) { s.StartDelay = -1 },
		"a negative speed":    func(s *worker.Settings) { s.MaxSpeed = -1 },
		"no broker":           func(s *worker.Settings) { s.Inbox.URI = "" },
	} {
		s := newSite(t)
		s.send(t, s.order())
		change(&s.settings)
		if code := worker.ExitCode(worker.Run(t.Context(), s.settings)); code != worker.ExitUsage {
			t.Errorf("%s: exit code %d, want %d", name, code, worker.ExitUsage)
		}
	}
}

// waitFor waits until something holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to that in 10 s")
		}
	}
}
