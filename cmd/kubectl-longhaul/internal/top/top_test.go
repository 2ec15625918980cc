package top_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/top"
	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/view"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

var now = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

// manager answers with what it holds.
type manager struct {
	all  []v1.ScaledJob
	jobs map[string][]v1.Job
	err  error
}

func (m *manager) ScaledJobs(context.Context) ([]v1.ScaledJob, error) {
	if m.err != nil {
		return nil, m.err
	}
	return m.all, nil
}

func (m *manager) Jobs(_ context.Context, namespace, name string) ([]v1.Job, error) {
	return m.jobs[namespace+"/"+name], m.err
}

// screen is the view, and who looks at it.
type screen struct {
	t     *testing.T
	model tea.Model
}

func open(t *testing.T, m *manager) *screen {
	t.Helper()
	s := &screen{t, top.New(t.Context(), m, view.Style{Now: now}, func() time.Time { return now })}
	s.send(tea.WindowSizeMsg{Width: 110, Height: 12})
	s.do(s.model.Init())
	return s
}

// do has a command done, and what it comes to shown. Of a command that waits for the next look nothing comes.
func (s *screen) do(command tea.Cmd) {
	s.t.Helper()
	if command != nil {
		s.send(command())
	}
}

func (s *screen) send(message tea.Msg) tea.Cmd {
	s.t.Helper()
	var command tea.Cmd
	s.model, command = s.model.Update(message)
	return command
}

func (s *screen) press(key string) tea.Cmd {
	s.t.Helper()
	keys := map[string]tea.KeyPressMsg{"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "down": {Code: tea.KeyDown}, "up": {Code: tea.KeyUp}}
	message, ok := keys[key]
	if !ok {
		message = tea.KeyPressMsg{Code: rune(key[0]), Text: key}
	}
	return s.send(message)
}

// lines are what is on the screen, without those that are empty.
func (s *screen) lines() []string {
	s.t.Helper()
	var lines []string
	for line := range strings.Lines(s.model.(top.Model).View().Content) {
		if line = strings.TrimRight(line, " \n"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func (s *screen) expect(want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.lines()); diff != "" {
		s.t.Errorf("on the screen (-want +got):\n%s", diff)
	}
}

func three() *manager {
	return &manager{
		all: []v1.ScaledJob{
			{Namespace: "media", Name: "transcode", MaxParallelism: 20, Waiting: ptr.To[int64](143), Starting: 1, Running: 19, Ready: "True", LastHour: v1.Pace{PerMinute: 7, Failed: 1}, Why: "20 of 20 slots busy, 143 waiting."},
			{Namespace: "audio", Name: "mix", MaxParallelism: 4, Ready: "False", LastHour: v1.Pace{Failed: 9}},
			{Namespace: "media", Name: "thumbnails", MaxParallelism: 10, Waiting: ptr.To[int64](0), Running: 2, Ready: "True", LastHour: v1.Pace{PerMinute: 30}},
		},
		jobs: map[string][]v1.Job{"media/transcode": {
			{Name: "transcode-000041", State: v1.Running, Started: ptr.To(now.Add(-90 * time.Second)), Attempts: 1, Node: "n1", Progress: ptr.To(0.5)},
			{Name: "transcode-000042", State: v1.Starting, Attempts: 1, Message: "ImagePullBackOff: no such \x1b[31mimage"},
		}},
	}
}

const (
	header    = "  SCALEDJOB          WAITING   STARTING   RUNNING   SLOTS                   PER MINUTE   FAILING   READY"
	mix       = "  audio/mix          -         0          0         ░░░░░░░░░░   0% of 4    0.0          9         False"
	thumbs    = "  media/thumbnails   0         0          2         ██░░░░░░░░  20% of 10   30.0         0         True"
	transcode = "  media/transcode    143       1          19        ██████████ 100% of 20   7.0          1         True"
	footer    = "q quit · ↑↓ choose · enter look into · s sort · ? help"
)

func chosen(line string) string { return "›" + strings.TrimPrefix(line, " ") }

func TestScaledJobsAreSortedAsAskedAndTheChosenOneStaysChosen(t *testing.T) {
	t.Parallel()
	s := open(t, three())
	title := "3 ScaledJobs · 143 waiting · 22 active · by %s · 12:00:00"
	by := func(what string) string { return strings.ReplaceAll(title, "%s", what) }
	s.expect(by("name"), header, chosen(mix), thumbs, transcode, footer)
	s.press("down")
	s.expect(by("name"), header, mix, chosen(thumbs), transcode, footer)
	for _, want := range [][]string{
		{by("waiting"), header, transcode, chosen(thumbs), mix, footer},
		{by("running"), header, transcode, chosen(thumbs), mix, footer},
		{by("per minute"), header, chosen(thumbs), transcode, mix, footer},
		{by("failing"), header, mix, transcode, chosen(thumbs), footer},
		{by("name"), header, mix, chosen(thumbs), transcode, footer},
	} {
		s.press("s")
		s.expect(want...)
	}
	s.press("up")
	s.press("up")
	s.expect(by("name"), header, chosen(mix), thumbs, transcode, footer)
}

func TestALookIntoOneShowsHowFarItsJobsAre(t *testing.T) {
	t.Parallel()
	s := open(t, three())
	s.press("down")
	s.press("down")
	s.do(s.press("enter"))
	s.expect(
		"media/transcode", "20 of 20 slots busy, 143 waiting.",
		"143 waiting · 1 starting · 19 running of 20 · 7.0 a minute · 1 failed in the last hour",
		"JOB                STATE      RUNS   ATTEMPT   NODE   PROGRESS",
		"transcode-000041   Running    90s    1         n1     ██████████░░░░░░░░░░  50%",
		"transcode-000042   Starting   -      1         -      ImagePullBackOff: no such image",
		"q quit · esc back · ? help",
	)
	s.press("esc")
	if lines := s.lines(); lines[len(lines)-1] != footer {
		t.Errorf("esc does not lead back: %q", lines)
	}
}

func TestWhatCannotBeAskedIsSaidAndWhatWasKnownStays(t *testing.T) {
	t.Parallel()
	m := three()
	s := open(t, m)
	m.err = errors.New("the manager could not be asked")
	s.do(s.model.Init())
	if lines := s.lines(); lines[len(lines)-1] != "! the manager could not be asked" || lines[2] != chosen(mix) {
		t.Errorf("on the screen:\n%s", strings.Join(lines, "\n"))
	}
	m.err, m.all = nil, m.all[:1]
	s.do(s.model.Init())
	s.expect("1 ScaledJobs · 143 waiting · 20 active · by name · 12:00:00",
		strings.Replace(header, "LEDJOB          ", "LEDJOB         ", 1), chosen(strings.Replace(transcode, "transcode    143", "transcode   143", 1)), footer)
}

func TestItEndsAtAKey(t *testing.T) {
	t.Parallel()
	s := open(t, three())
	s.press("?")
	if lines := s.lines(); lines[0] != "kubectl longhaul top" {
		t.Errorf("? shows no help: %q", lines)
	}
	s.press("?")
	quit := s.press("q")
	if quit == nil {
		t.Fatal("q does nothing")
	}
	if _, ok := quit().(tea.QuitMsg); !ok {
		t.Error("q does not quit")
	}
}

func TestOfMoreThanFitTheChosenOneIsShown(t *testing.T) {
	t.Parallel()
	m := &manager{}
	for i := range 100 {
		m.all = append(m.all, v1.ScaledJob{Namespace: "media", Name: string([]byte{'a' + byte(i/10), 'a' + byte(i%10)})})
	}
	s := open(t, m)
	for range 57 {
		s.press("down")
	}
	lines := s.lines()
	if n := len(lines); n > 12 {
		t.Errorf("%d lines on a screen of 12", n)
	}
	if !strings.Contains(strings.Join(lines, "\n"), "› media/fh") {
		t.Errorf("the chosen one, media/fh, is not shown:\n%s", strings.Join(lines, "\n"))
	}
}
