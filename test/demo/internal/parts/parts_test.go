package parts_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/test/demo/internal/parts"
)

func TestAPartThatEndsByItselfIsToldWithItsLastLines(t *testing.T) {
	t.Parallel()
	set, _ := newSet(t, false)
	if _, err := set.Start("broker", exec.Command("sh", "-c", "echo no room >&2; exit 7")); err != nil {
		t.Fatal(err)
	}
	select {
	case part := <-set.Ended():
		for _, want := range []string{"broker", "exit status 7", "no room"} {
			if got := part.Failure().Error(); !strings.Contains(got, want) {
				t.Errorf("the failure is %q; it does not tell %q", got, want)
			}
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody is told that the part has ended")
	}
}

func TestWaitingForAPartFailsAtOnceWhenItEnds(t *testing.T) {
	t.Parallel()
	set, _ := newSet(t, false)
	part, err := set.Start("node", exec.Command("false"))
	if err != nil {
		t.Fatal(err)
	}
	never := func(context.Context) error { return errors.New("not yet") }
	if err := part.Await(t.Context(), never); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("the error is %v; it does not tell how the part ended", err)
	}
}

func TestAnotherProcessStopsWhatWasKept(t *testing.T) {
	t.Parallel()
	set, dir := newSet(t, true)
	for _, name := range []string{"one", "two"} {
		if _, err := set.Start(name, exec.Command("sleep", "600")); err != nil {
			t.Fatal(err)
		}
	}
	if runs, noted, err := parts.Runs(dir); !runs || !noted || err != nil {
		t.Fatalf("runs %t, noted %t, error %v: two parts run", runs, noted, err)
	}
	if stopped, err := parts.Stop(dir); stopped != 2 || err != nil {
		t.Errorf("%d were stopped, error %v: two parts ran", stopped, err)
	}
	if runs, _, err := parts.Runs(dir); runs || err != nil {
		t.Errorf("runs %t, error %v: all were stopped", runs, err)
	}
}

func TestAProcessThatWasGivenTheIdOfAPartIsLeftAlone(t *testing.T) {
	t.Parallel()
	set, dir := newSet(t, true)
	if _, err := set.Start("one", exec.Command("sleep", "600")); err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(dir, "parts.json")
	right, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(string(right), `"began": "`, `"began": "1`, 1)
	if err := os.WriteFile(note, []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	if stopped, err := parts.Stop(dir); stopped != 0 || err != nil {
		t.Errorf("%d were stopped, error %v: the process of that id is another", stopped, err)
	}
	if err := os.WriteFile(note, right, 0o600); err != nil {
		t.Fatal(err)
	}
	if runs, _, err := parts.Runs(dir); !runs || err != nil {
		t.Errorf("runs %t, error %v: the part was not to be stopped", runs, err)
	}
}

func TestAPartThatIgnoresTheSignalIsWaitedForOnlySoLong(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as a part may take to end")
	}
	set, dir := newSet(t, false)
	started := filepath.Join(dir, "started")
	part, err := set.Start("deaf", exec.Command("sh", "-c", `trap "" TERM; : > "$0"; while :; do sleep 1; done`, started))
	if err != nil {
		t.Fatal(err)
	}
	if err := part.Await(t.Context(), func(context.Context) error { _, err := os.Stat(started); return err }); err != nil {
		t.Fatal(err)
	}
	if err := set.Stop(); err == nil || !strings.Contains(err.Error(), "deaf did not end within") {
		t.Errorf("the error is %v; it does not name the part that had to be killed", err)
	}
	if _, noted, err := parts.Runs(dir); !noted || err != nil {
		t.Errorf("noted %t, error %v", noted, err)
	}
}

// newSet prepares a run in a folder of its own, and ends it with the test.
func newSet(t *testing.T, keep bool) (set *parts.Set, dir string) {
	t.Helper()
	dir = t.TempDir()
	set, err := parts.NewSet(dir, keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Stop(); err != nil {
			t.Error(err)
		}
	})
	return set, dir
}
