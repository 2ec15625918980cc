package node_test

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/test/node"
)

func TestAPodEndsAsItsContainerDoes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, test := range map[string]struct {
		command []string
		phase   corev1.PodPhase
		end     corev1.ContainerStateTerminated
	}{
		"well": {
			command: []string{"true"}, phase: corev1.PodSucceeded,
			end: corev1.ContainerStateTerminated{ExitCode: 0, Reason: "Completed"},
		},
		"with an exit code": {
			command: []string{"sh", "-c", "exit 7"}, phase: corev1.PodFailed,
			end: corev1.ContainerStateTerminated{ExitCode: 7, Reason: "Error"},
		},
		"by a signal": {
			command: []string{"sh", "-c", "kill -9 $$$$"}, phase: corev1.PodFailed,
			end: corev1.ContainerStateTerminated{ExitCode: 137, Signal: 9, Reason: "Error"},
		},
		"not able to start": {
			command: []string{"there-is-no-such-program"}, phase: corev1.PodFailed,
			end: corev1.ContainerStateTerminated{
				ExitCode: 128, Reason: "StartError",
				Message: `exec: "there-is-no-such-program": executable file not found in $PATH`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := b.with(t)
			pod := b.pod("")
			pod.Spec.Containers[0].Command = test.command
			pod = b.awaitPhase(b.create(pod), test.phase)
			got := pod.Status.ContainerStatuses[0].State.Terminated
			if got.ContainerID == "" || got.FinishedAt.IsZero() || got.StartedAt.IsZero() {
				t.Errorf("the end lacks an id or a time: %+v", got)
			}
			end := *got
			end.ContainerID, end.StartedAt, end.FinishedAt = "", metav1.Time{}, metav1.Time{}
			if diff := cmp.Diff(test.end, end); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAPodThatRunsSaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.awaitPhase(b.create(b.pod("sleep 60")), corev1.PodRunning)
	conditions := map[corev1.PodConditionType]corev1.ConditionStatus{}
	for _, c := range pod.Status.Conditions {
		conditions[c.Type] = c.Status
	}
	if diff := cmp.Diff(map[corev1.PodConditionType]corev1.ConditionStatus{
		corev1.PodScheduled: "True", corev1.PodInitialized: "True", corev1.ContainersReady: "True", corev1.PodReady: "True",
		corev1.PodReadyToStartContainers: "True",
	}, conditions); diff != "" {
		t.Error(diff)
	}
	status := pod.Status.ContainerStatuses[0]
	if status.State.Running == nil || !status.Ready || !*status.Started || status.RestartCount != 0 {
		t.Errorf("the container does not run: %+v", status)
	}
	if pod.Status.StartTime == nil || pod.Status.HostIP != "127.0.0.1" {
		t.Errorf("it was not taken up: %+v", pod.Status)
	}
}

func TestAPodWithoutANodeIsBoundAndRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("true")
	pod.Spec.NodeName, pod.Spec.SchedulerName = "", b.name
	b.awaitPhase(b.create(pod), corev1.PodSucceeded)
}

func TestAPodThatMustNotBeScheduledYetWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("true")
	pod.Spec.NodeName, pod.Spec.SchedulerName = "", b.name
	pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
	pod = b.create(pod)
	other := b.pod("true")
	other.Spec.NodeName, other.Spec.SchedulerName = "", b.name
	b.awaitPhase(b.create(other), corev1.PodSucceeded)
	if node := b.get(pod).Spec.NodeName; node != "" {
		t.Fatalf("the pod was bound to %s in spite of its gate", node)
	}
	ungate := []byte(`{"spec":{"schedulingGates":null}}`)
	pods := b.client.CoreV1().Pods(b.name)
	if _, err := pods.Patch(t.Context(), pod.Name, types.MergePatchType, ungate, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.awaitPhase(pod, corev1.PodSucceeded)
}

func TestAContainerWithoutACommandSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("")
	pod.Spec.Containers[0].Command = nil
	pod.Spec.Containers[0].Args = []string{"serve"}
	pod = b.await(b.create(pod), "refused", func(p *corev1.Pod) bool { return waitsFor(p) == "CreateContainerError" })
	if pod.Status.Phase != corev1.PodPending {
		t.Errorf("phase is %s, want Pending", pod.Status.Phase)
	}
	want := "the process node does not support this: a container without a command; it runs command, not images"
	if got := pod.Status.ContainerStatuses[0].State.Waiting.Message; got != want {
		t.Errorf("the message is %q, want %q", got, want)
	}
	b.end(pod, -1)
}

func TestEachPodHasAnAddressOfItsOwnThatItCanListenOn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.awaitPhase(b.create(b.pod("sleep 60")), corev1.PodRunning)
	second := b.awaitPhase(b.create(b.pod("sleep 60")), corev1.PodRunning)
	if first.Status.PodIP == second.Status.PodIP {
		t.Errorf("both have %s", first.Status.PodIP)
	}
	for _, pod := range []*corev1.Pod{first, second} {
		listener, err := net.Listen("tcp", net.JoinHostPort(pod.Status.PodIP, "0"))
		if err != nil {
			t.Error(err)
			continue
		}
		listener.Close()
	}
}

func TestAPodWhoseTimeIsUpFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("trap 'exit 3' TERM; sleep 60 & wait")
	pod.Spec.ActiveDeadlineSeconds = ptr.To[int64](1)
	pod = b.awaitPhase(b.create(pod), corev1.PodFailed)
	end := pod.Status.ContainerStatuses[0].State.Terminated
	if pod.Status.Reason != "DeadlineExceeded" || end == nil || end.ExitCode != 3 {
		t.Errorf("it ended otherwise: %+v", pod.Status)
	}
}

func TestConditionsOfOthersStay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.awaitPhase(b.create(b.pod("until [ -e go ]; do sleep 0.05; done")), corev1.PodRunning)
	mark := []byte(`{"status":{"conditions":[{"type":"DisruptionTarget","status":"True","reason":"Test"}]}}`)
	pods := b.client.CoreV1().Pods(b.name)
	patch := types.StrategicMergePatchType
	if _, err := pods.Patch(t.Context(), pod.Name, patch, mark, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	b.touch(pod, "go")
	pod = b.awaitPhase(pod, corev1.PodSucceeded)
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget {
			return
		}
	}
	t.Errorf("the condition is gone: %+v", pod.Status.Conditions)
}

func TestFiftyPodsRunAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const many = 50
	pods := make([]*corev1.Pod, many)
	var creating sync.WaitGroup
	for i := range pods {
		pod := b.pod("until [ -e " + b.dir + "/go ]; do sleep 0.2; done")
		pod.GenerateName, pod.Name = "", fmt.Sprintf("many-%d", i)
		creating.Go(func() {
			created, err := b.client.CoreV1().Pods(b.name).Create(t.Context(), pod, metav1.CreateOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			pods[i] = created
		})
	}
	creating.Wait()
	if t.Failed() {
		return
	}
	began := time.Now()
	addresses := map[string]bool{}
	for _, pod := range pods {
		addresses[b.awaitPhase(pod, corev1.PodRunning).Status.PodIP] = true
	}
	t.Logf("all were seen to run %s after the last was made", time.Since(began))
	if len(addresses) != many {
		t.Errorf("%d pods have %d addresses", many, len(addresses))
	}
	writeFile(t, b.dir+"/go", "")
	for _, pod := range pods {
		b.awaitPhase(pod, corev1.PodSucceeded)
	}
}

func TestProgramsAreFoundInTheNodesFoldersFirst(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	writeFile(t, folder+"/sleep", "#!/bin/sh\necho not asleep\n")
	if err := os.Chmod(folder+"/sleep", 0o700); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(o *node.Options) { o.Path = []string{folder} })
	pod := b.pod("")
	pod.Spec.Containers[0].Command = []string{"sleep", "60"}
	pod = b.awaitPhase(b.create(pod), corev1.PodSucceeded)
	if got := b.log(pod, "main", 0); got != "not asleep\n" {
		t.Errorf("it wrote %q", got)
	}
}

func TestANewPodOfTheSameNameIsAnother(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("echo $$$$ >pid; sleep 60")
	pod.GenerateName, pod.Name = "", "web-0"
	first := b.awaitPhase(b.create(pod), corev1.PodRunning)
	pid := b.readWork(first, "pid")
	b.delete(first, 0)
	second := b.awaitPhase(b.create(pod), corev1.PodRunning)
	b.awaitEnd(pid)
	if first.UID == second.UID || !isReady(b.get(second)) {
		t.Errorf("the second does not run: %+v", b.get(second).Status)
	}
}

func TestAPodThatSomebodyElseGivesUpIsEnded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod("echo $$$$ >pid; exec sleep 60"))
	b.awaitPhase(pod, corev1.PodRunning)
	pid := b.readWork(pod, "pid")
	lost := []byte(`{"status":{"phase":"Failed","reason":"NodeLost"}}`)
	pods := b.client.CoreV1().Pods(b.name)
	if _, err := pods.Patch(t.Context(), pod.Name, types.MergePatchType, lost, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	b.awaitEnd(pid)
	pod = b.await(pod, "ended", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].State.Terminated != nil })
	if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "NodeLost" {
		t.Errorf("its status is %+v", pod.Status)
	}
}
