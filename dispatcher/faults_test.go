package dispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher"
)

// eachKind tells a story twice: with a queue of which only what waits is known, and with one of which what is held is
// known too. The first takes a ledger, the second does not.
func eachKind(t *testing.T, tell func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger)) {
	t.Helper()
	for kind, queue := range map[string]func(string) v1alpha1.Trigger{"waiting is known": list, "held is known too": held} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			story(t, func(t *testing.T, w *world) { tell(t, w, queue) })
		})
	}
}

// workOff has all Jobs run, take a message each, acknowledge it and end. Between these the manager may do what it can, and
// at each step there must be as many Jobs as before.
func (m *manager) workOff(want int) {
	m.t.Helper()
	jobs := m.wantJobs(want)
	m.run(jobs...)
	m.settle()
	m.wantJobs(want)
	m.broker.take(videos, int64(want))
	m.settle()
	m.wantJobs(want)
	m.broker.acknowledge(videos, int64(want))
	m.succeed(jobs...)
	m.settle()
	m.wantJobs(want)
	m.finish(batchv1.JobComplete, jobs...)
	m.settle()
	m.wantJobs(want)
}

// failing makes passes that all fail for the reason given.
func (m *manager) failing(passes int, why error) {
	m.t.Helper()
	for range passes {
		if _, err := m.try(); !errors.Is(err, why) {
			m.t.Fatalf("the pass came to %v, want %v", err, why)
		}
		m.step(between)
	}
}

var errBroken = errors.New("the API server is on fire")

func TestAJobOrPodListThatFailsNeverReadsAsNone(t *testing.T) {
	t.Parallel()
	lists := map[string]func(client.ObjectList) error{
		"Jobs": func(l client.ObjectList) error {
			if _, ok := l.(*batchv1.JobList); ok {
				return errBroken
			}
			return nil
		},
		"Pods": func(l client.ObjectList) error {
			if _, ok := l.(*corev1.PodList); ok {
				return errBroken
			}
			return nil
		},
	}
	for what, broken := range lists {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
				m := w.manager()
				w.apply(newScaledJob(triggers(queue(videos))))
				w.broker.set(videos, 3, 0)
				m.settle()
				w.wantJobs(3)
				w.broker.put(videos, 2)
				m.faults.list = broken
				m.failing(5, errBroken)
				w.wantJobs(3)
				m.faults.list = nil
				m.settle()
				m.workOff(5)
			})
		})
	}
}

func TestTheFirstJobListThatFailsDispatchesNothing(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		w.broker.set(videos, 3, 0)
		m.faults.list = func(client.ObjectList) error { return errBroken }
		m.failing(5, errBroken)
		w.wantJobs(0)
		m.faults.list = nil
		m.settle()
		m.workOff(3)
	})
}

func TestACreateThatFailsInMidBatchCostsNoJobAndMakesNoneTwice(t *testing.T) {
	t.Parallel()
	quota := apierrors.NewForbidden(jobs, "transcode-000003", errors.New("exceeded quota: jobs"))
	for what, refusal := range map[string]error{
		"quota":               quota,
		"too many requests":   apierrors.NewTooManyRequests("slow down", 1),
		"internal error":      apierrors.NewInternalError(errors.New("etcd has no leader")),
		"timeout":             apierrors.NewTimeoutError("request did not complete in time", 1),
		"connection refused":  errors.New("dial tcp: connection refused"),
		"name taken, it says": apierrors.NewAlreadyExists(jobs, "transcode-000003"),
	} {
		for concurrency, queue := range map[int]func(string) v1alpha1.Trigger{1: list, 2: held} {
			t.Run(fmt.Sprintf("%s, %d at a time", what, concurrency), func(t *testing.T) {
				t.Parallel()
				story(t, func(t *testing.T, w *world) {
					m := w.manager(func(o *dispatcher.Options) { o.CreationConcurrency = concurrency })
					w.apply(newScaledJob(triggers(queue(videos))))
					m.arrive(8)
					asked := 0
					m.faults.create = func(_ *batchv1.Job, create func() error) error {
						if asked++; asked == 3 {
							return refusal
						}
						return create()
					}
					m.passes(1)
					// Those already on their way when the third failed were created as well.
					if got := len(w.jobs()); got < 2 || got > 2+2*concurrency {
						t.Fatalf("the batch that failed made %d Jobs, want 2 to %d", got, 2+2*concurrency)
					}
					m.settle()
					m.workOff(8)
				})
			})
		}
	}
}

func TestARefusalStopsItsBatch(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager(func(o *dispatcher.Options) { o.CreationConcurrency = 1 })
		w.apply(newScaledJob())
		w.broker.set(videos, 50, 0)
		w.admit = func(job *batchv1.Job, dryRun bool) error {
			if dryRun {
				return nil
			}
			return apierrors.NewForbidden(jobs, job.Name, errors.New("no"))
		}
		m.passes(5)
		w.wantJobs(0)
		if len(w.tried) > 2 {
			t.Errorf("%d Jobs were tried against a refusal, want 2 at most: %v", len(w.tried), w.tried)
		}
	})
}

// lostAnswers are what a client sees when the API server did what was asked, or may have, and its answer was lost.
var lostAnswers = map[string]error{
	"timeout":          apierrors.NewTimeoutError("request did not complete in time", 1),
	"server timeout":   apierrors.NewServerTimeout(jobs, "create", 1),
	"internal error":   apierrors.NewInternalError(errors.New("unexpected EOF")),
	"connection reset": errors.New("read tcp: connection reset by peer"),
	"deadline":         context.DeadlineExceeded,
}

func TestACreateWhoseAnswerIsLostMakesNoSecondJob(t *testing.T) {
	t.Parallel()
	for what, lost := range lostAnswers {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			story(t, func(t *testing.T, w *world) {
				m := w.manager()
				w.apply(newScaledJob(triggers(held(videos))))
				m.arrive(3)
				m.faults.create = func(_ *batchv1.Job, create func() error) error {
					w.must(create())
					return lost
				}
				m.passes(1)
				if len(w.jobs()) == 0 {
					t.Fatal("no Job was created, so no answer was lost")
				}
				m.faults.create = nil
				m.settle()
				m.workOff(3)
			})
		})
	}
}

func TestNothingIsDecidedWhileItIsUnknownWhatBecameOfAJob(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		m.arrive(1)
		m.faults.create = func(*batchv1.Job, func() error) error { return context.DeadlineExceeded }
		m.passes(1)
		m.faults.create = nil
		m.faults.live = func(client.Object) error { return errBroken }
		m.step(time.Second)
		m.failing(5, errBroken)
		w.wantJobs(0)
		m.faults.live = nil
		m.settle()
		m.workOff(1)
	})
}

func TestACacheThatLagsMakesNoSecondJob(t *testing.T) {
	t.Parallel()
	for _, lag := range []time.Duration{3 * time.Second, 30 * time.Second, 3 * time.Minute} {
		t.Run(lag.String(), func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
				m := w.manager()
				w.apply(newScaledJob(triggers(queue(videos))))
				m.arrive(3)
				m.freeze()
				m.passes(1)
				w.wantJobs(3)
				for range 5 {
					m.step(lag / 5)
					m.passes(2)
					w.wantJobs(3)
				}
				m.thaw()
				m.settle()
				m.workOff(3)
			})
		})
	}
}

func TestACacheThatShowsSomeOfABatchMakesNoSecondJob(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		w.broker.set(videos, 3, 0)
		m.faults.shows = func(j *batchv1.Job) bool { return j.Name == "transcode-000002" }
		m.passes(5)
		m.step(2 * time.Second)
		m.passes(5)
		w.wantJobs(3)
		m.faults.shows = nil
		m.settle()
		m.workOff(3)
	})
}

func TestACacheBehindInPodsMakesTooFewJobsRatherThanTooMany(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		w.broker.set(videos, 3, 0)
		m.settle()
		first := w.wantJobs(3)
		m.freeze() // it shows none of the pods
		w.run(first...)
		w.broker.take(videos, 3)
		m.settle()
		w.broker.put(videos, 2)
		m.settle()
		w.wantJobs(3)
		m.thaw()
		m.settle()
		w.wantJobs(5)
	})
}

func TestAJobDeletedBeforeTheCacheShowedItIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		m.arrive(1)
		m.pass()
		created := w.wantJobs(1)
		w.must(w.api.Delete(t.Context(), &created[0]))
		m.follow(4 * time.Second)
		w.wantJobs(0)
		m.follow(10 * time.Second)
		if got := w.wantJobs(1)[0].Name; got != "transcode-000002" {
			t.Errorf("the message's new Job is %s, want transcode-000002: a number is used once", got)
		}
		m.workOff(1)
	})
}

func TestAStatusWriteThatIsLostChangesNoNumberOfJobs(t *testing.T) {
	t.Parallel()
	for what, fault := range map[string]func(write func() error) error{
		"conflict": func(func() error) error { return apierrors.NewConflict(jobs, name, errors.New("modified")) },
		"refused":  func(func() error) error { return errBroken },
		"answer lost": func(write func() error) error {
			if err := write(); err != nil {
				return err
			}
			return errBroken
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
				m := w.manager()
				w.apply(newScaledJob(triggers(queue(videos))))
				w.broker.set(videos, 3, 0)
				m.faults.status = fault
				failed := 0
				for range 20 {
					if _, err := m.try(); err != nil {
						failed++
					}
					m.step(300 * time.Millisecond)
				}
				if (failed == 0) != (what == "conflict") {
					t.Errorf("%d of 20 passes failed", failed)
				}
				w.wantJobs(3)
				m.faults.status = nil
				m.settle()
				if s := w.scaledJob().Status; s.LastSequence != 3 || s.Starting == nil || *s.Starting != 3 {
					t.Errorf("in the end the status says lastSequence %d and starting %v, want 3 and 3", s.LastSequence, s.Starting)
				}
				m.workOff(3)
			})
		})
	}
}

func TestNoNumberIsUsedAgainThoughTheStatusWasNeverWritten(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos)), func(sj *v1alpha1.ScaledJob) { *sj.Spec.SuccessfulJobsHistoryLimit = 0 }))
		w.broker.set(videos, 2, 0)
		m.faults.status = func(func() error) error { return apierrors.NewConflict(jobs, name, errors.New("modified")) }
		m.passes(5)
		m.workOff(2)
		m.step(time.Minute)
		m.passes(5) // no Job is forgotten whose number nothing else remembers
		m.kill()
		w.wantJobs(2)

		m = w.manager()
		w.broker.put(videos, 1)
		m.settle()
		slices.Sort(w.tried) // two were created at a time
		if diff := cmp.Diff([]string{"transcode-000001", "transcode-000002", "transcode-000003"}, w.tried); diff != "" {
			t.Errorf("the names tried, each once (-want +got):\n%s", diff)
		}
		m.step(time.Minute)
		m.settle()
		if got := names(w.wantJobs(1)); got[0] != "transcode-000003" {
			t.Errorf("with the status written, %v is kept, want the unfinished transcode-000003 only", got)
		}
	})
}

func TestASecondManagerWithAnOldViewMakesNoSecondJob(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		first, second := w.manager(), w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		second.settle()
		second.freeze()
		first.arrive(3)
		first.passes(1)
		w.wantJobs(3)
		tried := len(w.tried)
		second.passes(5)
		if len(w.tried) == tried {
			t.Error("the second manager tried nothing, so nothing was refused")
		}
		w.wantJobs(3)
		// Seconds later it still has its old view.
		for range 5 {
			second.step(3 * time.Second)
			second.passes(2)
			first.passes(2)
		}
		w.wantJobs(3)
		first.workOff(3)
		second.passes(5)
		w.wantJobs(3)
	})
}

func TestASecondManagerWhoseViewIsOlderThanTheLastJobsEndMakesNoSecondJob(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		first, second := w.manager(), w.manager()
		w.apply(newScaledJob(triggers(queue(videos)), parallelism(0, 3)))
		second.pass()
		second.freeze()
		w.broker.set(videos, 3, 0)
		first.settle()
		first.workOff(3)
		// The slots are free again, and three new messages wait: both would dispatch now, one of them by what was long ago.
		w.broker.put(videos, 3)
		w.step(time.Second)
		second.passes(5)
		w.wantJobs(3)
		first.passes(5)
		second.passes(5)
		w.wantJobs(6)
	})
}

func TestABacklogOlderThanTheCountOfJobsIsNotDecidedOn(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		w.broker.set(videos, 1, 0)
		m.settle()
		only := w.wantJobs(1)
		// The meter's last reading shows one message. While the broker is slow to answer, the Job takes it, works and ends.
		deliver := w.broker.delay("redis:6379")
		m.step(time.Second) // a reading begins
		m.step(between)
		w.run(only...)
		w.broker.take(videos, 1)
		w.broker.acknowledge(videos, 1)
		w.succeed(only...)
		w.finish(batchv1.JobComplete, only...)
		for range 10 {
			m.passes(2)
			m.step(100 * time.Millisecond)
		}
		w.wantJobs(1)
		if waits := *w.scaledJob().Status.Waiting; waits != 1 {
			t.Fatalf("the status says that %d messages wait: the reading is not old", waits)
		}
		// What arrives now was asked for before the Jobs were counted.
		deliver()
		m.follow(5 * time.Second)
		w.wantJobs(1)
		if waits := *w.scaledJob().Status.Waiting; waits != 0 {
			t.Errorf("in the end the status says that %d messages wait, want 0", waits)
		}
	})
}

func TestATriggerThatCannotBeReadDispatchesNothingAndHeals(t *testing.T) {
	t.Parallel()
	for what, queue := range map[string]string{"the broker is down": "", "the queue is missing": videos} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(t *testing.T, w *world, kind func(string) v1alpha1.Trigger) {
				m := w.manager()
				w.apply(newScaledJob(triggers(kind(videos)), parallelism(1, 10)))
				w.broker.set(videos, 3, 0)
				w.broker.fail(queue, errors.New("no such luck"))
				m.settle()
				w.wantJobs(0)
				want := "trigger videos: no such luck"
				if got := w.wantReady("False", "TriggerUnreadable"); got != want {
					t.Errorf("Ready says %q, want %q", got, want)
				}
				if got := w.scaledJob().Status.Triggers[0].Message; got != "no such luck" {
					t.Errorf("the trigger's message is %q", got)
				}
				w.broker.fail(queue, nil)
				m.step(6 * time.Second) // the longest pause between attempts
				m.settle()
				w.wantReady("True", "Dispatching")
				if got := w.scaledJob().Status.Triggers[0].Message; got != "" {
					t.Errorf("the trigger still has the message %q", got)
				}
				w.wantJobs(3)
			})
		})
	}
}

func TestABrokerThatGoesAwayLeavesItsJobsAlone(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		w.broker.set(videos, 3, 0)
		m.settle()
		w.wantJobs(3)
		w.broker.fail("", errors.New("connection refused"))
		m.step(time.Second)
		m.follow(30 * time.Second)
		w.wantReady("False", "TriggerUnreadable")
		w.wantJobs(3)
		w.broker.fail("", nil)
		m.step(6 * time.Second)
		m.settle()
		w.wantReady("True", "Dispatching")
		m.workOff(3)
	})
}

func TestASlowBrokerDelaysOnlyItsOwnTriggers(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		slow := list("slow")
		slow.RedisList.Addresses = []string{"far-away:6379"}
		deliver := w.broker.delay("far-away:6379")
		w.apply(newScaledJob(triggers(list(videos), slow)))
		w.broker.set(videos, 2, 0)
		w.broker.set("slow", 3, 0)
		m.follow(3 * time.Second)
		for _, job := range w.wantJobs(2) {
			if got := job.Labels["longhaul.dev/trigger"]; got != videos {
				t.Errorf("Job %s is for trigger %s", job.Name, got)
			}
		}
		if got, want := w.wantReady("Unknown", "TriggerUnread"), "not read yet: slow"; got != want {
			t.Errorf("Ready says %q, want %q", got, want)
		}
		deliver()
		m.settle()
		w.wantJobs(5)
		w.wantReady("True", "Dispatching")
	})
}

func TestASlotGoesToTheTriggerWithTheFewestJobsAndNotToTheFastestBroker(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		slow := list("slow")
		slow.RedisList.Addresses = []string{"far-away:6379"}
		w.apply(newScaledJob(triggers(list(videos), slow), parallelism(0, 2)))
		w.broker.set(videos, 5, 0)
		w.broker.set("slow", 5, 0)
		deliver := w.broker.delay("far-away:6379")
		m.follow(100 * time.Millisecond)
		w.wantJobs(0)
		deliver()
		m.settle()
		of := map[string]int{}
		for _, job := range w.wantJobs(2) {
			of[job.Labels["longhaul.dev/trigger"]]++
		}
		if of[videos] != 1 || of["slow"] != 1 {
			t.Errorf("the slots went to %v, want one each", of)
		}
	})
}

// A reading that takes longer than it takes for the next Job to end answers all the same.
func TestJobsThatEndQuickerThanABrokerAnswersDoNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	for _, latency := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond} {
		t.Run(latency.String(), func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
				m := w.manager()
				w.apply(newScaledJob(triggers(queue(videos)), parallelism(0, 40)))
				w.broker.set(videos, 20, 0)
				m.settle()
				before := w.wantJobs(20)
				w.run(before...)
				w.broker.take(videos, 20)
				m.follow(15 * time.Second)
				w.broker.slow(latency)
				m.follow(3 * time.Second)
				w.broker.put(videos, 10)
				for _, job := range before { // one each 100 ms
					w.broker.acknowledge(videos, 1)
					w.succeed(job)
					m.pass()
					for range 10 {
						m.woken.Store(false)
						m.step(between)
						if m.woken.Load() {
							m.pass()
						}
					}
				}
				if n := len(w.jobs()) - len(before); n < 3 || n > 10 {
					t.Errorf("%d Jobs for 10 messages within 2 s, want 3 to 10", n)
				}
			})
		})
	}
}

// The new leader sees the status that the old one wrote, and not yet the Jobs.
func TestACacheBehindInJobsOnlyMakesNoSecondJob(t *testing.T) {
	t.Parallel()
	eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		old := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		old.arrive(3)
		old.settle()
		w.wantJobs(3)
		old.kill()
		m := w.manager()
		m.faults.shows = func(*batchv1.Job) bool { return false }
		m.follow(3 * time.Second)
		w.wantJobs(3)
		m.faults.shows = nil
		w.writes.Add(1)
		m.settle()
		m.workOff(3)
	})
}

// What the ledger did not see created is owed its messages all the same.
func TestJobsThatSomeoneElseCreatedMakeNoSecondJob(t *testing.T) {
	t.Parallel()
	for what, dispatch := range map[string]func(w *world, m *manager) *manager{
		"whose creation was not answered": func(w *world, m *manager) *manager {
			m.faults.create = func(_ *batchv1.Job, create func() error) error {
				w.must(create())
				return apierrors.NewTimeoutError("request did not complete in time", 1)
			}
			m.passes(1)
			m.faults.create = nil
			return m
		},
		"by a manager before": func(w *world, m *manager) *manager {
			second := w.manager()
			second.faults.shows = func(*batchv1.Job) bool { return false }
			m.passes(1)
			m.kill()
			second.settle() // tries the same names
			second.faults.shows = nil
			w.writes.Add(1)
			return second
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(_ *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
				m := w.manager()
				w.apply(newScaledJob(triggers(queue(videos))))
				m.arrive(3)
				m = dispatch(w, m)
				m.settle()
				m.workOff(3)
			})
		})
	}
}

func TestReadyStaysWhileTheCacheHasYetToShowAJob(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		m.settle()
		m.faults.shows = func(*batchv1.Job) bool { return false }
		m.arrive(1)
		m.pass()
		w.wantJobs(1)
		m.step(1100 * time.Millisecond)
		w.writes.Add(1)
		m.pass()
		w.wantReady("True", "Dispatching")
		if s := w.scaledJob().Status; s.Waiting == nil || *s.Waiting != 1 {
			t.Errorf("the status tells %v waiting, want 1", s.Waiting)
		}
	})
}
