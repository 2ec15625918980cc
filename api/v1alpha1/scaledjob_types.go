package v1alpha1

import (
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ScaledJob runs one Job per message that waits in a queue, and never more than a cap at once.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=lsj,categories=all,scope=Namespaced
// +kubebuilder:printcolumn:name="Max",type=integer,JSONPath=`.spec.maxParallelism`,description="Cap on active Jobs"
// +kubebuilder:printcolumn:name="Waiting",type=integer,JSONPath=`.status.waiting`,description="Messages that no one has taken"
// +kubebuilder:printcolumn:name="Running",type=integer,JSONPath=`.status.running`,description="Active Jobs whose pod runs"
// +kubebuilder:printcolumn:name="Succeeded",type=integer,JSONPath=`.status.succeeded`,description="Kept Jobs that succeeded"
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failed`,description="Kept Jobs that failed"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether Jobs can be dispatched"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Starting",type=integer,JSONPath=`.status.starting`,priority=1,description="Active Jobs whose pod does not run yet"
// +kubebuilder:printcolumn:name="Held",type=integer,JSONPath=`.status.held`,priority=1,description="Messages taken and not yet acknowledged"
// +kubebuilder:printcolumn:name="Min",type=integer,JSONPath=`.spec.minParallelism`,priority=1,description="Jobs kept going even with nothing waiting"
// +kubebuilder:printcolumn:name="Suspended",type=boolean,JSONPath=`.spec.suspend`,priority=1
// +kubebuilder:printcolumn:name="Last Dispatch",type=date,JSONPath=`.status.lastDispatchTime`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 52",message="metadata.name must have at most 52 characters: Jobs are called <name>-<sequence> and their pods' names must fit 63; choose a shorter name"
type ScaledJob struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what to run, for which triggers, and within which limits.
	// +required
	Spec ScaledJobSpec `json:"spec,omitzero"`

	// status is what the manager last saw and did. It is written by the manager only.
	// +optional
	Status ScaledJobStatus `json:"status,omitzero"`
}

// ScaledJobList is a list of ScaledJobs.
//
// +kubebuilder:object:root=true
type ScaledJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ScaledJob `json:"items"`
}

// AnnotationRun on a ScaledJob asks for one Job now, whether a message waits or not: each new value for one, of up to
// MaxRunRequest characters, such as the time at which it is set. It waits for a free slot, unless the value begins with
// ForcedRun.
const AnnotationRun = Group + "/run"

const (
	// ForcedRun begins a value of AnnotationRun that does not wait for a free slot.
	ForcedRun = "force/"
	// MaxRunRequest is how long a value of AnnotationRun may be.
	MaxRunRequest = 100
)

// ScaledJobSpec says what to run, for which triggers, and within which limits.
//
// +kubebuilder:validation:XValidation:rule="self.minParallelism <= self.maxParallelism",message="minParallelism must not exceed maxParallelism: it is part of the cap, not beside it; lower minParallelism or raise maxParallelism",fieldPath=".minParallelism"
// +kubebuilder:validation:XValidation:rule="self.combine == 'Sum' || !self.triggers.exists(t, has(t.cron))",message="must be Sum where a trigger is a schedule, whose Jobs are for a time and not for messages: remove combine, or give cron a ScaledJob of its own",fieldPath=".combine"
type ScaledJobSpec struct {
	// jobTemplate is the Job that is created for each message, as in a CronJob. Its labels and annotations go to the Jobs.
	// Containers find LONGHAUL_SCALEDJOB, LONGHAUL_TRIGGER and LONGHAUL_SEQUENCE in their environment. An edit concerns
	// Jobs created from then on; see rollout.
	// +required
	// +kubebuilder:validation:XValidation:rule="has(self.spec)",message="needs the Job's spec: set jobTemplate.spec"
	// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.manualSelector) || !self.spec.manualSelector",message="must be left to Kubernetes, whose labels tell which pods are a Job's: remove manualSelector and selector",fieldPath=".spec.manualSelector"
	JobTemplate batchv1.JobTemplateSpec `json:"jobTemplate,omitzero"`

	// triggers are the event sources that say how many messages wait: 1 to 16, each with a name of its own.
	// A trigger without a name is called after its kind: rabbitmq, redisList, redisStream or cron.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(t, self.exists_one(u, (has(u.name) ? u.name : has(u.rabbitmq) ? 'rabbitmq' : has(u.redisList) ? 'redisList' : has(u.redisStream) ? 'redisStream' : 'cron') == (has(t.name) ? t.name : has(t.rabbitmq) ? 'rabbitmq' : has(t.redisList) ? 'redisList' : has(t.redisStream) ? 'redisStream' : 'cron')))",message="each trigger needs a name of its own (without one it is called after its kind): set triggers[].name"
	Triggers []Trigger `json:"triggers,omitempty"`

	// maxParallelism is the cap on active Jobs, always applied last. Default 100.
	// +optional
	// +default=100
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxParallelism *int32 `json:"maxParallelism,omitempty"`

	// minParallelism is how many Jobs are kept going even with nothing waiting. They are part of maxParallelism, not
	// beside it. Default 0.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MinParallelism *int32 `json:"minParallelism,omitempty"`

	// pollingInterval is how often each trigger is read at least, as a duration such as 1s or 500ms; at least 100ms.
	// A Job's end makes for a fresh read at once, whatever the interval. Default 1s.
	// +optional
	// +default="1s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(ms|s|m|h)){1,4}$') && duration(self) >= duration('100ms') && duration(self) <= duration('24h')",message="must be a duration from 100ms to 24h, such as 1s or 500ms"
	PollingInterval *metav1.Duration `json:"pollingInterval,omitempty"`

	// combine says how several triggers make one number of Jobs. Sum: each Job is for one message of one trigger, which
	// its label and environment name. Max, Min and Average: each Job is for a message of every trigger, and as many are
	// dispatched as the trigger with the most, with the fewest, or the mean of all of them, asks for. Default Sum.
	// +optional
	// +default="Sum"
	Combine Combine `json:"combine,omitempty"`

	// strategy is the rule by which messages become Jobs. Default Auto: one Job per message, exactly.
	// +optional
	// +default={"type":"Auto"}
	Strategy *Strategy `json:"strategy,omitempty"`

	// settlingTime is how long after its pod's start a Job may at most need to take its message, where the broker's live
	// figures cannot tell that it has: AMQP alone, quorum queues, Redis lists without a processing list, and triggers
	// with acknowledge: OnReceipt. A Job that needs longer may get a second Job for its message; one that takes its
	// message sooner costs nothing. Default 10s.
	// +optional
	// +default="10s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(ms|s|m|h)){1,4}$') && duration(self) >= duration('0s') && duration(self) <= duration('24h')",message="must be a duration from 0s to 24h, such as 10s or 2m"
	SettlingTime *metav1.Duration `json:"settlingTime,omitempty"`

	// successfulJobsHistoryLimit is how many Jobs that succeeded are kept: the newest, by when they finished. Default 10.
	// +optional
	// +default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	SuccessfulJobsHistoryLimit *int32 `json:"successfulJobsHistoryLimit,omitempty"`

	// failedJobsHistoryLimit is how many Jobs that failed are kept: the newest, by when they failed. Default 10.
	// +optional
	// +default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	FailedJobsHistoryLimit *int32 `json:"failedJobsHistoryLimit,omitempty"`

	// historyRetention says how long the records of Jobs stay in the history, long after the Jobs themselves are cleared
	// away. Daily totals stay when the records go. Default 30 days for Jobs that succeeded, and 180 for all others.
	// +optional
	// +default={"succeeded":{"maxAgeDays":30},"failed":{"maxAgeDays":180}}
	HistoryRetention *HistoryRetention `json:"historyRetention,omitempty"`

	// suspend stops dispatching. Running Jobs go on, and so does clearing away. Default false.
	// +optional
	// +default=false
	Suspend *bool `json:"suspend,omitempty"`

	// rollout says what an edit of jobTemplate does to Jobs that exist.
	// +optional
	// +default={"strategy":"Gradual"}
	Rollout *Rollout `json:"rollout,omitempty"`
}

// Combine says how several triggers make one number of Jobs.
//
// +kubebuilder:validation:Enum=Sum;Max;Min;Average
type Combine string

// The ways to combine triggers; see ScaledJobSpec.Combine.
const (
	CombineSum     Combine = "Sum"
	CombineMax     Combine = "Max"
	CombineMin     Combine = "Min"
	CombineAverage Combine = "Average"
)

// StrategyType names a rule by which messages become Jobs.
//
// +kubebuilder:validation:Enum=Auto;Default;Accurate;Custom;Eager
type StrategyType string

// The rules by which messages become Jobs; see Strategy.Type.
const (
	StrategyAuto     StrategyType = "Auto"
	StrategyDefault  StrategyType = "Default"
	StrategyAccurate StrategyType = "Accurate"
	StrategyCustom   StrategyType = "Custom"
	StrategyEager    StrategyType = "Eager"
)

// Strategy is the rule by which messages become Jobs. Whatever the rule, no more Jobs are dispatched than messages wait,
// and maxParallelism is applied last.
//
// +kubebuilder:validation:MinProperties=0
// +kubebuilder:validation:XValidation:rule="has(self.custom) == (self.type == 'Custom')",message="custom belongs to type: Custom and is required there: set both or neither",fieldPath=".custom"
// +kubebuilder:validation:XValidation:rule="!has(self.pendingPodConditions) || self.type == 'Accurate'",message="pendingPodConditions belongs to type: Accurate: set that type or remove the field",fieldPath=".pendingPodConditions"
type Strategy struct {
	// type names the rule. Auto: waiting less the Jobs that have not taken a message yet, from what the broker can tell
	// live. Default: waiting and held, less active Jobs. Accurate: waiting, less pending Jobs (those whose pod does not
	// run, or lacks pendingPodConditions). Custom: waiting and held, less a fixed number, pending Jobs and a share of the
	// running ones. Eager: waiting, less Jobs whose pod does not run. Default Auto.
	// +optional
	// +default="Auto"
	Type StrategyType `json:"type,omitempty"`

	// custom holds the numbers of type: Custom.
	// +optional
	Custom *CustomStrategy `json:"custom,omitempty"`

	// pendingPodConditions are the pod conditions that must all be True before an Accurate strategy takes a Job for no
	// longer pending, such as Ready.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=316
	PendingPodConditions []string `json:"pendingPodConditions,omitempty"`
}

// CustomStrategy holds the numbers of type: Custom.
//
// +kubebuilder:validation:MinProperties=1
type CustomStrategy struct {
	// queueLengthDeduction is subtracted from the messages that wait or are held. Default 0.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=0
	QueueLengthDeduction *int32 `json:"queueLengthDeduction,omitempty"`

	// runningJobPercentage is the share of running Jobs, in percent, that is subtracted, rounded down. Default 100.
	// +optional
	// +default=100
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	RunningJobPercentage *int32 `json:"runningJobPercentage,omitempty"`
}

// HistoryRetention says how long the records of Jobs stay in the history.
//
// +kubebuilder:validation:MinProperties=0
type HistoryRetention struct {
	// succeeded is for the records of Jobs that succeeded. Default maxAgeDays: 30.
	// +optional
	// +default={"maxAgeDays":30}
	Succeeded *RetentionLimit `json:"succeeded,omitempty"`

	// failed is for the records of Jobs that failed, were cancelled or replaced. Default maxAgeDays: 180.
	// +optional
	// +default={"maxAgeDays":180}
	Failed *RetentionLimit `json:"failed,omitempty"`
}

// RetentionLimit bounds records by age, by number, or by both. A record goes when it is beyond either.
//
// +kubebuilder:validation:MinProperties=0
// +kubebuilder:validation:XValidation:rule="has(self.maxAgeDays) || has(self.maxRecords)",message="must bound the records' age or number: give maxAgeDays, maxRecords or both, or remove it for the default"
type RetentionLimit struct {
	// maxAgeDays is how many days after the Job's end its record goes, from 1 to 36500. Without it age is no reason.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=36500
	MaxAgeDays int32 `json:"maxAgeDays,omitempty"`

	// maxRecords is how many records are kept, the newest, from 1 to 100000000. Without it their number is no reason.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000000
	MaxRecords int32 `json:"maxRecords,omitempty"`
}

// RolloutStrategy says what an edit of the Job template does to Jobs that exist.
//
// +kubebuilder:validation:Enum=Gradual;Immediate
type RolloutStrategy string

// What an edit of the Job template does; see Rollout.Strategy.
const (
	RolloutGradual   RolloutStrategy = "Gradual"
	RolloutImmediate RolloutStrategy = "Immediate"
)

// Rollout says what an edit of the Job template does to Jobs that exist.
//
// +kubebuilder:validation:MinProperties=0
type Rollout struct {
	// strategy is Gradual (an edit never touches existing Jobs) or Immediate (unfinished Jobs of an older template are
	// ended, with their grace period, once the triggers have been read with success). Finished Jobs are never touched.
	// Default Gradual.
	// +optional
	// +default="Gradual"
	Strategy RolloutStrategy `json:"strategy,omitempty"`
}
