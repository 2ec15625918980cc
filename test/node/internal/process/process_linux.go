package process

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// onMainThread tells whether the caller runs on the program's first thread. Go never ends that one.
func onMainThread() bool { return unix.Gettid() == unix.Getpid() }

// reap waits for the process, and ends its group while the dead leader still keeps the group's id from being given to
// another.
func (p *Process) reap() {
	for {
		err := unix.Waitid(unix.P_PID, p.command.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break // any other error means that there is nothing to wait for
		}
	}
	p.Kill()
	p.mu.Lock()
	defer p.mu.Unlock()
	// The error repeats the exit code; there is no output to copy that could fail.
	_ = p.command.Wait()
	p.reaped = true
}
