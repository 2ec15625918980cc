package size

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// State is what is known of a pod.
type State int

// The states of a pod.
const (
	// Silent has not been asked with success: it starts, hangs, or is out of reach. It counts as busy.
	Silent State = iota
	// Busy says that it works.
	Busy
	// Idle says that it does not.
	Idle
	// Lost has been silent for too long.
	Lost
)

// Stage is how far a pod has come, in the order in which a ReplicaSet ends pods.
type Stage int

// The stages of a pod.
const (
	// Unassigned has no node.
	Unassigned Stage = iota
	// Pending has a node, and no container that runs.
	Pending
	// Unknown is on a node that does not report.
	Unknown
	// Running runs.
	Running
)

// LowestCost is the pod-deletion-cost of what is to go, HighestCost that of busy pods.
const (
	LowestCost  = math.MinInt32
	HighestCost = math.MaxInt32
)

// Gate is a pod's readiness gate, which holds it unavailable until it is admitted.
type Gate int

// The gates.
const (
	// Open lets the pod be available, or there is none.
	Open Gate = iota
	// Closed is not open, and the pod is not ready otherwise either.
	Closed
	// Waited is all that keeps the pod from being ready.
	Waited
)

// Pod is one pod that is not being ended.
type Pod struct {
	// Name tells it from the others.
	Name  string
	State State
	// Fenced says that it takes nothing more; with State Idle, that it is drained.
	Fenced bool
	Stage  Stage
	Ready  bool
	// Ordinal is its number in a StatefulSet.
	Ordinal int
	// Cost is its pod-deletion-cost, as it is.
	Cost int
	// Created is when it was created.
	Created time.Time
	// Old says that a rollout is to replace it.
	Old bool
	// Set tells its ReplicaSet from others, and sorts before those that were created later; empty without one.
	Set string
	// Gate is that of its admission.
	Gate Gate
}

// mayGo says whether nothing is lost with the pod.
func (p *Pod) mayGo() bool { return p.State == Lost || p.State == Idle && p.Fenced }

// Order is the order in which a target's controller ends pods.
type Order int

// The orders.
const (
	// Any is not known: any pod may be next.
	Any Order = iota
	// ReplicaSet is that of a ReplicaSet: see ActivePodsWithRanks in Kubernetes' pkg/controller. Deletion costs decide
	// among pods that are ready.
	ReplicaSet
	// Ordinal is that of a StatefulSet: the highest number first.
	Ordinal
)

// line sorts pods by the order in which they are ended once costs are set: the lowest for what may go, the highest for the
// others. Where the order leaves a choice, what may not go comes first.
func line(pods []Pod, o Order) []*Pod {
	sorted := make([]*Pod, len(pods))
	for i := range pods {
		sorted[i] = &pods[i]
	}
	slices.SortFunc(sorted, func(a, b *Pod) int {
		if o == Ordinal {
			return cmp.Compare(b.Ordinal, a.Ordinal)
		}
		return cmp.Or(
			cmp.Compare(a.Stage, b.Stage),
			boolean(a.Ready, b.Ready),
			cmp.Compare(a.costToBe(), b.costToBe()),
			boolean(a.mayGo(), b.mayGo()),
			b.Created.Compare(a.Created),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return sorted
}

func (p *Pod) costToBe() int {
	switch {
	case p.mayGo():
		return LowestCost
	case p.State == Busy:
		return HighestCost
	default:
		return p.Cost
	}
}

func boolean(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// head is how many pods at the head of a line may go.
func head(pods []*Pod) int {
	for i, p := range pods {
		if !p.mayGo() {
			return i
		}
	}
	return len(pods)
}

// toFence are the pods to fence so that so many stand at the head of the line that may go; fewer where pods that may not go
// are in the way. In a line of a ReplicaSet that is whatever is not ready: among those that are ready, costs let the right
// ones pass. In a StatefulSet it is the first that is busy.
func toFence(sorted []*Pod, o Order, wanted int) []*Pod {
	var fence []*Pod
	ahead := 0
	for _, p := range sorted {
		if ahead >= wanted {
			break
		}
		switch {
		case p.mayGo():
			ahead++
		case p.State == Idle && (o == Ordinal || p.Ready && p.Stage == Running):
			fence = append(fence, p)
			ahead++
		case o == ReplicaSet && p.Ready && p.Stage == Running:
			// A cost lets those behind it pass.
		default:
			return fence
		}
	}
	return fence
}

func names(pods []*Pod) []string {
	var list []string
	for _, p := range pods {
		list = append(list, p.Name)
	}
	return list
}
