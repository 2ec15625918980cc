package history

import (
	"encoding/json"
	"time"
)

// Cancelled is the outcome of a Job that was deleted before it finished.
const Cancelled Outcome = "cancelled"

// Category says in one word why a Job ended as it did.
type Category string

// The categories, in the order in which they are looked for.
const (
	// CategorySucceeded is that of every Job that succeeded, however many attempts it took.
	CategorySucceeded Category = "Succeeded"
	// CategoryReplaced is that of a Job that an immediate rollout ended.
	CategoryReplaced Category = "Replaced"
	// CategoryCancelled is that of a Job that somebody deleted before it finished, alone or with its ScaledJob.
	CategoryCancelled Category = "Cancelled"
	// CategoryImageError is that of a Job that never started, as an image could not be had.
	CategoryImageError Category = "ImageError"
	// CategoryNeverStarted is that of a Job that failed before any container of it ran.
	CategoryNeverStarted Category = "NeverStarted"
	// CategoryOutOfMemory is that of a Job whose last attempt was killed for its use of memory.
	CategoryOutOfMemory Category = "OutOfMemory"
	// CategoryDeadlineExceeded is that of a Job that ran longer than it may.
	CategoryDeadlineExceeded Category = "DeadlineExceeded"
	// CategoryEvicted is that of a Job whose last attempt was evicted, preempted, or lost with its node.
	CategoryEvicted Category = "Evicted"
	// CategoryFailed is that of any other failure.
	CategoryFailed Category = "Failed"
)

// Categories lists all categories.
func Categories() []Category {
	return []Category{
		CategorySucceeded, CategoryReplaced, CategoryCancelled, CategoryImageError, CategoryNeverStarted,
		CategoryOutOfMemory, CategoryDeadlineExceeded, CategoryEvicted, CategoryFailed,
	}
}

// Record is the account of one Job. Its JSON is what the API and the command line show; field names stay.
//
// Times are those of the cluster: a node's clock for what happens on it, else the API server's or the manager's. Where they
// contradict each other they are put in order, so that no duration is negative. A time that is not known is absent.
type Record struct { //nolint:recvcheck // what makes a new one takes a copy; what only looks does not
	// UID is the Job's, and the record's key.
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	ScaledJob string `json:"scaledJob"`
	// Trigger names the trigger for whose message the Job is; empty where it is for all of them.
	Trigger  string `json:"trigger,omitempty"`
	Sequence int64  `json:"sequence"`
	Job      string `json:"job"`
	// Revision tells which Job template it was made of.
	Revision string `json:"revision,omitempty"`
	// ScheduledTime is the time of a schedule that the Job is for.
	ScheduledTime *time.Time `json:"scheduledTime,omitempty"`

	// Outcome and Category are empty until the Job has ended.
	Outcome  Outcome  `json:"outcome,omitempty"`
	Category Category `json:"category,omitempty"`
	// Reason and Message say why it ended so: the Job's own words, else those of its last attempt.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`

	// MessageID and Result are what the worker said in its termination message, where that is JSON.
	MessageID string          `json:"messageID,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`

	// Seen is when the message was first seen to wait, Created when the Job was made for it, Scheduled when a pod of it was
	// first given to a node, Started when a container of it first ran, Finished when it ended.
	Seen      time.Time  `json:"seen,omitzero"`
	Created   time.Time  `json:"created"`
	Scheduled *time.Time `json:"scheduled,omitempty"`
	Started   *time.Time `json:"started,omitempty"`
	Finished  *time.Time `json:"finished,omitempty"`

	// Attempts are the Job's pods, in the order in which they were created.
	Attempts []Attempt `json:"attempts,omitempty"`
}

// Attempt is one pod of a Job.
type Attempt struct { //nolint:recvcheck // see Record
	Pod string `json:"pod"`
	UID string `json:"uid"`
	// Node is empty until the pod is given to one.
	Node string `json:"node,omitempty"`
	// Image is that of the pod's first container, and ImageID what it was resolved to.
	Image   string `json:"image,omitempty"`
	ImageID string `json:"imageID,omitempty"`

	Created   time.Time  `json:"created"`
	Scheduled *time.Time `json:"scheduled,omitempty"`
	Started   *time.Time `json:"started,omitempty"`
	Finished  *time.Time `json:"finished,omitempty"`

	// Succeeded says whether it ended well; false until it has ended.
	Succeeded bool `json:"succeeded,omitempty"`
	// ExitCode and Signal are how the container that decided it ended; ExitCode is absent where none ran to an end.
	ExitCode *int32 `json:"exitCode,omitempty"`
	Signal   int32  `json:"signal,omitempty"`
	// Restarts is how often containers of it were started again.
	Restarts int32  `json:"restarts,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// Message is the container's termination message, else what the cluster says of the pod.
	Message string `json:"message,omitempty"`
	// LogTail is the end of its log, where it failed.
	LogTail string `json:"logTail,omitempty"`

	// CPU and Memory are what the pod's containers request together, in cores and in bytes.
	CPU    float64 `json:"cpu,omitempty"`
	Memory int64   `json:"memory,omitempty"`
}

// Ended says whether the attempt is over.
func (a *Attempt) Ended() bool { return a.Finished != nil }

// Ended says whether the Job has ended, so that nothing of the record changes any more but what was late to be told.
func (r *Record) Ended() bool { return r.Outcome != "" }

// Wait is how long the message waited for its Job; zero where it is not known since when.
func (r *Record) Wait() time.Duration {
	if r.Seen.IsZero() {
		return 0
	}
	return max(0, r.Created.Sub(r.Seen))
}

// StartUp is how long the Job took from its creation until a container of it ran; false where none did.
func (r *Record) StartUp() (time.Duration, bool) {
	if r.Started == nil {
		return 0, false
	}
	return max(0, r.Started.Sub(r.Created)), true
}

// Run is how long the Job took from its first container's start to its end, further attempts and the pauses between them
// included; false where it has not ended, or no container of it ran.
func (r *Record) Run() (time.Duration, bool) {
	if r.Started == nil || r.Finished == nil {
		return 0, false
	}
	return max(0, r.Finished.Sub(*r.Started)), true
}

// Requested is what the Job's attempts requested for as long as they ran, in core-seconds and byte-seconds: what it costs,
// given a price. Attempts that have not ended count for nothing.
func (r *Record) Requested() (cpuSeconds, memoryByteSeconds float64) {
	for i := range r.Attempts {
		a := &r.Attempts[i]
		if a.Started == nil || a.Finished == nil {
			continue
		}
		seconds := max(0, a.Finished.Sub(*a.Started)).Seconds()
		cpuSeconds += a.CPU * seconds
		memoryByteSeconds += float64(a.Memory) * seconds
	}
	return cpuSeconds, memoryByteSeconds
}
