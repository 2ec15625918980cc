package podstatus

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pod is what is known of a pod.
type Pod struct {
	Object  *corev1.Pod           // as last seen
	Init    []Record              // of the init containers, in their order
	Main    []Record              // of the containers, in their order
	Before  []corev1.PodCondition // as last written
	Started metav1.Time           // when the node took the pod on
	Address string                // its own address
	Host    string                // the node's address
	Over    bool
	Verdict *Verdict
}

// Verdict is a phase that was decided on before the pod was over.
type Verdict struct {
	Phase   corev1.PodPhase
	Reason  string
	Message string
	Written bool // the API server has it from somebody else: it is not taken back while containers still run
}

// Build returns the status of a pod.
func Build(p Pod, now metav1.Time) corev1.PodStatus {
	if p.Over {
		p.settle()
	}
	status := corev1.PodStatus{
		ObservedGeneration: p.Object.Generation,
		Phase:              p.phase(),
		HostIP:             p.Host,
		HostIPs:            []corev1.HostIP{{IP: p.Host}},
		PodIP:              p.Address,
		PodIPs:             []corev1.PodIP{{IP: p.Address}},
		StartTime:          &p.Started,
	}
	if p.Verdict != nil {
		status.Reason, status.Message = p.Verdict.Reason, p.Verdict.Message
	}
	for i, r := range p.Init {
		c := &p.Object.Spec.InitContainers[i]
		status.InitContainerStatuses = append(status.InitContainerStatuses, r.status(c.Image, initReady(c, &r)))
	}
	for i, r := range p.Main {
		status.ContainerStatuses = append(status.ContainerStatuses, r.status(p.Object.Spec.Containers[i].Image, r.Ready))
	}
	status.Conditions = p.conditions(status.Phase, now)
	return status
}

// settle gives each container its last state. One that never ran although nothing kept it from it counts as failed.
func (p *Pod) settle() {
	p.Init, p.Main = append([]Record(nil), p.Init...), append([]Record(nil), p.Main...)
	for i := range p.Init {
		p.Init[i].Settle()
	}
	initialized := p.initialized()
	for i := range p.Main {
		r := &p.Main[i]
		r.Settle()
		if initialized && r.State.Waiting != nil {
			r.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: CodeUnknown, Reason: ReasonUnknown, Message: "The pod was ended before the container ran",
			}}
		}
	}
}

func (p *Pod) phase() corev1.PodPhase {
	switch {
	case p.Verdict != nil && (p.Over || p.Verdict.Written):
		return p.Verdict.Phase
	case p.Over && p.succeeded():
		return corev1.PodSucceeded
	case p.Over:
		return corev1.PodFailed
	case !p.initialized() || p.waits():
		return corev1.PodPending
	default:
		return corev1.PodRunning
	}
}

// succeeded tells whether each container has ended well. Sidecars do not count.
func (p *Pod) succeeded() bool {
	for i := range p.Main {
		if end := p.Main[i].Ended(); end == nil || end.ExitCode != 0 {
			return false
		}
	}
	return true
}

// waits tells whether a container has never run.
func (p *Pod) waits() bool {
	for i := range p.Main {
		if p.Main[i].State.Waiting != nil && p.Main[i].Last.Terminated == nil {
			return true
		}
	}
	return false
}

// initialized tells whether the containers may run, or ran already: each init container has ended well, and each sidecar
// runs.
func (p *Pod) initialized() bool { return p.hasRun() || len(p.uninitialized()) == 0 }

// hasRun tells whether a container runs or ran. The sidecars may have ended since.
func (p *Pod) hasRun() bool {
	for i := range p.Main {
		if p.Main[i].State.Running != nil || p.Main[i].Ended() != nil {
			return true
		}
	}
	return false
}

// uninitialized names the init containers that have not done their part.
func (p *Pod) uninitialized() []string {
	var names []string
	for i := range p.Init {
		r, c := &p.Init[i], &p.Object.Spec.InitContainers[i]
		if IsSidecar(c) && r.State.Running == nil || !IsSidecar(c) && !initReady(c, r) {
			names = append(names, r.Name)
		}
	}
	return names
}

// IsSidecar tells whether an init container keeps running beside the containers.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// initReady tells whether an init container is ready: one that has ended well, or a sidecar whose probe says so.
func initReady(c *corev1.Container, r *Record) bool {
	if IsSidecar(c) {
		return r.Ready
	}
	return r.State.Terminated != nil && r.State.Terminated.ExitCode == 0
}
