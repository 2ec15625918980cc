package dispatcher

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// maxMessage is how long a message in a status may be, in bytes.
const maxMessage = 1024

// statusOf says what a pass has to say in the status. It is pure.
func statusOf(sj *v1alpha1.ScaledJob, m *memory, o *observation, p *plan, done dispatched) v1alpha1.ScaledJobStatus {
	status := *sj.Status.DeepCopy()
	starting, running := o.census.phases()
	succeeded, failed := o.census.kept()
	status.ObservedGeneration = sj.Generation
	status.Starting, status.Running = ptr.To(int32(starting+len(done.created))), ptr.To(int32(running))
	status.Succeeded, status.Failed = ptr.To(int32(succeeded)), ptr.To(int32(failed))
	status.LastSequence = max(status.LastSequence, m.lastSequence)
	if !m.lastDispatch.IsZero() {
		status.LastDispatchTime = ptr.To(metav1.NewTime(m.lastDispatch.Truncate(timestampGrain)))
	}
	if m.lastRun != "" {
		status.LastRunRequest = m.lastRun
	}
	status.Triggers = triggerStatuses(sj, m, o, p)
	status.Waiting, status.Held = totals(status.Triggers)
	for _, c := range []metav1.Condition{
		readyCondition(m, o),
		activeCondition(&status),
		suspendedCondition(sj),
	} {
		c.ObservedGeneration = sj.Generation
		meta.SetStatusCondition(&status.Conditions, c)
	}
	if !o.recording {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionRecorded)
		return status
	}
	recorded := recordedCondition(m, o)
	recorded.ObservedGeneration = sj.Generation
	meta.SetStatusCondition(&status.Conditions, recorded)
	return status
}

// triggerStatuses says what each trigger last showed. The time of a reading that shows nothing new stays as it was.
func triggerStatuses(sj *v1alpha1.ScaledJob, m *memory, o *observation, p *plan) []v1alpha1.TriggerStatus {
	var statuses []v1alpha1.TriggerStatus
	for i := range o.sources {
		s := &o.sources[i]
		t := v1alpha1.TriggerStatus{Name: s.name}
		old := v1alpha1.TriggerStatus{Name: s.name}
		if k := slices.IndexFunc(sj.Status.Triggers, func(t v1alpha1.TriggerStatus) bool { return t.Name == s.name }); k >= 0 {
			old = sj.Status.Triggers[k]
		}
		last := o.backlogs[s.name]
		switch {
		case s.err != nil:
			t.Message = shortened(s.err.Error())
		case s.source.Schedule != nil:
			t.Waiting = ptr.To(p.waits[s.name])
			if at, ok := m.scheduled[s.name]; ok {
				t.LastScheduleTime = ptr.To(metav1.NewTime(at.Truncate(timestampGrain)))
			}
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
				t.LastReadTime = ptr.To(metav1.NewTime(last.At.Truncate(timestampGrain)))
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

// readyCondition says whether Jobs can be dispatched; if not, the first reason that applies.
func readyCondition(m *memory, o *observation) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	invalid, unreadable, unread := troubles(o)
	switch {
	case m.refusal.invalid:
		c.Reason = v1alpha1.ReasonTemplateInvalid
		c.Message = fmt.Sprintf("the API server refuses a Job of spec.jobTemplate: %v", m.refusal.err)
	case m.refusal.err != nil:
		c.Reason = v1alpha1.ReasonCreationRefused
		c.Message = fmt.Sprintf("the API server refused a Job, which will be tried again: %v", m.refusal.err)
	case len(invalid) > 0:
		c.Reason, c.Message = v1alpha1.ReasonTriggerInvalid, strings.Join(invalid, "; ")
	case len(unreadable) > 0:
		c.Reason, c.Message = v1alpha1.ReasonTriggerUnreadable, strings.Join(unreadable, "; ")
	case len(unread) > 0:
		c.Status, c.Reason = metav1.ConditionUnknown, v1alpha1.ReasonTriggerUnread
		c.Message = "not read yet: " + strings.Join(unread, ", ")
	default:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonDispatching
		c.Message = "all triggers are read, and the API server takes the Jobs"
	}
	c.Message = shortened(c.Message)
	return c
}

// troubles sorts the triggers that something is the matter with.
func troubles(o *observation) (invalid, unreadable, unread []string) {
	for i := range o.sources {
		s := &o.sources[i]
		last := o.backlogs[s.name]
		switch {
		case s.err != nil:
			invalid = append(invalid, s.err.Error())
		case s.source.Schedule != nil:
		case last.Err != nil:
			unreadable = append(unreadable, fmt.Sprintf("trigger %s: %v", s.name, last.Err))
		case last.At.IsZero():
			unread = append(unread, s.name)
		}
	}
	return invalid, unreadable, unread
}

func activeCondition(status *v1alpha1.ScaledJobStatus) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionTrue}
	switch {
	case *status.Starting+*status.Running > 0:
		c.Reason, c.Message = v1alpha1.ReasonJobsActive, "Jobs are active"
	case ptr.Deref(status.Waiting, 0) > 0:
		c.Reason, c.Message = v1alpha1.ReasonMessagesWaiting, "messages wait, and no Job is active"
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonIdle, "no message waits, and no Job is active"
	}
	return c
}

func suspendedCondition(sj *v1alpha1.ScaledJob) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionSuspended, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotSuspended, Message: "spec.suspend is not set"}
	if *sj.Spec.Suspend {
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonSuspendedBySpec
		c.Message = "spec.suspend holds dispatching; running Jobs go on, and so does clearing away"
	}
	return c
}

// recordedCondition says whether records of Jobs are stored.
func recordedCondition(m *memory, o *observation) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionRecorded, Status: metav1.ConditionFalse}
	switch {
	case o.trouble == nil:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonRecordsStored, "records of Jobs are stored"
	case m.clearedUnstored > 0:
		c.Reason = v1alpha1.ReasonClearedUnstored
		c.Message = fmt.Sprintf("%d finished Jobs were cleared away beyond the %d that are kept until their records can be stored; "+
			"a restart of the manager loses those records: %v", m.clearedUnstored, keptUnstored, o.trouble)
	default:
		c.Reason = v1alpha1.ReasonStoreUnavailable
		c.Message = fmt.Sprintf("%d finished Jobs are kept until their records can be stored: %v", o.census.unstored(), o.trouble)
	}
	c.Message = shortened(c.Message)
	return c
}

// shortened cuts a text that is too long for a status, between two characters.
func shortened(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= maxMessage {
		return s
	}
	cut := maxMessage - len("…")
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
