package dispatcher_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

var errFull = errors.New("saving 3 records: no space left on device")

// records are what a manager is told of the history.
type records struct {
	unstored bool
	trouble  error
}

func (r *records) Stored(types.UID) bool { return !r.unstored }
func (r *records) Trouble() error        { return r.trouble }

// recording starts a manager that keeps a history.
func (w *world) recording(r *records) *manager {
	w.t.Helper()
	return w.manager(func(o *dispatcher.Options) { o.Records = r })
}

func TestNoJobIsClearedAwayBeforeItsRecordIsStored(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		kept := &records{unstored: true}
		m := w.recording(kept)
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 1 }))
		w.broker.set(videos, 3, 0)
		m.settle()
		m.workOff(3)
		m.follow(time.Hour)
		w.wantJobs(3)
		kept.unstored = false
		m.settle()
		w.wantJobs(1)
	})
}

func TestDispatchingGoesOnWhileTheStoreIsDown(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		kept := &records{}
		m := w.recording(kept)
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 0 }))
		m.settle()
		w.wantRecorded(metav1.ConditionTrue, v1alpha1.ReasonRecordsStored)

		kept.unstored, kept.trouble = true, errFull
		w.broker.set(videos, 3, 0)
		m.step(time.Second)
		m.settle()
		m.workOff(3)
		m.follow(time.Minute)
		w.wantJobs(3)
		if got, want := w.wantRecorded(metav1.ConditionFalse, v1alpha1.ReasonStoreUnavailable),
			"3 finished Jobs are kept until their records can be stored: saving 3 records: no space left on device"; got != want {
			t.Errorf("it says %q, want %q", got, want)
		}

		kept.unstored, kept.trouble = false, nil
		m.settle()
		w.wantJobs(0)
		w.wantRecorded(metav1.ConditionTrue, v1alpha1.ReasonRecordsStored)
		if got := append(m.events.of(v1alpha1.ReasonStoreUnavailable), m.events.of(v1alpha1.ReasonRecordsStored)...); len(got) != 2 ||
			got[0].Type != "Warning" || got[1].Type != "Normal" {
			t.Errorf("events: %v", got)
		}
	})
}

// wantRecorded checks the condition Recorded, and returns its message.
func (w *world) wantRecorded(status metav1.ConditionStatus, reason string) string {
	w.t.Helper()
	c := w.condition(v1alpha1.ConditionRecorded)
	if c.Status != status || c.Reason != reason {
		w.t.Fatalf("Recorded is %s (%s: %s), want %s (%s)", c.Status, c.Reason, c.Message, status, reason)
	}
	return c.Message
}

func TestOfTheJobsThatWaitForTheStoreTheOldestGoBeyondABound(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		kept := &records{unstored: true, trouble: errFull}
		m := w.recording(kept)
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 2 }))
		m.settle()
		const bound, beyond = 1000, 5
		revision := "of the test"
		for n := range int64(2 + bound + beyond) {
			job := jobtemplate.Job(w.scaledJob(), revision, jobtemplate.Order{Sequence: n + 1, Trigger: videos})
			job.Status.Conditions = []batchv1.JobCondition{{
				Type: batchv1.JobComplete, Status: "True", LastTransitionTime: metav1.NewTime(w.clock.Now().Add(time.Duration(n) * time.Second)),
			}}
			w.apply(job)
			w.must(w.api.Status().Update(t.Context(), job))
		}
		m.step(time.Hour)
		m.passes(2)
		m.step(time.Second)
		m.passes(1)
		got := w.wantJobs(2 + bound)
		if got[0].Name != "transcode-000006" {
			t.Errorf("the oldest that is kept is %s", got[0].Name)
		}
		if message := w.wantRecorded(metav1.ConditionFalse, v1alpha1.ReasonClearedUnstored); !strings.HasPrefix(message, "5 finished Jobs were cleared away") {
			t.Errorf("it says %q", message)
		}
		if got := m.events.of(v1alpha1.ReasonClearedUnstored); len(got) != 1 || got[0].Type != "Warning" {
			t.Errorf("events: %v", got)
		}
	})
}

func TestWithoutAHistoryNothingIsSaidOfRecords(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.recording(&records{trouble: errFull})
		w.apply(newScaledJob())
		m.settle()
		w.wantRecorded(metav1.ConditionFalse, v1alpha1.ReasonStoreUnavailable)
		m.kill()
		m = w.manager()
		m.settle()
		if c := w.condition(v1alpha1.ConditionRecorded); c.Type != "" {
			t.Errorf("the status says %s, %s: %s", c.Type, c.Reason, c.Message)
		}
	})
}

func TestAJobTellsSinceWhenItsMessageWaited(t *testing.T) {
	t.Parallel()
	for story, c := range map[string]struct {
		trigger v1alpha1.Trigger
		perJob  int32
		// came is after how many seconds each message comes, want when those of each Job were first seen.
		came, want []int
	}{
		"only what waits is known":   {list(videos), 1, []int{0, 5, 5, 60}, []int{0, 5, 5, 60}},
		"what is held is known":      {held(videos), 1, []int{0, 5, 5, 60}, []int{0, 5, 5, 60}},
		"a Job takes two messages":   {list(videos), 2, []int{0, 5, 8, 60}, []int{0, 8}},
		"all of them come at a time": {list(videos), 1, []int{0, 0, 0}, []int{0, 0, 0}},
	} {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			storyOfWaiting(t, c.trigger, c.perJob, c.came, c.want)
		})
	}
}

// storyOfWaiting has messages come while one Job at a time works for 100 s, and looks since when the Jobs say they waited.
func storyOfWaiting(t *testing.T, of v1alpha1.Trigger, perJob int32, came, want []int) {
	t.Helper()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		of.MessagesPerJob = ptr.To(perJob)
		w.apply(newScaledJob(triggers(of), parallelism(0, 1)))
		m.settle()
		begin := w.clock.Now()
		for _, after := range came {
			m.follow(begin.Add(time.Duration(after) * time.Second).Sub(w.clock.Now()))
			w.broker.put(videos, 1)
		}
		for n := range want {
			m.follow(5 * time.Second)
			jobs := w.jobs()
			if len(jobs) != n+1 {
				t.Fatalf("there are %v, want %d", names(jobs), n+1)
			}
			w.run(jobs[n])
			w.broker.take(videos, int64(perJob))
			m.follow(100 * time.Second)
			w.broker.acknowledge(videos, int64(perJob))
			w.succeed(jobs[n])
			w.finish(batchv1.JobComplete, jobs[n])
		}
		m.follow(5 * time.Second)
		var got, expected []string
		for i, job := range w.wantJobs(len(want)) {
			// It was seen at the first reading after it came: within a polling interval, and some.
			late := jobtemplate.Seen(&job).Sub(begin.Add(time.Duration(want[i]) * time.Second))
			got = append(got, fmt.Sprint(late >= 0 && late <= 1200*time.Millisecond))
			expected = append(expected, "true")
			if jobtemplate.Created(&job).Before(jobtemplate.Seen(&job)) {
				t.Errorf("Job %s was made before its message was seen", job.Name)
			}
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			for _, job := range w.jobs() {
				t.Logf("%s: %v", job.Name, jobtemplate.Seen(&job).Sub(begin))
			}
			t.Errorf("first seen when they should be (-want +got):\n%s", diff)
		}
	})
}
