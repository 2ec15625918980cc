package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/test/node"
)

func TestAContainerThatFailsRunsAgainUntilItSucceeds(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *node.Options) { o.RestartBackoff = 100 * time.Millisecond })
	pod := b.pod("echo x >>runs; [ $(wc -l <runs) = 3 ]")
	pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	pod = b.awaitPhase(b.create(pod), corev1.PodSucceeded)
	status := pod.Status.ContainerStatuses[0]
	if status.RestartCount != 2 || status.State.Terminated.ExitCode != 0 || status.LastTerminationState.Terminated.ExitCode != 1 {
		t.Errorf("it went otherwise: %+v", status)
	}
	if status.State.Terminated.ContainerID == status.LastTerminationState.Terminated.ContainerID {
		t.Error("two runs have one id")
	}
}

func TestAContainerThatEndsRunsAgainWhereItAlwaysShould(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *node.Options) { o.RestartBackoff = 100 * time.Millisecond })
	pod := b.pod("echo x >>runs; [ $(wc -l <runs) = 3 ] && sleep 60")
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	b.await(b.create(pod), "running for the third time", func(p *corev1.Pod) bool {
		return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 2
	})
}

func TestAContainerThatKeepsFailingBacksOff(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *node.Options) { o.RestartBackoff = time.Minute })
	pod := b.pod("exit 1")
	pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	pod = b.await(b.create(pod), "backing off", func(p *corev1.Pod) bool { return waitsFor(p) == "CrashLoopBackOff" })
	status := pod.Status.ContainerStatuses[0]
	if pod.Status.Phase != corev1.PodRunning || status.RestartCount != 1 || status.LastTerminationState.Terminated.ExitCode != 1 {
		t.Errorf("it went otherwise: %+v", pod.Status)
	}
	want := "back-off 1m0s restarting failed container=main"
	if got := status.State.Waiting.Message; !strings.HasPrefix(got, want) {
		t.Errorf("the message is %q, want %q", got, want)
	}
	pod = b.end(pod, -1)
	if end := pod.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 1 {
		t.Errorf("the deleted pod does not say how its container ended: %+v", pod.Status)
	}
}

func TestInitContainersRunInOrderBeforeTheContainers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("echo main >>order")
	pod.Spec.InitContainers = []corev1.Container{
		shell("one", "sleep 0.2; echo one >>order"), shell("two", "echo two >>order"),
	}
	pod = b.awaitPhase(b.create(pod), corev1.PodSucceeded)
	if got := b.read(b.folder(pod) + "/_work/order"); got != "one\ntwo\nmain\n" {
		t.Errorf("the order is %q", got)
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if !status.Ready || status.State.Terminated == nil {
			t.Errorf("%s is not done: %+v", status.Name, status)
		}
	}
}

func TestAPodWhoseInitContainerFailsFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("true")
	pod.Spec.InitContainers = []corev1.Container{shell("one", "exit 4"), shell("two", "true")}
	pod = b.awaitPhase(b.create(pod), corev1.PodFailed)
	got := map[string]string{}
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if status.State.Waiting != nil {
			got[status.Name] = status.State.Waiting.Reason
		} else {
			got[status.Name] = status.State.Terminated.Reason
		}
	}
	want := map[string]string{"one": "Error", "two": "PodInitializing", "main": "PodInitializing"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestASidecarRunsBesideTheContainersAndEndsAfterThem(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("until [ -e sidecar ]; do sleep 0.05; done; echo main >>order")
	sidecar := shell("sidecar", "trap 'echo sidecar >>order; exit 9' TERM; touch sidecar; while :; do sleep 0.05; done")
	sidecar.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	pod.Spec.InitContainers = []corev1.Container{sidecar, shell("init", "until [ -e sidecar ]; do sleep 0.05; done")}
	pod = b.awaitPhase(b.create(pod), corev1.PodSucceeded)
	if got := b.read(b.folder(pod) + "/_work/order"); got != "main\nsidecar\n" {
		t.Errorf("the order of the ends is %q", got)
	}
	if end := pod.Status.InitContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 9 {
		t.Errorf("the sidecar's end is not reported: %+v", pod.Status.InitContainerStatuses[0])
	}
}
