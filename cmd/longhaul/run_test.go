package main

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

func TestEveryKindOfTriggerHasADriver(t *testing.T) {
	t.Parallel()
	known := []string{}
	for _, k := range kinds() {
		known = append(known, k.Name)
	}
	if diff := cmp.Diff([]string{"rabbitmq", "redisList", "redisStream", "cron"}, known); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestOfPodsOnlyThoseOfJobsAreKept(t *testing.T) {
	t.Parallel()
	options, err := caching(nil)
	if err != nil {
		t.Fatal(err)
	}
	if options.DefaultNamespaces != nil {
		t.Errorf("the namespaces watched are %v, want all", options.DefaultNamespaces)
	}
	pods := 0
	for object, by := range options.ByObject {
		if _, ok := object.(*corev1.Pod); !ok {
			continue
		}
		pods++
		if !by.Label.Matches(labels.Set{batchv1.ControllerUidLabel: "uid"}) || by.Label.Matches(labels.Set{"app": "web"}) {
			t.Errorf("pods are selected by %s", by.Label)
		}
	}
	if pods != 1 {
		t.Errorf("%d rules are for pods, want 1", pods)
	}
}

func TestOnlyTheNamespacesNamedAreWatched(t *testing.T) {
	t.Parallel()
	options, err := caching([]string{"video", "audio"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]cache.Config{"video": {}, "audio": {}}, options.DefaultNamespaces); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// job is a Job of a ScaledJob's, as the API server has it.
func job() *batchv1.Job {
	owner := &v1alpha1.ScaledJob{ObjectMeta: metav1.ObjectMeta{Namespace: "video", Name: "transcode", UID: "owner"}}
	owner.Spec.JobTemplate.Spec.BackoffLimit = ptr.To[int32](2)
	owner.Spec.JobTemplate.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	job := jobtemplate.Job(owner, "revision", jobtemplate.Order{Sequence: 7, Trigger: "rabbitmq"})
	job.UID = "job"
	job.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "longhaul"}}
	job.Status = batchv1.JobStatus{Active: 1, StartTime: &metav1.Time{Time: time.Unix(1, 0)}}
	return job
}

func slimmed[T any](t *testing.T, slim func(any) (any, error), o T) T {
	t.Helper()
	got, err := slim(o)
	if err != nil {
		t.Fatal(err)
	}
	return got.(T)
}

func TestOfOurJobsAllIsKeptThatPassesRead(t *testing.T) {
	t.Parallel()
	want := job()
	want.ManagedFields = nil
	want.Spec.Template = corev1.PodTemplateSpec{}
	if diff := cmp.Diff(want, slimmed(t, slimJob, job())); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestOfOtherPeoplesJobsOnlyTheMetadataIsKept(t *testing.T) {
	t.Parallel()
	for name, owners := range map[string][]metav1.OwnerReference{
		"of nobody":                      nil,
		"of a CronJob":                   {{APIVersion: "batch/v1", Kind: "CronJob", Name: "nightly", UID: "owner", Controller: ptr.To(true)}},
		"of a ScaledJob, not controlled": {{APIVersion: v1alpha1.GroupVersion().String(), Kind: "ScaledJob", Name: "transcode", UID: "owner"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := job()
			other.OwnerReferences = owners
			want := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "video", Name: "transcode-000007", UID: "job", OwnerReferences: owners}}
			if diff := cmp.Diff(want, slimmed(t, slimJob, other)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestOfPodsAllIsKeptThatPassesAndRecordsRead(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "transcode-000007-abcde", Namespace: "video", Labels: map[string]string{"l": "v"}, Annotations: map[string]string{"a": "v"},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "transcode-000007", UID: "job", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{
			NodeName: "n", ServiceAccountName: "s",
			InitContainers: []corev1.Container{{Name: "i", Image: "i", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}},
			Containers: []corev1.Container{{
				Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "secret"}},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
					Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
				},
			}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	want := pod.DeepCopy()
	want.ManagedFields, want.Annotations = nil, nil
	want.Spec.ServiceAccountName = ""
	want.Spec.Containers[0].Env, want.Spec.Containers[0].Resources.Limits = nil, nil
	if diff := cmp.Diff(want, slimmed(t, slimPod, pod)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWhatIsNeitherAJobNorAPodPassesUntouched(t *testing.T) {
	t.Parallel()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Annotations: map[string]string{"a": "v"}},
		Data:       map[string][]byte{"k": []byte("v")},
	}
	for _, slim := range []func(any) (any, error){slimJob, slimPod} {
		if diff := cmp.Diff(secret.DeepCopy(), slimmed(t, slim, secret)); diff != "" {
			t.Errorf("(-before +after)\n%s", diff)
		}
	}
}

func TestWhatTheRedisClientSaysIsForDebugging(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]string{
		slog.LevelInfo:  "",
		slog.LevelDebug: "level=DEBUG msg=\"failed to dial after 3 attempts\" logger=redis\n",
	} {
		var out bytes.Buffer
		handler := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
		redisLog{logr.FromSlogHandler(handler).WithName("redis")}.Printf(t.Context(), "failed to dial after %d attempts", 3)
		if out.String() != want {
			t.Errorf("at the level %s the log is %q, want %q", level, out.String(), want)
		}
	}
}
