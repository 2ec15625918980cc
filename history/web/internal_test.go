package web

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

func TestWhyItDispatchesOrNot(t *testing.T) {
	t.Parallel()
	ready := func(status metav1.ConditionStatus, reason, message string) func(*v1alpha1.ScaledJob) {
		return func(sj *v1alpha1.ScaledJob) {
			sj.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: reason, Message: message}}
		}
	}
	numbers := func(waiting int64, starting, running int32) func(*v1alpha1.ScaledJob) {
		return func(sj *v1alpha1.ScaledJob) {
			sj.Status.Waiting, sj.Status.Starting, sj.Status.Running = &waiting, &starting, &running
		}
	}
	for want, c := range map[string]struct {
		changes []func(*v1alpha1.ScaledJob)
		pace    float64
	}{
		"20 of 20 slots busy, 143 waiting; at the last hour's pace the last one starts in about 21 min.": {
			[]func(*v1alpha1.ScaledJob){numbers(143, 1, 19)}, 7,
		},
		"20 of 20 slots busy, 143 waiting; none finished within the last hour, so when the last one starts cannot be told.": {
			[]func(*v1alpha1.ScaledJob){numbers(143, 0, 20)}, 0,
		},
		"20 of 20 slots busy, 9000 waiting; at the last hour's pace the last one starts in about 7 days.": {
			[]func(*v1alpha1.ScaledJob){numbers(9000, 0, 20)}, 1,
		},
		"3 waiting, and 1 Job is about to take one each; 1 of 20 slots busy.": {[]func(*v1alpha1.ScaledJob){numbers(3, 1, 0)}, 0},
		"3 waiting, and 20 of 20 slots free: Jobs are dispatched as soon as that is read.": {
			[]func(*v1alpha1.ScaledJob){numbers(3, 0, 0)}, 0,
		},
		"3 waiting, which is no more than activationThreshold allows without a Job; 0 of 20 slots busy.": {
			[]func(*v1alpha1.ScaledJob){numbers(3, 0, 0), func(sj *v1alpha1.ScaledJob) {
				sj.Spec.Triggers = []v1alpha1.Trigger{{ActivationThreshold: ptr.To[int64](5)}}
			}}, 0,
		},
		"Nothing waits; 2 Jobs are active.":          {[]func(*v1alpha1.ScaledJob){numbers(0, 1, 1)}, 0},
		"Nothing waits, and nothing is to be done.":  {[]func(*v1alpha1.ScaledJob){numbers(0, 0, 0)}, 0},
		"It is being deleted, and its Jobs with it.": {[]func(*v1alpha1.ScaledJob){func(sj *v1alpha1.ScaledJob) { sj.DeletionTimestamp = &metav1.Time{} }}, 0},
		"It is suspended, and 1 message waits. Resume it to have Jobs dispatched.": {
			[]func(*v1alpha1.ScaledJob){numbers(1, 0, 0), func(sj *v1alpha1.ScaledJob) { sj.Spec.Suspend = ptr.To(true) }}, 0,
		},
		"The API server takes no Job of it, and 2 messages wait: exceeded quota": {
			[]func(*v1alpha1.ScaledJob){numbers(2, 0, 0), ready(metav1.ConditionFalse, v1alpha1.ReasonCreationRefused, "exceeded quota")}, 0,
		},
		"What waits cannot be told, so nothing is dispatched: trigger videos: connection refused": {
			[]func(*v1alpha1.ScaledJob){ready(metav1.ConditionFalse, v1alpha1.ReasonTriggerUnreadable, "trigger videos: connection refused")}, 0,
		},
		"No manager has looked at it yet. If that lasts, none watches its namespace: see --namespaces and --namespace-selector.": {
			[]func(*v1alpha1.ScaledJob){func(sj *v1alpha1.ScaledJob) { sj.Status.Conditions = nil }}, 0,
		},
	} {
		sj := &v1alpha1.ScaledJob{Spec: v1alpha1.ScaledJobSpec{MaxParallelism: ptr.To[int32](20)}}
		ready(metav1.ConditionTrue, v1alpha1.ReasonDispatching, "all is well")(sj)
		for _, change := range c.changes {
			change(sj)
		}
		if got := why(sj, v1.Pace{PerMinute: c.pace}); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestProgressIsTheLastThatALogTells(t *testing.T) {
	t.Parallel()
	for log, want := range map[string]float64{
		"progress 10%\nprogress 41%\nframe 7\n":       0.41,
		"2026-03-02 INFO Progress: 7.5 % of all":      0.075,
		"progress 10%\n{\"progress\":0.5,\"x\":1}\n":  0.5,
		"{\"progress\":0.5}\n{\"progress\":\"half\"}": 0.5,
		"progress 250%": 1,
		"no progress at all\nprogressive 30%\n{bad json": -1,
		"": -1,
	} {
		got := progressIn(log)
		if ptr.Deref(got, -1) != want {
			t.Errorf("%q: %v, want %v", log, ptr.Deref(got, -1), want)
		}
	}
}

func TestACourseRemembersWhatChangedInBoundedSpace(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	var c course
	for i := range 100_000 {
		c.note(begin.Add(time.Duration(i)*time.Second), int64(i))
	}
	if len(c.moments) > maxMoments {
		t.Errorf("%d moments are kept", len(c.moments))
	}
	for _, second := range []int{0, 1000, 50_000, 99_999} {
		got, ok := c.at(begin.Add(time.Duration(second) * time.Second))
		if off := int64(second) - got; !ok || off < -600 || off > 600 {
			t.Errorf("after %d s it was %d (%v)", second, got, ok)
		}
	}
	if _, ok := c.at(begin.Add(-time.Second)); ok {
		t.Error("something is known of the time before")
	}
}

func TestARelativeRootLeadsBack(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/": "./", "/records": "./", "/login": "./", "/namespaces/media/scaledjobs/transcode": "../../../",
		"/namespaces/media/scaledjobs/transcode/records/1": "../../../../../",
	} {
		if got := root(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestMomentsAreReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"24h": "2026-03-08T12:00:00Z", "7d": "2026-03-02T12:00:00Z", "1d12h": "2026-03-08T00:00:00Z", "90m": "2026-03-09T10:30:00Z",
		"2026-03-02T09:00:00Z": "2026-03-02T09:00:00Z", "2026-03-02T09:00:00.5+01:00": "2026-03-02T08:00:00.5Z",
	} {
		got, err := moment("since", text, now)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v (%v), want %s", text, got.UTC(), err, want)
		}
	}
	for _, text := range []string{"-1h", "yesterday", "1", "d", "1dx"} {
		if at, err := moment("since", text, now); err == nil || !strings.Contains(err.Error(), "since=") {
			t.Errorf("%s: %v (%v)", text, at, err)
		}
	}
}
