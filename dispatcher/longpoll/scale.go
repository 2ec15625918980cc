package longpoll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll/size"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// soon is when to look again at what another controller, or a pod, is about to change.
const soon = 50 * time.Millisecond

// decision is what was decided, and why.
type decision struct {
	// desired is what the backlog and the limits ask for, replicas what was set.
	desired, replicas int
	// reason is one sentence about desired, and hold what keeps replicas above it; empty where nothing does.
	reason, hold string
	// scaled says that replicas were set.
	scaled bool
}

// planRoll says what to do for a rollout, having fenced what it asks for.
func (c *Controller) planRoll(ctx context.Context, sd *v1alpha1.ScaledDeployment, m *memory, p *progress) size.RollStep {
	t, seen := p.target, p.census
	rollout := size.Rollout{Placed: true}
	if guardsRollout(sd, t) && m.managed.err == nil {
		rollout = t.rollout(m.replacing)
	}
	step := size.Roll(seen.input(t.replicas, t.replicas), rollout)
	var silent error
	for len(step.Fence) > 0 {
		silent = errors.Join(silent, c.fenceAll(ctx, sd, seen, step.Fence))
		step = size.Roll(seen.input(t.replicas, t.replicas), rollout)
	}
	if p.rollHold = step.Hold; step.Hold != "" && silent != nil {
		p.rollHold = fmt.Sprintf("%s (%v)", step.Hold, silent)
	}
	return step
}

// roll lets a rollout go on as far as it ends no busy pod. While pods are being replaced nothing is scaled: then it says so.
func (c *Controller) roll(ctx context.Context, sd *v1alpha1.ScaledDeployment, m *memory, p *progress) (replacing bool, err error) {
	t, seen := p.target, p.census
	step := c.planRoll(ctx, sd, m, p)
	if len(step.Go) > 0 && m.replacing == 0 {
		if err := c.setCosts(ctx, seen, step.Go); err != nil {
			return false, err
		}
	}
	if going := slices.Concat(step.Go, step.Delete); len(going) > 0 && m.replacing == 0 {
		if sure, err := c.makeSure(ctx, sd, p, going); err != nil || !sure {
			p.sooner(c.Clock.Now().Add(soon))
			return true, err
		}
	}
	for _, name := range step.Delete {
		if err := c.end(ctx, seen.find(name)); err != nil {
			return false, err
		}
	}
	for _, name := range step.Admit {
		if err := c.admit(ctx, seen.find(name), c.Clock.Now()); err != nil {
			return false, err
		}
	}
	if len(step.Delete)+len(step.Admit)+step.Replace+m.replacing > 0 {
		p.sooner(c.Clock.Now().Add(soon))
	}
	if step.Replace != m.replacing {
		m.replacing = step.Replace
		_, err := c.manage(ctx, sd, t, m)
		return true, err
	}
	return step.Replace > 0, nil
}

// size sets a backlog against the census, and the replicas by it. It returns without a decision while the backlog is not
// there.
func (c *Controller) size(ctx context.Context, sd *v1alpha1.ScaledDeployment, m *memory, p *progress) error {
	work, read := c.observeBacklogs(sd, m, p.target.replicas, p.census.at)
	if !read.answered {
		return nil // whose answer runs the next pass
	}
	now := c.Clock.Now()
	current := p.target.replicas
	p.decided, p.decision = true, decision{desired: current, replicas: current}
	wanted := current
	if *sd.Spec.Suspend {
		p.decision.reason = "spec.suspend holds scaling"
	} else {
		wanted = c.wish(sd, m, p, work, read, now)
	}
	in := p.census.input(current, wanted)
	in.Unfenceable = sd.Spec.Termination.Fence == nil
	if sd.Spec.ScaleDown != nil {
		in.MaxPerStep = int(sd.Spec.ScaleDown.MaxPerStep)
	}
	step := size.Next(in)
	var unfenced error
	for len(step.Fence) > 0 {
		unfenced = errors.Join(unfenced, c.fenceAll(ctx, sd, p.census, step.Fence))
		in.Pods = p.census.input(current, wanted).Pods
		step = size.Next(in)
	}
	p.decision.hold = step.Hold
	if step.Hold != "" && unfenced != nil {
		p.decision.hold = fmt.Sprintf("%s (%v)", step.Hold, unfenced)
	}
	m.census = nil // used
	return c.take(ctx, sd, m, p, step)
}

// take takes a step.
func (c *Controller) take(ctx context.Context, sd *v1alpha1.ScaledDeployment, m *memory, p *progress, step size.Step) error {
	if err := c.unfenceAll(ctx, sd, p.census, step.Unfence); err != nil {
		return err
	}
	current := p.target.replicas
	if step.Replicas == current {
		return nil
	}
	if step.Replicas < current {
		if err := c.setCosts(ctx, p.census, step.Go); err != nil {
			return err
		}
		if sure, err := c.makeSure(ctx, sd, p, step.Go); err != nil || !sure {
			p.sooner(c.Clock.Now().Add(soon))
			return err
		}
	}
	done, err := c.scale(ctx, p.target, step.Replicas)
	if err != nil {
		return err
	}
	now := c.Clock.Now()
	p.sooner(now.Add(soon))
	if !done {
		return nil // changed since it was read
	}
	p.decision.replicas, p.decision.scaled = step.Replicas, true
	m.history = m.history.Scaled(now, step.Replicas-current)
	for _, name := range step.Go {
		m.shrinks[p.census.find(name).pod.UID] = now
	}
	c.Metrics.scaled(client.ObjectKeyFromObject(sd), step.Replicas-current)
	c.Recorder.Eventf(sd, nil, corev1.EventTypeNormal, "Scaled", "Scale", "Set the replicas of %s %s from %d to %d: %s",
		p.target.ref.Kind, p.target.ref.Name, current, step.Replicas, p.decision.reason)
	return nil
}

// makeSure says whether those may go still, right before they do. Each that is fenced is fenced once more, for a container that
// has restarted since knows nothing of it, and one that begins fenced may end that by itself; and there must be no other pods.
func (c *Controller) makeSure(ctx context.Context, sd *v1alpha1.ScaledDeployment, p *progress, going []string) (bool, error) {
	fenced := slices.DeleteFunc(slices.Clone(going), func(name string) bool { return !p.census.find(name).fenced })
	if err := c.fenceAll(ctx, sd, p.census, fenced); err != nil {
		return false, nil //nolint:nilerr // a pod is silent, as the next census finds
	}
	if slices.ContainsFunc(fenced, func(name string) bool { return p.census.find(name).state != size.Idle }) {
		return false, nil
	}
	return c.stands(ctx, p.target, p.census)
}

// wish is how many replicas there should be, and notes why.
func (c *Controller) wish(sd *v1alpha1.ScaledDeployment, m *memory, p *progress, work []size.Work, read reading, now time.Time) int {
	current := p.target.replicas
	busy, leaving := p.census.occupied()
	demand := size.Demand(work, combining(sd.Spec.Combine), busy, leaving)
	windowed, next := least(m.sources.windows, now)
	p.sooner(next)
	limits := size.Limits{
		Min: max(int(*sd.Spec.MinReplicas), windowed), Max: int(*sd.Spec.MaxReplicas),
		Step: sd.Spec.PollingInterval.Duration,
	}
	if d := sd.Spec.ScaleDown; d != nil {
		limits.Stabilization = d.Stabilization.Duration
	}
	if u := sd.Spec.ScaleUp; u != nil {
		limits.UpPerStep, limits.UpPerMinute = int(u.MaxPerStep), int(u.MaxPerMinute)
	}
	reason := fmt.Sprintf("messages waiting %d, pods busy %d", read.waiting, busy)
	if read.heldKnown {
		reason = fmt.Sprintf("messages waiting %d, held %d, pods busy %d", read.waiting, read.held, busy)
	}
	if len(read.failed) > 0 {
		var fallen bool
		demand, fallen = fallback(sd, m, read, demand, current)
		reason = fmt.Sprintf("%s cannot be read: as many as there are, or more", strings.Join(read.failed, ", "))
		if fallen {
			reason = fmt.Sprintf("%s cannot be read: spec.fallback", strings.Join(read.failed, ", "))
		}
	}
	wish, history := m.history.Wish(now, demand, current, limits)
	m.history = history
	p.sooner(wish.Next)
	p.decision.desired = wish.Desired
	switch {
	case wish.Limit != "":
		reason += fmt.Sprintf("; %s holds %d", wish.Limit, wish.Replicas)
	case demand > limits.Max:
		reason += fmt.Sprintf("; maxReplicas is %d", limits.Max)
	case demand < limits.Min && windowed > int(*sd.Spec.MinReplicas):
		reason += fmt.Sprintf("; a window of spec.cron asks for %d", limits.Min)
	case demand < limits.Min:
		reason += fmt.Sprintf("; minReplicas is %d", limits.Min)
	}
	p.decision.reason = reason
	return wish.Replicas
}

// fallback is the demand while triggers cannot be read: what those ask for that can, but never fewer than there are, unless
// spec.fallback names a number and its time has come; then true.
func fallback(sd *v1alpha1.ScaledDeployment, m *memory, read reading, demand, current int) (int, bool) {
	f := sd.Spec.Fallback
	if f != nil && f.Behavior == v1alpha1.FallbackReplicas && f.Replicas != nil {
		for _, name := range read.failed {
			if m.failures[name].n >= int(*f.AfterFailures) {
				return max(int(*f.Replicas), demand), true
			}
		}
	}
	if sd.Spec.Combine == v1alpha1.CombineMin || sd.Spec.Combine == v1alpha1.CombineAverage {
		return current, false // the trigger that is missing might have asked for fewer
	}
	return max(demand, current), false
}

// reading is what the triggers showed together.
type reading struct {
	// answered says that each was read after the census, or failed to be.
	answered bool
	// failed names those that could not be read.
	failed        []string
	waiting, held int64
	heldKnown     bool
}

// observeBacklogs asks what each trigger shows that was read at a moment or later. What waits below the threshold of a
// trigger counts only while there are replicas.
func (c *Controller) observeBacklogs(sd *v1alpha1.ScaledDeployment, m *memory, current int, since time.Time) ([]size.Work, reading) {
	owner := ownerOf(client.ObjectKeyFromObject(sd))
	r := reading{answered: true}
	var work []size.Work
	for i := range m.sources.triggers {
		s := &m.sources.triggers[i]
		if s.err != nil {
			r.failed = append(r.failed, s.name)
			continue
		}
		o, ok := c.Meter.Observe(owner, s.name, since)
		r.answered = r.answered && ok
		m.count(s.name, o)
		if !ok || o.Err != nil {
			r.failed = append(r.failed, s.name)
			continue
		}
		w := workOf(s, o)
		r.waiting += w.Waiting
		if w.HeldKnown {
			r.heldKnown = true
			r.held += w.Held
		}
		if current == 0 && w.Waiting <= *s.spec.ActivationThreshold {
			w.Waiting = 0
		}
		work = append(work, w)
	}
	return work, r
}

// count counts the readings of a trigger that failed in a row.
func (m *memory) count(name string, o trigger.Observation) {
	f := m.failures[name]
	switch {
	case o.At.IsZero():
	case o.Err == nil:
		delete(m.failures, name)
	case !o.At.Equal(f.last):
		m.failures[name] = failures{n: f.n + 1, last: o.At}
	}
}

func workOf(s *source, o trigger.Observation) size.Work {
	meant := s.spec.Acknowledge != v1alpha1.AcknowledgeOnReceipt
	return size.Work{
		Waiting: o.Backlog.Waiting, Held: o.Backlog.Held,
		HeldKnown: meant && o.Backlog.HeldKnown, HeldLive: meant && o.Backlog.HeldLive,
		PerReplica: int64(*s.spec.MessagesPerReplica),
	}
}

func combining(c v1alpha1.Combine) size.Combine {
	switch c {
	case v1alpha1.CombineMin:
		return size.Min
	case v1alpha1.CombineSum:
		return size.Sum
	case v1alpha1.CombineAverage:
		return size.Average
	default:
		return size.Max
	}
}
