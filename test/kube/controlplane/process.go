package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is a component that was started.
type process struct {
	component
	log   string
	pid   int
	ended chan struct{} // closed when it has ended and been waited for
	err   error         // how it ended, to be read after ended is closed
}

// start runs a component. Its process ends when this one does, however that comes about.
func (f folder) start(c component) (*process, error) {
	log, err := newLog(f.log(c.name))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{component: c, log: log.Name(), ended: make(chan struct{})}

	// This program under the component's name, even if its file has been replaced or deleted since.
	command := exec.Command("/proc/self/exe", c.args...)
	command.Args[0] = c.name
	command.Dir = string(f)
	command.Env = environment()
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // an interrupt typed at the terminal reaches the keeper alone, which ends them in order
	}

	started := make(chan error)
	go func() {
		// The kernel takes the end of the starting thread for the death of the parent: the thread has to stay as long
		// as the component. Without unlocking, it ends with this goroutine.
		runtime.LockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			p.err = command.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	p.pid = command.Process.Pid
	return p, nil
}

// environment is this process's without the variables that etcd takes for flags.
func environment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "ETCD_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// stop ends the process, by force once the grace has passed.
func (p *process) stop(grace time.Duration) {
	select {
	case <-p.ended: // its id may be another process's by now
		return
	default:
	}
	// Signalling fails only where the process has ended, which is what is waited for.
	_ = syscall.Kill(-p.pid, syscall.SIGTERM)
	select {
	case <-p.ended:
		return
	case <-time.After(grace):
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	<-p.ended
}

// failure says that the process ended by itself, how, and what it wrote last.
func (p *process) failure() error {
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s ended (%s); %s", p.name, how, lastLines(p.log))
}

// newLog opens a new log and keeps the one of the time before, if there is one, as <path>.old.
func newLog(path string) (*os.File, error) {
	if err := os.Rename(path, path+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("putting the last log aside: %w", err)
	}
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a log: %w", err)
	}
	return log, nil
}

// lastLines returns the end of a log, for a message about a process that is gone.
func lastLines(path string) string {
	const most, lines = 8192, 12
	file, err := os.Open(path)
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	defer file.Close()
	if size, err := file.Seek(0, io.SeekEnd); err == nil {
		_, _ = file.Seek(max(0, size-most), io.SeekStart)
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	content = bytes.TrimSpace(content)
	if len(content) == 0 {
		return path + " is empty"
	}
	kept := bytes.Split(content, []byte("\n"))
	kept = kept[max(0, len(kept)-lines):]
	return fmt.Sprintf("the last lines of %s:\n%s", path, bytes.Join(kept, []byte("\n")))
}
