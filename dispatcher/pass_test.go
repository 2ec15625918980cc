package dispatcher_test

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher"
)

func TestEachMessageGetsOneJobAsTheyCome(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		m.settle()
		w.wantJobs(0)
		w.wantReady("True", "Dispatching")
		w.broker.set(videos, 3, 0)
		m.step(time.Second)
		m.settle()
		first := w.wantJobs(3)
		w.run(first...)
		w.broker.take(videos, 3)
		w.broker.put(videos, 1)
		m.step(time.Second)
		m.settle()
		// Where only what waits is known, an arrival hides a take until the Jobs have settled.
		m.follow(12 * time.Second)
		fourth := w.wantJobs(4)[3]
		w.run(fourth)
		w.broker.take(videos, 1)
		m.settle()
		w.wantJobs(4)
	})
}

func TestTheCapHoldsAndASlotIsFreeOnceThePodHasEndedWell(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos)), parallelism(0, 2)))
		w.broker.set(videos, 5, 0)
		m.settle()
		first := w.wantJobs(2)
		w.run(first...)
		w.broker.take(videos, 2)
		m.settle()
		w.wantJobs(2)
		w.broker.acknowledge(videos, 1)
		w.succeed(first[0]) // its Job's status says nothing of it yet
		m.settle()
		w.wantJobs(3)
		w.crash(first[1]) // it will be tried again, and keeps its slot
		w.broker.giveBack(videos, 1)
		m.settle()
		w.wantJobs(3)
		w.finish(batchv1.JobFailed, first[1])
		m.settle()
		w.wantJobs(4)
	})
}

func TestAPodThatFailedAndWillBeTriedAgainMakesNoSecondJob(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		w.broker.set(videos, 1, 0)
		m.settle()
		only := w.wantJobs(1)
		w.run(only...)
		w.broker.take(videos, 1)
		m.follow(12 * time.Second)
		w.crash(only...)
		w.broker.giveBack(videos, 1)
		m.settle()
		w.wantJobs(1)
		w.run(only...) // its next pod runs, and has not taken the message yet
		w.pod(only[0], func(s *corev1.PodStatus) { s.ContainerStatuses[0].RestartCount = 1 })
		m.settle()
		w.wantJobs(1)
	})
}

func TestMessagesThatOthersHoldMakeNoJobs(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(held(videos))))
		w.broker.set(videos, 2, 7)
		m.settle()
		m.follow(3 * time.Second)
		w.wantJobs(2)
	})
}

func TestWhatIsHeldMeansNothingWhereWorkersAcknowledgeOnReceipt(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		queue := held(videos)
		queue.Acknowledge = v1alpha1.AcknowledgeOnReceipt
		w.apply(newScaledJob(triggers(queue)))
		w.broker.set(videos, 2, 0)
		m.settle()
		first := w.wantJobs(2)
		w.run(first...)
		w.broker.take(videos, 2)
		w.broker.acknowledge(videos, 2)
		m.step(time.Second)
		m.settle()
		w.broker.put(videos, 2)
		m.step(time.Second)
		m.settle()
		w.wantJobs(4) // by held alone, the first two would still be about to take these
	})
}

func TestOneJobTakesAsManyMessagesAsItsTriggerSays(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		several := queue(videos)
		several.MessagesPerJob = ptr.To[int32](10)
		w.apply(newScaledJob(triggers(several)))
		w.broker.set(videos, 31, 0)
		m.settle()
		w.wantJobs(4)
	})
}

func TestAMinimumIsKeptGoingWithinTheCap(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos)), parallelism(2, 3)))
		m.settle()
		first := w.wantJobs(2)
		w.broker.set(videos, 3, 0)
		m.step(time.Second)
		m.settle()
		w.wantJobs(3)
		w.run(first...)
		w.broker.take(videos, 3)
		w.broker.acknowledge(videos, 3)
		m.step(time.Second)
		m.settle()
		w.wantJobs(3)
		w.succeed(w.jobs()...)
		w.finish(batchv1.JobComplete, w.jobs()...)
		m.settle()
		w.wantJobs(5) // three that ended, two that are kept going
	})
}

func TestJobsWithOurLabelsAndAnotherOwnerAreNotOurs(t *testing.T) {
	t.Parallel()
	marks := labels.Set{"longhaul.dev/scaledjob": name, "longhaul.dev/trigger": videos}
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		unowned := foreignJob("transcode-by-hand", marks)
		owned := foreignJob("transcode-of-another", marks)
		owned.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(
			&v1alpha1.ScaledJob{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-of-another"}},
			v1alpha1.GroupVersion().WithKind("ScaledJob"),
		)}
		w.apply(unowned)
		w.apply(owned)
		w.finish(batchv1.JobComplete, *owned)
		w.apply(newScaledJob(parallelism(0, 1), func(sj *v1alpha1.ScaledJob) {
			*sj.Spec.SuccessfulJobsHistoryLimit = 0
			sj.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate
		}))
		w.broker.set(videos, 1, 0)
		m.settle()
		w.wantJobs(1) // neither fills the one slot
		m.step(time.Minute)
		m.settle()
		for _, job := range []*batchv1.Job{unowned, owned} {
			w.must(w.api.Get(t.Context(), client.ObjectKeyFromObject(job), job)) // neither is cleared away or replaced
		}
		if s := w.scaledJob().Status; *s.Starting != 1 || *s.Succeeded != 0 {
			t.Errorf("the status counts %d starting and %d succeeded, want 1 and 0", *s.Starting, *s.Succeeded)
		}
	})
}

func TestANameTakenByAForeignJobIsLeftOutAndTheMessageGetsTheNext(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(foreignJob("transcode-000001", nil))
		w.apply(foreignJob("transcode-000003", nil))
		w.apply(newScaledJob(triggers(queue(videos))))
		w.broker.set(videos, 3, 0)
		m.settle()
		m.settle()
		for _, job := range w.wantJobs(3) {
			if job.Name == "transcode-000001" || job.Name == "transcode-000003" {
				t.Errorf("Job %s is another's", job.Name)
			}
		}
		m.workOff(3)
	})
}

func TestARestartedManagerMakesNoSecondJob(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos)), parallelism(0, 4)))
		w.broker.set(videos, 6, 0)
		m.passes(2)
		first := w.wantJobs(4)
		m.kill()
		m = w.manager()
		m.settle()
		w.run(first...)
		m.kill()
		m = w.manager()
		m.settle()
		w.wantJobs(4)
		w.broker.take(videos, 4)
		m.kill()
		m = w.manager()
		m.settle()
		w.broker.acknowledge(videos, 4)
		w.succeed(first...)
		m.kill()
		m = w.manager()
		m.settle()
		w.wantJobs(6)
	})
}

func TestEachOfSeveralTriggersGetsJobsOfItsOwn(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(list(videos), held("pictures")), parallelism(0, 4)))
		w.broker.set(videos, 9, 0)
		w.broker.set("pictures", 9, 0)
		m.settle()
		of := map[string]int{}
		for _, job := range w.wantJobs(4) {
			of[job.Labels["longhaul.dev/trigger"]]++
		}
		if of[videos] != 2 || of["pictures"] != 2 {
			t.Errorf("the slots went to %v, want 2 each", of)
		}
	})
}

func TestWithACombinationEachJobIsForAMessageOfEveryTrigger(t *testing.T) {
	t.Parallel()
	for combine, want := range map[v1alpha1.Combine]int{v1alpha1.CombineMax: 6, v1alpha1.CombineMin: 2, v1alpha1.CombineAverage: 4} {
		t.Run(string(combine), func(t *testing.T) {
			t.Parallel()
			story(t, func(t *testing.T, w *world) {
				m := w.manager()
				w.apply(newScaledJob(triggers(list(videos), held("pictures")), func(sj *v1alpha1.ScaledJob) { sj.Spec.Combine = combine }))
				w.broker.set(videos, 2, 0)
				w.broker.set("pictures", 6, 0)
				m.settle()
				for _, job := range w.wantJobs(want) {
					if got, ok := job.Labels["longhaul.dev/trigger"]; ok {
						t.Errorf("Job %s is for trigger %s alone", job.Name, got)
					}
				}
				w.broker.fail(videos, errBroken)
				m.step(time.Second)
				w.broker.put("pictures", 5)
				m.step(time.Second)
				m.settle()
				w.wantJobs(want) // what is not known cannot be combined
			})
		})
	}
}

func TestOnlySelectedNamespacesAreDispatched(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		chosen, err := labels.Parse("team=media")
		w.must(err)
		m := w.manager(func(o *dispatcher.Options) { o.NamespaceSelector = chosen })
		says := func(when string, dispatched, kept bool) {
			t.Helper()
			selects, err := m.controller.Selects(w.t.Context(), namespace)
			w.must(err)
			keeps, err := m.controller.Keeps(w.t.Context(), namespace)
			w.must(err)
			if selects != dispatched || keeps != kept {
				t.Errorf("%s: dispatched %t, its history kept %t; want %t and %t", when, selects, keeps, dispatched, kept)
			}
		}
		says("a namespace that is gone, or not seen yet", false, true)
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		w.apply(ns)
		says("one that is not selected", false, false)
		w.apply(newScaledJob())
		w.broker.set(videos, 1, 0)
		for range 3 {
			_, err := m.controller.Reconcile(w.t.Context(), request)
			w.must(err)
			m.step(between)
		}
		w.wantJobs(0)
		ns.Labels = map[string]string{"team": "media"}
		w.must(w.api.Update(w.t.Context(), ns))
		says("one that is selected", true, true)
		m.settle()
		w.wantJobs(1)
	})
}

func TestWhatIsHeldIsShownAndNotDecidedOnWhereItIsOld(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(stale(videos))))
		w.broker.set(videos, 3, 0)
		m.settle()
		w.run(w.wantJobs(3)...)
		w.broker.take(videos, 3)
		m.follow(2 * time.Second)
		w.broker.put(videos, 3)
		m.follow(2 * time.Second)
		w.wantJobs(6)
		if s := w.scaledJob().Status; s.Held == nil {
			t.Error("what is held is not shown")
		}
	})
}
