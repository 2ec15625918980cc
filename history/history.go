// Package history tells which finished Jobs to forget. It is pure.
//
// A Job is finished when it has a terminal condition, Complete or Failed, and finished at the time of that condition: a
// failed Job has no completion time. To forget a Job is to delete it. The newest are kept, by when they finished.
package history

import (
	"cmp"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Outcome is how a Job finished.
type Outcome string

// The outcomes.
const (
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
)

// Finished says how and when a Job finished; false while it has not.
func Finished(job *batchv1.Job) (outcome Outcome, at time.Time, finished bool) {
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return Succeeded, c.LastTransitionTime.Time, true
		case batchv1.JobFailed:
			return Failed, c.LastTransitionTime.Time, true
		}
	}
	return "", time.Time{}, false
}

// Limits are how many finished Jobs are kept of each outcome; 0 or more.
type Limits struct {
	Succeeded, Failed int
}

// Beyond lists the finished Jobs beyond the limits, oldest first. Jobs that are being deleted already count as gone. Of
// Jobs that finished in the same second, the one with the greater name is newer.
func Beyond(jobs []*batchv1.Job, limits Limits) []*batchv1.Job {
	var beyond []*batchv1.Job
	for _, o := range []struct {
		outcome Outcome
		limit   int
	}{{Succeeded, limits.Succeeded}, {Failed, limits.Failed}} {
		ended := oldestFirst(jobs, o.outcome)
		beyond = append(beyond, ended[:max(0, len(ended)-o.limit)]...)
	}
	return beyond
}

func oldestFirst(jobs []*batchv1.Job, of Outcome) []*batchv1.Job {
	var ended []*batchv1.Job
	for _, j := range jobs {
		if outcome, _, ok := Finished(j); ok && outcome == of && j.DeletionTimestamp == nil {
			ended = append(ended, j)
		}
	}
	slices.SortStableFunc(ended, func(a, b *batchv1.Job) int {
		_, at, _ := Finished(a)
		_, bt, _ := Finished(b)
		// A longer name is a greater number.
		return cmp.Or(at.Compare(bt), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return ended
}
