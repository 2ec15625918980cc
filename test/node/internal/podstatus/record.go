package podstatus

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The reasons of a container that waits, besides those that come with an error.
const (
	ReasonCreating     = "ContainerCreating"
	ReasonInitializing = "PodInitializing"
	ReasonConfigError  = "CreateContainerConfigError" // what it refers to is not there yet
	ReasonCreateError  = "CreateContainerError"       // it cannot be run
	ReasonBackOff      = "CrashLoopBackOff"
)

// The reasons of a container that has terminated.
const (
	ReasonCompleted  = "Completed"
	ReasonError      = "Error"
	ReasonStartError = "StartError"
	ReasonUnknown    = "ContainerStatusUnknown" // what became of it was not seen
)

// CodeUnknown is the exit code of a container whose end was not seen.
const CodeUnknown = 137

// Record is what has become of a container.
type Record struct {
	Name     string                `json:"name"`
	ID       string                `json:"id,omitempty"` // of its last run
	Restarts int32                 `json:"restarts,omitempty"`
	State    corev1.ContainerState `json:"state"`
	Last     corev1.ContainerState `json:"last"` // terminated, if it ran before and State is not of that run
	Ready    bool                  `json:"-"`    // it runs, and its readiness probe says yes
}

// NewRecord returns the record of a container that has not run.
func NewRecord(name, reason string) Record {
	return Record{Name: name, State: waiting(reason, "")}
}

// Wait records that the container waits, and why. What it did before is kept as its last state.
func (r *Record) Wait(reason, message string) {
	r.leave()
	r.State = waiting(reason, message)
}

// Run records that the container runs for the first time, or again.
func (r *Record) Run(id string, now metav1.Time) {
	r.leave()
	if r.ID != "" {
		r.Restarts++
	}
	r.ID = id
	r.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
}

// Terminate records the end of the run.
func (r *Record) Terminate(end corev1.ContainerStateTerminated) {
	if r.State.Running != nil {
		end.StartedAt = r.State.Running.StartedAt
	}
	end.ContainerID = r.ID
	r.Ready = false
	r.State = corev1.ContainerState{Terminated: &end}
}

// Lose records that the run ended without being seen, if the container was running.
func (r *Record) Lose(now metav1.Time) {
	if r.State.Running != nil {
		r.Terminate(corev1.ContainerStateTerminated{
			ExitCode: CodeUnknown, Reason: ReasonUnknown, FinishedAt: now,
			Message: "The container could not be located: the process node that ran it has ended",
		})
	}
}

// Settle records that the container will not run again: what it did last is its state.
func (r *Record) Settle() {
	if r.State.Waiting != nil && r.Last.Terminated != nil {
		r.State, r.Last = r.Last, corev1.ContainerState{}
	}
	r.Ready = false
}

// Ended returns how the last run ended, or nil if it runs or never ran.
func (r *Record) Ended() *corev1.ContainerStateTerminated {
	if r.State.Waiting != nil {
		return r.Last.Terminated
	}
	return r.State.Terminated
}

func (r *Record) leave() {
	if r.State.Terminated != nil {
		r.Last = r.State
	}
	r.Ready = false
}

// status is the record as the API shows it. A container that runs has started: there are no startup probes.
func (r *Record) status(image string, ready bool) corev1.ContainerStatus {
	started := r.State.Running != nil
	return corev1.ContainerStatus{
		Name: r.Name, Image: image, ContainerID: r.ID, RestartCount: r.Restarts,
		State: r.State, LastTerminationState: r.Last, Ready: ready, Started: &started,
	}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}
