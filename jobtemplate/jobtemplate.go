// Package jobtemplate makes Jobs of a ScaledJob's template, and reads back what it wrote on them. It is pure.
//
// A Job's sequence is the number in its name, transcode-000042. It only grows within a ScaledJob, so that two who would
// dispatch the same Job try the same name, and the API server refuses the second. A Job's revision tells which template
// it was made of; its trigger, for whose message; its scheduled time, for which time of a schedule.
package jobtemplate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

const (
	// LabelScaledJob is the label, on Jobs and their pods, that names the ScaledJob. It is for people and selectors;
	// whose a Job is follows from its controller's UID alone.
	LabelScaledJob = v1alpha1.Group + "/scaledjob"
	// LabelTrigger is the label, on Jobs and their pods, that names the trigger; absent where a Job is for all of them.
	LabelTrigger = v1alpha1.Group + "/trigger"
	// AnnotationSequence is the annotation that holds a Job's sequence.
	AnnotationSequence = v1alpha1.Group + "/sequence"
	// AnnotationRevision is the annotation that holds a Job's revision.
	AnnotationRevision = v1alpha1.Group + "/template"
	// AnnotationQueue is the annotation that tells for which queue a Job was dispatched, so that one whose trigger was edited
	// since is known; absent where a Job is for several or for none.
	AnnotationQueue = v1alpha1.Group + "/queue"
	// AnnotationSeen is the annotation that tells when the Job's message was first seen to wait, in RFC 3339 with fractions.
	AnnotationSeen = v1alpha1.Group + "/seen"
	// AnnotationCreated is the annotation that tells when the Job was made, in RFC 3339 with fractions: its creation timestamp
	// is cut to the second.
	AnnotationCreated = v1alpha1.Group + "/created"
	// AnnotationRun is the annotation that tells which request of a user a Job is for: the value of the ScaledJob's annotation
	// of the same name.
	AnnotationRun = v1alpha1.AnnotationRun
	// AnnotationScheduledTime is the annotation that holds a Job's scheduled time, in RFC 3339.
	AnnotationScheduledTime = v1alpha1.Group + "/scheduled-time"
)

// Order is what makes one Job differ from the next of the same template.
type Order struct {
	// Sequence is the Job's number; 0 is for dry runs.
	Sequence int64
	// Trigger names the trigger whose message the Job is for; empty where it is for all of them.
	Trigger string
	// Queue is a digest of what names that trigger's queue; empty for a schedule.
	Queue string
	// ScheduledTime is the time of the schedule that the Job is for; zero where it is for a message.
	ScheduledTime time.Time
	// Run is the request of a user that the Job is for; empty where it is for none.
	Run string
	// Seen is when the message was first seen to wait, Created when the Job is made; zero where they are not known.
	Seen, Created time.Time
}

// Name is the name of the Job with a sequence: six digits, more when they no longer suffice.
func Name(scaledJob string, sequence int64) string {
	return fmt.Sprintf("%s-%06d", scaledJob, sequence)
}

// Revision tells one Job template from another: 16 hexadecimal digits of a digest. It fails only where a template cannot
// be written as JSON, which no template read from an API server does.
func Revision(template *batchv1.JobTemplateSpec) (string, error) {
	raw, err := json.Marshal(template)
	if err != nil {
		return "", fmt.Errorf("writing the job template as JSON: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8]), nil
}

// Job makes a Job of a ScaledJob's template. It shares no memory with the ScaledJob. A template without a restartPolicy
// gets Never, as batch/v1 allows none other but OnFailure.
func Job(owner *v1alpha1.ScaledJob, revision string, o Order) *batchv1.Job {
	template := owner.Spec.JobTemplate.DeepCopy()
	marks := map[string]string{LabelScaledJob: owner.Name}
	if o.Trigger != "" {
		marks[LabelTrigger] = o.Trigger
	}
	annotations := map[string]string{
		AnnotationSequence: strconv.FormatInt(o.Sequence, 10),
		AnnotationRevision: revision,
	}
	if o.Queue != "" {
		annotations[AnnotationQueue] = o.Queue
	}
	if !o.ScheduledTime.IsZero() {
		annotations[AnnotationScheduledTime] = o.ScheduledTime.UTC().Format(time.RFC3339)
	}
	if o.Run != "" {
		annotations[AnnotationRun] = o.Run
	}
	for annotation, at := range map[string]time.Time{AnnotationSeen: o.Seen, AnnotationCreated: o.Created} {
		if !at.IsZero() {
			annotations[annotation] = at.UTC().Format(time.RFC3339Nano)
		}
	}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   owner.Namespace,
			Name:        Name(owner.Name, o.Sequence),
			Labels:      merged(template.Labels, marks),
			Annotations: merged(template.Annotations, annotations),
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(owner, v1alpha1.GroupVersion().WithKind("ScaledJob")),
			},
		},
		Spec: template.Spec,
	}
	pod := &job.Spec.Template
	pod.Labels = merged(pod.Labels, marks)
	if pod.Spec.RestartPolicy == "" {
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
	env := []corev1.EnvVar{
		{Name: "LONGHAUL_SCALEDJOB", Value: owner.Name},
		{Name: "LONGHAUL_TRIGGER", Value: o.Trigger},
		{Name: "LONGHAUL_SEQUENCE", Value: strconv.FormatInt(o.Sequence, 10)},
	}
	// First, so that the template's own variables may refer to them.
	for i := range pod.Spec.InitContainers {
		pod.Spec.InitContainers[i].Env = slices.Concat(env, pod.Spec.InitContainers[i].Env)
	}
	for i := range pod.Spec.Containers {
		pod.Spec.Containers[i].Env = slices.Concat(env, pod.Spec.Containers[i].Env)
	}
	return job
}

// merged is a new map of both; what the second holds prevails.
func merged(a, b map[string]string) map[string]string {
	m := make(map[string]string, len(a)+len(b))
	maps.Copy(m, a)
	maps.Copy(m, b)
	return m
}

// Sequence is a Job's number; false where it carries none, as a Job that is not of Longhaul's making.
func Sequence(job *batchv1.Job) (int64, bool) {
	n, err := strconv.ParseInt(job.Annotations[AnnotationSequence], 10, 64)
	return n, err == nil && n > 0
}

// ScheduledTime is the time of a schedule that a Job is for; false where it is for a message.
func ScheduledTime(job *batchv1.Job) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, job.Annotations[AnnotationScheduledTime])
	return t, err == nil
}

// Seen is when a Job's message was first seen to wait; zero where that is not known.
func Seen(job *batchv1.Job) time.Time {
	return moment(job.Annotations[AnnotationSeen])
}

// clocksApart is how far a manager's clock may be from the API server's for its word to be taken for the exact moment.
const clocksApart = 2 * time.Second

// Created is when a Job was made: to the fraction of a second, where its creation timestamp bears that out.
func Created(job *batchv1.Job) time.Time {
	cut := job.CreationTimestamp.UTC()
	if exact := moment(job.Annotations[AnnotationCreated]); exact.Sub(cut).Abs() < clocksApart {
		return exact
	}
	return cut
}

func moment(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
