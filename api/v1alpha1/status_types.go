package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// The types of a ScaledJob's conditions.
const (
	// ConditionReady says whether Jobs can be dispatched: the triggers can be read, the template is good, and the API
	// server takes the Jobs.
	ConditionReady = "Ready"
	// ConditionActive says whether there is anything to do: messages wait or Jobs are active.
	ConditionActive = "Active"
	// ConditionSuspended says whether spec.suspend holds dispatching.
	ConditionSuspended = "Suspended"
	// ConditionRecorded says whether the records of Jobs are stored as they should be; absent where no history is kept.
	ConditionRecorded = "Recorded"
)

// The reasons of condition Ready. The first that applies is shown.
const (
	// ReasonTemplateInvalid: False. The API server refuses a Job of this template as invalid; its words are in the message.
	ReasonTemplateInvalid = "TemplateInvalid"
	// ReasonCreationRefused: False. The API server refused a Job: quota, an admission rule, or missing rights. It is tried
	// again, at growing intervals.
	ReasonCreationRefused = "CreationRefused"
	// ReasonTriggerInvalid: False. A trigger's settings cannot be used: a missing Secret or key, a URI or time zone that
	// cannot be understood.
	ReasonTriggerInvalid = "TriggerInvalid"
	// ReasonTriggerUnreadable: False. A trigger cannot be read: its broker is down or refuses, or its queue does not
	// exist. Nothing is dispatched for it meanwhile.
	ReasonTriggerUnreadable = "TriggerUnreadable"
	// ReasonTriggerUnread: Unknown. Not every trigger has been read yet.
	ReasonTriggerUnread = "TriggerUnread"
	// ReasonDispatching: True. Messages become Jobs.
	ReasonDispatching = "Dispatching"
)

// The reasons of condition Active.
const (
	// ReasonJobsActive: True. Jobs are active.
	ReasonJobsActive = "JobsActive"
	// ReasonMessagesWaiting: True. Messages wait, and no Job is active yet.
	ReasonMessagesWaiting = "MessagesWaiting"
	// ReasonIdle: False. No message waits and no Job is active.
	ReasonIdle = "Idle"
)

// The reasons of condition Suspended.
const (
	// ReasonSuspendedBySpec: True. spec.suspend is true.
	ReasonSuspendedBySpec = "SuspendedBySpec"
	// ReasonNotSuspended: False. spec.suspend is not set.
	ReasonNotSuspended = "NotSuspended"
)

// Reasons of the condition Recorded.
const (
	// ReasonRecordsStored: True. Records of Jobs are stored.
	ReasonRecordsStored = "RecordsStored"
	// ReasonStoreUnavailable: False. The store cannot be written. Finished Jobs are kept until their records can be stored.
	ReasonStoreUnavailable = "StoreUnavailable"
	// ReasonClearedUnstored: False. The store cannot be written, and so many finished Jobs waited for it that some were
	// cleared away. Their records wait in the manager's memory: a restart before the store is back loses them.
	ReasonClearedUnstored = "ClearedUnstored"
)

// ScaledJobStatus is what the manager last saw and did. It is written when something changed, at most once a second.
//
// +kubebuilder:validation:MinProperties=0
type ScaledJobStatus struct {
	// conditions are Ready, Active and Suspended.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// waiting is how many messages no one has taken, over all triggers.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Waiting *int64 `json:"waiting,omitempty"`

	// held is how many messages are taken and not yet acknowledged, over the triggers that can tell; absent where none can.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Held *int64 `json:"held,omitempty"`

	// starting is how many active Jobs have no running pod yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Starting *int32 `json:"starting,omitempty"`

	// running is how many active Jobs have a running pod.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Running *int32 `json:"running,omitempty"`

	// succeeded is how many Jobs that succeeded are kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Succeeded *int32 `json:"succeeded,omitempty"`

	// failed is how many Jobs that failed are kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Failed *int32 `json:"failed,omitempty"`

	// lastDispatchTime is when a Job was last created.
	// +optional
	LastDispatchTime *metav1.Time `json:"lastDispatchTime,omitempty"`

	// lastSequence is the highest number that a Job's name has carried. It only grows.
	// +optional
	// +kubebuilder:validation:Minimum=1
	LastSequence int64 `json:"lastSequence,omitempty"`

	// lastRunRequest is the value of the annotation longhaul.dev/run for which a Job was last created.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	LastRunRequest string `json:"lastRunRequest,omitempty"`

	// triggers are what each trigger last showed.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Triggers []TriggerStatus `json:"triggers,omitempty"`
}

// TriggerStatus is what one trigger last showed.
type TriggerStatus struct {
	// name is the trigger's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// waiting is how many messages no one has taken; absent until the trigger has been read.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Waiting *int64 `json:"waiting,omitempty"`

	// held is how many messages are taken and not yet acknowledged; absent where the broker cannot tell.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Held *int64 `json:"held,omitempty"`

	// lastReadTime is when the values above were first read: a read that finds nothing new is not written.
	// +optional
	LastReadTime *metav1.Time `json:"lastReadTime,omitempty"`

	// lastScheduleTime is the latest time of a cron trigger for which all Jobs were dispatched, or that a later one
	// replaced; before the first, since when the schedule is followed.
	// +optional
	LastScheduleTime *metav1.Time `json:"lastScheduleTime,omitempty"`

	// message says why the trigger cannot be read; absent while it can.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}
