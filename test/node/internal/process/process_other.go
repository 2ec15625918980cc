//go:build unix && !linux

package process

import "syscall"

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// onMainThread does not matter here: processes do not end with a thread.
func onMainThread() bool { return false }

// reap waits for the process and ends its group.
func (p *Process) reap() {
	// The error repeats the exit code; there is no output to copy that could fail.
	_ = p.command.Wait()
	p.Kill()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
}

// EndLeftovers finds nothing here: other processes' environments cannot be read.
func EndLeftovers(string) (int, error) { return 0, nil }
