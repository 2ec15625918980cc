package longpoll

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll/size"
)

const (
	// statusGap is the least time between two status writes of one ScaledDeployment.
	statusGap = time.Second
	// startingGap is after which time a pod that starts is asked again, for startingTime at most: it may be held until it has
	// answered. After that it is asked as often as the others.
	startingGap, startingTime = 200 * time.Millisecond, 30 * time.Second
	// lookAgain is how long a pass is off at most where nothing happens.
	lookAgain = time.Minute
	// maxPods is how many pods a status tells of at most.
	maxPods = 100
)

// report tells what a pass saw and did: the status, written once and only where it changed, and after it metrics and
// events.
func (c *Controller) report(ctx context.Context, sd *v1alpha1.ScaledDeployment, m *memory, p *progress) (reconcile.Result, error) {
	now := c.Clock.Now()
	name := client.ObjectKeyFromObject(sd)
	c.follow(sd, m, p, now)
	next := sd.DeepCopy()
	next.Status = c.statusOf(sd, m, p, now)
	c.Metrics.state(name, &next.Status)
	p.sooner(now.Add(lookAgain))
	if p.census != nil && (len(p.census.staying)+len(p.census.leaving) > 0 || p.target.replicas > 0 || !p.census.settled) {
		p.sooner(now.Add(sd.Spec.PollingInterval.Duration))
		if p.census.starts(now) {
			p.sooner(now.Add(startingGap))
		}
	}
	if equality.Semantic.DeepEqual(sd.Status, next.Status) {
		return p.result(now), nil
	}
	if due := m.statusAt.Add(statusGap); now.Before(due) {
		p.sooner(due)
		return p.result(now), nil
	}
	err := c.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(sd, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) {
		p.sooner(now.Add(statusGap / 10)) // the cache is behind; what it shows next is written then
		return p.result(now), nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("writing the status: %w", err)
	}
	m.statusAt = now
	c.announce(sd, next)
	return p.result(now), nil
}

func (p *progress) result(now time.Time) reconcile.Result {
	return reconcile.Result{RequeueAfter: max(p.again.Sub(now), time.Millisecond)}
}

// announce sends an event for each condition that changed.
func (c *Controller) announce(before, after *v1alpha1.ScaledDeployment) {
	for _, is := range after.Status.Conditions {
		was := meta.FindStatusCondition(before.Status.Conditions, is.Type)
		changed := was == nil || was.Status != is.Status || was.Reason != is.Reason
		bad := is.Status == metav1.ConditionFalse
		switch {
		case !changed, is.Type == v1alpha1.ConditionActive, is.Status == metav1.ConditionUnknown:
		case is.Type == v1alpha1.ConditionSuspended:
			if was != nil || !bad {
				c.Recorder.Eventf(after, nil, corev1.EventTypeNormal, is.Reason, "Suspend", "%s", is.Message)
			}
		case bad:
			c.Recorder.Eventf(after, nil, corev1.EventTypeWarning, is.Reason, "Check", "%s", is.Message)
		case was != nil:
			c.Recorder.Eventf(after, nil, corev1.EventTypeNormal, is.Reason, "Check", "%s", is.Message)
		}
	}
}

// follow tells of pods that became lost, of busy ones that are being ended, and how long shrinks took.
func (c *Controller) follow(sd *v1alpha1.ScaledDeployment, m *memory, p *progress, now time.Time) {
	if p.census == nil {
		return
	}
	name := client.ObjectKeyFromObject(sd)
	present := map[types.UID]bool{}
	for i := range p.census.staying {
		k := &p.census.staying[i]
		present[k.pod.UID] = true
		if s := m.consumers[k.pod.UID]; k.state == size.Lost && !s.lost {
			s.lost = true
			m.consumers[k.pod.UID] = s
			c.Recorder.Eventf(sd, k.pod, corev1.EventTypeWarning, "PodLost", "Ask",
				"Pod %s has not said for %s what it does: it counts as lost, and may be ended", k.pod.Name, sd.Spec.Termination.BusyTimeout.Duration)
		}
	}
	for i := range p.census.leaving {
		k := &p.census.leaving[i]
		present[k.pod.UID] = true
		if k.state == size.Busy && !k.answer.presumed && !m.ended[k.pod.UID] {
			m.ended[k.pod.UID] = true
			c.Metrics.endedBusy(name)
			c.Recorder.Eventf(sd, k.pod, corev1.EventTypeWarning, "BusyPodEnded", "Ask",
				"Pod %s is being ended while it works%s: it has its grace period to finish", k.pod.Name, on(k.answer.MessageID))
		}
	}
	for uid, since := range m.shrinks {
		if !present[uid] {
			c.Metrics.shrunk(name, now.Sub(since))
			delete(m.shrinks, uid)
		}
	}
	for uid := range m.ended {
		if !present[uid] {
			delete(m.ended, uid)
		}
	}
}

func on(messageID string) string {
	if messageID == "" {
		return ""
	}
	return fmt.Sprintf(" on %q", messageID)
}

// statusOf says what a pass has to say in the status.
func (c *Controller) statusOf(sd *v1alpha1.ScaledDeployment, m *memory, p *progress, now time.Time) v1alpha1.ScaledDeploymentStatus {
	status := *sd.Status.DeepCopy()
	status.ObservedGeneration = sd.Generation
	if p.target != nil {
		status.Replicas = ptr.To(int32(p.target.replicas))
	}
	if p.census != nil {
		countPods(&status, p.census)
	}
	if p.decided {
		status.Replicas, status.DesiredReplicas = ptr.To(int32(p.decision.replicas)), ptr.To(int32(p.decision.desired))
		status.LastDecision = shortened(p.decision.says())
		if p.decision.scaled {
			status.LastScaleTime = ptr.To(metav1.NewTime(now.Truncate(time.Second)))
		}
	}
	status.Triggers = c.triggerStatuses(sd, m)
	status.Waiting, status.Held = totals(status.Triggers)
	for _, condition := range []metav1.Condition{
		c.readyCondition(sd, m, p),
		activeCondition(&status),
		suspendedCondition(sd),
		managedCondition(m, p),
		rolloutCondition(sd, m, p),
	} {
		if condition.Type != "" {
			condition.ObservedGeneration = sd.Generation
			condition.Message = shortened(condition.Message)
			meta.SetStatusCondition(&status.Conditions, condition)
		}
	}
	return status
}

// says is the decision in a sentence.
func (d *decision) says() string {
	s := fmt.Sprintf("replicas wanted %d, set %d: %s", d.desired, d.replicas, d.reason)
	if d.hold != "" {
		s += "; no fewer yet, because " + d.hold
	}
	return s
}

// countPods counts pods by what they say, and tells of each: those that work first.
func countPods(status *v1alpha1.ScaledDeploymentStatus, seen *census) {
	var ready, busy, idle, fenced, lost int32
	var pods []v1alpha1.ConsumerStatus
	for i := range seen.staying {
		k := &seen.staying[i]
		if is(k.pod, corev1.PodReady) {
			ready++
		}
		switch k.state {
		case size.Busy, size.Silent:
			busy++
		case size.Lost:
			lost++
		case size.Idle:
			idle++
			if k.fenced {
				fenced++
			}
		}
		pods = append(pods, k.status())
	}
	for i := range seen.leaving {
		k := &seen.leaving[i]
		s := k.status()
		s.State = v1alpha1.ConsumerLeaving
		if k.state == size.Busy {
			s.State = v1alpha1.ConsumerDraining
		}
		pods = append(pods, s)
	}
	slices.SortFunc(pods, func(a, b v1alpha1.ConsumerStatus) int {
		return cmp.Or(cmp.Compare(rank(a.State), rank(b.State)), cmp.Compare(a.Name, b.Name))
	})
	status.Ready, status.Busy, status.Idle, status.Fenced, status.Lost = &ready, &busy, &idle, &fenced, &lost
	status.Leaving = ptr.To(int32(len(seen.leaving)))
	status.Pods = pods[:min(len(pods), maxPods)]
	if len(status.Pods) == 0 {
		status.Pods = nil
	}
}

// rank puts the pods that work first.
func rank(s v1alpha1.ConsumerState) int {
	return slices.Index([]v1alpha1.ConsumerState{
		v1alpha1.ConsumerBusy, v1alpha1.ConsumerDraining, v1alpha1.ConsumerSilent, v1alpha1.ConsumerLost,
		v1alpha1.ConsumerStarting, v1alpha1.ConsumerIdle, v1alpha1.ConsumerFenced, v1alpha1.ConsumerLeaving,
	}, s)
}

func (k *consumer) status() v1alpha1.ConsumerStatus {
	s := v1alpha1.ConsumerStatus{Name: k.pod.Name, MessageID: k.answer.MessageID, Since: ptr.To(metav1.NewTime(k.since.Truncate(time.Second)))}
	if !k.answer.Until.IsZero() {
		s.Until = ptr.To(metav1.NewTime(k.answer.Until.Truncate(time.Second)))
	}
	switch {
	case k.state == size.Busy:
		s.State = v1alpha1.ConsumerBusy
	case k.state == size.Lost:
		s.State = v1alpha1.ConsumerLost
	case k.state == size.Silent && k.known:
		s.State = v1alpha1.ConsumerSilent
	case k.state == size.Silent:
		s.State = v1alpha1.ConsumerStarting
	case k.fenced:
		s.State = v1alpha1.ConsumerFenced
	default:
		s.State = v1alpha1.ConsumerIdle
	}
	return s
}

// triggerStatuses says what each trigger last showed. The time of a reading that shows nothing new stays as it was.
func (c *Controller) triggerStatuses(sd *v1alpha1.ScaledDeployment, m *memory) []v1alpha1.TriggerStatus {
	owner := ownerOf(client.ObjectKeyFromObject(sd))
	var statuses []v1alpha1.TriggerStatus
	for i := range m.sources.triggers {
		s := &m.sources.triggers[i]
		t, old := v1alpha1.TriggerStatus{Name: s.name}, v1alpha1.TriggerStatus{Name: s.name}
		if k := slices.IndexFunc(sd.Status.Triggers, func(t v1alpha1.TriggerStatus) bool { return t.Name == s.name }); k >= 0 {
			old = sd.Status.Triggers[k]
		}
		last, _ := c.Meter.Last(owner, s.name, time.Time{})
		switch {
		case s.err != nil:
			t.Message = shortened(s.err.Error())
		case last.At.IsZero():
			t = old
		case last.Err != nil:
			t.Message = shortened(last.Err.Error())
			t.LastReadTime, t.Waiting, t.Held = old.LastReadTime, old.Waiting, old.Held
		default:
			t.Waiting = &last.Backlog.Waiting
			if last.Backlog.HeldKnown {
				t.Held = &last.Backlog.Held
			}
			t.LastReadTime = old.LastReadTime
			if !equality.Semantic.DeepEqual(t, old) {
				t.LastReadTime = ptr.To(metav1.NewTime(last.At.Truncate(time.Second)))
			}
		}
		statuses = append(statuses, t)
	}
	return statuses
}

// totals adds up the triggers; absent where none of them tells.
func totals(triggers []v1alpha1.TriggerStatus) (waiting, held *int64) {
	add := func(sum, n *int64) *int64 {
		if n == nil {
			return sum
		}
		return ptr.To(ptr.Deref(sum, 0) + *n)
	}
	for _, t := range triggers {
		waiting, held = add(waiting, t.Waiting), add(held, t.Held)
	}
	return waiting, held
}
