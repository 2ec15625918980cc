package process_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/test/node/internal/process"
)

const patience = 10 * time.Second

func newSpawner(t *testing.T) *process.Spawner {
	t.Helper()
	s := process.NewSpawner()
	t.Cleanup(s.Close)
	return s
}

// start runs a shell script in a folder of its own, which it returns.
func start(t *testing.T, s *process.Spawner, script string, env ...string) (*process.Process, string) {
	t.Helper()
	dir := t.TempDir()
	p, err := s.Start(process.Launch{
		Path: "/bin/sh", Args: []string{"sh", "-c", script}, Dir: dir, Env: append(env, "PATH="+os.Getenv("PATH")),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p, dir
}

func await(t *testing.T, p *process.Process) process.Exit {
	t.Helper()
	select {
	case <-p.Ended():
	case <-time.After(patience):
		t.Fatal("the process does not end")
	}
	return p.Exit()
}

// readLine returns the first line of a file once it is there.
func readLine(t *testing.T, file string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if content, err := os.ReadFile(file); err == nil {
			if line, _, whole := bytes.Cut(content, []byte("\n")); whole {
				return string(line)
			}
		}
	}
	t.Fatal("there is no", file)
	return ""
}

// awaitGone waits until a process is gone or dead.
func awaitGone(t *testing.T, pid string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
	}
	t.Fatalf("process %s is still there", pid)
}

func TestAProcessTellsHowItEnded(t *testing.T) {
	t.Parallel()
	s := newSpawner(t)
	for name, test := range map[string]struct {
		script string
		want   process.Exit
	}{
		"well":                 {"true", process.Exit{}},
		"with a code":          {"exit 7", process.Exit{Code: 7}},
		"with a large code":    {"exit 255", process.Exit{Code: 255}},
		"by SIGKILL":           {"kill -9 $$", process.Exit{Code: 137, Signal: 9}},
		"by SIGTERM":           {"kill -15 $$", process.Exit{Code: 143, Signal: 15}},
		"as if by a signal":    {"exit 143", process.Exit{Code: 143}},
		"before what it began": {"sleep 61 & exit 3", process.Exit{Code: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := start(t, s, test.script)
			if diff := cmp.Diff(test.want, await(t, p)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOnlyTheProcessItselfIsAskedToEnd(t *testing.T) {
	t.Parallel()
	p, dir := start(t, newSpawner(t), "trap 'echo asked >asked; exit 5' TERM; "+
		"sh -c 'trap \"echo asked >child\" TERM; echo x >ready; while :; do sleep 0.02; done' & wait")
	readLine(t, filepath.Join(dir, "ready"))
	p.Terminate()
	if exit := await(t, p); exit.Code != 5 {
		t.Errorf("it ended with %+v", exit)
	}
	if _, err := os.Stat(filepath.Join(dir, "child")); err == nil {
		t.Error("its child was asked, too")
	}
}

func TestTheGroupEndsWithItsLeader(t *testing.T) {
	t.Parallel()
	p, dir := start(t, newSpawner(t), "sleep 61 & echo $! >child")
	child := readLine(t, filepath.Join(dir, "child"))
	await(t, p)
	awaitGone(t, child)
}

func TestAKilledProcessTakesItsGroupWithIt(t *testing.T) {
	t.Parallel()
	p, dir := start(t, newSpawner(t), "trap '' TERM; sleep 61 & echo $! >child; while :; do sleep 0.02; done")
	child := readLine(t, filepath.Join(dir, "child"))
	p.Kill()
	if exit := await(t, p); exit.Code != 137 {
		t.Errorf("it ended with %+v", exit)
	}
	awaitGone(t, child)
	p.Kill() // of what has ended does nothing
	p.Terminate()
}

//nolint:paralleltest // comes before the others: the main thread, which never ends, is not taken by one of theirs yet
func TestProcessesEndWithTheSpawner(t *testing.T) {
	for range 20 {
		s := newSpawner(t)
		p, _ := start(t, s, "sleep 61")
		s.Close()
		if exit := await(t, p); exit.Signal != 9 {
			t.Fatalf("it ended with %+v", exit)
		}
		_, err := s.Start(process.Launch{Path: "/bin/sh", Args: []string{"sh"}})
		if !errors.Is(err, process.ErrClosed) {
			t.Fatalf("a closed spawner says %v", err)
		}
	}
}

func TestWhatCannotBeRunIsAnError(t *testing.T) {
	t.Parallel()
	s := newSpawner(t)
	for name, launch := range map[string]process.Launch{
		"a program that is not there": {Path: "/there/is/none", Args: []string{"none"}},
		"a folder that is not there":  {Path: "/bin/sh", Args: []string{"sh"}, Dir: "/there/is/none"},
	} {
		if _, err := s.Start(launch); err == nil || !strings.Contains(err.Error(), "/there/is/none: no such file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLeftoversAreFoundByTheirMark(t *testing.T) {
	t.Parallel()
	s := newSpawner(t)
	mark := "MARK=" + t.TempDir()
	marked, dir := start(t, s, "setsid sh -c 'echo $$ >child; exec sleep 61'; sleep 61", mark)
	child := readLine(t, filepath.Join(dir, "child"))
	other, _ := start(t, s, "sleep 61", mark+"-other")
	if ended, err := process.EndLeftovers(mark); ended != 3 && ended != 2 || err != nil {
		t.Errorf("%d processes were ended (%v), want the marked ones", ended, err)
	}
	await(t, marked)
	awaitGone(t, child)
	select {
	case <-other.Ended():
		t.Error("another was ended, too")
	default:
	}
}
