package longpoll

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// maxMessage is how long a message in a status may be, in bytes.
const maxMessage = 1024

// readyCondition says whether the target can be scaled; if not, the first reason that applies.
func (c *Controller) readyCondition(sd *v1alpha1.ScaledDeployment, m *memory, p *progress) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	var invalid, unreadable, unread []string
	var mute *consumer
	if p.census != nil {
		mute = p.census.mute(p.census.at, sd.Spec.Termination.BusyTimeout.Duration)
	}
	if m.sources.err != nil {
		invalid = append(invalid, m.sources.err.Error())
	}
	if m.sources.consumersErr != nil {
		invalid = append(invalid, m.sources.consumersErr.Error())
	}
	owner := ownerOf(client.ObjectKeyFromObject(sd))
	for i := range m.sources.triggers {
		s := &m.sources.triggers[i]
		last, _ := c.Meter.Last(owner, s.name, time.Time{})
		switch {
		case s.err != nil:
			invalid = append(invalid, s.err.Error())
		case last.Err != nil:
			unreadable = append(unreadable, fmt.Sprintf("trigger %s: %v", s.name, last.Err))
		case last.At.IsZero():
			unread = append(unread, s.name)
		}
	}
	switch {
	case p.unready != nil:
		condition.Reason, condition.Message = p.unready.reason, p.unready.message
	case len(invalid) > 0:
		condition.Reason, condition.Message = v1alpha1.ReasonTriggerInvalid, strings.Join(invalid, "; ")
	case len(unreadable) > 0:
		condition.Reason, condition.Message = v1alpha1.ReasonTriggerUnreadable, strings.Join(unreadable, "; ")
	case mute != nil:
		condition.Reason = v1alpha1.ReasonPodsSilent
		condition.Message = fmt.Sprintf("no pod like %s has ever answered: %v; correct termination.busy or the pod; until then such pods count as busy, and none is taken away: "+
			"delete those that do nothing", mute.pod.Name, mute.err)
	case len(unread) > 0:
		condition.Status, condition.Reason = metav1.ConditionUnknown, v1alpha1.ReasonTriggerUnread
		condition.Message = "not read yet: " + strings.Join(unread, ", ")
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, v1alpha1.ReasonScaling
		condition.Message = "all triggers are read, and the target can be scaled"
	}
	return condition
}

func activeCondition(status *v1alpha1.ScaledDeploymentStatus) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionTrue}
	switch {
	case ptr.Deref(status.Busy, 0) > 0:
		condition.Reason, condition.Message = v1alpha1.ReasonPodsBusy, "pods are busy"
	case ptr.Deref(status.Waiting, 0) > 0:
		condition.Reason, condition.Message = v1alpha1.ReasonMessagesWaiting, "messages wait, and no pod is busy"
	default:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, v1alpha1.ReasonIdle, "no message waits, and no pod is busy"
	}
	return condition
}

func suspendedCondition(sd *v1alpha1.ScaledDeployment) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionSuspended, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotSuspended, Message: "spec.suspend is not set"}
	if *sd.Spec.Suspend {
		condition.Status, condition.Reason = metav1.ConditionTrue, v1alpha1.ReasonSuspendedBySpec
		condition.Message = "spec.suspend holds scaling; busy pods stay protected"
	}
	return condition
}

// managedCondition says whether the target's template is as termination asks for.
func managedCondition(m *memory, p *progress) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionManaged, Status: metav1.ConditionFalse}
	switch {
	case p.target == nil || p.unready != nil:
		return metav1.Condition{}
	case p.target.template == nil:
		condition.Reason = v1alpha1.ReasonKindNotManaged
		condition.Message = fmt.Sprintf("the template of a %s is not written: set its grace period and preStop hook yourself, as docs/scaleddeployment.md shows", p.target.ref.Kind)
	case m.managed.err != nil:
		condition.Reason = v1alpha1.ReasonFieldConflict
		condition.Message = fmt.Sprintf("fields of the target's template cannot be written: %v; remove them there, or set termination to match", m.managed.err)
	default:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionTrue, v1alpha1.ReasonFieldsManaged, "grace period and hooks are written to the target's template"
	}
	return condition
}

// rolloutCondition says whether rollouts wait for busy pods, and what one waits for.
func rolloutCondition(sd *v1alpha1.ScaledDeployment, m *memory, p *progress) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionRolloutGuarded, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRolloutUnguarded}
	switch {
	case p.target == nil || p.unready != nil:
		return metav1.Condition{}
	case sd.Spec.Termination.Rollout == v1alpha1.RolloutNone:
		condition.Message = "termination.rollout is None: an edit of the target ends busy pods"
	case p.target.template == nil:
		condition.Message = fmt.Sprintf("rollouts of a %s cannot be held: an edit may end busy pods; only their grace period saves their work", p.target.ref.Kind)
	case p.target.recreates:
		condition.Message = "the target's strategy Recreate ends all pods at an edit: use RollingUpdate"
	case sd.Spec.Termination.Fence == nil:
		condition.Message = "without termination.fence an edit of the target may end busy pods"
	case m.managed.err != nil:
		condition.Message = "the target's fields cannot be managed: an edit may end busy pods"
	case p.rollHold != "":
		condition.Status, condition.Reason, condition.Message = metav1.ConditionTrue, v1alpha1.ReasonRolloutHeld, "a rollout waits: "+p.rollHold
	default:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionTrue, v1alpha1.ReasonRolloutGuarded, "a rollout replaces a pod only once it is drained"
	}
	return condition
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
