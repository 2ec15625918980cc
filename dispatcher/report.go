package dispatcher

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

const (
	// statusGap is the least time between two status writes of one ScaledJob.
	statusGap = time.Second
	// burstGap is how long dispatching must have rested for the next dispatch to be an event of its own.
	burstGap = time.Minute
	// failureGap is the least time between two events about failed Jobs.
	failureGap = 10 * time.Second
)

// reported is what a ScaledJob's users were last told, and when.
type reported struct {
	status     time.Time
	dispatch   time.Time
	failure    time.Time
	unreported []string
}

// report tells what a pass saw and did: the status, written once and only where it changed, and after it metrics and
// events.
func (c *Controller) report(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory, o *observation, p *plan, done dispatched) (reconcile.Result, error) {
	now := c.Clock.Now()
	for _, e := range m.expected {
		if e.doubtful {
			p.sooner(now.Add(statusGap / 10))
		} else {
			p.sooner(e.since.Add(doubtAfter))
		}
	}
	if m.refusal.err != nil {
		p.sooner(m.refusal.until)
	}
	c.measure(sj, m, o, done)
	next := sj.DeepCopy()
	next.Status = statusOf(sj, m, o, p, done)
	if equality.Semantic.DeepEqual(sj.Status, next.Status) {
		c.announce(sj, next, m, p, done, now)
		return p.result(now), nil
	}
	if due := m.reported.status.Add(statusGap); now.Before(due) {
		c.announceDispatch(sj, m, p, done, now)
		p.sooner(due)
		return p.result(now), nil
	}
	err := c.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(sj, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) {
		// The cache is behind; what it shows next is written then.
		c.announceDispatch(sj, m, p, done, now)
		p.sooner(now.Add(statusGap / 10))
		return p.result(now), nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("writing the status: %w", err)
	}
	m.reported.status = now
	c.announce(sj, next, m, p, done, now)
	return p.result(now), nil
}

// result has the next pass run when something is due.
func (p *plan) result(now time.Time) reconcile.Result {
	p.sooner(now.Add(lookAgain))
	return reconcile.Result{RequeueAfter: max(p.again.Sub(now), time.Millisecond)}
}

// announce sends the events that are due: conditions that changed, the first dispatch of a burst, and failures.
func (c *Controller) announce(before, after *v1alpha1.ScaledJob, m *memory, p *plan, done dispatched, now time.Time) {
	old := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	ready := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if ready != nil && (old == nil || old.Status != ready.Status || old.Reason != ready.Reason) && ready.Reason != v1alpha1.ReasonTriggerUnread {
		kind := corev1.EventTypeNormal
		if ready.Reason != v1alpha1.ReasonDispatching {
			kind = corev1.EventTypeWarning
		}
		c.Recorder.Eventf(after, nil, kind, ready.Reason, "Check", "%s", ready.Message)
	}
	if was, is := meta.IsStatusConditionTrue(before.Status.Conditions, v1alpha1.ConditionSuspended), *after.Spec.Suspend; was != is {
		condition := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionSuspended)
		c.Recorder.Eventf(after, nil, corev1.EventTypeNormal, condition.Reason, "Suspend", "%s", condition.Message)
	}
	c.announceRecorded(before, after)
	c.announceDispatch(after, m, p, done, now)
	if len(m.reported.unreported) > 0 {
		if due := m.reported.failure.Add(failureGap); now.Before(due) {
			p.sooner(due)
			return
		}
		c.Recorder.Eventf(after, nil, corev1.EventTypeWarning, "JobsFailed", "Follow", "%s failed", listed(m.reported.unreported))
		m.reported.failure, m.reported.unreported = now, nil
	}
}

// announceRecorded sends an event when records can no longer be stored, when Jobs are cleared away in spite of it, and when
// they can be again.
func (c *Controller) announceRecorded(before, after *v1alpha1.ScaledJob) {
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionRecorded)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionRecorded)
	switch {
	case is == nil, was == nil && is.Status == metav1.ConditionTrue, was != nil && was.Reason == is.Reason:
	case is.Status == metav1.ConditionTrue:
		c.Recorder.Eventf(after, nil, corev1.EventTypeNormal, is.Reason, "Record", "%s", is.Message)
	default:
		c.Recorder.Eventf(after, nil, corev1.EventTypeWarning, is.Reason, "Record", "%s", is.Message)
	}
}

// announceDispatch sends an event for the first dispatch after a rest; not one for each message.
func (c *Controller) announceDispatch(sj *v1alpha1.ScaledJob, m *memory, p *plan, done dispatched, now time.Time) {
	if len(done.created) > 0 {
		if now.Sub(m.reported.dispatch) >= burstGap {
			c.Recorder.Eventf(sj, nil, corev1.EventTypeNormal, "Dispatched", "Dispatch", "Dispatched %d Jobs: %s", len(done.created), p.reason)
		}
		m.reported.dispatch = now
	}
	if len(p.replace) > 0 {
		c.Recorder.Eventf(sj, nil, corev1.EventTypeNormal, "Replaced", "Rollout", "Ended %d unfinished Jobs of an older template", len(p.replace))
	}
}

// listed names a few Jobs, and says how many more there are.
func listed(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more Jobs", strings.Join(names[:most], ", "), len(names)-most)
}

// measure brings the metrics up to date, and notes Jobs that failed for an event. Of Jobs that came before this manager
// only what happens from now on is measured.
func (c *Controller) measure(sj *v1alpha1.ScaledJob, m *memory, o *observation, done dispatched) {
	name := types.NamespacedName{Namespace: sj.Namespace, Name: sj.Name}
	now := c.Clock.Now()
	starting, running := o.census.phases()
	c.Metrics.active(name, starting+len(done.created), running)
	for _, order := range done.created {
		c.Metrics.dispatched(name, order.Trigger)
		if !order.Seen.IsZero() {
			c.Metrics.waited(name, done.at.Sub(order.Seen))
		}
	}
	for i := range o.sources {
		s := &o.sources[i]
		if last := o.backlogs[s.name]; s.queued() && !last.At.IsZero() && last.Err == nil {
			c.Metrics.backlog(name, s.name, last.Backlog)
		}
	}
	first := !m.followed
	tracks := make(map[types.UID]*track, len(o.census.jobs))
	for uid, t := range m.tracks {
		if now.Sub(t.created) < doubtAfter {
			tracks[uid] = t // the cache may not show it yet
		}
	}
	for _, j := range o.census.jobs {
		t, ok := m.tracks[j.job.UID]
		if !ok {
			t = &track{created: j.job.CreationTimestamp.Time, ran: first && j.phase != notRunning, ended: first && j.outcome != ""}
		}
		tracks[j.job.UID] = t
		c.follow(name, m, t, j, now)
	}
	m.tracks, m.followed = tracks, true
}

// follow measures one Job.
func (c *Controller) follow(name types.NamespacedName, m *memory, t *track, j jobState, now time.Time) {
	if !t.ran && j.phase == running {
		t.ran = true
		c.Metrics.started(name, now.Sub(t.created))
	}
	outcome, at, finished := history.Finished(j.job)
	if !finished || t.ended {
		return
	}
	t.ended = true
	from := j.job.CreationTimestamp.Time
	if j.job.Status.StartTime != nil {
		from = j.job.Status.StartTime.Time
	}
	c.Metrics.finished(name, j.job.Labels[jobtemplate.LabelTrigger], outcome, at.Sub(from))
	if outcome == history.Failed {
		m.reported.unreported = append(m.reported.unreported, j.job.Name)
	}
}
