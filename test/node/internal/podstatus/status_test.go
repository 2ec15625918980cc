package podstatus_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/test/node/internal/podstatus"
)

var at = metav1.NewTime(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))

// What has become of a container, in short.
const (
	waits = iota
	waitsAgain
	runs
	good
	bad
)

func record(name string, what int) podstatus.Record {
	r := podstatus.NewRecord(name, podstatus.ReasonCreating)
	if what == waits {
		return r
	}
	r.Run("process://1", at)
	r.Ready = true
	switch what {
	case good:
		r.Terminate(corev1.ContainerStateTerminated{Reason: "Completed"})
	case bad:
		r.Terminate(corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"})
	case waitsAgain:
		r.Terminate(corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"})
		r.Wait(podstatus.ReasonBackOff, "")
	}
	return r
}

// pod returns a pod whose init containers and containers are called i0, i1 and c0, c1.
func pod(initial, main []int) podstatus.Pod {
	p := podstatus.Pod{Object: &corev1.Pod{}, Started: at, Address: "127.64.0.1", Host: "127.0.0.1"}
	for i, what := range initial {
		name := string(rune('0' + i))
		p.Init = append(p.Init, record("i"+name, what))
		p.Object.Spec.InitContainers = append(p.Object.Spec.InitContainers, corev1.Container{Name: "i" + name})
	}
	for i, what := range main {
		name := string(rune('0' + i))
		p.Main = append(p.Main, record("c"+name, what))
		p.Object.Spec.Containers = append(p.Object.Spec.Containers, corev1.Container{Name: "c" + name})
	}
	return p
}

func withSidecar(p podstatus.Pod) podstatus.Pod {
	p.Object.Spec.InitContainers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	return p
}

func over(p podstatus.Pod) podstatus.Pod {
	p.Over = true
	return p
}

func TestThePhaseOfAPod(t *testing.T) {
	t.Parallel()
	timeIsUp := over(pod(nil, []int{good}))
	timeIsUp.Verdict = &podstatus.Verdict{Phase: corev1.PodFailed, Reason: "DeadlineExceeded"}
	notYet := pod(nil, []int{runs})
	notYet.Verdict = timeIsUp.Verdict
	givenUp := pod(nil, []int{runs})
	givenUp.Verdict = &podstatus.Verdict{Phase: corev1.PodFailed, Reason: "NodeLost", Written: true}
	for name, test := range map[string]struct {
		pod  podstatus.Pod
		want corev1.PodPhase
	}{
		"pending before anything runs":            {pod(nil, []int{waits}), corev1.PodPending},
		"running when all run":                    {pod(nil, []int{runs, runs}), corev1.PodRunning},
		"pending while one has never run":         {pod(nil, []int{runs, waits}), corev1.PodPending},
		"running while one is left":               {pod(nil, []int{runs, good}), corev1.PodRunning},
		"running while one will run again":        {pod(nil, []int{bad}), corev1.PodRunning},
		"running while one backs off":             {pod(nil, []int{waitsAgain}), corev1.PodRunning},
		"not over although all have ended":        {pod(nil, []int{good}), corev1.PodRunning},
		"succeeded when all ended well":           {over(pod(nil, []int{good, good})), corev1.PodSucceeded},
		"failed when one did not":                 {over(pod(nil, []int{good, bad})), corev1.PodFailed},
		"failed when it was ended before it ran":  {over(pod(nil, []int{waits})), corev1.PodFailed},
		"failed when ended while backing off":     {over(pod(nil, []int{waitsAgain})), corev1.PodFailed},
		"pending during initialization":           {pod([]int{runs}, []int{waits}), corev1.PodPending},
		"pending while initialization is retried": {pod([]int{waitsAgain}, []int{waits}), corev1.PodPending},
		"failed when initialization failed":       {over(pod([]int{bad}, []int{waits})), corev1.PodFailed},
		"running beside a sidecar":                {withSidecar(pod([]int{runs}, []int{runs})), corev1.PodRunning},
		"running while its sidecar is restarted":  {withSidecar(pod([]int{waitsAgain}, []int{runs})), corev1.PodRunning},
		"pending until its sidecar runs":          {withSidecar(pod([]int{waits}, []int{waits})), corev1.PodPending},
		"succeeded however its sidecar ended":     {over(withSidecar(pod([]int{bad}, []int{good}))), corev1.PodSucceeded},
		"failed when its time was up":             {timeIsUp, corev1.PodFailed},
		"running until its time being up is over": {notYet, corev1.PodRunning},
		"failed as soon as somebody else says so": {givenUp, corev1.PodFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := podstatus.Build(test.pod, at).Phase; got != test.want {
				t.Errorf("it is %s, want %s", got, test.want)
			}
		})
	}
}

func TestTheConditionsOfAPod(t *testing.T) {
	t.Parallel()
	gated := pod(nil, []int{runs})
	gated.Object.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/served"}}
	served := pod(nil, []int{runs})
	served.Object.Spec.ReadinessGates = gated.Object.Spec.ReadinessGates
	served.Object.Status.Conditions = []corev1.PodCondition{{Type: "example.com/served", Status: "True"}}
	unready := pod(nil, []int{runs, runs})
	unready.Main[1].Ready = false
	for name, test := range map[string]struct {
		pod  podstatus.Pod
		want map[corev1.PodConditionType]string
	}{
		"while it runs": {pod(nil, []int{runs}), map[corev1.PodConditionType]string{
			"PodReadyToStartContainers": "True", "Initialized": "True", "Ready": "True", "ContainersReady": "True",
			"PodScheduled": "True",
		}},
		"while one is not ready": {unready, map[corev1.PodConditionType]string{
			"PodReadyToStartContainers": "True", "Initialized": "True",
			"Ready":           "False ContainersNotReady containers with unready status: [c1]",
			"ContainersReady": "False ContainersNotReady containers with unready status: [c1]", "PodScheduled": "True",
		}},
		"during initialization": {pod([]int{good, runs}, []int{waits}), map[corev1.PodConditionType]string{
			"PodReadyToStartContainers": "True",
			"Initialized":               "False ContainersNotInitialized containers with incomplete status: [i1]",
			"Ready":                     "False ContainersNotReady containers with unready status: [c0]",
			"ContainersReady":           "False ContainersNotReady containers with unready status: [c0]",
			"PodScheduled":              "True",
		}},
		"after success": {over(pod(nil, []int{good})), map[corev1.PodConditionType]string{
			"PodReadyToStartContainers": "False", "Initialized": "True PodCompleted", "Ready": "False PodCompleted",
			"ContainersReady": "False PodCompleted", "PodScheduled": "True",
		}},
		"after failure": {over(pod(nil, []int{bad})), map[corev1.PodConditionType]string{
			"PodReadyToStartContainers": "False", "Initialized": "True", "Ready": "False PodFailed",
			"ContainersReady": "False PodFailed", "PodScheduled": "True",
		}},
		"while somebody else does not think it ready": {gated, map[corev1.PodConditionType]string{
			"PodReadyToStartContainers": "True", "Initialized": "True", "ContainersReady": "True", "PodScheduled": "True",
			"Ready": `False ReadinessGatesNotReady the status of pod readiness gate "example.com/served" is not "True"`,
		}},
		"when everybody thinks it ready": {served, map[corev1.PodConditionType]string{
			"PodReadyToStartContainers": "True", "Initialized": "True", "Ready": "True", "ContainersReady": "True",
			"PodScheduled": "True",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := map[corev1.PodConditionType]string{}
			for _, c := range podstatus.Build(test.pod, at).Conditions {
				text := string(c.Status)
				for _, part := range []string{c.Reason, c.Message} {
					if part != "" {
						text += " " + part
					}
				}
				got[c.Type] = text
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAConditionKeepsTheTimeAtWhichItChanged(t *testing.T) {
	t.Parallel()
	p := pod(nil, []int{runs})
	p.Before = podstatus.Build(p, at).Conditions
	p.Main[0].Ready = false
	later := metav1.NewTime(at.Add(time.Minute))
	for _, c := range podstatus.Build(p, later).Conditions {
		want := at
		if c.Type == corev1.PodReady || c.Type == corev1.ContainersReady {
			want = later
		}
		if !c.LastTransitionTime.Equal(&want) {
			t.Errorf("%s changed at %s, want %s", c.Type, c.LastTransitionTime, want)
		}
	}
}

func TestTheRunsOfAContainerAreKeptApart(t *testing.T) {
	t.Parallel()
	r := podstatus.NewRecord("main", podstatus.ReasonCreating)
	r.Run("process://1", at)
	r.Terminate(corev1.ContainerStateTerminated{ExitCode: 1})
	r.Wait(podstatus.ReasonBackOff, "")
	r.Wait(podstatus.ReasonConfigError, "")
	r.Run("process://2", at)
	if r.Restarts != 1 || r.Last.Terminated == nil || r.Last.Terminated.ContainerID != "process://1" {
		t.Errorf("the first run is not the last state: %+v", r)
	}
	r.Lose(at)
	end := r.State.Terminated
	if end == nil || end.ContainerID != "process://2" || end.ExitCode != 137 || end.Reason != "ContainerStatusUnknown" {
		t.Errorf("the second run was not lost: %+v", r.State)
	}
	r.Lose(at)
	if r.State.Terminated != end {
		t.Error("what has ended is lost again")
	}
}

func TestAPodThatIsOverShowsHowItsContainersEnded(t *testing.T) {
	t.Parallel()
	p := over(pod([]int{good}, []int{waitsAgain, waits}))
	status := podstatus.Build(p, at)
	first, second := status.ContainerStatuses[0].State.Terminated, status.ContainerStatuses[1].State.Terminated
	if first == nil || first.ExitCode != 1 {
		t.Errorf("the one that backed off: %+v", status.ContainerStatuses[0])
	}
	if second == nil || second.ExitCode != 137 || second.Reason != "ContainerStatusUnknown" {
		t.Errorf("the one that never ran: %+v", status.ContainerStatuses[1])
	}
	if p.Main[0].State.Waiting == nil {
		t.Error("building the status changed the record")
	}
	status = podstatus.Build(over(pod([]int{bad}, []int{waits})), at)
	if status.ContainerStatuses[0].State.Waiting == nil {
		t.Errorf("one that could not run because initialization failed: %+v", status.ContainerStatuses[0])
	}
}
