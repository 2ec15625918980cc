package dispatcher_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// quota has the API server refuse Jobs beyond a number, dry runs as well, and note the moments at which it did.
func (w *world) quota(most int) (refused *[]time.Time) {
	refused = new([]time.Time)
	w.admit = func(job *batchv1.Job, _ bool) error {
		var list batchv1.JobList
		if err := w.api.List(w.t.Context(), &list); err != nil {
			return err
		}
		if len(list.Items) < most {
			return nil
		}
		*refused = append(*refused, w.clock.Now())
		return apierrors.NewForbidden(jobs, job.Name, errors.New("exceeded quota: few-jobs, requested: count/jobs.batch=1"))
	}
	return refused
}

func TestAQuotaIsTriedAtGrowingIntervalsAndSaidInTheServersWords(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, w *world, queue func(string) v1alpha1.Trigger) {
		m := w.manager()
		w.apply(newScaledJob(triggers(queue(videos))))
		m.settle()
		refused := w.quota(2)
		w.broker.set(videos, 5, 0)
		m.step(time.Second)
		m.passes(1)
		if n := len(*refused); n == 0 || n > 3 {
			t.Errorf("the first batch was refused %d times, want 1 to 3", n)
		}
		m.follow(2 * time.Second)
		message := w.wantReady("False", "CreationRefused")
		if want := "exceeded quota: few-jobs, requested: count/jobs.batch=1"; !strings.Contains(message, want) {
			t.Errorf("Ready says %q, want the server's words %q", message, want)
		}
		if s := w.scaledJob().Status; *s.Starting != 2 {
			t.Errorf("the status counts %d starting Jobs, want the 2 that exist", *s.Starting)
		}
		m.follow(62 * time.Second)
		w.wantJobs(2)
		var pauses []int
		for i, at := range (*refused)[1:] {
			if pause := at.Sub((*refused)[i]); pause > 0 {
				pauses = append(pauses, int(pause.Round(time.Second).Seconds()))
			}
		}
		if diff := cmp.Diff([]int{1, 2, 4, 8, 16, 32}, pauses); diff != "" {
			t.Errorf("seconds between the attempts (-want +got):\n%s", diff)
		}
		w.admit = nil
		m.follow(61 * time.Second)
		w.wantReady("True", "Dispatching")
		m.workOff(5)
	})
}

func TestARefusalEndsThoughNothingWaitsAnyLonger(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		m.settle()
		w.quota(0)
		w.broker.set(videos, 1, 0)
		m.step(time.Second)
		m.follow(3 * time.Second)
		w.wantReady("False", "CreationRefused")
		w.broker.set(videos, 0, 0)
		m.follow(2 * time.Second)
		w.admit = nil
		m.follow(10 * time.Second)
		w.wantReady("True", "Dispatching")
		w.wantJobs(0)
	})
}

func TestABadTemplateShowsBeforeAnyMessageWaitsAndAnEditMendsIt(t *testing.T) {
	t.Parallel()
	kind := schema.GroupKind{Group: batchv1.GroupName, Kind: "Job"}
	for what, refusal := range map[string]error{
		"invalid": apierrors.NewInvalid(kind, "transcode-000000", field.ErrorList{
			field.Invalid(field.NewPath("spec", "template", "spec", "containers").Index(0).Child("image"), "", "must not be empty"),
		}),
		"bad request": apierrors.NewBadRequest("spec.template.spec.containers[0].image: must not be empty"),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			story(t, func(t *testing.T, w *world) {
				m := w.manager()
				w.admit = func(job *batchv1.Job, _ bool) error {
					if job.Spec.Template.Spec.Containers[0].Image == "" {
						return refusal
					}
					return nil
				}
				w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image = "" }))
				m.passes(1)
				if got := w.wantReady("False", "TemplateInvalid"); !strings.Contains(got, "containers[0].image") {
					t.Errorf("Ready says %q, want the server's words", got)
				}
				w.broker.set(videos, 3, 0)
				m.step(time.Second)
				m.settle()
				w.wantJobs(0)
				if len(w.tried) > 0 {
					t.Errorf("%v were tried, though the template is known to be bad", w.tried)
				}
				w.edit(func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image = "worker:2" })
				m.settle()
				w.wantReady("True", "Dispatching")
				m.workOff(3)
			})
		})
	}
}

// An admission rule's refusal may look like that of the Job's own validation, and may end without an edit.
func TestARefusalAsInvalidEndsWithoutAnEdit(t *testing.T) {
	t.Parallel()
	for what, refusal := range map[string]error{
		"a webhook that gives no code":         &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: 400, Message: "admission webhook denied the request"}},
		"a policy that gives no reason":        apierrors.NewInvalid(schema.GroupKind{Group: batchv1.GroupName, Kind: "Job"}, "j", nil),
		"a bad request that the server mended": apierrors.NewBadRequest("no"),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			story(t, func(_ *testing.T, w *world) {
				m := w.manager()
				w.apply(newScaledJob())
				m.settle()
				tries := 0
				w.admit = func(*batchv1.Job, bool) error { tries++; return refusal }
				w.broker.set(videos, 3, 0)
				m.step(time.Second)
				m.follow(3 * time.Minute)
				w.wantReady("False", "TemplateInvalid")
				w.wantJobs(0)
				// One batch's first Jobs, and then 1, 2, 4, 8, 16, 32, 60 and 60 seconds later.
				if tries > 14 {
					w.t.Errorf("%d Jobs were tried in three minutes, without a growing pause", tries)
				}
				w.admit = nil
				m.follow(61 * time.Second)
				w.wantReady("True", "Dispatching")
				m.workOff(3)
			})
		})
	}
}

func TestATemplateIsTriedOnceAndWithoutMakingAJob(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		dryRuns := 0
		w.admit = func(_ *batchv1.Job, dryRun bool) error {
			if dryRun {
				dryRuns++
			}
			return nil
		}
		w.apply(newScaledJob())
		m.settle()
		m.follow(5 * time.Minute)
		if dryRuns != 1 {
			t.Errorf("the template was tried %d times, want once", dryRuns)
		}
		w.wantJobs(0)
	})
}

// The pass that is refused has itself called again, though nothing else would: no Job was created, and as many wait.
func TestARefusedBatchIsTriedAgainWhenItsPauseIsOver(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		m.settle()
		w.quota(0)
		m.arrive(1)
		if due := m.pass().RequeueAfter; due > time.Second {
			t.Errorf("the next pass is due in %v, want 1 s", due)
		}
		w.admit = nil
		m.follow(3 * time.Second)
		w.wantJobs(1)
	})
}

// A database that is full, for one, lets dry runs pass.
func TestWhatDryRunsDoNotShowIsTriedAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		m.settle()
		tries := 0
		w.admit = func(_ *batchv1.Job, dryRun bool) error {
			if dryRun {
				return nil
			}
			tries++
			return apierrors.NewForbidden(jobs, "j", errors.New("not now"))
		}
		m.arrive(8)
		m.follow(2 * time.Minute)
		// 4 at a time, and 1, 2, 4, 8, 16, 32 and 60 seconds apart.
		if tries > 9*4 {
			t.Errorf("%d creations were tried in two minutes, without a growing pause", tries)
		}
		w.admit = nil
		m.follow(61 * time.Second)
		m.workOff(8)
	})
}

func TestAnImmediateRolloutToATemplateThatIsForbiddenEndsNothing(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		words string
		ended int
	}{
		"by a rule":                         {"image is not allowed", 0},
		"by a quota that the old ones fill": {"exceeded quota: few-jobs", 3},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			story(t, func(t *testing.T, w *world) {
				m := w.manager()
				w.apply(newScaledJob(func(sj *v1alpha1.ScaledJob) { sj.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate }))
				w.broker.set(videos, 3, 0)
				m.settle()
				w.run(w.wantJobs(3)...)
				w.broker.take(videos, 3)
				w.admit = func(job *batchv1.Job, _ bool) error {
					if job.Spec.Template.Spec.Containers[0].Image == "next" {
						return apierrors.NewForbidden(jobs, job.Name, errors.New(c.words))
					}
					return nil
				}
				w.edit(image("next"))
				m.follow(5 * time.Second)
				if n := 3 - len(w.jobs()) + len(w.ending()); n != c.ended {
					t.Errorf("%d Jobs were ended, want %d", n, c.ended)
				}
			})
		})
	}
}

func TestAForeignJobWithTheNameOfADryRunDoesNotMatter(t *testing.T) {
	t.Parallel()
	story(t, func(_ *testing.T, w *world) {
		m := w.manager()
		w.apply(foreignJob("transcode-000000", nil))
		w.apply(newScaledJob())
		m.arrive(2)
		m.settle()
		m.workOff(2)
	})
}
