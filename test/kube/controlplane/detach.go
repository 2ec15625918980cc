package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// pollInterval is how often another keeper's folder is looked at.
const pollInterval = 50 * time.Millisecond

// Start makes the command, which has to call Run for the folder, a keeper that outlives this process, and returns when its
// control plane is ready. If one runs in the folder already, or somebody else is starting it, Start returns that one, with
// true. When the context ends first, the command is ended too.
func Start(ctx context.Context, dir string, command *exec.Cmd) (state State, already bool, err error) {
	f, err := openFolder(dir)
	if err != nil {
		return State{}, false, err
	}
	var ours *process
	defer func() {
		if err != nil && ours != nil {
			ours.stop(2*stopGrace + stopGrace) // one grace per component
		}
	}()
	for {
		state, err := Inspect(dir)
		if err != nil {
			return State{}, false, err
		}
		switch {
		case state.Phase == Running:
			return state, ours == nil || state.PID != ours.pid, nil
		case state.Phase != Stopped: // starting or stopping: the next look will tell
		case ours == nil:
			if ours, err = f.detach(command); err != nil {
				return State{}, false, err
			}
		case (processes{ours}).ended() == nil: // it has not got to the lock, or has just let go of it
		case ours.err == nil:
			return State{}, false, errors.New("the control plane was stopped before it was ready")
		default:
			return State{}, false, errors.New(lastLines(ours.log))
		}
		select {
		case <-ctx.Done():
			return State{}, false, fmt.Errorf("waiting for the control plane in %s: %w", f, context.Cause(ctx))
		case <-time.After(pollInterval):
		}
	}
}

// detach starts the command in a session of its own, so that neither the end of this process nor of its terminal ends it.
func (f folder) detach(command *exec.Cmd) (*process, error) {
	log, err := newLog(f.log("kube"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting the keeper: %w", err)
	}
	p := &process{component: component{name: "kube"}, log: log.Name(), pid: command.Process.Pid, ended: make(chan struct{})}
	go func() {
		p.err = command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Stop ends the control plane in the folder and returns when nothing of it runs. It returns false if none ran. When the
// context ends first, the keeper is killed, and the kernel ends the components with it.
func Stop(ctx context.Context, dir string) (stopped bool, err error) {
	state, err := Inspect(dir)
	if err != nil || state.Phase == Stopped {
		return false, err
	}
	if err := syscall.Kill(state.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return false, fmt.Errorf("ending process %d: %w", state.PID, err)
	}
	keeper := state.PID
	for {
		state, err := Inspect(dir)
		if err != nil {
			return false, err
		}
		if state.PID != keeper {
			return true, nil
		}
		select {
		case <-ctx.Done():
			// It may have ended this moment, and that is as good.
			_ = syscall.Kill(keeper, syscall.SIGKILL)
			return true, fmt.Errorf("the control plane in %s did not stop and was killed: %w", dir, context.Cause(ctx))
		case <-time.After(pollInterval):
		}
	}
}
