package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// programs are what the demo runs, in folders.
type programs struct {
	bin    string // longhaul, kubectl-longhaul, transcode-worker, process-node
	assets string // kube, kubectl
}

// repository is the folder of this module.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/longhaul-dev/longhaul").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("finding the repository: call this from a folder of it: %w: %s", err, bytes.TrimSpace(out))
	}
	return strings.TrimSpace(string(out)), nil
}

// build makes the programs. Those that are up to date are left alone.
func build(ctx context.Context, root string) (programs, error) {
	p := programs{bin: filepath.Join(root, ".local", "demo", "bin")}
	if err := os.MkdirAll(p.bin, 0o755); err != nil {
		return p, fmt.Errorf("making the folder for programs: %w", err)
	}
	for _, program := range []struct{ name, source string }{
		{"longhaul", "./cmd/longhaul"},
		{"kubectl-longhaul", "./cmd/kubectl-longhaul"},
		{"transcode-worker", "./cmd/transcode-worker"},
		{"process-node", "./test/node/cmd"},
	} {
		command := tool(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=demo",
			"-o", filepath.Join(p.bin, program.name), program.source)
		command.Dir, command.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		command.Stdout, command.Stderr = os.Stderr, os.Stderr
		if err := command.Run(); err != nil {
			return p, fmt.Errorf("building %s: %w", program.name, err)
		}
	}
	command := tool(ctx, filepath.Join(root, "test", "kube", "build.sh"))
	command.Stderr = os.Stderr // it shows its progress there
	out, err := command.Output()
	if err != nil {
		return p, fmt.Errorf("building the control plane: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	p.assets = lines[len(lines)-1]
	return p, nil
}

// tool is a program that does its work and ends. When the context is over it is asked to end, with all that it started.
func tool(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, name, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	return command
}

// runTool runs a tool whose output matters only when it fails.
func runTool(command *exec.Cmd) error {
	out, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s: %w: %s", strings.Join(command.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
