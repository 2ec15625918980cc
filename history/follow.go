package history

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

const (
	// MaxMessage is how many bytes of a message a record keeps. A termination message has no more.
	MaxMessage = 4096
	// LogTail is how many bytes of the end of a failed attempt's log a record keeps.
	LogTail = 4096
)

// reasonDeleted is the reason of an attempt whose pod was deleted before it ended, and of a Job likewise.
const reasonDeleted = "Deleted"

// Follow brings a record up to what a Job and its pods show at a moment. Attempts whose pods are not among them stay as they
// are: pods go away before their Job does.
func (r Record) Follow(job *batchv1.Job, pods []*corev1.Pod, now time.Time) Record {
	r.Attempts = slices.Clone(r.Attempts)
	for _, pod := range pods {
		if i := r.attempt(string(pod.UID)); i >= 0 {
			r.Attempts[i] = r.Attempts[i].follow(pod, now)
		} else {
			r.Attempts = append(r.Attempts, Attempt{}.follow(pod, now))
		}
	}
	r.sort()
	if outcome, at, finished := Finished(job); finished && r.settled() {
		r = r.end(outcome, at, jobReason(job))
	}
	return r.ordered()
}

// PodGone tells a record that a pod was deleted, and what it last showed. One that had not ended has ended now, badly.
func (r Record) PodGone(pod *corev1.Pod, now time.Time) Record {
	r.Attempts = slices.Clone(r.Attempts)
	i := r.attempt(string(pod.UID))
	if i < 0 {
		r.Attempts, i = append(r.Attempts, Attempt{}), len(r.Attempts)
	}
	r.Attempts[i] = r.Attempts[i].follow(pod, now).gone(now)
	r.sort()
	return r.ordered()
}

// JobGone tells a record that its Job was deleted, why if that is known, and what it last showed. One that had not finished
// was cancelled.
func (r Record) JobGone(job *batchv1.Job, why Category, message string, now time.Time) Record {
	if r.Ended() {
		return r
	}
	r = r.Abandon(now)
	if job != nil {
		if outcome, at, finished := Finished(job); finished {
			return r.end(outcome, at, jobReason(job)).ordered()
		}
	}
	r.Outcome, r.Category, r.Reason, r.Message = Cancelled, why, reasonDeleted, message
	r.Finished = new(now)
	r.tell()
	return r.ordered()
}

// WithLogTail is the record with the end of an attempt's log.
func (r Record) WithLogTail(podUID, tail string) Record {
	if i := r.attempt(podUID); i >= 0 {
		r.Attempts = slices.Clone(r.Attempts)
		r.Attempts[i].LogTail = lastBytes(tail, LogTail)
	}
	return r
}

// HasLogTail says whether the record holds the end of the log of a pod's.
func (r *Record) HasLogTail(podUID string) bool {
	i := r.attempt(podUID)
	return i >= 0 && r.Attempts[i].LogTail != ""
}

// Abandon ends the attempts that have not: their pods are gone, and nobody will tell of their ends.
func (r Record) Abandon(now time.Time) Record {
	r.Attempts = slices.Clone(r.Attempts)
	for i := range r.Attempts {
		r.Attempts[i] = r.Attempts[i].gone(now)
	}
	return r.ordered()
}

// Merge adds to a record what an older one of the same Job tells: attempts whose pods are gone, and ends of logs.
func (r Record) Merge(older Record, now time.Time) Record {
	r.Attempts = slices.Clone(r.Attempts)
	var gone []Attempt
	for _, a := range older.Attempts {
		i := r.attempt(a.UID)
		switch {
		case i < 0:
			gone = append(gone, a.gone(now))
		case r.Attempts[i].LogTail == "":
			r.Attempts[i].LogTail = a.LogTail
		}
	}
	r.Attempts = append(gone, r.Attempts...)
	r.sort()
	return r.ordered()
}

func (r *Record) attempt(podUID string) int {
	return slices.IndexFunc(r.Attempts, func(a Attempt) bool { return a.UID == podUID })
}

func (r *Record) sort() {
	slices.SortStableFunc(r.Attempts, func(a, b Attempt) int { return a.Created.Compare(b.Created) })
}

// FailedContainer is the container of a pod that ended badly first, whose log tells why; false where none did.
func FailedContainer(pod *corev1.Pod) (string, bool) {
	name, at := "", time.Time{}
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 && (name == "" || t.FinishedAt.Time.Before(at)) {
			name, at = s.Name, t.FinishedAt.Time
		}
	}
	return name, name != ""
}

// settled says whether all attempts that are known have ended. Pods are watched apart from Jobs and may be told later.
func (r *Record) settled() bool {
	return !slices.ContainsFunc(r.Attempts, func(a Attempt) bool { return !a.Ended() })
}

type cause struct{ reason, message string }

// jobReason is what a finished Job says of its end.
func jobReason(job *batchv1.Job) cause {
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobFailed || c.Type == batchv1.JobComplete) {
			return cause{c.Reason, c.Message}
		}
	}
	return cause{}
}

// end notes how a Job finished. The Job's own condition may come seconds after its last pod's end, which is then the end.
func (r Record) end(outcome Outcome, at time.Time, why cause) Record {
	r.Outcome = outcome
	r.Finished = new(at)
	if last := r.last(); last != nil && last.Finished != nil {
		r.Finished = new(*last.Finished)
	}
	r.Reason, r.Message = "", ""
	r.Category = CategorySucceeded
	if outcome == Failed {
		r.Category = r.category(why.reason)
		r.Reason, r.Message = why.reason, text(why.message)
	}
	r.tell()
	return r
}

// tell takes over what the worker said last, where that is JSON.
func (r *Record) tell() {
	for i := range r.Attempts {
		said, ok := parse(r.Attempts[i].Message)
		if !ok {
			continue
		}
		if said.messageID != "" {
			r.MessageID = said.messageID
		}
		r.Result = said.result
	}
}

// last is the attempt that ended last.
func (r *Record) last() *Attempt {
	var last *Attempt
	for i := range r.Attempts {
		a := &r.Attempts[i]
		if a.Finished != nil && (last == nil || !a.Finished.Before(*last.Finished)) {
			last = a
		}
	}
	return last
}

// category says in one word why a Job failed, given the reason of its own condition.
func (r *Record) category(reason string) Category {
	last := r.last()
	ran := slices.ContainsFunc(r.Attempts, func(a Attempt) bool { return a.Started != nil || a.ExitCode != nil })
	switch {
	case !ran && last != nil && slices.Contains(imageReasons(), last.Reason):
		return CategoryImageError
	case !ran && (last == nil || !slices.Contains(disruptions(), last.Reason)):
		return CategoryNeverStarted
	case reason == batchv1.JobReasonDeadlineExceeded, last.Reason == "DeadlineExceeded":
		return CategoryDeadlineExceeded
	case last.Reason == "OOMKilled":
		return CategoryOutOfMemory
	case slices.Contains(disruptions(), last.Reason):
		return CategoryEvicted
	default:
		return CategoryFailed
	}
}

// imageReasons are the kubelet's for an image that cannot be had: pkg/kubelet/images/types.go and its CRI errors.
func imageReasons() []string {
	return []string{
		"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError",
		"RegistryUnavailable", "SignatureValidationFailed",
	}
}

// disruptions are the reasons of pods that ended through no doing of their own: those of a pod's status (the kubelet's
// eviction, shutdown and preemption), and those of the condition DisruptionTarget.
func disruptions() []string {
	return []string{
		"Evicted", "NodeLost", "NodeShutdown", "Terminated", "Shutdown", "Preempting", "Preempted",
		corev1.PodReasonPreemptionByScheduler, corev1.PodReasonTerminationByKubelet,
		"DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC",
	}
}

// ordered puts the times in order where clocks contradict each other, and takes those of the Job from its attempts.
func (r Record) ordered() Record {
	r.Scheduled, r.Started = nil, nil
	for i := range r.Attempts {
		a := &r.Attempts[i]
		r.Scheduled, r.Started = earlier(r.Scheduled, a.Scheduled), earlier(r.Started, a.Started)
	}
	if r.Seen.After(r.Created) {
		r.Seen = r.Created
	}
	r.Scheduled = notBefore(r.Scheduled, r.Created)
	after := r.Created
	if r.Scheduled != nil {
		after = *r.Scheduled
	}
	if r.Started = notBefore(r.Started, after); r.Started != nil {
		after = *r.Started
	}
	r.Finished = notBefore(r.Finished, after)
	return r
}

func earlier(a, b *time.Time) *time.Time {
	if a == nil || (b != nil && b.Before(*a)) {
		return b
	}
	return a
}

func notBefore(t *time.Time, least time.Time) *time.Time {
	if t != nil && t.Before(least) {
		return new(least)
	}
	return t
}
