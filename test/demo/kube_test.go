package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTheLocalKubernetesStartsAndStopsBehindASymbolicLink runs .ci/kube, which is what make kube and make kube-stop do, in a
// checkout of its own: the one that this is in may have a Kubernetes that somebody uses.
func TestTheLocalKubernetesStartsAndStopsBehindASymbolicLink(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a control plane")
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		skip(t, `needs a control plane: export KUBEBUILDER_ASSETS="$(test/kube/build.sh)"`)
	}
	r := &run{dir: t.TempDir()}
	link := checkout(t, r.dir)
	kube := func(verb string) (string, error) {
		out, err := exec.Command("bash", filepath.Join(link, ".ci", "kube"), verb).CombinedOutput()
		return string(out), err
	}
	t.Cleanup(func() { _, _ = kube("stop") })

	for _, what := range []string{"starting", "starting again"} {
		if out, err := kube("start"); err != nil || !strings.Contains(out, "A Kubernetes runs here") {
			t.Fatalf("%s: error %v:\n%s", what, err, out)
		}
	}
	nodes := 0
	for _, line := range r.processes(t) {
		if strings.HasPrefix(line, "bin/process-node ") {
			nodes++
		}
	}
	if nodes != 1 {
		t.Errorf("%d nodes run, not 1", nodes)
	}
	if out, err := kube("stop"); err != nil {
		t.Errorf("stopping: error %v:\n%s", err, out)
	}
	left := r.processes(t)
	// What has let go of the folder may still be about to end.
	for deadline := time.Now().Add(10 * time.Second); len(left) > 0 && time.Now().Before(deadline); left = r.processes(t) {
		time.Sleep(50 * time.Millisecond)
	}
	for pid, line := range left {
		t.Errorf("process %s is left: %s", pid, line)
	}
}

// checkout makes a checkout with what .ci/kube needs, and a symbolic link to it, which it returns.
func checkout(t *testing.T, dir string) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	physical, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	for _, folder := range []string{".ci", "bin", "test"} {
		if err := os.MkdirAll(filepath.Join(physical, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	script, err := os.ReadFile(filepath.Join(root, ".ci", "kube"))
	if err != nil {
		t.Fatal(err)
	}
	// A copy: it works in the folder above its own.
	if err := os.WriteFile(filepath.Join(physical, ".ci", "kube"), script, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		filepath.Join(physical, "config"):       filepath.Join(root, "config"),
		filepath.Join(physical, "test", "kube"): filepath.Join(root, "test", "kube"),
		link:                                    physical,
	} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(physical, "bin", "process-node"), "./test/node/cmd")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the node: %v\n%s", err, out)
	}
	return link
}
