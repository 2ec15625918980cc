package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ScaledDeployment sizes consumers that stay up and long-poll a queue to its backlog, and never ends one that is busy.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=lsd,categories=all,scope=Namespaced
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.scaleTargetRef.name`,description="What is scaled"
// +kubebuilder:printcolumn:name="Waiting",type=integer,JSONPath=`.status.waiting`,description="Messages that no one has taken"
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.status.desiredReplicas`,description="Replicas that the backlog and the limits ask for"
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.replicas`,description="Replicas that the target is set to"
// +kubebuilder:printcolumn:name="Busy",type=integer,JSONPath=`.status.busy`,description="Pods that work on a message"
// +kubebuilder:printcolumn:name="Idle",type=integer,JSONPath=`.status.idle`,description="Pods that wait for a message"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the target can be scaled"
// +kubebuilder:printcolumn:name="Fenced",type=integer,JSONPath=`.status.fenced`,priority=1,description="Idle pods that take nothing more"
// +kubebuilder:printcolumn:name="Leaving",type=integer,JSONPath=`.status.leaving`,priority=1,description="Pods that are being ended"
// +kubebuilder:printcolumn:name="Held",type=integer,JSONPath=`.status.held`,priority=1,description="Messages taken and not yet acknowledged"
// +kubebuilder:printcolumn:name="Min",type=integer,JSONPath=`.spec.minReplicas`,priority=1
// +kubebuilder:printcolumn:name="Max",type=integer,JSONPath=`.spec.maxReplicas`,priority=1
// +kubebuilder:printcolumn:name="Suspended",type=boolean,JSONPath=`.spec.suspend`,priority=1
// +kubebuilder:printcolumn:name="Last Scale",type=date,JSONPath=`.status.lastScaleTime`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.lastDecision`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must have at most 63 characters: it becomes a label of busy pods; choose a shorter name"
type ScaledDeployment struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what to scale, for which triggers, within which limits, and how to tell a busy pod from an idle one.
	// +required
	Spec ScaledDeploymentSpec `json:"spec,omitzero"`

	// status is what the manager last saw and did. It is written by the manager only.
	// +optional
	Status ScaledDeploymentStatus `json:"status,omitzero"`
}

// ScaledDeploymentList is a list of ScaledDeployments.
//
// +kubebuilder:object:root=true
type ScaledDeploymentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ScaledDeployment `json:"items"`
}

// What Longhaul writes to the pods of a ScaledDeployment, beside Kubernetes' own words.
const (
	// LabelBusy is on a pod while it is busy. Its value is the ScaledDeployment's name, and a PodDisruptionBudget of that
	// name selects it.
	LabelBusy = Group + "/busy"
	// ConditionAdmitted is the readiness gate of a Deployment's pods: True once the pod's being available can have no
	// busy pod of an older template ended.
	ConditionAdmitted = Group + "/admitted"
	// FinalizerManaged is on a ScaledDeployment until what it wrote to its target and its pods is taken back.
	FinalizerManaged = Group + "/managed"
	// FieldManager owns the fields of a target's template that are managed.
	FieldManager = "longhaul-scaleddeployment"
)

// The types of a ScaledDeployment's conditions, beside Ready, Active and Suspended.
const (
	// ConditionManaged says whether the target's pod template has the grace period and the hooks that termination asks for.
	ConditionManaged = "Managed"
	// ConditionRolloutGuarded says whether an edit of the target leaves busy pods alone.
	ConditionRolloutGuarded = "RolloutGuarded"
)

// The reasons of a ScaledDeployment's condition Ready, beside TriggerInvalid, TriggerUnreadable and TriggerUnread. The first
// that applies is shown.
const (
	// ReasonTargetNotFound: False. There is no such target, it has no scale subresource, or the manager may not read it.
	ReasonTargetNotFound = "TargetNotFound"
	// ReasonReplicasOwned: False. An autoscaler, or another ScaledDeployment, sets the target's replicas too. Nothing is
	// scaled meanwhile.
	ReasonReplicasOwned = "ReplicasOwned"
	// ReasonPodsSilent: False. Pods run, and none of their template has ever said what it does: they count as busy.
	ReasonPodsSilent = "PodsSilent"
	// ReasonScaling: True. Replicas follow the backlog.
	ReasonScaling = "Scaling"
)

// ReasonPodsBusy is the reason of a ScaledDeployment's condition Active, beside MessagesWaiting and Idle. True: pods are busy.
const ReasonPodsBusy = "PodsBusy"

// The reasons of condition Managed.
const (
	// ReasonFieldsManaged: True. The fields are written to the target.
	ReasonFieldsManaged = "FieldsManaged"
	// ReasonFieldConflict: False. Another field manager owns one of them, or the API server refuses them. It is tried again,
	// and not fought.
	ReasonFieldConflict = "FieldConflict"
	// ReasonKindNotManaged: False. The target is neither a Deployment nor a StatefulSet.
	ReasonKindNotManaged = "KindNotManaged"
)

// The reasons of condition RolloutGuarded.
const (
	// ReasonRolloutGuarded: True. A rollout replaces a pod only once it is drained.
	ReasonRolloutGuarded = "RolloutGuarded"
	// ReasonRolloutHeld: True. A rollout waits for busy pods.
	ReasonRolloutHeld = "RolloutHeld"
	// ReasonRolloutUnguarded: False. An edit of the target may end busy pods, for the reason in the message.
	ReasonRolloutUnguarded = "RolloutUnguarded"
)

// ScaledDeploymentSpec says what to scale, for which triggers, within which limits, and how to tell busy from idle.
//
// +kubebuilder:validation:XValidation:rule="self.minReplicas <= self.maxReplicas",message="must not exceed maxReplicas: lower minReplicas or raise maxReplicas",fieldPath=".minReplicas"
type ScaledDeploymentSpec struct {
	// scaleTargetRef names what to scale, in the same namespace: a Deployment, a StatefulSet, or anything else that has a
	// scale subresource. Nothing else may set its replicas: no HorizontalPodAutoscaler, and no manifest that is applied
	// again and again.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: create another ScaledDeployment for another target"
	ScaleTargetRef ScaleTargetRef `json:"scaleTargetRef,omitzero"`

	// triggers are the event sources that say how many messages wait: 1 to 16, each with a name of its own.
	// A trigger without a name is called after its kind: rabbitmq, redisList or redisStream.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(t, self.exists_one(u, (has(u.name) ? u.name : has(u.rabbitmq) ? 'rabbitmq' : has(u.redisList) ? 'redisList' : 'redisStream') == (has(t.name) ? t.name : has(t.rabbitmq) ? 'rabbitmq' : has(t.redisList) ? 'redisList' : 'redisStream')))",message="each trigger needs a name of its own (without one it is called after its kind): set triggers[].name"
	Triggers []ReplicaTrigger `json:"triggers,omitempty"`

	// combine says how several triggers make one number of replicas: as many as the trigger that asks for the most, for
	// the fewest, their sum, or their mean. Default Max.
	// +optional
	// +default="Max"
	Combine Combine `json:"combine,omitempty"`

	// minReplicas is the least number of replicas, kept even with nothing waiting. Default 0.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MinReplicas *int32 `json:"minReplicas,omitempty"`

	// maxReplicas is the cap on replicas, always applied last. Default 10.
	// +optional
	// +default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`

	// pollingInterval is how often each trigger is read, and each pod asked, at least, as a duration such as 1s or 500ms;
	// at least 100ms. Default 1s.
	// +optional
	// +default="1s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(ms|s|m|h)){1,4}$') && duration(self) >= duration('100ms') && duration(self) <= duration('24h')",message="must be a duration from 100ms to 24h, such as 1s or 500ms"
	PollingInterval *metav1.Duration `json:"pollingInterval,omitempty"`

	// scaleUp limits how fast replicas are added. Without it they are added at once.
	// +optional
	ScaleUp *ScaleUp `json:"scaleUp,omitempty"`

	// scaleDown says when, and how fast, idle replicas are taken away.
	// +optional
	// +default={"stabilization":"5m"}
	ScaleDown *ScaleDown `json:"scaleDown,omitempty"`

	// cron are windows of time with a least number of replicas of their own, such as business hours.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Cron []ReplicaWindow `json:"cron,omitempty"`

	// fallback says how many replicas there are when the triggers cannot be read. Without it, as many as there were.
	// +optional
	Fallback *Fallback `json:"fallback,omitempty"`

	// termination says how to tell a busy pod from an idle one, and how to end one without harm.
	// +required
	Termination Termination `json:"termination,omitzero"`

	// suspend stops scaling; what is asked of pods, and their protection while busy, goes on. Default false.
	// +optional
	// +default=false
	Suspend *bool `json:"suspend,omitempty"`
}

// ScaleTargetRef names what to scale, in the ScaledDeployment's namespace.
//
// +kubebuilder:validation:XValidation:rule="!(self.kind in ['Deployment', 'StatefulSet']) || self.apiVersion == 'apps/v1'",message="must be apps/v1 for a Deployment or a StatefulSet",fieldPath=".apiVersion"
type ScaleTargetRef struct {
	// apiVersion is the target's API group and version. Default apps/v1.
	// +optional
	// +default="apps/v1"
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^([-a-z0-9.]+/)?v[a-z0-9]+$')",message="must be a group and version, such as apps/v1 or argoproj.io/v1alpha1"
	APIVersion string `json:"apiVersion,omitempty"`

	// kind is the target's kind. Default Deployment.
	// +optional
	// +default="Deployment"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`

	// name is the target's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// ReplicaTrigger is one event source of a ScaledDeployment: exactly one of rabbitmq, redisList and redisStream.
//
// +kubebuilder:validation:ExactlyOneOf=rabbitmq;redisList;redisStream
type ReplicaTrigger struct {
	// name tells this trigger from the others, in status and metrics. By default the trigger's kind: rabbitmq, redisList
	// or redisStream.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$')",message="must consist of letters, digits and '-', and start and end with a letter or digit"
	Name string `json:"name,omitempty"`

	// messagesPerReplica is how many messages one replica works on at a time. Default 1.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MessagesPerReplica *int32 `json:"messagesPerReplica,omitempty"`

	// acknowledge says when a worker acknowledges its message: AfterWork, so that held messages are those being worked
	// on, or OnReceipt, so that held means nothing. Default AfterWork.
	// +optional
	// +default="AfterWork"
	Acknowledge Acknowledge `json:"acknowledge,omitempty"`

	// activationThreshold is how many messages may wait without a replica: at or below it the trigger counts as empty
	// while there are no replicas. Default 0.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=0
	ActivationThreshold *int64 `json:"activationThreshold,omitempty"`

	// rabbitmq is a RabbitMQ queue.
	// +optional
	RabbitMQ *RabbitMQTrigger `json:"rabbitmq,omitempty"`

	// redisList is a Redis list.
	// +optional
	RedisList *RedisListTrigger `json:"redisList,omitempty"`

	// redisStream is a Redis stream with a consumer group.
	// +optional
	RedisStream *RedisStreamTrigger `json:"redisStream,omitempty"`
}

// Trigger is the event source as those of a ScaledJob are written, one message for one.
func (t *ReplicaTrigger) Trigger() Trigger {
	return Trigger{
		Name: t.Name, MessagesPerJob: t.MessagesPerReplica, Acknowledge: t.Acknowledge, ActivationThreshold: t.ActivationThreshold,
		RabbitMQ: t.RabbitMQ, RedisList: t.RedisList, RedisStream: t.RedisStream,
	}
}

// ScaleUp limits how fast replicas are added. What is not given is not limited.
//
// +kubebuilder:validation:MinProperties=1
type ScaleUp struct {
	// maxPerStep is how many replicas are added at once at most. Steps are at least a pollingInterval apart.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxPerStep int32 `json:"maxPerStep,omitempty"`

	// maxPerMinute is how many replicas are added within any minute at most.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxPerMinute int32 `json:"maxPerMinute,omitempty"`
}

// ScaleDown says when, and how fast, idle replicas are taken away.
//
// +kubebuilder:validation:MinProperties=0
type ScaleDown struct {
	// stabilization is how long a smaller number must have been enough before replicas are taken away, as a duration such
	// as 30s or 5m. Default 5m.
	// +optional
	// +default="5m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(ms|s|m|h)){1,4}$') && duration(self) >= duration('0s') && duration(self) <= duration('24h')",message="must be a duration from 0s to 24h, such as 30s or 5m"
	Stabilization *metav1.Duration `json:"stabilization,omitempty"`

	// maxPerStep is how many replicas are fenced and taken away at once at most. Without it, as many as are idle. Steps
	// are at least a pollingInterval apart.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxPerStep int32 `json:"maxPerStep,omitempty"`
}

// ReplicaWindow is a window of time with a least number of replicas.
//
// +kubebuilder:validation:XValidation:rule="self.start != self.end",message="must differ from start: a window ends at another time than it begins",fieldPath=".end"
type ReplicaWindow struct {
	// start is when the window opens, with five fields as in a cron trigger: "0 8 * * 1-5" is 8:00 on working days.
	// +required
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ ]*([-0-9A-Za-z*?,/]+[ ]+){4}[-0-9A-Za-z*?,/]+[ ]*$')",message="must have five fields: minute, hour, day of month, month and day of week, such as \"0 8 * * 1-5\""
	Start string `json:"start,omitempty"`

	// end is when the window closes, written as start is. A window is open when its next end comes before its next start.
	// +required
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ ]*([-0-9A-Za-z*?,/]+[ ]+){4}[-0-9A-Za-z*?,/]+[ ]*$')",message="must have five fields: minute, hour, day of month, month and day of week, such as \"0 18 * * 1-5\""
	End string `json:"end,omitempty"`

	// timeZone is the IANA name of the time zone of start and end, such as Europe/Berlin. Default Etc/UTC.
	// +optional
	// +default="Etc/UTC"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$') && self != 'Local'",message="must be an IANA time zone, such as Europe/Berlin or Etc/UTC"
	TimeZone string `json:"timeZone,omitempty"`

	// minReplicas is the least number of replicas while the window is open; maxReplicas caps it.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MinReplicas int32 `json:"minReplicas,omitempty"`
}

// FallbackBehavior says how many replicas there are when the triggers cannot be read.
//
// +kubebuilder:validation:Enum=Replicas;CurrentReplicas
type FallbackBehavior string

// How many replicas there are when the triggers cannot be read; see Fallback.Behavior.
const (
	FallbackReplicas        FallbackBehavior = "Replicas"
	FallbackCurrentReplicas FallbackBehavior = "CurrentReplicas"
)

// Fallback says how many replicas there are when the triggers cannot be read.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="has(self.replicas) == (self.behavior == 'Replicas')",message="belongs to behavior: Replicas and is required there: set both or neither",fieldPath=".replicas"
type Fallback struct {
	// afterFailures is how many readings in a row must have failed. Default 3.
	// +optional
	// +default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	AfterFailures *int32 `json:"afterFailures,omitempty"`

	// behavior is Replicas, for the number in replicas, or CurrentReplicas, for as many as there are. Default Replicas.
	// +optional
	// +default="Replicas"
	Behavior FallbackBehavior `json:"behavior,omitempty"`

	// replicas is how many replicas there are then. No busy pod is ended for it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Replicas *int32 `json:"replicas,omitempty"`
}

// PreStop says whether a preStop hook is written to the target's pods.
//
// +kubebuilder:validation:Enum=Auto;None
type PreStop string

// Whether a preStop hook is written to the target's pods; see Termination.PreStop.
const (
	PreStopAuto PreStop = "Auto"
	PreStopNone PreStop = "None"
)

// RolloutGuard says whether rollouts of the target are held back for busy pods.
//
// +kubebuilder:validation:Enum=Auto;None
type RolloutGuard string

// Whether rollouts of the target are held back for busy pods; see Termination.Rollout.
const (
	RolloutAuto RolloutGuard = "Auto"
	RolloutNone RolloutGuard = "None"
)

// Termination says how to tell a busy pod from an idle one, and how to end one without harm.
type Termination struct {
	// busy says how a pod tells that it works. The first that is set counts.
	// +required
	Busy BusySignal `json:"busy,omitzero"`

	// fence is how to ask a pod to take nothing more. Without it a pod may take a message in the moment in which it is
	// ended; gracePeriod is all that saves its work then.
	// +optional
	Fence *Fence `json:"fence,omitempty"`

	// busyTimeout is how long a pod that answers nothing counts as busy, and then as lost. Default 5m.
	// +optional
	// +default="5m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(ms|s|m|h)){1,4}$') && duration(self) >= duration('1s') && duration(self) <= duration('168h')",message="must be a duration from 1s to 168h, such as 5m"
	BusyTimeout *metav1.Duration `json:"busyTimeout,omitempty"`

	// gracePeriod is the net: how long a pod that is ended all the same may go on working. It is written to the target's
	// template as terminationGracePeriodSeconds. Give the longest that work takes. Default 1h.
	// +optional
	// +default="1h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(ms|s|m|h)){1,4}$') && duration(self) >= duration('1s') && duration(self) <= duration('720h')",message="must be a duration from 1s to 720h, such as 4h"
	GracePeriod *metav1.Duration `json:"gracePeriod,omitempty"`

	// preStop is Auto, to write a preStop hook to the target's template that waits until the pod has drained (a GET of
	// fence's path), or None. Without fence there is none. Default Auto.
	// +optional
	// +default="Auto"
	PreStop PreStop `json:"preStop,omitempty"`

	// rollout is Auto, to hold a rollout of a Deployment or StatefulSet back until the pods that it replaces are drained,
	// or None. It needs fence. Default Auto.
	// +optional
	// +default="Auto"
	Rollout RolloutGuard `json:"rollout,omitempty"`

	// container is the name of the container that works, to which the hook is written. By default the template's first.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container,omitempty"`
}

// BusySignal says how a pod tells that it works. The first that is set counts.
//
// +kubebuilder:validation:AtLeastOneOf=httpGet;podAnnotation;rabbitmqConsumers
type BusySignal struct {
	// httpGet asks the pod: 200 and {"busy":true} or {"busy":false}.
	// +optional
	HTTPGet *PodHTTP `json:"httpGet,omitempty"`

	// podAnnotation is the key of an annotation of the pod whose value is the time until which it is busy, as in RFC 3339:
	// a lease that the worker renews.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	PodAnnotation string `json:"podAnnotation,omitempty"`

	// rabbitmqConsumers asks RabbitMQ's management API which consumers hold messages that they have not acknowledged; the
	// worker needs no code for it. A pod is known by its address, or by its name where that is the name of its connection.
	// What the API tells is some seconds old, so that a pod is idle only once it has held nothing for 15 s.
	// +optional
	RabbitMQConsumers *RabbitMQConsumers `json:"rabbitmqConsumers,omitempty"`
}

// RabbitMQConsumers says which management API to ask.
//
// +kubebuilder:validation:MinProperties=0
type RabbitMQConsumers struct {
	// trigger is the name of the rabbitmq trigger whose managementURI and virtual host are asked. By default the first.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Trigger string `json:"trigger,omitempty"`
}

// PodHTTP is a path on a port of each pod, asked by plain HTTP.
type PodHTTP struct {
	// path is the absolute path, such as /longhaul/state.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^/[^ ?#]*$')",message="must be an absolute path without query, such as /longhaul/state"
	Path string `json:"path,omitempty"`

	// port is the number of the port that the pod listens on.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// Fence is how to ask a pod to take nothing more.
type Fence struct {
	// httpPost asks the pod. POST: take nothing more, if you are idle; 200 says that the pod is drained and stays so, 409
	// that it is busy and goes on as before. DELETE: take messages again. GET: take nothing more, and answer 200 when
	// drained; the preStop hook asks that.
	// +required
	HTTPPost PodHTTP `json:"httpPost,omitzero"`
}

// ScaledDeploymentStatus is what the manager last saw and did. It is written when something changed, at most once a second.
//
// +kubebuilder:validation:MinProperties=0
type ScaledDeploymentStatus struct {
	// conditions are Ready, Active, Suspended, Managed and RolloutGuarded.
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

	// replicas is what the target's replicas are set to.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`

	// desiredReplicas is what the backlog and the limits ask for. There may be more while pods are busy, and until
	// scaleDown's stabilization is over.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DesiredReplicas *int32 `json:"desiredReplicas,omitempty"`

	// ready is how many pods are ready.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Ready *int32 `json:"ready,omitempty"`

	// busy is how many pods work on a message, or answer nothing and may.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Busy *int32 `json:"busy,omitempty"`

	// idle is how many pods wait for a message, fenced ones among them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Idle *int32 `json:"idle,omitempty"`

	// fenced is how many idle pods take nothing more.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Fenced *int32 `json:"fenced,omitempty"`

	// leaving is how many pods are being ended; busy ones among them drain.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Leaving *int32 `json:"leaving,omitempty"`

	// lost is how many pods have answered nothing for busyTimeout.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Lost *int32 `json:"lost,omitempty"`

	// waiting is how many messages no one has taken, over all triggers.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Waiting *int64 `json:"waiting,omitempty"`

	// held is how many messages are taken and not yet acknowledged, over the triggers that can tell; absent where none can.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Held *int64 `json:"held,omitempty"`

	// lastScaleTime is when the target's replicas were last set.
	// +optional
	LastScaleTime *metav1.Time `json:"lastScaleTime,omitempty"`

	// lastDecision says in a sentence what was last decided, and why.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	LastDecision string `json:"lastDecision,omitempty"`

	// triggers are what each trigger last showed.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Triggers []TriggerStatus `json:"triggers,omitempty"`

	// pods are what each pod last said: the busy ones first, 100 at most.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	Pods []ConsumerStatus `json:"pods,omitempty"`
}

// ConsumerState is what is known of a pod.
//
// +kubebuilder:validation:Enum=Starting;Idle;Busy;Silent;Lost;Fenced;Draining;Leaving
type ConsumerState string

// What is known of a pod; see ConsumerStatus.State.
const (
	ConsumerStarting ConsumerState = "Starting"
	ConsumerIdle     ConsumerState = "Idle"
	ConsumerBusy     ConsumerState = "Busy"
	ConsumerSilent   ConsumerState = "Silent"
	ConsumerLost     ConsumerState = "Lost"
	ConsumerFenced   ConsumerState = "Fenced"
	ConsumerDraining ConsumerState = "Draining"
	ConsumerLeaving  ConsumerState = "Leaving"
)

// ConsumerStatus is what one pod last said.
type ConsumerStatus struct {
	// name is the pod's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// state is Starting (has never answered), Idle, Busy, Silent (answers nothing, and counts as busy), Lost (has answered
	// nothing for busyTimeout), Fenced (idle, and takes nothing more), Draining (is being ended, and works), or Leaving
	// (is being ended, and is idle).
	// +required
	State ConsumerState `json:"state,omitempty"`

	// messageID is the message that the pod says it works on.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	MessageID string `json:"messageID,omitempty"`

	// since is when the pod was first seen in this state, with this message.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`

	// until is until when the pod says that it is busy.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}
