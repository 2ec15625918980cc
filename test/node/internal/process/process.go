package process

import (
	"os/exec"
	"sync"
	"syscall"
)

// Process is a process that was started. It is safe for concurrent use.
type Process struct {
	command *exec.Cmd
	ended   chan struct{}
	exit    Exit // to be read after ended is closed

	mu     sync.Mutex
	reaped bool // its id, and that of its group, may be another's by now
}

// Exit says how a process ended.
type Exit struct {
	Code   int32 // exit code; 128 and the signal's number if a signal ended it
	Signal int32 // number of the signal that ended it, else 0
}

// Ended is closed when the process has ended, and with it all of its group.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Exit returns how the process ended. It may be called once Ended is closed.
func (p *Process) Exit() Exit { return p.exit }

// Terminate asks the process to end: SIGTERM to it alone, as a container's first process gets it.
func (p *Process) Terminate() { p.signal(p.command.Process.Pid, syscall.SIGTERM) }

// Kill ends the process and its group at once.
func (p *Process) Kill() { p.signal(-p.command.Process.Pid, syscall.SIGKILL) }

func (p *Process) signal(id int, signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		// This fails only where the process has ended, which is what is asked for.
		_ = syscall.Kill(id, signal)
	}
}

// wait returns when the process and its group have ended, and tells everybody.
func (p *Process) wait() {
	p.reap()
	if status, ok := p.command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		signal := int32(status.Signal())
		p.exit = Exit{Code: 128 + signal, Signal: signal}
	} else {
		p.exit = Exit{Code: int32(p.command.ProcessState.ExitCode())}
	}
	close(p.ended)
}
