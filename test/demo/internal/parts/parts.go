// Package parts runs the programs that the demo is made of.
//
// A part is one process: the broker, the control plane, the node, the manager. The run folder holds the state and the log
// of each, and a note of all of them with which they can be stopped later, by another process. Parts that are not kept end
// with this process, however that comes about.
package parts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// noteName is the file in the run folder that tells which processes belong to the run.
const noteName = "parts.json"

// grace is how long a part may take to end in order, and pause how often it is looked whether it has.
const (
	grace = 15 * time.Second
	pause = 20 * time.Millisecond
)

// Set is the parts of one run. Its methods are for one goroutine.
type Set struct {
	dir     string
	keep    bool
	running []*Part
	ended   chan *Part
}

// Part is a process that was started.
type Part struct {
	// Name tells it from the others, and is its log's name.
	Name string
	// Log is the file with what it writes.
	Log string

	identity identity
	ended    chan struct{} // closed when it has ended and been waited for
	err      error         // how it ended, to be read after ended is closed
}

// identity is a process id together with what tells whether the process is still the same one.
type identity struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Began string `json:"began"` // as the kernel counts it
}

// NewSet prepares a run in a folder that is there. With keep, the parts outlive this process.
func NewSet(dir string, keep bool) (*Set, error) {
	s := &Set{dir: dir, keep: keep, ended: make(chan *Part, 16)}
	if err := s.note(); err != nil {
		return nil, err
	}
	return s, nil
}

// Ended gets each part that ends by itself.
func (s *Set) Ended() <-chan *Part { return s.ended }

// Start starts a part.
func (s *Set) Start(name string, command *exec.Cmd) (*Part, error) {
	p := &Part{Name: name, Log: filepath.Join(s.dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the log of %s: %w", name, err)
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	// A session of its own: an interrupt typed at the terminal is for the demo, which then ends its parts in order.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !s.keep {
		command.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	started := make(chan error)
	go func() {
		// The kernel takes the end of the starting thread for the death of the parent: the thread has to stay as long as
		// the process. Without unlocking, it ends with this goroutine.
		runtime.LockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			p.err = command.Wait()
			close(p.ended)
			s.ended <- p
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p.identity = identify(name, command.Process.Pid)
	s.running = append(s.running, p)
	return p, s.note()
}

// Await waits until the part answers, and fails when it ends before or when the context is over.
func (p *Part) Await(ctx context.Context, answers func(context.Context) error) error {
	last := errors.New("it was not asked")
	ticks := time.NewTicker(pause)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; it last said: %w", p.Name, context.Cause(ctx), last)
		case <-p.ended:
			return p.Failure()
		case <-ticks.C:
			if last = answers(ctx); last == nil {
				return nil
			}
		}
	}
}

// Failure says that an ended part should not have, how it did, and what it wrote last.
func (p *Part) Failure() error {
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	content, err := os.ReadFile(p.Log)
	if err != nil {
		return fmt.Errorf("%s ended (%s), and its log cannot be read: %w", p.Name, how, err)
	}
	const most = 8
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return fmt.Errorf("%s ended (%s); its last lines:\n%s", p.Name, how, strings.Join(lines[max(0, len(lines)-most):], "\n"))
}

// Stop ends all parts, the last first, and returns when none is left. One that does not end in time is killed.
func (s *Set) Stop() error {
	var failed []error
	for _, p := range slices.Backward(s.running) {
		failed = append(failed, p.identity.stop())
	}
	s.running = nil
	return errors.Join(failed...)
}

// note writes down which processes belong to the run: the parts and, unless they are kept, this one.
func (s *Set) note() error {
	var noted []identity
	if !s.keep {
		noted = append(noted, identify("demo", os.Getpid()))
	}
	for _, p := range s.running {
		noted = append(noted, p.identity)
	}
	content, err := json.MarshalIndent(noted, "", "  ")
	if err != nil {
		return fmt.Errorf("noting the demo's processes: %w", err)
	}
	path := filepath.Join(s.dir, noteName)
	if err := os.WriteFile(path+".new", append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("noting the demo's processes: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("noting the demo's processes: %w", err)
	}
	return nil
}

// Runs tells whether a process of the run in the folder runs, and whether the folder has a note of any.
func Runs(dir string) (runs, noted bool, err error) {
	processes, noted, err := read(dir)
	return slices.ContainsFunc(processes, identity.runs), noted, err
}

// Stop ends the processes of the run in the folder, the last first, and tells how many it ended.
func Stop(dir string) (int, error) {
	processes, _, err := read(dir)
	if err != nil {
		return 0, err
	}
	stopped := 0
	for _, p := range slices.Backward(processes) {
		if !p.runs() {
			continue
		}
		if err := p.stop(); err != nil {
			return stopped, err
		}
		stopped++
	}
	return stopped, nil
}

func read(dir string) (processes []identity, noted bool, err error) {
	content, err := os.ReadFile(filepath.Join(dir, noteName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading which processes belong to %s: %w", dir, err)
	}
	if err := json.Unmarshal(content, &processes); err != nil {
		return nil, false, fmt.Errorf("reading which processes belong to %s: %w", dir, err)
	}
	return processes, true, nil
}

func identify(name string, pid int) identity {
	return identity{Name: name, PID: pid, Began: began(pid)}
}

// began is when a process began, empty when there is none or it is only waited for.
func began(pid int) string {
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the program's name in parentheses, which may have any characters in it.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	const state, startTime = 0, 19
	if len(fields) <= startTime || fields[state] == "Z" || fields[state] == "X" {
		return ""
	}
	return fields[startTime]
}

// runs tells whether the process is there, and not another that was given its id.
func (p identity) runs() bool {
	return p.Began != "" && began(p.PID) == p.Began
}

// stop ends the process and returns when it is gone.
func (p identity) stop() error {
	if p.endsBy(syscall.SIGTERM) {
		return nil
	}
	if p.endsBy(syscall.SIGKILL) {
		return fmt.Errorf("%s did not end within %s and was killed", p.Name, grace)
	}
	return fmt.Errorf("%s, process %d, cannot be ended", p.Name, p.PID)
}

func (p identity) endsBy(signal syscall.Signal) bool {
	for deadline := time.Now().Add(grace); p.runs(); time.Sleep(pause) {
		if time.Now().After(deadline) {
			return false
		}
		if signal != 0 {
			_ = syscall.Kill(p.PID, signal) // fails only where the process has ended, which is what is wanted
			signal = 0                      // some programs take a second one for impatience
		}
	}
	return true
}
