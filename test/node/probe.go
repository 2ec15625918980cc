package node

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// streak turns single answers of a probe into one that does not flutter: it changes after so many of the other kind in
// a row.
type streak struct {
	ready              bool
	successes, failing int32 // how many in a row it takes to become ready, and to become unready
	against            int32 // how many in a row there were against what is believed
}

func newStreak(probe *corev1.Probe) *streak {
	return &streak{successes: max(probe.SuccessThreshold, 1), failing: max(probe.FailureThreshold, 1)}
}

// next takes an answer and returns what to believe.
func (s *streak) next(success bool) bool {
	if success == s.ready {
		s.against = 0
		return s.ready
	}
	s.against++
	needed := s.successes
	if s.ready {
		needed = s.failing
	}
	if s.against >= needed {
		s.ready, s.against = success, 0
	}
	return s.ready
}

// watchReadiness probes a run until ctx ends, and records whether it is ready.
func (c *container) watchReadiness(ctx context.Context, plan *plan) {
	probe := c.spec.ReadinessProbe
	if !pause(time.Duration(probe.InitialDelaySeconds)*time.Second, ctx.Done()) {
		return
	}
	believed := newStreak(probe)
	ticker := time.NewTicker(time.Duration(max(probe.PeriodSeconds, 1)) * time.Second)
	defer ticker.Stop()
	for {
		before := believed.ready
		if ready := believed.next(c.probe(ctx, plan)); ready != before {
			c.setReady(plan, ready)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *container) probe(ctx context.Context, plan *plan) bool {
	probe := c.spec.ReadinessProbe
	ctx, cancel := context.WithTimeout(ctx, time.Duration(max(probe.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	err := c.perform(ctx, plan, probeAction(probe))
	if err != nil {
		c.pod.node.log.Debug("not ready", "pod", c.pod.name, "container", c.spec.Name, "error", err)
	}
	return err == nil
}

// setReady records whether a run is ready, if it still runs.
func (c *container) setReady(plan *plan, ready bool) {
	c.pod.update(func() {
		if c.record.State.Running != nil && c.record.ID == plan.id {
			c.record.Ready = ready
		}
	})
}
