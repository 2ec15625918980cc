package dispatcher_test

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

// ask has a user ask for a Job.
func (w *world) ask(request string) {
	w.t.Helper()
	w.edit(func(sj *v1alpha1.ScaledJob) { sj.Annotations = map[string]string{v1alpha1.AnnotationRun: request} })
}

// wantRun checks how many Jobs say that they are for a request.
func (w *world) wantRun(request string, want int) {
	w.t.Helper()
	jobs := slices.DeleteFunc(w.jobs(), func(j batchv1.Job) bool { return j.Annotations[jobtemplate.AnnotationRun] != request })
	if len(jobs) != want {
		w.t.Errorf("%d Jobs are for the request %s, want %d: %v", len(jobs), request, want, names(jobs))
	}
}

func TestARequestRunsOneJobThoughNoMessageWaits(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 0 }))
		m.settle()
		w.ask("a")
		m.settle()
		w.wantRun("a", 1)
		job := w.wantJobs(1)[0]
		if got := job.Labels[jobtemplate.LabelTrigger]; got != videos {
			t.Errorf("it is for the trigger %q", got)
		}
		// Neither another manager nor the Job's end has it run again.
		m.kill()
		m = w.manager()
		m.settle()
		w.wantJobs(1)
		w.run(job)
		w.succeed(job)
		w.finish(batchv1.JobComplete, job)
		m.follow(time.Minute)
		w.wantJobs(0)
		m.kill()
		m = w.manager()
		m.follow(time.Minute)
		w.wantJobs(0)
		w.ask("b")
		m.settle()
		w.wantRun("b", 1)
		if got := w.scaledJob().Status.LastRunRequest; got != "b" {
			t.Errorf("the status tells of the request %q", got)
		}
	})
}

func TestARequestedJobIsKeptUntilTheStatusTellsThatItRan(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 0 }))
		m.settle()
		w.broker.put(videos, 1)
		m.step(time.Second)
		m.settle()
		// The create's answer is lost, so the status tells the Job's number, and not what it is for.
		m.faults.create = func(_ *batchv1.Job, create func() error) error { return cmp.Or(create(), context.DeadlineExceeded) }
		m.faults.shows = func(j *batchv1.Job) bool { return j.Annotations[jobtemplate.AnnotationRun] == "" }
		m.faults.live = func(client.Object) error { return errBroken }
		w.ask("a")
		for range 3 {
			_, _ = m.try()
			m.step(time.Second)
		}
		w.wantRun("a", 1)
		if s := w.scaledJob().Status; s.LastSequence != 2 || s.LastRunRequest != "" {
			t.Fatalf("the status tells of Job %d and of the request %q", s.LastSequence, s.LastRunRequest)
		}
		m.faults = faults{status: func(func() error) error { return errBroken }}
		for range 5 {
			m.step(time.Second)
			_, _ = m.try()
		}
		w.wantRun("a", 1)
		for _, job := range w.jobs() {
			w.succeed(job)
			w.finish(batchv1.JobComplete, job)
		}
		w.broker.set(videos, 0, 0)
		for range 5 {
			m.step(time.Minute)
			_, _ = m.try()
		}
		w.wantRun("a", 1)
		m.faults.status = nil
		m.follow(3 * time.Minute)
		w.wantJobs(0)
	})
}

func TestARequestIsForAMessageThatWaitsWhereThereIsOne(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		w.ask("a")
		w.broker.set(videos, 3, 0)
		m.settle()
		w.wantRun("a", 1)
		// It may have come before the first reading, and then a fourth for it; never a fifth.
		if n := len(w.jobs()); n > 4 {
			t.Errorf("there are %d Jobs for 3 messages and a request", n)
		}
		m.follow(time.Minute)
		if n := len(w.jobs()); n > 4 {
			t.Errorf("there are %d Jobs for 3 messages and a request", n)
		}
	})
}

func TestARequestAddsNoJobToThoseThatAreDispatchedAnyway(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		m.arrive(3)
		w.ask("a") // the same pass is told of both
		m.settle()
		w.wantRun("a", 1)
		w.wantJobs(3)
		m.follow(time.Minute)
		w.wantJobs(3)
	})
}

func TestARequestThatIsRefusedIsTriedAgainAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		m.settle()
		refused := w.quota(0)
		w.ask("a")
		for range 620 { // a pass each tenth of a second, whatever it is that wakes so many
			m.pass()
			m.step(100 * time.Millisecond)
		}
		if n := len(*refused); n < 5 || n > 20 {
			t.Errorf("the API server was asked %d times within a minute, want 5 to 20", n)
		}
		w.wantJobs(0)
		w.admit = nil
		m.follow(2 * time.Minute)
		w.wantRun("a", 1)
	})
}

func TestARequestedJobTakesItsMessageLikeAnyOther(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		m.settle()
		w.ask("a")
		m.settle()
		w.wantJobs(1)
		w.broker.put(videos, 1)
		m.follow(5 * time.Second)
		w.wantJobs(1) // it starts, and will take the message
		w.broker.put(videos, 1)
		m.follow(5 * time.Second)
		w.wantJobs(2)
	})
}

func TestARequestWaitsForASlotUnlessItIsForced(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(parallelism(0, 2)))
		w.broker.set(videos, 2, 0)
		m.settle()
		all := w.wantJobs(2)
		w.run(all...)
		w.broker.set(videos, 0, 0)
		w.ask("a")
		m.follow(time.Minute)
		w.wantJobs(2)
		w.ask(v1alpha1.ForcedRun + "b")
		m.settle()
		w.wantRun(v1alpha1.ForcedRun+"b", 1)
		w.wantJobs(3)
		w.ask("c")
		m.settle()
		w.wantJobs(3)
		w.succeed(all...)
		m.settle()
		w.wantRun("c", 1)
		w.wantJobs(4)
	})
}

func TestARequestRunsAJobOfASuspendedScaledJob(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { *sj.Spec.Suspend = true }))
		w.broker.set(videos, 5, 0)
		m.settle()
		w.ask("a")
		m.follow(time.Minute)
		w.wantRun("a", 1)
		w.wantJobs(1)
	})
}

func TestARequestThatIsTooLongIsNone(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		w.ask(strings.Repeat("x", v1alpha1.MaxRunRequest+1))
		m.settle()
		w.wantJobs(0)
	})
}
