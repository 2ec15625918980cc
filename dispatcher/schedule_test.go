package dispatcher_test

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher"
)

// friday is the schedule of these stories, and a Friday at 17:00, four days after a world begins.
const friday = "0 17 * * 5"

var fridayAt17 = time.Date(2026, time.March, 6, 17, 0, 0, 0, time.UTC)

// until lets time go by without a pass.
func (w *world) until(at time.Time) { w.step(at.Sub(w.clock.Now())) }

func TestAScheduledTimeGetsItsJobsOnce(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(scheduled(friday, 3))))
		m.settle()
		w.until(fridayAt17.Add(-time.Second))
		result := m.pass()
		if result.RequeueAfter != time.Second {
			t.Errorf("a second before the time, a pass is due in %v", result.RequeueAfter)
		}
		w.wantJobs(0)
		w.step(time.Second)
		m.settle()
		first := w.wantJobs(3)
		for _, job := range first {
			if got, want := job.Annotations["longhaul.dev/scheduled-time"], "2026-03-06T17:00:00Z"; got != want {
				t.Errorf("Job %s is for %q, want %q", job.Name, got, want)
			}
		}
		w.run(first...)
		m.settle()
		w.finish(batchv1.JobComplete, first...)
		m.settle()
		w.wantJobs(3)
		s := w.scaledJob().Status.Triggers[0]
		if s.LastScheduleTime == nil || !s.LastScheduleTime.Time.Equal(fridayAt17) || *s.Waiting != 0 {
			t.Errorf("the status says %v of the last time, and %d waiting", s.LastScheduleTime, *s.Waiting)
		}
		m.kill()
		m = w.manager()
		m.settle()
		w.wantJobs(3)
		w.until(fridayAt17.AddDate(0, 0, 7))
		m.settle()
		w.wantJobs(6)
	})
}

func TestOfMissedTimesTheLatestRunsUnlessItsDeadlineHasPassed(t *testing.T) {
	t.Parallel()
	hour := &metav1.Duration{Duration: time.Hour}
	for what, c := range map[string]struct {
		deadline *metav1.Duration
		back     time.Time
		want     int
	}{
		"one, without a deadline":   {nil, fridayAt17.Add(49 * time.Hour), 2},
		"one, within its deadline":  {hour, fridayAt17.Add(59 * time.Minute), 2},
		"one, after its deadline":   {hour, fridayAt17.Add(61 * time.Minute), 0},
		"four, without a deadline":  {nil, fridayAt17.AddDate(0, 0, 22), 2},
		"four, after the deadlines": {hour, fridayAt17.AddDate(0, 0, 22), 0},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			story(t, func(_ *testing.T, w *world) {
				m := w.manager()
				schedule := scheduled(friday, 2)
				schedule.Cron.StartingDeadline = c.deadline
				w.apply(newScaledJob(triggers(schedule)))
				m.settle()
				m.kill()
				w.until(c.back)
				m = w.manager()
				m.settle()
				m.kill()
				m = w.manager()
				m.settle()
				w.wantJobs(c.want)
			})
		})
	}
}

func TestAScheduledTimeBeforeTheFirstPassIsNotMissed(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		w.until(fridayAt17.Add(-time.Second))
		w.apply(newScaledJob(triggers(scheduled(friday, 1))))
		w.step(time.Minute)
		w.manager().settle()
		w.wantJobs(1)
	})
}

func TestAScheduleAddedLaterRunsFromThenOn(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		m.settle()
		w.until(fridayAt17.Add(time.Minute))
		w.edit(triggers(list(videos), scheduled(friday, 1)))
		m.settle()
		w.wantJobs(0)
		w.until(fridayAt17.AddDate(0, 0, 7))
		m.settle()
		w.wantJobs(1)
	})
}

func TestAnEditedScheduleRunsFromTheEditOn(t *testing.T) {
	t.Parallel()
	for what, edited := range map[string]v1alpha1.CronTrigger{
		"to another schedule":  {Schedule: "0 9 * * *", TimeZone: "Etc/UTC", Jobs: ptr.To[int32](1)},
		"to another time zone": {Schedule: friday, TimeZone: "Europe/Berlin", Jobs: ptr.To[int32](1)}, // an hour earlier
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			story(t, func(_ *testing.T, w *world) {
				m := w.manager()
				w.apply(newScaledJob(triggers(scheduled(friday, 1))))
				m.settle()
				w.until(fridayAt17.Add(-time.Minute))
				trigger := scheduled(friday, 1)
				trigger.Cron = &edited
				w.edit(triggers(trigger))
				m.settle()
				w.wantJobs(0)
				w.until(fridayAt17.Add(17 * time.Hour))
				m.settle()
				want := 0
				if edited.TimeZone == "Etc/UTC" {
					want = 1 // on Saturday at 09:00
				}
				w.wantJobs(want)
			})
		})
	}
}

func TestAScheduleTakenOutAndPutBackRunsFromThenOn(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(list(videos), scheduled(friday, 1))))
		m.settle()
		m.step(time.Second)
		w.edit(triggers(list(videos)))
		m.settle()
		w.until(fridayAt17.Add(time.Minute))
		m.settle()
		w.edit(triggers(list(videos), scheduled(friday, 1)))
		m.settle()
		w.wantJobs(0)
		w.until(fridayAt17.AddDate(0, 0, 7))
		m.settle()
		w.wantJobs(1)
	})
}

func TestAScheduledTimeGetsItsJobsThoughAnEarlierOnesDoNotStart(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(scheduled(friday, 1))))
		m.settle()
		w.until(fridayAt17)
		m.settle()
		w.wantJobs(1)
		w.until(fridayAt17.AddDate(0, 0, 7))
		m.settle()
		w.wantJobs(2)
	})
}

func TestAScheduledTimeIsCompletedAfterACrashAndWithinTheCap(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager(func(o *dispatcher.Options) { o.CreationConcurrency = 1 })
		w.apply(newScaledJob(triggers(scheduled(friday, 5)), parallelism(0, 4)))
		m.settle()
		w.until(fridayAt17)
		m.pass()
		first := w.wantJobs(4)
		m.kill()
		m = w.manager()
		m.settle()
		w.wantJobs(4)
		w.run(first...)
		m.settle()
		w.wantJobs(4)
		w.succeed(first...)
		m.settle()
		w.wantJobs(5)
		w.finish(batchv1.JobComplete, first...)
		w.run(w.jobs()[4])
		m.settle()
		w.wantJobs(5)
	})
}

func TestASuspendedScheduleRunsTheLatestTimeWhenItGoesOn(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(scheduled(friday, 1)), func(sj *v1alpha1.ScaledJob) { *sj.Spec.Suspend = true }))
		m.settle()
		w.until(fridayAt17.AddDate(0, 0, 14))
		m.settle()
		w.wantJobs(0)
		w.edit(func(sj *v1alpha1.ScaledJob) { *sj.Spec.Suspend = false })
		m.settle()
		w.wantJobs(1)
	})
}

func TestAScheduledTimesJobsAreKeptUntilTheStatusTellsThatTheyWere(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(scheduled(friday, 1)), func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 0 }))
		m.settle()
		w.until(fridayAt17)
		m.pass() // the status tells the number of the Job, and nothing after it
		m.faults.status = func(func() error) error { return apierrors.NewConflict(jobs, name, errBroken) }
		m.step(between)
		m.passes(3)
		w.finish(batchv1.JobComplete, w.wantJobs(1)...)
		m.follow(time.Minute)
		w.wantJobs(1)
		m.kill()
		m = w.manager()
		m.settle()
		m.step(time.Second)
		m.settle()
		w.wantJobs(0)
		if len(w.tried) != 1 {
			w.t.Errorf("one time got the Jobs %v", w.tried)
		}
	})
}

// The API server refuses it; it may have been stored before it did.
func TestAScheduleThatIsCombinedRunsNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(scheduled(friday, 1)), func(sj *v1alpha1.ScaledJob) { sj.Spec.Combine = v1alpha1.CombineMax }))
		m.settle()
		w.until(fridayAt17)
		m.settle()
		w.wantJobs(0)
		if got := w.wantReady("False", "TriggerInvalid"); !strings.Contains(got, "combine: Sum") {
			t.Errorf("Ready says %q, want the remedy", got)
		}
	})
}
