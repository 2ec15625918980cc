package main_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// samples reads config/samples, by file name.
func samples(t *testing.T) map[string]v1alpha1.ScaledJob {
	t.Helper()
	files, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]v1alpha1.ScaledJob{}
	for _, file := range files {
		if filepath.Base(file) == "longpoll.yaml" { // the only one that is no ScaledJob
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var sample v1alpha1.ScaledJob
		if err := yaml.UnmarshalStrict(content, &sample); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if sample.Kind != "ScaledJob" || !strings.HasPrefix(string(content), "# ") {
			t.Errorf("%s: want a ScaledJob, with a comment that says what it is for", file)
		}
		all[filepath.Base(file)] = sample
	}
	return all
}

func containerOf(sample v1alpha1.ScaledJob) corev1.Container {
	return sample.Spec.JobTemplate.Spec.Template.Spec.Containers[0]
}

// TestTheWorkerUnderstandsTheSamples runs the worker as each sample would for each of its triggers, but with a broker of
// the test's own. The order waits under the name that the trigger gives.
func TestTheWorkerUnderstandsTheSamples(t *testing.T) {
	t.Parallel()
	all := samples(t)
	want := []string{"cron.yaml", "redis-stream.yaml", "several-triggers.yaml", "transcode-rabbitmq.yaml", "transcode.yaml"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(all))); diff != "" {
		t.Fatalf("samples (-want +got):\n%s", diff)
	}
	for file, sample := range all {
		for _, trigger := range sample.Spec.Triggers {
			if trigger.Cron != nil {
				continue
			}
			t.Run(file+", trigger "+trigger.EffectiveName(), func(t *testing.T) {
				t.Parallel()
				p := prepare(t)
				address := "redis://" + p.server.Addr()
				client := redis.NewClient(&redis.Options{Addr: p.server.Addr()})
				defer client.Close()
				var err error
				code, says := 0, "done with message 8141"
				switch {
				case trigger.RedisList != nil:
					err = client.RPush(t.Context(), trigger.RedisList.List, p.order(t, "8141")).Err()
				case trigger.RedisStream != nil:
					stream := trigger.RedisStream
					err = client.XGroupCreateMkStream(t.Context(), stream.Stream, stream.ConsumerGroup, "0").Err()
					if err == nil {
						err = client.XAdd(t.Context(), &redis.XAddArgs{Stream: stream.Stream, Values: []string{"message", p.order(t, "8141")}}).Err()
					}
				case trigger.RabbitMQ != nil:
					address, code, says = "amqp://127.0.0.1:1", 75, "connection refused"
				}
				if err != nil {
					t.Fatal(err)
				}
				env := []string{"LONGHAUL_TRIGGER=" + trigger.EffectiveName(), "PATIENCE=0s"}
				for _, e := range containerOf(sample).Env {
					if e.Value != "" && !strings.HasSuffix(e.Name, "_DIR") {
						env = append(env, e.Name+"="+e.Value)
					}
				}
				env = append(env, "QUEUE_URI="+address)
				said, got := p.run(t, env)
				if got != code || !strings.Contains(said, says) {
					t.Errorf("exit code %d, want %d and %q:\n%s", got, code, says, said)
				}
			})
		}
	}
}

func TestTheConsumerUnderstandsItsSample(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../config/samples/longpoll.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first, second, _ := strings.Cut(string(content), "\n---\n")
	var scaled v1alpha1.ScaledDeployment
	var deployment appsv1.Deployment
	if err := errors.Join(yaml.UnmarshalStrict([]byte(first), &scaled), yaml.UnmarshalStrict([]byte(second), &deployment)); err != nil {
		t.Fatal(err)
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	if scaled.Spec.ScaleTargetRef.Name != deployment.Name || deployment.Spec.Replicas != nil || container.Command[0] != "transcode-worker" {
		t.Errorf("the ScaledDeployment does not fit the Deployment: %+v", scaled.Spec.ScaleTargetRef)
	}
	env := []string{"PATIENCE=0s", "LISTEN=127.0.0.1:0", "QUEUE_URI=amqp://127.0.0.1:1"}
	for _, e := range container.Env {
		if e.Value != "" && !strings.HasSuffix(e.Name, "_DIR") && e.Name != "LISTEN" {
			env = append(env, e.Name+"="+e.Value)
		}
	}
	said, code := prepare(t).run(t, env, container.Command[1:]...)
	if code != 75 || !strings.Contains(said, "connection refused") {
		t.Errorf("exit code %d, want 75:\n%s", code, said)
	}
}

func TestTheSamplesAskForNoPrivileges(t *testing.T) {
	t.Parallel()
	for file, sample := range samples(t) {
		pod, container := sample.Spec.JobTemplate.Spec.Template.Spec, containerOf(sample)
		got := map[string]bool{
			"the sample image and command": container.Image == "longhaul/transcode-worker:dev" && slices.Equal(container.Command, []string{"transcode-worker"}),
			"never restarted in place":     pod.RestartPolicy == corev1.RestartPolicyNever && *sample.Spec.JobTemplate.Spec.BackoffLimit == 2,
			"not root":                     *pod.SecurityContext.RunAsNonRoot,
			"the runtime's seccomp":        pod.SecurityContext.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
			"no escalation":                !*container.SecurityContext.AllowPrivilegeEscalation,
			"a root that is read only":     *container.SecurityContext.ReadOnlyRootFilesystem,
			"no capabilities":              slices.Equal(container.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}),
			"resources":                    !container.Resources.Requests.Cpu().IsZero() && !container.Resources.Limits.Memory().IsZero(),
		}
		for what, is := range got {
			if !is {
				t.Errorf("%s lacks: %s", file, what)
			}
		}
	}
}
