package node_test

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// webPod returns a pod that listens on its address. It is ready by the path, or at once without.
func (b *bench) webPod(path string) *corev1.Pod {
	b.t.Helper()
	program, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	pod := b.pod("")
	c := &pod.Spec.Containers[0]
	c.Command = []string{program}
	c.Env = []corev1.EnvVar{{Name: role, Value: "web"}}
	c.Ports = []corev1.ContainerPort{{Name: "state", ContainerPort: 8081}}
	if path != "" {
		c.ReadinessProbe = &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
				Path: path, Port: intstr.FromString("state"),
				HTTPHeaders: []corev1.HTTPHeader{{Name: "X-Asked-By", Value: "probe"}},
			}},
			PeriodSeconds: 1, FailureThreshold: 2,
		}
	}
	return pod
}

// awaitServing waits until a pod that listens does so.
func (b *bench) awaitServing(pod *corev1.Pod) *corev1.Pod {
	b.t.Helper()
	pod = b.awaitPhase(pod, corev1.PodRunning)
	b.eventually("the pod listens", func() bool { return dial(pod.Status.PodIP+":8081") == nil }, func() any { return pod.Name })
	return pod
}

func TestAPodIsReadyWhenItsProbeSaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.awaitPhase(b.create(b.webPod("/ready")), corev1.PodRunning)
	if isReady(pod) {
		t.Error("it is ready although nothing has asked it")
	}
	b.awaitLog(pod, "main", "/ready probe\n")
	if isReady(b.get(pod)) {
		t.Error("it is ready although it says that it is not")
	}
	b.touch(pod, "ready")
	b.await(pod, "ready", isReady)
	if err := os.Remove(b.folder(pod) + "/_work/ready"); err != nil {
		t.Fatal(err)
	}
	b.await(pod, "no longer ready", func(p *corev1.Pod) bool { return !isReady(p) })
}

func TestAPodIsReadyWhenItsCommandSaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("sleep 60")
	pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"test", "-e", "ready"}}},
		PeriodSeconds: 1,
	}
	pod = b.awaitPhase(b.create(pod), corev1.PodRunning)
	if isReady(pod) {
		t.Error("it is ready although its command fails")
	}
	b.touch(pod, "ready")
	b.await(pod, "ready", isReady)
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.Status.ContainerStatuses[0].Ready
		}
	}
	return false
}
