package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/longhaul-dev/longhaul/test/node/internal/environment"
	"github.com/longhaul-dev/longhaul/test/node/internal/podstatus"
	"github.com/longhaul-dev/longhaul/test/node/internal/restart"
)

// retryEvery is how often it is tried again to find what a pod refers to.
const retryEvery = time.Second

// live runs the pod's containers and returns when none of them will run again.
func (p *pod) live(ctx context.Context) {
	initial, main := p.containers()
	if allDone(main) {
		return // before the process node was started again
	}
	folders, ok := p.makeVolumes(ctx)
	if !ok {
		return
	}
	for _, c := range slices.Concat(initial, main) {
		c.folders = folders
	}
	sidecars, ok := p.initialize(ctx, initial)
	if ok {
		var running sync.WaitGroup
		for _, c := range main {
			running.Go(func() { c.run(ctx) })
		}
		running.Wait()
	}
	if len(sidecars) > 0 {
		p.stopSidecars(sidecars)
	}
}

// initialize runs the init containers, one after the other. It returns the sidecars that were started, and whether the
// containers may run.
func (p *pod) initialize(ctx context.Context, initial []*container) (sidecars []*container, ok bool) {
	for _, c := range initial {
		if c.isSidecar() {
			sidecars = append(sidecars, c)
			go c.run(ctx)
			select {
			case <-c.started:
			case <-p.ending.begun:
			}
		} else {
			c.run(ctx)
			if end := c.ended(); end == nil || end.ExitCode != 0 {
				return sidecars, false
			}
		}
	}
	return sidecars, !is(p.ending.begun)
}

// stopSidecars ends the sidecars, the last one first, in what is left of the pod's time or as if it began now.
func (p *pod) stopSidecars(sidecars []*container) {
	p.ending.begin(time.Now().Add(seconds(p.object().Spec.TerminationGracePeriodSeconds)))
	for _, c := range slices.Backward(sidecars) {
		close(c.turn)
		<-c.done
	}
}

// makeVolumes makes the pod's volumes, and tries again until what they refer to is there. It returns false if the pod is
// to end first.
func (p *pod) makeVolumes(ctx context.Context) (map[string]string, bool) {
	for {
		folders, err := makeVolumes(p.folder, p.object(), p.source(ctx))
		if err == nil {
			return folders, true
		}
		reason := podstatus.ReasonConfigError
		if errors.Is(err, environment.ErrUnsupported) {
			reason = podstatus.ReasonCreateError
		}
		p.update(func() {
			for i := range p.known.Init {
				p.known.Init[i].Wait(reason, err.Error())
			}
			for i := range p.known.Main {
				p.known.Main[i].Wait(reason, err.Error())
			}
		})
		if !pause(retryEvery, p.ending.begun) {
			return nil, false
		}
	}
}

// containers returns the pod's containers, each with its record.
func (p *pod) containers() (initial, main []*container) {
	spec := &p.object().Spec
	for i := range spec.InitContainers {
		initial = append(initial, p.newContainer(&spec.InitContainers[i], &p.known.Init[i], true))
	}
	for i := range spec.Containers {
		main = append(main, p.newContainer(&spec.Containers[i], &p.known.Main[i], false))
	}
	return initial, main
}

func (p *pod) newContainer(spec *corev1.Container, record *podstatus.Record, isInit bool) *container {
	c := &container{
		pod: p, spec: spec, record: record, isInit: isInit,
		backoff: restart.NewBackoff(p.node.RestartBackoff),
		stop:    p.ending.begun,
		started: make(chan struct{}),
		done:    make(chan struct{}),
	}
	if c.isSidecar() {
		c.turn = make(chan struct{})
		c.stop = c.turn
	}
	return c
}

func allDone(containers []*container) bool {
	for _, c := range containers {
		if end := c.ended(); end == nil || c.mayRestart(end) {
			return false
		}
	}
	return true
}

// pause returns true after the time, and false at once when it is cut short.
func pause(d time.Duration, cut <-chan struct{}) bool {
	if d <= 0 {
		return !is(cut)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-cut:
		return false
	}
}
