// Package restart decides whether a container that ended runs again, and when.
//
//   - The first time it does so at once; then the back-off begins at its base and doubles each time, to its longest.
//   - A container that ran for twice the longest back-off begins anew.
package restart

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Longest is the longest back-off.
const Longest = 5 * time.Minute

// Needed tells whether a container that ended with an exit code is to run again. Init containers of a pod that restarts
// always do so until they succeed; those that restart always themselves are sidecars.
func Needed(pod *corev1.PodSpec, container *corev1.Container, isInit bool, exitCode int32) bool {
	policy := corev1.ContainerRestartPolicy(pod.RestartPolicy)
	if isInit && policy == corev1.ContainerRestartPolicyAlways {
		policy = corev1.ContainerRestartPolicyOnFailure
	}
	if container.RestartPolicy != nil {
		policy = *container.RestartPolicy
	}
	switch policy {
	case corev1.ContainerRestartPolicyNever:
		return false
	case corev1.ContainerRestartPolicyOnFailure:
		return exitCode != 0
	default:
		return true
	}
}

// Backoff counts one container's restarts.
type Backoff struct {
	base, next time.Duration
}

// NewBackoff returns the back-off of a container that has not run yet.
func NewBackoff(base time.Duration) *Backoff { return &Backoff{base: base} }

// After returns how long after its end a container that ran for so long is to be started again.
func (b *Backoff) After(ran time.Duration) time.Duration {
	if ran > 2*Longest {
		b.next = 0
	}
	delay := b.next
	b.next = min(max(2*delay, b.base), Longest)
	return delay
}
