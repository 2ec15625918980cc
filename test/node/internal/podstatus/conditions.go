package podstatus

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditions returns the conditions that a kubelet keeps. The time at which one last changed is kept from before.
func (p *Pod) conditions(phase corev1.PodPhase, now metav1.Time) []corev1.PodCondition {
	ready := p.containersReady(phase)
	conditions := []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: truth(!p.Over)},
		p.initializedCondition(phase),
		p.ready(ready),
		ready,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	for i := range conditions {
		c := &conditions[i]
		c.ObservedGeneration = p.Object.Generation
		c.LastTransitionTime = now
		for _, before := range p.Before {
			if before.Type == c.Type && before.Status == c.Status && !before.LastTransitionTime.IsZero() {
				c.LastTransitionTime = before.LastTransitionTime
			}
		}
	}
	return conditions
}

func (p *Pod) initializedCondition(phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	switch {
	case phase == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
	case !p.initialized():
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = fmt.Sprintf("containers with incomplete status: %s", p.uninitialized())
	}
	return c
}

func (p *Pod) containersReady(phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch unready := p.unready(); {
	case phase == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
	case phase == corev1.PodFailed:
		c.Reason = "PodFailed"
	case len(unready) > 0:
		c.Reason, c.Message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
	default:
		c.Status = corev1.ConditionTrue
	}
	return c
}

// ready is the condition Ready: the containers are ready, and so say those whom the pod names as its readiness gates.
func (p *Pod) ready(containers corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var missing []string
	for _, gate := range p.Object.Spec.ReadinessGates {
		if !p.says(gate.ConditionType) {
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\"", gate.ConditionType))
		}
	}
	if len(missing) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(missing, ", ")
	}
	return c
}

// says tells whether another's condition of the pod is true.
func (p *Pod) says(condition corev1.PodConditionType) bool {
	for _, c := range p.Object.Status.Conditions {
		if c.Type == condition {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// unready names the containers and sidecars that are not ready.
func (p *Pod) unready() []string {
	var names []string
	for i := range p.Init {
		if IsSidecar(&p.Object.Spec.InitContainers[i]) && !p.Init[i].Ready {
			names = append(names, p.Init[i].Name)
		}
	}
	for i := range p.Main {
		if !p.Main[i].Ready {
			names = append(names, p.Main[i].Name)
		}
	}
	return names
}

func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}
