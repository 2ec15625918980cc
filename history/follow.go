package history

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

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

// follow brings an attempt up to what its pod shows.
func (a Attempt) follow(pod *corev1.Pod, now time.Time) Attempt {
	if a.Ended() {
		return a
	}
	a.Pod, a.UID, a.Node, a.Created = pod.Name, string(pod.UID), pod.Spec.NodeName, pod.CreationTimestamp.UTC()
	a = a.request(pod)
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue && a.Scheduled == nil {
			a.Scheduled = new(c.LastTransitionTime.UTC())
		}
	}
	a.Started, a.Restarts = startOf(pod), restartsOf(pod)
	why, decided := endOf(pod)
	if decided != nil {
		a.ExitCode, a.Signal = new(decided.ExitCode), decided.Signal
	}
	a.Reason, a.Message = why.reason, text(why.message)
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		a.Succeeded, a.Finished = true, new(finishOf(pod, now))
	case corev1.PodFailed:
		a.Finished = new(finishOf(pod, now))
	}
	return a.ordered()
}

// request notes what the pod's containers are and request. Init containers run before the others and, but for sidecars,
// request nothing beside them.
func (a Attempt) request(pod *corev1.Pod) Attempt {
	a.CPU, a.Memory = 0, 0
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		a.CPU += c.Resources.Requests.Cpu().AsApproximateFloat64()
		a.Memory += c.Resources.Requests.Memory().Value()
		if i == 0 {
			a.Image = c.Image
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			a.CPU += c.Resources.Requests.Cpu().AsApproximateFloat64()
			a.Memory += c.Resources.Requests.Memory().Value()
		}
	}
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; len(pod.Spec.Containers) > 0 && s.Name == pod.Spec.Containers[0].Name && s.ImageID != "" {
			a.ImageID = s.ImageID
		}
	}
	return a
}

// gone ends an attempt whose pod is no more.
func (a Attempt) gone(now time.Time) Attempt {
	if a.Ended() {
		return a
	}
	a.Finished = new(now)
	if a.Reason == "" {
		a.Reason = reasonDeleted
	}
	return a.ordered()
}

func (a Attempt) ordered() Attempt {
	a.Scheduled = notBefore(a.Scheduled, a.Created)
	a.Started = notBefore(a.Started, a.Created)
	least := a.Created
	if a.Started != nil {
		least = *a.Started
	}
	a.Finished = notBefore(a.Finished, least)
	return a
}

// startOf is when the first of a pod's containers first ran, as far as its status still tells.
func startOf(pod *corev1.Pod) *time.Time {
	var first *time.Time
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		if r := s.State.Running; r != nil {
			first = earlier(first, new(r.StartedAt.UTC()))
		}
		for _, t := range []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated} {
			// A container that could not be started has ended without a start.
			if t != nil && !t.StartedAt.IsZero() {
				first = earlier(first, new(t.StartedAt.UTC()))
			}
		}
	}
	return first
}

func finishOf(pod *corev1.Pod, now time.Time) time.Time {
	var last time.Time
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if t := s.State.Terminated; t != nil && t.FinishedAt.After(last) {
			last = t.FinishedAt.UTC()
		}
	}
	if last.IsZero() {
		return now // nothing of it says when
	}
	return last
}

func restartsOf(pod *corev1.Pod) int32 {
	var n int32
	for i := range pod.Status.ContainerStatuses {
		n += pod.Status.ContainerStatuses[i].RestartCount
	}
	return n
}

// endOf says why a pod ended, or does not start: what the cluster did to it, else what its containers did. decided is the
// container that ended badly first, else the first that ended.
func endOf(pod *corev1.Pod) (why cause, decided *corev1.ContainerStateTerminated) {
	decided = decidedBy(pod)
	if decided != nil {
		why = cause{decided.Reason, decided.Message}
	} else {
		why = heldUp(pod)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			why.reason = c.Reason
			if why.message == "" {
				why.message = c.Message
			}
		}
	}
	if pod.Status.Reason != "" {
		why.reason = pod.Status.Reason
		if why.message == "" {
			why.message = pod.Status.Message
		}
	}
	return why, decided
}

func decidedBy(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	var first, bad *corev1.ContainerStateTerminated
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		t := s.State.Terminated
		if t == nil {
			t = s.LastTerminationState.Terminated
		}
		if t == nil {
			continue
		}
		if t.ExitCode != 0 && (bad == nil || t.FinishedAt.Before(&bad.FinishedAt)) {
			bad = t
		}
		if first == nil {
			first = t
		}
	}
	if bad != nil {
		return bad
	}
	if len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Terminated == nil {
		return nil // an init container that ended well decides nothing
	}
	return first
}

// heldUp says why a pod does not start.
func heldUp(pod *corev1.Pod) cause {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			return cause{w.Reason, w.Message}
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return cause{c.Reason, c.Message}
		}
	}
	return cause{}
}

// saying is what a worker says in its termination message.
type saying struct {
	messageID string
	result    json.RawMessage
}

// parse reads a termination message that is a JSON object: messageID, a text or a number, and result, any JSON.
func parse(message string) (saying, bool) {
	if !strings.HasPrefix(strings.TrimSpace(message), "{") {
		return saying{}, false
	}
	var said struct {
		MessageID any             `json:"messageID"`
		Result    json.RawMessage `json:"result"`
	}
	d := json.NewDecoder(strings.NewReader(message))
	d.UseNumber()
	if d.Decode(&said) != nil {
		return saying{}, false
	}
	s := saying{}
	switch id := said.MessageID.(type) {
	case string:
		s.messageID = text(id)
	case json.Number:
		s.messageID = id.String()
	}
	var compact bytes.Buffer
	if len(said.Result) > 0 && json.Compact(&compact, said.Result) == nil && compact.String() != "null" {
		s.result = compact.Bytes()
	}
	return s, true
}

// text is a message as a record keeps it: valid, without NUL, which databases refuse, and not too long.
func text(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "�")
	if len(s) <= MaxMessage {
		return s
	}
	cut := MaxMessage
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}

// lastBytes is the end of a log, from the beginning of a line where there is one.
func lastBytes(s string, n int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "�")
	if len(s) <= n {
		return s
	}
	cut := len(s) - n
	for !utf8.RuneStart(s[cut]) {
		cut++
	}
	tail := s[cut:]
	if i := strings.IndexByte(tail, '\n'); i >= 0 && i < len(tail)-1 && s[cut-1] != '\n' {
		tail = tail[i+1:]
	}
	return tail
}
