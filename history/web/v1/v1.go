// Package v1 is the words of the JSON API, version 1, that a manager serves under /api/v1: what the dashboard and
// kubectl-longhaul show. Field names stay; fields may be added. Times are RFC 3339 in UTC, durations are seconds, and what is
// not known is absent.
//
//	GET /api/v1/scaledjobs                                        ScaledJobList
//	GET /api/v1/namespaces/{namespace}/scaledjobs/{name}          ScaledJob
//	GET /api/v1/namespaces/{namespace}/scaledjobs/{name}/jobs     JobList
//	GET /api/v1/namespaces/{namespace}/scaledjobs/{name}/records  RecordList
//	GET /api/v1/namespaces/{namespace}/scaledjobs/{name}/records/{sequence}  Record
//	GET /api/v1/namespaces/{namespace}/scaledjobs/{name}/stats    Stats
//	GET /api/v1/namespaces/{namespace}/scaledjobs/{name}/activity Activity
//	GET /api/v1/namespaces/{namespace}/scaledjobs/{name}/timeline Timeline
//	GET /api/v1/records                                           RecordList
//	GET /api/v1/scaleddeployments                                 ScaledDeploymentList
//	GET /api/v1/namespaces/{namespace}/scaleddeployments/{name}   ScaledDeployment
//	GET /api/v1/events                                            server-sent events
//	GET /api/v1/user                                              User
//	GET /api/v1/openapi.json                                      the OpenAPI document
package v1

import (
	"time"

	"github.com/longhaul-dev/longhaul/history"
)

// ScaledJob is a ScaledJob as it is now, or what is left of one that was deleted: its name, and its history.
type ScaledJob struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Deleted says that there is only its history.
	Deleted bool              `json:"deleted,omitempty"`
	UID     string            `json:"uid,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Created *time.Time        `json:"created,omitempty"`

	Suspended      bool  `json:"suspended,omitempty"`
	MaxParallelism int32 `json:"maxParallelism,omitempty"`
	MinParallelism int32 `json:"minParallelism,omitempty"`

	// Waiting and Held are messages; absent where nobody can tell.
	Waiting *int64 `json:"waiting,omitempty"`
	Held    *int64 `json:"held,omitempty"`
	// Starting and Running are Jobs.
	Starting int32 `json:"starting"`
	Running  int32 `json:"running"`
	// KeptSucceeded and KeptFailed are finished Jobs that are still in the cluster.
	KeptSucceeded int32 `json:"keptSucceeded"`
	KeptFailed    int32 `json:"keptFailed"`

	LastDispatch *time.Time `json:"lastDispatch,omitempty"`
	LastSequence int64      `json:"lastSequence,omitempty"`

	// Ready is the status of the condition Ready: True, False or Unknown.
	Ready      string      `json:"ready,omitempty"`
	Conditions []Condition `json:"conditions,omitempty"`
	Triggers   []Trigger   `json:"triggers,omitempty"`

	// LastHour is what finished within the last hour.
	LastHour Pace `json:"lastHour"`
	// Why says in a sentence why it does or does not dispatch now.
	Why string `json:"why,omitempty"`
}

// ScaledJobList is all ScaledJobs that a user may see, by namespace and name.
type ScaledJobList struct {
	Items []ScaledJob `json:"items"`
}

// Condition is one of a ScaledJob's.
type Condition struct {
	Type    string    `json:"type"`
	Status  string    `json:"status"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since"`
}

// Trigger is one of a ScaledJob's, and what it last showed.
type Trigger struct {
	Name string `json:"name"`
	// Kind is the field of the trigger that is set: rabbitmq, redisList, redisStream or cron.
	Kind     string     `json:"kind,omitempty"`
	Waiting  *int64     `json:"waiting,omitempty"`
	Held     *int64     `json:"held,omitempty"`
	LastRead *time.Time `json:"lastRead,omitempty"`
	// Message says why it cannot be read.
	Message string `json:"message,omitempty"`
}

// Pace is how many Jobs finished in some time.
type Pace struct {
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	// PerMinute is how many finished in a minute on average; if the ScaledJob is younger than the time, since it began.
	PerMinute float64 `json:"perMinute"`
}

// Job is one that has not ended: in the cluster now.
type Job struct {
	Namespace string `json:"namespace"`
	ScaledJob string `json:"scaledJob"`
	Sequence  int64  `json:"sequence"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Trigger   string `json:"trigger,omitempty"`
	// State is Starting or Running.
	State   JobState   `json:"state"`
	Seen    *time.Time `json:"seen,omitempty"`
	Created time.Time  `json:"created"`
	Started *time.Time `json:"started,omitempty"`
	// Pod and Node are those of its newest attempt, and Attempts is how many there were.
	Pod      string `json:"pod,omitempty"`
	Node     string `json:"node,omitempty"`
	Attempts int    `json:"attempts"`
	// Message says why it does not start, where something holds it up.
	Message string `json:"message,omitempty"`
	// Progress is the share of the work that is done, from 0 to 1, where the request asked for it and the worker tells.
	Progress *float64 `json:"progress,omitempty"`
}

// JobState is what a Job that has not ended does.
type JobState string

// The states of a Job that has not ended.
const (
	Starting JobState = "Starting"
	Running  JobState = "Running"
)

// JobList is the Jobs of a ScaledJob that have not ended, oldest first.
type JobList struct {
	Items []Job `json:"items"`
}

// Record is a Job's record, and what follows from it.
type Record struct {
	history.Record

	WaitSeconds    *float64 `json:"waitSeconds,omitempty"`
	StartUpSeconds *float64 `json:"startUpSeconds,omitempty"`
	RunSeconds     *float64 `json:"runSeconds,omitempty"`
	// CPUSeconds and MemoryByteSeconds are what its attempts requested, while they ran.
	CPUSeconds        float64 `json:"cpuSeconds,omitempty"`
	MemoryByteSeconds float64 `json:"memoryByteSeconds,omitempty"`
}

// RecordList is a page of records, newest first.
type RecordList struct {
	Items []Record `json:"items"`
	// Next is the cursor for the page that follows; empty where none does.
	Next string `json:"next,omitempty"`
}

// Stats are statistics of the Jobs of a ScaledJob that ended within some time.
type Stats struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Active is how many have not ended now.
	Active     int64                      `json:"active"`
	Outcomes   map[history.Outcome]int64  `json:"outcomes"`
	Categories map[history.Category]int64 `json:"categories"`
	Wait       Durations                  `json:"wait"`
	StartUp    Durations                  `json:"startUp"`
	Run        Durations                  `json:"run"`
	// CPUSeconds and MemoryByteSeconds are what the Jobs requested, in core-seconds and byte-seconds.
	CPUSeconds        float64 `json:"cpuSeconds"`
	MemoryByteSeconds float64 `json:"memoryByteSeconds"`
	// Series is how many finished in each part of the time, as many parts as the request asked for.
	Series []Finished `json:"series,omitempty"`
}

// Durations is how long something took, in seconds.
type Durations struct {
	Count int64 `json:"count"`
	// P50, P95 and P99 are percentiles, off by 1 % at most; absent where nothing was counted.
	P50 *float64 `json:"p50,omitempty"`
	P95 *float64 `json:"p95,omitempty"`
	P99 *float64 `json:"p99,omitempty"`
	// Histogram is how many there were between bounds, the shortest first, those that are empty left out.
	Histogram []Bucket `json:"histogram,omitempty"`
}

// Bucket is how many durations were above From and at most To.
type Bucket struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Count int64   `json:"count"`
}

// Finished is how many Jobs finished in a part of the time, without those that were cancelled.
type Finished struct {
	Start     time.Time `json:"start"`
	Succeeded int64     `json:"succeeded"`
	Failed    int64     `json:"failed"`
}

// Activity is how much waited and ran over time.
type Activity struct {
	Points []ActivityPoint `json:"points"`
}

// ActivityPoint is how much waited and ran at a moment.
type ActivityPoint struct {
	Time time.Time `json:"time"`
	// Waiting is messages: those counted at the time by this manager, else those whose Jobs were dispatched later.
	Waiting int64 `json:"waiting"`
	// Starting and Running are Jobs.
	Starting int64 `json:"starting"`
	Running  int64 `json:"running"`
}

// Timeline is Jobs as bars: those that existed within some time, the newest where there are too many, by creation.
type Timeline struct {
	Items []Bar `json:"items"`
	// More says that there were more.
	More bool `json:"more,omitempty"`
}

// Bar is when a Job waited, started up and ran.
type Bar struct {
	Sequence int64            `json:"sequence"`
	Seen     *time.Time       `json:"seen,omitempty"`
	Created  time.Time        `json:"created"`
	Started  *time.Time       `json:"started,omitempty"`
	Finished *time.Time       `json:"finished,omitempty"`
	Outcome  history.Outcome  `json:"outcome,omitempty"`
	Category history.Category `json:"category,omitempty"`
}

// ScaledDeployment is a ScaledDeployment as it is now.
type ScaledDeployment struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	UID       string            `json:"uid,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Created   *time.Time        `json:"created,omitempty"`

	// TargetKind and TargetName are of what is scaled.
	TargetKind  string `json:"targetKind"`
	TargetName  string `json:"targetName"`
	Suspended   bool   `json:"suspended,omitempty"`
	MinReplicas int32  `json:"minReplicas"`
	MaxReplicas int32  `json:"maxReplicas"`

	// Waiting and Held are messages; absent where nobody can tell.
	Waiting *int64 `json:"waiting,omitempty"`
	Held    *int64 `json:"held,omitempty"`
	// DesiredReplicas is what the backlog and the limits ask for, and Replicas what is set; absent where nobody knows yet.
	DesiredReplicas *int32 `json:"desiredReplicas,omitempty"`
	Replicas        *int32 `json:"replicas,omitempty"`
	// ReadyPods, Busy, Idle, Fenced (of the idle ones), Leaving and Lost are pods.
	ReadyPods int32 `json:"readyPods"`
	Busy      int32 `json:"busy"`
	Idle      int32 `json:"idle"`
	Fenced    int32 `json:"fenced"`
	Leaving   int32 `json:"leaving"`
	Lost      int32 `json:"lost"`

	LastScale *time.Time `json:"lastScale,omitempty"`
	// Ready is the status of the condition Ready: True, False or Unknown.
	Ready      string      `json:"ready,omitempty"`
	Conditions []Condition `json:"conditions,omitempty"`
	Triggers   []Trigger   `json:"triggers,omitempty"`
	// Why says in a sentence why there are as many replicas as there are.
	Why string `json:"why,omitempty"`
	// Pods are its pods, those that work first; 100 at most.
	Pods []Consumer `json:"pods"`
}

// ScaledDeploymentList is all ScaledDeployments that a user may see, by namespace and name.
type ScaledDeploymentList struct {
	Items []ScaledDeployment `json:"items"`
}

// Consumer is a pod of a ScaledDeployment's target.
type Consumer struct {
	Name string `json:"name"`
	// State is Starting, Idle, Busy, Silent, Lost, Fenced, Draining or Leaving.
	State string `json:"state"`
	// MessageID is what it says it works on, Since is when it was first seen so, and Until is until when it says so.
	MessageID string     `json:"messageID,omitempty"`
	Since     *time.Time `json:"since,omitempty"`
	Until     *time.Time `json:"until,omitempty"`
}

// User is who asks.
type User struct {
	Name string `json:"name"`
	// Anonymous says that this manager asks nobody who they are.
	Anonymous bool `json:"anonymous,omitempty"`
	// History says whether this manager keeps a history.
	History bool `json:"history"`
	// Version is the manager's.
	Version string `json:"version"`
}

// Event is what a server-sent event says. Its name is the event's type: scaledjob, job, record or gone.
type Event struct {
	// ScaledJob is one that changed, Job one that changed and has not ended, Record one that ended just now. Of a
	// ScaledJob that is deleted only the name is told.
	ScaledJob *ScaledJob `json:"scaledJob,omitempty"`
	Job       *Job       `json:"job,omitempty"`
	Record    *Record    `json:"record,omitempty"`
}

// Error is the body of an answer that is not 2xx.
type Error struct {
	// Message says what is wrong and what to do.
	Message string `json:"message"`
}
