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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

func TestSuspendHoldsDispatchingAndNothingElse(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos)), parallelism(1, 10), func(sj *v1alpha1.ScaledJob) {
			*sj.Spec.SuccessfulJobsHistoryLimit = 0
		}))
		w.broker.set(videos, 2, 0)
		m.settle()
		first := w.wantJobs(2)
		w.run(first...)
		w.edit(func(sj *v1alpha1.ScaledJob) { *sj.Spec.Suspend = true })
		m.settle()
		w.broker.take(videos, 2)
		w.broker.put(videos, 3)
		m.follow(2 * time.Second)
		w.wantJobs(2) // they go on
		if c := w.condition(v1alpha1.ConditionSuspended); c.Status != metav1.ConditionTrue || c.Reason != "SuspendedBySpec" {
			t.Errorf("Suspended is %s (%s)", c.Status, c.Reason)
		}
		w.broker.acknowledge(videos, 2)
		w.succeed(first...)
		w.finish(batchv1.JobComplete, first...)
		m.follow(time.Minute)
		w.wantJobs(0) // cleared away, and not even the minimum is kept going
		if s := w.scaledJob().Status; *s.Waiting != 3 {
			t.Errorf("the status says that %d messages wait, want 3", *s.Waiting)
		}
		w.edit(func(sj *v1alpha1.ScaledJob) { *sj.Spec.Suspend = false })
		m.settle()
		w.wantJobs(3)
		if c := w.condition(v1alpha1.ConditionSuspended); c.Status != metav1.ConditionFalse {
			t.Errorf("Suspended is %s (%s)", c.Status, c.Reason)
		}
		if on, off := m.events.of("SuspendedBySpec"), m.events.of("NotSuspended"); len(on) != 1 || len(off) != 1 {
			t.Errorf("there were %d events about suspending and %d about its end, want one each", len(on), len(off))
		}
	})
}

// image gives the template another image.
func image(of string) func(*v1alpha1.ScaledJob) {
	return func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image = of }
}

// ending lists the Jobs that are being deleted.
func (w *world) ending() []string {
	w.t.Helper()
	var ending []string
	for _, job := range w.jobs() {
		if job.DeletionTimestamp != nil {
			ending = append(ending, job.Name)
		}
	}
	return ending
}

func TestAGradualRolloutTouchesNoJob(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(parallelism(0, 3)))
		w.broker.set(videos, 4, 0)
		m.settle()
		first := w.wantJobs(3)
		w.run(first[:2]...)
		w.broker.take(videos, 2)
		w.edit(image("worker:2"))
		m.settle()
		w.wantJobs(3)
		if ending := w.ending(); len(ending) > 0 {
			t.Errorf("%v are ended by an edit", ending)
		}
		w.succeed(first[0])
		m.settle()
		var images []string
		for _, job := range w.wantJobs(4) {
			images = append(images, job.Spec.Template.Spec.Containers[0].Image)
		}
		if diff := cmp.Diff([]string{"worker:1", "worker:1", "worker:1", "worker:2"}, images); diff != "" {
			t.Errorf("images (-want +got):\n%s", diff)
		}
	})
}

func TestAnImmediateRolloutEndsUnfinishedJobsOnceTheTriggersWereRead(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos)), parallelism(0, 4), func(sj *v1alpha1.ScaledJob) {
			sj.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate
		}))
		w.broker.set(videos, 4, 0)
		m.settle()
		first := w.wantJobs(4)
		w.run(first[:3]...)
		w.broker.take(videos, 3)
		w.broker.acknowledge(videos, 2)
		w.succeed(first[:2]...)
		w.finish(batchv1.JobComplete, first[0]) // the second one's Job says nothing of its end yet
		m.settle()

		w.broker.fail(videos, errBroken)
		m.step(time.Second)
		w.edit(image("worker:2"))
		m.follow(5 * time.Second)
		if ending := w.ending(); len(ending) > 0 {
			t.Errorf("%v are ended although the new triggers have not been read", ending)
		}
		w.broker.fail(videos, nil)
		m.follow(6 * time.Second)
		if diff := cmp.Diff(names(first[2:]), w.ending()); diff != "" {
			t.Errorf("Jobs that are ended (-want +got):\n%s", diff)
		}
		if got := m.events.of("Replaced"); len(got) != 1 || got[0].Note != "Ended 2 unfinished Jobs of an older template" {
			t.Errorf("events about it: %v", got)
		}
		// Their pods end, one message comes back, and the two that are left get Jobs of the new template.
		w.broker.giveBack(videos, 1)
		for _, job := range first[2:] {
			w.must(w.api.Get(t.Context(), client.ObjectKeyFromObject(&job), &job))
			job.Finalizers = nil
			w.must(w.api.Update(t.Context(), &job))
		}
		m.follow(15 * time.Second)
		for _, job := range w.wantJobs(4)[2:] {
			if got := job.Spec.Template.Spec.Containers[0].Image; got != "worker:2" {
				t.Errorf("Job %s has image %s", job.Name, got)
			}
		}
		if got := m.events.of("Replaced"); len(got) != 1 {
			t.Errorf("events about it in the end: %v", got)
		}
	})
}

func TestARestartWithAnImmediateRolloutEndsNoJobOfTheSameTemplate(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { sj.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate }))
		w.broker.set(videos, 2, 0)
		m.settle()
		m.kill()
		m = w.manager()
		m.settle()
		w.edit(func(sj *v1alpha1.ScaledJob) { *sj.Spec.MaxParallelism = 7 })
		m.settle()
		if ending := w.ending(); len(ending) > 0 {
			t.Errorf("%v are ended", ending)
		}
		w.wantJobs(2)
	})
}

func TestTheOldestFinishedJobsBeyondTheLimitsAreForgotten(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) {
			*sj.Spec.SuccessfulJobsHistoryLimit, *sj.Spec.FailedJobsHistoryLimit = 2, 1
		}))
		w.broker.set(videos, 8, 0)
		m.settle()
		all := w.wantJobs(8)
		w.run(all...)
		w.broker.set(videos, 0, 0)
		// They end in another order than they were made in, and one does not end.
		for _, end := range []struct {
			job int
			how batchv1.JobConditionType
		}{
			{5, batchv1.JobComplete},
			{1, batchv1.JobFailed},
			{6, batchv1.JobComplete},
			{0, batchv1.JobComplete},
			{3, batchv1.JobFailed},
			{2, batchv1.JobComplete},
			{4, batchv1.JobFailed},
		} {
			w.finish(end.how, all[end.job])
			m.step(time.Second)
		}
		m.passes(3)
		w.wantJobs(8) // a Job is kept for a while, whatever the limits
		m.follow(time.Minute)
		want := []string{"transcode-000001", "transcode-000003", "transcode-000005", "transcode-000008"}
		if diff := cmp.Diff(want, names(w.jobs())); diff != "" {
			t.Errorf("Jobs that are kept (-want +got):\n%s", diff)
		}
		if s := w.scaledJob().Status; *s.Succeeded != 2 || *s.Failed != 1 || *s.Running != 1 {
			t.Errorf("the status counts %d succeeded, %d failed and %d running, want 2, 1 and 1", *s.Succeeded, *s.Failed, *s.Running)
		}
	})
}

func TestAJobThatCannotBeForgottenIsTriedAgainAndKeepsNoOther(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 0 }))
		w.broker.set(videos, 3, 0)
		m.settle()
		m.workOff(3)
		m.faults.remove = func(job *batchv1.Job) error {
			if job.Name == "transcode-000001" {
				return errBroken
			}
			return nil
		}
		m.step(time.Minute)
		m.failing(3, errBroken)
		if got := names(w.jobs()); !cmp.Equal(got, []string{"transcode-000001"}) {
			t.Errorf("Jobs that are kept: %v", got)
		}
		m.faults.remove = nil
		m.settle()
		w.wantJobs(0)
	})
}

func TestAJobThatHasTakenTheNameOfOneToForgetIsLeftAlone(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 0 }))
		w.broker.set(videos, 1, 0)
		m.settle()
		m.workOff(1)
		m.freeze()
		w.must(w.api.Delete(t.Context(), &w.jobs()[0]))
		other := foreignJob("transcode-000001", nil)
		w.apply(other)
		m.step(time.Minute)
		m.passes(3)
		w.must(w.api.Get(t.Context(), client.ObjectKeyFromObject(other), other))
	})
}

func TestAScaledJobThatIsGoneLeavesNoSeriesAndIsNotRead(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(held(videos))))
		w.broker.set(videos, 3, 1)
		m.settle()
		w.run(w.jobs()...)
		m.settle()
		if len(m.measured()) == 0 {
			t.Fatal("nothing was measured, so nothing can be forgotten")
		}
		w.must(w.api.Delete(t.Context(), w.scaledJob()))
		if result, err := m.try(); err != nil || result.RequeueAfter != 0 {
			t.Errorf("the pass over what is gone came to %+v, %v", result, err)
		}
		for series := range m.measured() {
			t.Errorf("series %s is still there", series)
		}
		before := w.broker.readings()
		for range 5 {
			m.step(time.Second)
		}
		if got := w.broker.readings() - before; got != 0 {
			t.Errorf("its queue was read %d times more", got)
		}
		if left := m.measured(); len(left) > 0 {
			t.Errorf("later there are series again: %v", left)
		}
	})
}

func TestAScaledJobThatIsBeingDeletedDispatchesNothing(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { sj.Finalizers = []string{"example.com/wait"} }))
		m.settle()
		w.must(w.api.Delete(t.Context(), w.scaledJob()))
		w.broker.set(videos, 3, 0)
		for range 5 {
			_, err := m.controller.Reconcile(t.Context(), request)
			w.must(err)
			m.step(time.Second)
		}
		w.wantJobs(0)
	})
}

func TestAScaledJobMadeAnewUnderTheSameNameDispatchesForItself(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		w.broker.set(videos, 2, 0)
		w.broker.set("pictures", 3, 0)
		m.settle()
		old := w.wantJobs(2)
		w.must(w.api.Delete(t.Context(), w.scaledJob()))
		w.apply(newScaledJob(triggers(queue("pictures")))) // before a pass, and before the old one's Jobs are collected
		m.settle()
		m.settle()
		for _, job := range w.wantJobs(3) {
			if got := job.Labels["longhaul.dev/trigger"]; got != "pictures" {
				t.Errorf("Job %s is for trigger %s", job.Name, got)
			}
			for _, before := range old {
				if job.Name == before.Name {
					t.Errorf("Job %s is counted for the new ScaledJob", job.Name)
				}
			}
		}
	})
}

func TestARotatedSecretIsUsed(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		queue := list(videos)
		queue.RedisList.Password = &v1alpha1.SecretKeyRef{Name: "redis", Key: "password"}
		w.apply(newScaledJob(triggers(queue)))
		w.broker.set(videos, 2, 0)
		m.settle()
		if got := w.wantReady("False", "TriggerInvalid"); !strings.Contains(got, `Secret "redis" does not exist in namespace media`) {
			t.Errorf("Ready says %q", got)
		}
		w.secret("redis", "pass", "tulip")
		m.settle()
		if got := w.wantReady("False", "TriggerInvalid"); !strings.Contains(got, `Secret "redis" has no key "password"`) {
			t.Errorf("Ready says %q", got)
		}
		w.wantJobs(0)
		w.secret("redis", "password", "tulip")
		m.settle()
		w.wantReady("True", "Dispatching")
		first := w.wantJobs(2)
		w.secret("redis", "password", "orchid")
		w.broker.put(videos, 1)
		m.settle()
		if diff := cmp.Diff([]string{"tulip", "orchid"}, w.broker.passwords); diff != "" {
			t.Errorf("passwords that were used (-want +got):\n%s", diff)
		}
		w.wantJobs(3)
		w.run(first...)
		m.settle()
		w.wantJobs(3)
		told := fmt.Sprint(w.scaledJob().Status, m.events.sent, m.measured())
		for _, password := range []string{"tulip", "orchid"} {
			if strings.Contains(told, password) {
				t.Errorf("password %s is told: %s", password, told)
			}
		}
	})
}

func TestASecretThatCannotBeReadLeavesTheTriggersAsTheyWere(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		queue := list(videos)
		queue.RedisList.Password = &v1alpha1.SecretKeyRef{Name: "redis", Key: "password"}
		w.secret("redis", "password", "tulip")
		w.apply(newScaledJob(triggers(queue)))
		w.broker.set(videos, 2, 0)
		m.settle()
		w.secret("redis", "password", "orchid")
		m.faults.live = func(client.Object) error { return errBroken }
		w.broker.put(videos, 1)
		m.failing(3, errBroken)
		w.wantJobs(2)
		m.faults.live = nil
		m.settle()
		w.wantJobs(3)
	})
}

func TestAnImmediateRolloutReadsTheTriggersAlsoWhereNothingCouldBeDispatched(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]func(*v1alpha1.ScaledJob){
		"at the cap": parallelism(0, 2),
		"suspended":  func(sj *v1alpha1.ScaledJob) { *sj.Spec.Suspend = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(t, func(t *testing.T, w *world) {
				m := w.manager()
				w.apply(newScaledJob(parallelism(0, 2), func(sj *v1alpha1.ScaledJob) { sj.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate }))
				w.broker.set(videos, 3, 0)
				m.settle()
				jobs := w.wantJobs(2)
				w.edit(held)
				m.follow(5 * time.Second)
				w.edit(image("worker:2"))
				m.follow(5 * time.Second)
				if diff := cmp.Diff(names(jobs), w.ending()); diff != "" {
					t.Errorf("Jobs that are ended (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestTheTimeOfADispatchIsToldAlsoWhereTheStatusIsWrittenLater(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.broker.set(videos, 1, 0)
		w.apply(newScaledJob())
		m.follow(500 * time.Millisecond) // within a second of the first write of the status
		w.wantJobs(1)
		m.follow(3 * time.Second)
		if w.scaledJob().Status.LastDispatchTime == nil {
			t.Error("the status does not tell when the Job was dispatched")
		}
	})
}

func TestAJobThatCannotBeDeletedKeepsNothingFromBeingTold(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 0 }))
		w.broker.set(videos, 1, 0)
		m.settle()
		m.workOff(1)
		w.finish(batchv1.JobComplete, w.jobs()...)
		m.step(time.Minute)
		m.faults.remove = func(*batchv1.Job) error { return errBroken }
		w.broker.put(videos, 2)
		m.step(time.Second)
		for range 10 {
			if _, err := m.try(); !errors.Is(err, errBroken) {
				t.Fatalf("the pass says %v, want %v", err, errBroken)
			}
			m.step(time.Second)
		}
		if s := w.scaledJob().Status; *s.Starting != 2 || s.LastSequence != 3 {
			t.Errorf("the status tells %d starting, and the last sequence %d; want 2 and 3", *s.Starting, s.LastSequence)
		}
	})
}

func TestNoNumberIsUsedAgainThoughAllJobsWereForgotten(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 0 }))
		w.broker.set(videos, 1, 0)
		m.settle()
		m.workOff(1)
		w.finish(batchv1.JobComplete, w.jobs()...)
		m.follow(time.Minute)
		w.wantJobs(0)
		m.kill()
		m = w.manager()
		m.arrive(1)
		m.settle()
		if diff := cmp.Diff([]string{"transcode-000002"}, names(w.jobs())); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}
