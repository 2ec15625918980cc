package dispatcher_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// These are stories of messages that come back because a pod went away, and of Jobs that outlast what they were made for.

// working has a manager whose one Job has taken its message, and has settled.
func working(w *world, queue func(string) v1alpha1.Trigger, changes ...func(*v1alpha1.ScaledJob)) *manager {
	w.t.Helper()
	m := w.manager()
	w.apply(newScaledJob(append([]func(*v1alpha1.ScaledJob){triggers(queue(videos))}, changes...)...))
	w.broker.set(videos, 1, 0)
	m.settle()
	w.run(w.wantJobs(1)...)
	w.broker.take(videos, 1)
	m.follow(15 * time.Second)
	return m
}

func TestAPodThatIsReplacedWhileItStillEndsMakesNoSecondJob(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := working(w, queue)
		job := w.wantJobs(1)[0]
		old := podOf(&job)
		w.must(w.api.Get(t.Context(), client.ObjectKeyFromObject(old), old))
		old.Finalizers = []string{"batch.kubernetes.io/job-tracking"}
		w.must(w.api.Update(t.Context(), old))
		w.must(w.api.Delete(t.Context(), old))
		w.failedOnce(job)
		next := podOf(&job)
		next.Name = "next"
		next.Status.Phase = corev1.PodPending
		w.must(w.api.Create(t.Context(), next))
		m.settle()
		w.wantJobs(1)
		w.broker.giveBack(videos, 1)
		m.settle()
		w.wantJobs(1)
	})
}

func TestAPodThatGoesAwayMakesNoSecondJobForItsMessage(t *testing.T) {
	t.Parallel()
	for what, goes := range map[string]func(m *manager){
		"evicted":                     func(m *manager) { m.evict(m.jobs()...) },
		"taken away by another queue": func(m *manager) { m.must(m.api.Delete(m.t.Context(), podOf(&m.jobs()[0]))) },
		"after its Job says so": func(m *manager) {
			m.failedOnce(m.jobs()[0])
			m.settle()
			m.must(m.api.Delete(m.t.Context(), podOf(&m.jobs()[0])))
		},
		"after restarts that go with it": func(m *manager) {
			m.pod(m.jobs()[0], func(s *corev1.PodStatus) { s.ContainerStatuses[0].RestartCount = 3 })
			m.follow(15 * time.Second)
			m.evict(m.jobs()...)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
				m := working(w, queue)
				goes(m)
				w.broker.giveBack(videos, 1)
				m.settle()
				w.wantJobs(1)
				m.follow(15 * time.Second)
				w.run(w.wantJobs(1)...)
				m.settle()
				w.wantJobs(1)
			})
		})
	}
}

func TestAMessageThatComesBackAtTheCapMakesNoSecondJobWhenASlotIsFree(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos)), parallelism(0, 2)))
		w.broker.set(videos, 2, 0)
		m.settle()
		both := w.wantJobs(2)
		w.run(both...)
		w.broker.take(videos, 2)
		m.follow(30 * time.Second)
		m.kill()
		m = w.manager()
		m.follow(30 * time.Second)
		w.crash(both[0])
		w.broker.giveBack(videos, 1)
		m.follow(3 * time.Second)
		w.broker.acknowledge(videos, 1)
		w.succeed(both[1])
		m.follow(3 * time.Second)
		w.wantJobs(2)
	})
}

func TestAnotherQueueIsNotHeldUpByJobsOfTheOneBefore(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := working(w, queue)
		w.edit(triggers(queue("pictures")))
		w.broker.set("pictures", 3, 0)
		m.follow(15 * time.Second)
		w.wantJobs(4)
	})
}

func TestAJobForSeveralMessagesThatFoundFewerHoldsUpNoOthers(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := working(w, func(name string) v1alpha1.Trigger {
			trigger := queue(name)
			trigger.MessagesPerJob = ptr.To[int32](10)
			return trigger
		})
		w.broker.put(videos, 9)
		m.follow(15 * time.Second)
		w.wantJobs(2)
	})
}

func TestTheClocksOfNodesMayBeWrong(t *testing.T) {
	t.Parallel()
	for what, ahead := range map[string]time.Duration{"behind": -15 * time.Second, "ahead": 10 * time.Minute} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			story(t, func(_ *testing.T, w *world) {
				m := w.manager()
				w.apply(newScaledJob())
				w.broker.set(videos, 1, 0)
				m.settle()
				began := metav1.NewTime(w.clock.Now().Add(ahead).Truncate(time.Second))
				w.pod(w.wantJobs(1)[0], func(s *corev1.PodStatus) {
					s.Phase = corev1.PodRunning
					s.ContainerStatuses = []corev1.ContainerStatus{{
						Name: "worker", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}},
					}}
				})
				m.settle()
				w.wantJobs(1) // it has yet to take its message
				w.broker.take(videos, 1)
				w.broker.put(videos, 1) // which hides that
				m.follow(15 * time.Second)
				w.wantJobs(2)
			})
		})
	}
}
