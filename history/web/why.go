package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// why says in a sentence why a ScaledJob does or does not dispatch now.
func why(sj *v1alpha1.ScaledJob, pace v1.Pace) string {
	s := &sj.Status
	waiting := ptr.Deref(s.Waiting, 0)
	starting, running := ptr.Deref(s.Starting, 0), ptr.Deref(s.Running, 0)
	busy, slots := starting+running, ptr.Deref(sj.Spec.MaxParallelism, 0)
	ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	switch {
	case sj.DeletionTimestamp != nil:
		return "It is being deleted, and its Jobs with it."
	case ready == nil:
		return "No manager has looked at it yet. If that lasts, none watches its namespace: see --namespaces and --namespace-selector."
	case ptr.Deref(sj.Spec.Suspend, false):
		return fmt.Sprintf("It is suspended, and %s. Resume it to have Jobs dispatched.", waitingWords(waiting))
	case ready.Status == metav1.ConditionFalse && (ready.Reason == v1alpha1.ReasonTemplateInvalid || ready.Reason == v1alpha1.ReasonCreationRefused):
		return fmt.Sprintf("The API server takes no Job of it, and %s: %s", waitingWords(waiting), ready.Message)
	case ready.Status == metav1.ConditionFalse && len(sj.Spec.Triggers) < 2:
		return "What waits cannot be told, so nothing is dispatched: " + ready.Message
	case ready.Status != metav1.ConditionTrue:
		return fmt.Sprintf("Of some triggers it cannot be told what waits; %s at the others: %s", waitingWords(waiting), ready.Message)
	case waiting > 0 && busy >= slots:
		return fmt.Sprintf("%d of %d slots busy, %d waiting; %s", busy, slots, waiting, lastStart(waiting, pace))
	case waiting > 0 && starting > 0:
		return fmt.Sprintf("%d waiting, and %s about to take one each; %d of %d slots busy.", waiting, jobs(int64(starting), "is", "are"), busy, slots)
	case waiting > 0 && waiting <= activation(sj):
		return fmt.Sprintf("%d waiting, which is no more than activationThreshold allows without a Job; %d of %d slots busy.", waiting, busy, slots)
	case waiting > 0:
		return fmt.Sprintf("%d waiting, and %d of %d slots free: Jobs are dispatched as soon as that is read.", waiting, slots-busy, slots)
	case busy > 0:
		return fmt.Sprintf("Nothing waits; %s.", jobs(int64(busy), "is active", "are active"))
	default:
		return "Nothing waits, and nothing is to be done."
	}
}

func waitingWords(n int64) string {
	if n == 1 {
		return "1 message waits"
	}
	return fmt.Sprintf("%d messages wait", n)
}

func jobs(n int64, one, many string) string {
	if n == 1 {
		return "1 Job " + one
	}
	return fmt.Sprintf("%d Jobs %s", n, many)
}

// activation is the most that may wait without a Job.
func activation(sj *v1alpha1.ScaledJob) int64 {
	var sum int64
	for i := range sj.Spec.Triggers {
		sum += ptr.Deref(sj.Spec.Triggers[i].ActivationThreshold, 0)
	}
	return sum
}

// lastStart says when the last of what waits starts, if it goes on as within the last hour.
func lastStart(waiting int64, pace v1.Pace) string {
	if pace.PerMinute <= 0 {
		return "none finished within the last hour, so when the last one starts cannot be told."
	}
	took := time.Duration(float64(waiting) / pace.PerMinute * float64(time.Minute))
	return fmt.Sprintf("at the last hour's pace the last one starts in about %s.", about(took))
}

// about is a duration in the words of people, with the precision that a guess deserves.
func about(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "a minute"
	case d < 2*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%.0f min", math.Ceil(d.Minutes())), " ")
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", math.Ceil(d.Hours()))
	default:
		return fmt.Sprintf("%.0f days", math.Ceil(d.Hours()/24))
	}
}
