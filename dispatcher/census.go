package dispatcher

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

// timestampGrain is how much later than it says a timestamp in a status may have been: they are cut to the second.
const timestampGrain = time.Second

// phase is how far a Job has come.
type phase int

const (
	notRunning phase = iota // active: no pod of it runs, none yet or one that failed and will be tried again
	running                 // active: a pod of it runs
	ended                   // its pods have ended for good; it fills no slot, whatever its status says yet
)

// jobState is what Jobs and Pods tell of one Job.
type jobState struct {
	job     *batchv1.Job
	phase   phase
	outcome history.Outcome // of a Job that ended; empty where its status does not tell yet
	// unstored says that the record of a Job that has finished is not stored yet.
	unstored bool
	// ending says that the Job is being deleted: it fills its slot while a pod runs, and takes no further message.
	ending bool
	// pending is what an Accurate strategy asks: not running, or lacking a pod condition.
	pending bool
	// failures is how often a pod of it has failed, restarts of containers among them.
	failures int64
	// startedAt is when the latest container began to run, by its node's clock; zero unless running.
	startedAt time.Time
	// settlesFrom is when the settling time begins; zero unless running.
	settlesFrom time.Time
}

// stateOf tells how far a Job has come. A slot is free the moment its Pod has ended well: the Job's own status follows
// seconds later, a minute in a busy cluster.
func stateOf(job *batchv1.Job, pods []*corev1.Pod, podConditions []string) jobState {
	s := jobState{job: job, ending: job.DeletionTimestamp != nil, pending: true}
	if outcome, _, finished := history.Finished(job); finished {
		s.phase, s.outcome, s.pending = ended, outcome, false
		return s
	}
	var live, succeeded, failed int32
	replaced := slices.ContainsFunc(pods, isFresh)
	for _, pod := range pods {
		switch pod.Status.Phase {
		case corev1.PodSucceeded:
			succeeded++
		case corev1.PodFailed:
			failed++
		default:
			live++
			if replaced && pod.DeletionTimestamp != nil {
				continue // it takes nothing more, and another will: the Job starts anew
			}
			if at, ok := runningSince(pod); ok {
				s.phase, s.startedAt = running, later(s.startedAt, at)
				s.pending = s.pending && !hasConditions(pod, podConditions)
			}
		}
	}
	for _, pod := range pods {
		s.failures += restarts(pod)
	}
	s.failures += int64(max(failed, job.Status.Failed))
	switch {
	case live > 0:
	case endedWell(job, max(succeeded, job.Status.Succeeded)):
		s.phase, s.outcome, s.pending = ended, history.Succeeded, false
	case s.ending || hasJobCondition(job, batchv1.JobFailureTarget):
		s.phase, s.pending = ended, false
	}
	return s
}

// isFresh says whether a pod has yet to end, and nobody has asked it to.
func isFresh(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// endedWell says whether a Job without live pods needs no more of them to succeed.
func endedWell(job *batchv1.Job, succeeded int32) bool {
	if hasJobCondition(job, batchv1.JobSuccessCriteriaMet) {
		return true
	}
	if job.Spec.Completions == nil {
		return succeeded > 0 // one success ends a Job without a fixed number of completions
	}
	return succeeded >= *job.Spec.Completions
}

func hasJobCondition(job *batchv1.Job, t batchv1.JobConditionType) bool {
	for _, c := range job.Status.Conditions {
		if c.Type == t && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// runningSince is when the latest of a pod's running containers began; false where none runs.
func runningSince(pod *corev1.Pod) (time.Time, bool) {
	var since time.Time
	some := false
	for _, c := range pod.Status.ContainerStatuses {
		if r := c.State.Running; r != nil {
			since, some = later(since, r.StartedAt.Time), true
		}
	}
	return since, some
}

func restarts(pod *corev1.Pod) int64 {
	var n int64
	for _, c := range pod.Status.ContainerStatuses {
		n += int64(c.RestartCount)
	}
	return n
}

func hasConditions(pod *corev1.Pod, wanted []string) bool {
	have := 0
	for _, w := range wanted {
		for _, c := range pod.Status.Conditions {
			if string(c.Type) == w && c.Status == corev1.ConditionTrue {
				have++
			}
		}
	}
	return have == len(wanted)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// census is one counting of a ScaledJob's Jobs.
type census struct {
	jobs []jobState
}

// active is how many Jobs fill a slot.
func (c census) active() int {
	starting, running := c.phases()
	return starting + running
}

// phases counts the active Jobs by whether a pod of theirs runs.
func (c census) phases() (starting, runs int) {
	for _, j := range c.jobs {
		switch j.phase {
		case notRunning:
			starting++
		case running:
			runs++
		case ended:
		}
	}
	return starting, runs
}

// kept counts the finished Jobs that are kept.
func (c census) kept() (succeeded, failed int) {
	for _, j := range c.jobs {
		switch j.outcome {
		case history.Succeeded:
			succeeded++
		case history.Failed:
			failed++
		case history.Cancelled: // it is gone
		}
	}
	return succeeded, failed
}

// unstored counts the finished Jobs whose records are not stored yet.
func (c census) unstored() int {
	n := 0
	for _, j := range c.jobs {
		if j.unstored {
			n++
		}
	}
	return n
}

// counts are the numbers that a decision for one trigger rests on. They are comparable: while they stay the same, so does
// what a backlog read since means.
type counts struct {
	notRunning, running, pending int
	// unsettled is how many Jobs may not have taken their message yet, as far as time tells; runningUnsettled how many of
	// those run.
	unsettled, runningUnsettled int
	// failures is how often pods of active Jobs have failed.
	failures int64
}

// atLeast is the greater of each number: counts of two moments, of which the Jobs of either may be about to take a message.
func (n counts) atLeast(o counts) counts {
	return counts{
		notRunning: max(n.notRunning, o.notRunning), running: max(n.running, o.running), pending: max(n.pending, o.pending),
		unsettled: max(n.unsettled, o.unsettled), runningUnsettled: max(n.runningUnsettled, o.runningUnsettled),
		failures: max(n.failures, o.failures),
	}
}

// count counts the active Jobs among those given, for a trigger's queue; empty stands for any. A Job that was dispatched for
// another queue counts until it has settled: it may take a message of this one, should its trigger have been edited
// meanwhile, and once it has taken one, that was another's. It also says when the next Job settles; zero where none will by
// itself.
func (c census) count(now time.Time, settling time.Duration, queue string) (n counts, settles time.Time) {
	for _, j := range c.jobs {
		if j.phase == ended {
			continue
		}
		at := j.settlesFrom.Add(settling + timestampGrain)
		settled := j.phase == running && !now.Before(at)
		if settled && j.isOfAnother(queue) {
			continue
		}
		n = n.with(j, !settled && !j.ending)
		if j.phase == running && !settled && !j.ending && (settles.IsZero() || at.Before(settles)) {
			settles = at
		}
	}
	return n, settles
}

// isOfAnother says whether a Job was dispatched for another queue than the one given; not where either is unknown.
func (j *jobState) isOfAnother(queue string) bool {
	of := j.job.Annotations[jobtemplate.AnnotationQueue]
	return queue != "" && of != "" && of != queue
}

// with counts one more active Job.
func (n counts) with(j jobState, unsettled bool) counts {
	n.failures += j.failures
	if j.pending {
		n.pending++
	}
	if unsettled {
		n.unsettled++
	}
	switch {
	case j.phase == notRunning:
		n.notRunning++
	case unsettled:
		n.running++
		n.runningUnsettled++
	default:
		n.running++
	}
	return n
}

// marks tell of each Job what a ledger is to know of it again.
func (c census) marks() map[types.UID]mark {
	of := make(map[types.UID]mark, len(c.jobs))
	for _, j := range c.jobs {
		of[j.job.UID] = mark{active: j.phase != ended, running: j.phase == running, failures: j.failures}
	}
	return of
}

// of is the part of a census that concerns one trigger of a ScaledJob. With a combination other than Sum, each Job is for
// every trigger. A Job of a trigger that is no more counts for each of those that are: it may take a message of any, for
// triggers are renamed, and that errs towards too few.
func (c census) of(sj *v1alpha1.ScaledJob, trigger string) census {
	if sj.Spec.Combine != v1alpha1.CombineSum || len(sj.Spec.Triggers) == 1 {
		return c
	}
	others := map[string]bool{}
	for i := range sj.Spec.Triggers {
		if name := sj.Spec.Triggers[i].EffectiveName(); name != trigger {
			others[name] = true
		}
	}
	var part census
	for _, j := range c.jobs {
		if !others[j.job.Labels[jobtemplate.LabelTrigger]] {
			part.jobs = append(part.jobs, j)
		}
	}
	return part
}

// lastSequence is the highest sequence that a Job carries.
func (c census) lastSequence() int64 {
	var last int64
	for _, j := range c.jobs {
		if n, ok := jobtemplate.Sequence(j.job); ok {
			last = max(last, n)
		}
	}
	return last
}

// scheduled counts the Jobs, whatever became of them, that are for one time of a trigger's schedule.
func (c census) scheduled(trigger string, at time.Time) int {
	n := 0
	for _, j := range c.jobs {
		t, ok := jobtemplate.ScheduledTime(j.job)
		if ok && t.Equal(at) && j.job.Labels[jobtemplate.LabelTrigger] == trigger {
			n++
		}
	}
	return n
}
