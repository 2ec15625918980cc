package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
)

// ErrClosed is returned by Start when the spawner has been closed.
var ErrClosed = errors.New("the spawner is closed")

// Launch says what to run.
type Launch struct {
	Path   string   // file of the program
	Args   []string // with the name it is called by
	Env    []string // all of its environment, as NAME=value
	Dir    string   // where it runs
	Output *os.File // standard output and error; nil for none
}

// Spawner starts processes, all from one thread: the kernel ends a process with the thread that started it, so that
// thread has to stay. It is safe for concurrent use.
type Spawner struct {
	requests chan request
	closed   chan struct{}
	once     sync.Once
}

type request struct {
	command *exec.Cmd
	started chan error
}

// NewSpawner returns a spawner that has to be closed when all its processes have ended.
func NewSpawner() *Spawner {
	s := &Spawner{requests: make(chan request), closed: make(chan struct{})}
	go s.serve()
	return s
}

// serve never unlocks its thread, which ends with it.
func (s *Spawner) serve() {
	runtime.LockOSThread()
	if onMainThread() {
		// This one would stay, and the processes with it. While it is held, another gets the work.
		defer runtime.UnlockOSThread()
		taken := make(chan struct{})
		go func() {
			defer close(taken)
			s.serve()
		}()
		<-taken
		return
	}
	for {
		select {
		case r := <-s.requests:
			r.started <- r.command.Start()
		case <-s.closed:
			return
		}
	}
}

// Close ends the spawner, and on Linux with it each process that still runs.
func (s *Spawner) Close() { s.once.Do(func() { close(s.closed) }) }

// Start starts a process. The error is the system's if the program cannot be run.
func (s *Spawner) Start(l Launch) (*Process, error) {
	command := &exec.Cmd{Path: l.Path, Args: l.Args, Env: l.Env, Dir: l.Dir, SysProcAttr: attributes()}
	if l.Output != nil {
		command.Stdout, command.Stderr = l.Output, l.Output
	}
	r := request{command: command, started: make(chan error, 1)}
	select {
	case s.requests <- r:
	case <-s.closed:
		return nil, ErrClosed
	}
	if err := <-r.started; err != nil {
		// The system's error for a folder that is not there names the program.
		if _, dirErr := os.Stat(l.Dir); l.Dir != "" && dirErr != nil {
			err = dirErr
		}
		return nil, fmt.Errorf("starting a process: %w", err)
	}
	p := &Process{command: command, ended: make(chan struct{})}
	go p.wait()
	return p, nil
}
