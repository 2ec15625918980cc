// Package board keeps what is known of the demo's messages and Jobs, from what is seen of them, and judges it at the end.
//
// A message waits from when it was queued until a Job takes it. A Job is starting until its worker has taken a message,
// then running until its pod ends. It has finished when its own status says so, which the Job controller writes a
// little later. How many are at once is counted in pods, from the creation of each to its end, in the order in which the API
// server stored both: a pod that is created before another one is known to have ended counts beside it.
//
// Nothing here asks anybody or reads a clock.
package board

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// State is how far a Job is.
type State string

// The states of a Job.
const (
	Starting  State = "starting"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
)

// Job is what is known of one Job.
type Job struct {
	Name  string
	State State
	// Message is the one it took, empty until it has.
	Message string
	// Progress is the share of the work that is done, from 0 to 1.
	Progress float64
	// Queued is when its message was; Created, Began and Ended are when the Job, its work and the end of that were first seen.
	Queued, Created, Began, Ended time.Time
	// Why says what went wrong, if anything did.
	Why string

	finished bool // its own status says how it went
}

// Picture is what is known at one moment.
type Picture struct {
	At time.Time
	// Queued is when the first message was.
	Queued time.Time
	// Waiting is how many messages the broker has that no one has taken.
	Waiting int
	// Jobs are all there have been, by name.
	Jobs []Job
}

// Board keeps it. Make one with New.
type Board struct {
	queued map[string]time.Time // by message
	jobs   map[types.UID]*Job
	pods   map[types.UID]*pod
	peak   int
}

// pod is one that was seen.
type pod struct {
	job   *Job
	key   types.NamespacedName
	phase corev1.PodPhase
	gone  bool
}

// New makes an empty board.
func New() *Board {
	return &Board{queued: map[string]time.Time{}, jobs: map[types.UID]*Job{}, pods: map[types.UID]*pod{}}
}

// Queue notes that a message was queued.
func (b *Board) Queue(message string, at time.Time) {
	b.queued[message] = at
}

// SeeJob notes a Job, or that it is gone.
func (b *Board) SeeJob(job *batchv1.Job, gone bool, at time.Time) {
	j := b.job(job.UID, job.Name, at)
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue || j.finished {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			j.finish(Succeeded, at)
		case batchv1.JobFailed:
			j.Why = cmp.Or(j.Why, c.Message)
			j.finish(Failed, at)
		}
	}
	if gone && !j.finished {
		j.Why = "deleted before it had finished"
		j.finish(Failed, at)
	}
}

// SeePod notes a pod, or that it is gone. Pods of no Job are nobody's business.
func (b *Board) SeePod(object *corev1.Pod, gone bool, at time.Time) {
	owner := metav1.GetControllerOf(object)
	if owner == nil || owner.Kind != "Job" {
		return
	}
	p, known := b.pods[object.UID]
	if !known {
		// The two watches are not in step: a pod may be seen before its Job.
		p = &pod{job: b.job(owner.UID, owner.Name, at), key: types.NamespacedName{Namespace: object.Namespace, Name: object.Name}}
		b.pods[object.UID] = p
		p.job.restart()
	}
	before := p.phase
	p.phase, p.gone = object.Status.Phase, gone
	b.peak = max(b.peak, b.atOnce())
	if p.phase == before {
		return
	}
	switch p.phase {
	case corev1.PodRunning:
		p.job.Began = at
	case corev1.PodSucceeded:
		p.job.end(Succeeded, report(object), at)
	case corev1.PodFailed:
		r := report(object)
		p.job.Why = cmp.Or(r.Error, podReason(object))
		p.job.end(Failed, r, at)
	}
}

// Report is what a worker tells of its work.
type Report struct {
	MessageID string  `json:"messageID"`
	Progress  float64 `json:"progress"`
	Error     string  `json:"error"`
}

// ParseReport reads what a worker wrote; what is not whole counts as nothing.
func ParseReport(written string) Report {
	first, _, _ := strings.Cut(written, "\n")
	var r Report
	if json.Unmarshal([]byte(first), &r) != nil {
		return Report{}
	}
	return r
}

// SeeReport notes what the worker in a pod tells.
func (b *Board) SeeReport(pod types.UID, r Report, at time.Time) {
	p := b.pods[pod]
	if p == nil || p.phase != corev1.PodRunning || r.MessageID == "" {
		return
	}
	if p.job.State == Starting {
		p.job.State, p.job.Began = Running, at
	}
	p.job.Message, p.job.Progress = r.MessageID, r.Progress
}

// RunningPods are the pods whose workers have something to tell.
func (b *Board) RunningPods() map[types.UID]types.NamespacedName {
	running := map[types.UID]types.NamespacedName{}
	for uid, p := range b.pods {
		if p.phase == corev1.PodRunning && !p.gone {
			running[uid] = p.key
		}
	}
	return running
}

// Look returns what is known, when the broker says how many messages wait.
func (b *Board) Look(waiting int, at time.Time) Picture {
	p := Picture{At: at, Queued: at, Waiting: waiting}
	for _, queued := range b.queued {
		if queued.Before(p.Queued) {
			p.Queued = queued
		}
	}
	for _, j := range b.jobs {
		shown := *j
		shown.Queued = b.queued[j.Message]
		p.Jobs = append(p.Jobs, shown)
	}
	slices.SortFunc(p.Jobs, func(x, y Job) int { return cmp.Compare(x.Name, y.Name) })
	return p
}

// Count is how many Jobs are in a state.
func (p Picture) Count(state State) int {
	n := 0
	for _, j := range p.Jobs {
		if j.State == state {
			n++
		}
	}
	return n
}

// TooMany tells whether there are more Jobs than messages: nothing can mend that.
func (b *Board) TooMany() bool { return len(b.jobs) > len(b.queued) }

// Finished tells whether there were Jobs for all messages and every Job has finished.
func (b *Board) Finished() bool {
	for _, j := range b.jobs {
		if !j.finished {
			return false
		}
	}
	return len(b.jobs) >= len(b.queued)
}

// Summary is the demo's last line.
func (b *Board) Summary() string {
	return fmt.Sprintf("%d messages, %d Jobs, %d succeeded, at most %d at once", len(b.queued), len(b.jobs), b.succeeded(), b.peak)
}

// Complaints are what is not as promised: one Job for each message, all of which succeed, and never more at once than the
// cap.
func (b *Board) Complaints(most int) []string {
	var complaints []string
	if len(b.jobs) != len(b.queued) {
		complaints = append(complaints, fmt.Sprintf("there were %d Jobs for %d messages", len(b.jobs), len(b.queued)))
	}
	if b.peak > most {
		complaints = append(complaints, fmt.Sprintf("%d Jobs had a pod at once, and maxParallelism is %d", b.peak, most))
	}
	takers := map[string][]string{}
	for _, j := range b.Look(0, time.Time{}).Jobs {
		switch {
		case j.State == Failed:
			complaints = append(complaints, fmt.Sprintf("%s failed: %s", j.Name, cmp.Or(j.Why, "for no reason that is told")))
		case !j.finished:
			complaints = append(complaints, fmt.Sprintf("%s has not finished", j.Name))
		}
		if j.Message != "" {
			takers[j.Message] = append(takers[j.Message], j.Name)
		}
	}
	for message := range b.queued {
		switch names := takers[message]; len(names) {
		case 0:
			complaints = append(complaints, fmt.Sprintf("no Job took the message %s", message))
		case 1:
		default:
			complaints = append(complaints, fmt.Sprintf("the message %s was taken by %s", message, strings.Join(names, " and ")))
		}
	}
	slices.Sort(complaints)
	return complaints
}

// job returns the Job, made known at that time if it was not.
func (b *Board) job(uid types.UID, name string, at time.Time) *Job {
	j := b.jobs[uid]
	if j == nil {
		j = &Job{Name: name, State: Starting, Created: at}
		b.jobs[uid] = j
	}
	return j
}

// atOnce is how many pods have been created and have not ended.
func (b *Board) atOnce() int {
	n := 0
	for _, p := range b.pods {
		if !p.gone && p.phase != corev1.PodSucceeded && p.phase != corev1.PodFailed {
			n++
		}
	}
	return n
}

func (b *Board) succeeded() int {
	n := 0
	for _, j := range b.jobs {
		if j.finished && j.State == Succeeded {
			n++
		}
	}
	return n
}

// restart notes another pod: one that failed is followed by the next.
func (j *Job) restart() {
	if !j.finished && j.State == Failed {
		j.State, j.Ended, j.Progress, j.Why = Starting, time.Time{}, 0, ""
	}
}

// end notes that its pod has ended, and what its worker told last.
func (j *Job) end(state State, r Report, at time.Time) {
	j.Message, j.Progress = cmp.Or(r.MessageID, j.Message), r.Progress
	if !j.finished {
		j.State, j.Ended = state, at
	}
}

// finish notes what its own status says.
func (j *Job) finish(state State, at time.Time) {
	if j.State != state {
		j.Ended = at
	}
	j.State, j.finished = state, true
}

// report is what the worker in a pod told at its end.
func report(object *corev1.Pod) Report {
	for _, c := range object.Status.ContainerStatuses {
		if c.State.Terminated != nil {
			return ParseReport(c.State.Terminated.Message)
		}
	}
	return Report{}
}

// podReason says why a pod failed, as well as its status tells.
func podReason(object *corev1.Pod) string {
	if object.Status.Reason != "" {
		return strings.TrimSpace(object.Status.Reason + " " + object.Status.Message)
	}
	for _, c := range object.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			return fmt.Sprintf("%s exited with code %d", c.Name, t.ExitCode)
		}
	}
	return ""
}
