package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/test/kube/controlplane"
)

// patience is how long a test waits for what has to happen; a loaded machine is slow.
const patience = 90 * time.Second

// assets is the folder with the built binary and its links; built on first use, which takes minutes on a new machine.
var assets = sync.OnceValues(func() (string, error) {
	// go test repeats an old result unless the test itself has opened what changed.
	for _, source := range []string{"../build.sh", "../main.go", "../go.mod", "../go.sum"} {
		if _, err := os.ReadFile(source); err != nil {
			return "", err
		}
	}
	build := exec.Command("../build.sh")
	build.Stderr = os.Stderr
	out, err := build.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], err
})

// plane is a control plane's folder that a test uses through the binary.
type plane struct {
	dir, assets string
}

// newPlane returns a folder for a control plane. When the test ends, nothing of it may run.
func newPlane(t *testing.T) plane {
	t.Helper()
	folder, err := assets()
	if err != nil {
		t.Fatalf("building the control plane: %v", err)
	}
	p := plane{dir: filepath.Join(t.TempDir(), "plane"), assets: folder}
	t.Cleanup(func() {
		stop := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(folder, "kube"), "stop", "--dir", p.dir)
		if out, err := stop.CombinedOutput(); err != nil {
			t.Errorf("stopping at the end: %v: %s", err, out)
		}
		if left := p.processes(t); len(left) != 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	return p
}

// command is a call of the binary by one of its names.
func (p plane) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(p.assets, name), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(p.dir, "kubeconfig"))
	return command
}

// kube runs a command on this control plane.
func (p plane) kube(t *testing.T, subcommand string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	command := p.command(t.Context(), "kube", append([]string{subcommand, "--dir", p.dir}, args...)...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); command.ProcessState == nil {
		t.Fatalf("running kube %s: %v", subcommand, err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

// start starts the control plane, which has to work.
func (p plane) start(t *testing.T) controlplane.State {
	t.Helper()
	stdout, stderr, code := p.kube(t, "start")
	if want := "ready: KUBECONFIG=" + filepath.Join(p.dir, "kubeconfig") + "\n"; code != 0 || stdout != want {
		t.Fatalf("kube start: exit code %d, stdout %q, want %q; stderr: %s", code, stdout, want, stderr)
	}
	return p.state(t)
}

func (p plane) state(t *testing.T) controlplane.State {
	t.Helper()
	stdout, stderr, _ := p.kube(t, "status", "-o", "json")
	var state controlplane.State
	if err := json.Unmarshal([]byte(stdout), &state); err != nil {
		t.Fatalf("parsing the status: %v: %s%s", err, stdout, stderr)
	}
	return state
}

// kubectl runs a kubectl command, which has to work, and returns its output.
func (p plane) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.command(t.Context(), "kubectl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// processes are the command lines of the processes that run for this folder.
func (p plane) processes(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		// A process may end while it is looked at.
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(p.dir)) {
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// exists tells whether a file of the folder is there.
func (p plane) exists(name string) bool {
	_, err := os.Stat(filepath.Join(p.dir, name))
	return err == nil
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// lockedBuffer is what a process writes, to be read while it writes.
type lockedBuffer struct {
	mu      sync.Mutex
	content bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.String()
}
