package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/longhaul-dev/longhaul/test/node/internal/environment"
	"github.com/longhaul-dev/longhaul/test/node/internal/podstatus"
	"github.com/longhaul-dev/longhaul/test/node/internal/process"
	"github.com/longhaul-dev/longhaul/test/node/internal/restart"
)

// codeStartError is the exit code of a container whose program cannot be run.
const codeStartError = 128

// leastAfterHook is how long a container has after its preStop hook in any case, as with a kubelet.
const leastAfterHook = 2 * time.Second

// container is one container of a pod that is run.
type container struct {
	pod     *pod
	spec    *corev1.Container
	record  *podstatus.Record // guarded by the pod's lock
	isInit  bool
	folders map[string]string // of the pod's volumes, by name
	backoff *restart.Backoff

	stop    <-chan struct{} // closed when it is to stop
	turn    chan struct{}   // for a sidecar: closed when it is its turn to stop
	started chan struct{}   // closed when it runs for the first time
	once    sync.Once
	done    chan struct{} // closed when it will not run again
}

func (c *container) isSidecar() bool { return c.isInit && podstatus.IsSidecar(c.spec) }

// run runs the container, again and again as its restart policy says, until it will not run again.
func (c *container) run(ctx context.Context) {
	defer close(c.done)
	for {
		if end := c.ended(); end != nil && (!c.mayRestart(end) || !c.backOff(end)) {
			return
		}
		plan, ok := c.prepare(ctx)
		if !ok {
			return
		}
		running, err := c.start(plan)
		switch {
		case errors.Is(err, process.ErrClosed):
			return // the process node ends
		case err != nil:
			c.finish(plan, corev1.ContainerStateTerminated{
				ExitCode: codeStartError, Reason: podstatus.ReasonStartError, Message: err.Error(),
			})
			continue
		}
		c.once.Do(func() { close(c.started) })
		if !c.attend(ctx, plan, running) {
			return
		}
	}
}

// ended returns how the container's last run ended, or nil if it never ran.
func (c *container) ended() *corev1.ContainerStateTerminated {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.record.Ended()
}

func (c *container) mayRestart(end *corev1.ContainerStateTerminated) bool {
	return !is(c.pod.ending.begun) && restart.Needed(&c.pod.object().Spec, c.spec, c.isInit, end.ExitCode)
}

// backOff waits until the container may run again. It returns false if it is to stop first.
func (c *container) backOff(end *corev1.ContainerStateTerminated) bool {
	delay := c.backoff.After(end.FinishedAt.Sub(end.StartedAt.Time))
	if delay > 0 {
		object := c.pod.object()
		c.wait(podstatus.ReasonBackOff, fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
			delay, c.spec.Name, object.Name, object.Namespace, object.UID))
	}
	return pause(delay-time.Since(end.FinishedAt.Time), c.pod.ending.begun)
}

// prepare works out what to run, and tries again until all that the container refers to is there. It returns false if the
// container is to stop first.
func (c *container) prepare(ctx context.Context) (*plan, bool) {
	for !is(c.stop) {
		next, err := c.plan(ctx)
		if err == nil {
			return next, true
		}
		reason := podstatus.ReasonConfigError
		if errors.Is(err, environment.ErrUnsupported) {
			reason = podstatus.ReasonCreateError
		}
		c.wait(reason, err.Error())
		pause(retryEvery, c.stop)
	}
	return nil, false
}

// start starts a run, which is written down first: a process node that ends right after it will know of it.
func (c *container) start(plan *plan) (*process.Process, error) {
	log, logErr := c.pod.folder.openRun(c.spec.Name, plan.run) // before anybody knows of the run, and asks for it
	if logErr == nil {
		defer log.Close()
	}
	program, err := environment.FindProgram(plan.args[0], plan.variables.Get("PATH"), plan.folder)
	noteErr := c.pod.note(func() {
		c.record.Run(plan.id, metav1.Now())
		c.record.Ready = c.spec.ReadinessProbe == nil
	})
	if err := cmp.Or(noteErr, logErr, err); err != nil {
		return nil, err
	}
	return c.pod.node.spawner.Start(process.Launch{
		Path: program, Args: plan.args, Env: plan.variables.List(), Dir: plan.folder, Output: log,
	})
}

// attend stays with a run until it has ended, and ends it when the container is to stop. It returns false if there is
// nobody left to tell of the end.
func (c *container) attend(ctx context.Context, plan *plan, running *process.Process) bool {
	if c.spec.ReadinessProbe != nil {
		probing, cancel := context.WithCancel(ctx)
		defer cancel()
		go c.watchReadiness(probing, plan)
	}
	select {
	case <-running.Ended():
	case <-c.stop:
		c.end(ctx, plan, running)
	case <-c.pod.ending.killed:
		running.Kill()
		<-running.Ended()
	}
	if ctx.Err() != nil {
		return false
	}
	exit := running.Exit()
	reason := podstatus.ReasonCompleted
	if exit.Code != 0 {
		reason = podstatus.ReasonError
	}
	c.finish(plan, corev1.ContainerStateTerminated{
		ExitCode: exit.Code, Signal: exit.Signal, Reason: reason, Message: c.message(plan, exit.Code),
	})
	return true
}

// end ends a run: preStop hook, SIGTERM, and SIGKILL when the pod's time is up.
func (c *container) end(ctx context.Context, plan *plan, running *process.Process) {
	ending := c.pod.ending
	var least time.Time
	if c.spec.Lifecycle != nil && c.spec.Lifecycle.PreStop != nil && !is(ending.killed) {
		hook, cancel := ending.bound(ctx)
		go func() {
			defer cancel()
			select {
			case <-running.Ended():
			case <-hook.Done():
			}
		}()
		if err := c.perform(hook, plan, action(*c.spec.Lifecycle.PreStop)); err != nil {
			c.pod.node.log.Warn("the preStop hook failed", "pod", c.pod.name, "container", c.spec.Name, "error", err)
		}
		cancel()
		least = time.Now().Add(leastAfterHook)
	}
	running.Terminate()
	if !ending.await(running.Ended(), least) {
		running.Kill()
		<-running.Ended()
	}
}

// finish records the end of a run.
func (c *container) finish(plan *plan, end corev1.ContainerStateTerminated) {
	end.FinishedAt = metav1.Now()
	c.pod.node.log.Debug("the container ended", "pod", c.pod.name, "container", c.spec.Name, "run", plan.run,
		"exitCode", end.ExitCode, "message", end.Message)
	if err := c.pod.note(func() { c.record.Terminate(end) }); err != nil {
		// The API server will know; only a process node that is started again before that takes the run for lost.
		c.pod.node.log.Error("the end of a container was not written down", "pod", c.pod.name, "error", err)
	}
}

// message is a run's termination message.
func (c *container) message(plan *plan, code int32) string {
	message := readHead(c.pod.folder.message(c.spec.Name, plan.run), longestMessage)
	if message == "" && code != 0 && c.spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		return readTail(c.pod.folder.log(c.spec.Name, plan.run), longestTail, mostTailLines)
	}
	return message
}

// wait records why the container does not run.
func (c *container) wait(reason, message string) {
	c.pod.update(func() { c.record.Wait(reason, message) })
}
