package command_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeGo stands in for go: it builds, at once, a program that sleeps, and notes each build. Building the real one takes
// minutes.
const fakeGo = `#!/usr/bin/env bash
set -eu
case $1 in
env) echo go1 ;;
list) printf 'a/b\nc/d\n' ;;
build)
	echo build >>"$BUILDS"
	[[ -z ${BROKEN-} ]] || { echo "main.go:1: syntax error" >&2; exit 1; }
	echo a/b
	while [[ $1 != -o ]]; do shift; done
	cp "$(type -P sleep)" "$2"
	;;
esac
`

// builder runs build.sh on a cache of its own, with a go that builds at once.
type builder struct {
	cache, builds string
	environment   []string
}

func newBuilder(t *testing.T, environment ...string) builder {
	t.Helper()
	dir := t.TempDir()
	b := builder{cache: filepath.Join(dir, "cache"), builds: filepath.Join(dir, "builds")}
	writeFile(t, filepath.Join(dir, "go"), fakeGo)
	if err := os.Chmod(filepath.Join(dir, "go"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.environment = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "LONGHAUL_CACHE="+b.cache, "BUILDS="+b.builds)
	b.environment = append(b.environment, environment...)
	return b
}

// run returns the folder that build.sh prints last.
func (b builder) run(t *testing.T) (folder string, err error) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "../build.sh")
	build.Env = b.environment
	out, err := build.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], err
}

// mustRun is run where it has to work.
func (b builder) mustRun(t *testing.T) string {
	t.Helper()
	folder, err := b.run(t)
	if err != nil {
		t.Fatalf("build.sh: %v", err)
	}
	return folder
}

// other makes the folder of another digest, last asked for so long ago, and returns its program.
func (b builder) other(t *testing.T, name string, age time.Duration) string {
	t.Helper()
	folder := filepath.Join(b.cache, "kube", name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(folder, "kube")
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cp", sleep, program).CombinedOutput(); err != nil {
		t.Fatalf("copying a program: %v: %s", err, out)
	}
	asked := time.Now().Add(-age)
	if err := os.Chtimes(folder, asked, asked); err != nil {
		t.Fatal(err)
	}
	return program
}

func TestBuildIsDoneOnceHoweverManyAsk(t *testing.T) {
	t.Parallel()
	b := newBuilder(t)
	var together sync.WaitGroup
	for range 4 {
		together.Go(func() {
			if _, err := b.run(t); err != nil {
				t.Errorf("build.sh: %v", err)
			}
		})
	}
	together.Wait()
	folder := b.mustRun(t)
	if got := readFile(t, b.builds); got != "build\n" {
		t.Errorf("built %d times, want once", strings.Count(got, "build"))
	}
	for _, name := range []string{"kube", "etcd", "kube-apiserver", "kube-controller-manager", "kubectl"} {
		if _, err := exec.LookPath(filepath.Join(folder, name)); err != nil {
			t.Errorf("the folder it prints has no program %s: %v", name, err)
		}
	}
}

func TestBuildThatFailsLeavesNothingToBeTakenForOne(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, "BROKEN=1")
	if folder, err := b.run(t); err == nil {
		t.Errorf("a build that fails prints %s and succeeds", folder)
	}
	left, err := filepath.Glob(filepath.Join(b.cache, "kube", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(b.cache, "kube", ".lock")}; !slices.Equal(left, want) {
		t.Errorf("left behind: %q, want %q", left, want)
	}
}

func TestBuildRemovesOtherFoldersOnlyWhenTheyAreOutOfUse(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		name        string
		age         time.Duration
		runs, stays bool
	}{
		"nobody has asked for it in two days":              {name: "aaaa", age: 48 * time.Hour},
		"nobody has asked for it in two days, but it runs": {name: "bbbb", age: 48 * time.Hour, runs: true, stays: true},
		"somebody asked for it some hours ago":             {name: "cccc", age: 5 * time.Hour, stays: true},
		"a build that was interrupted":                     {name: ".building-dddd"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder(t)
			program := b.other(t, c.name, c.age)
			if c.runs {
				user := exec.CommandContext(t.Context(), program, "60") // ended with the test's context
				if err := user.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = user.Wait() })
			}
			b.mustRun(t)
			_, err := os.Stat(program)
			if stays := !errors.Is(err, fs.ErrNotExist); stays != c.stays {
				t.Errorf("stays: %t, want %t", stays, c.stays)
			}
		})
	}
}
