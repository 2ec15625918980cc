package size

import (
	"cmp"
	"slices"
)

// RollStep is what to do for a rollout.
type RollStep struct {
	// Fence names the old pods to fence. It comes first: with what they answer, Roll is asked again.
	Fence []string
	// Go names the old pods that are to go, which get the lowest cost; Delete the one to be deleted, of a StatefulSet.
	Go, Delete []string
	// Replace is how many of a Deployment's pods its controller may replace now: it is to be paused where that is 0, and
	// otherwise resumed with maxSurge 0 and maxUnavailable so.
	Replace int
	// Admit names the new pods whose readiness gate opens.
	Admit []string
	// Hold says in words what the rollout waits for; empty where nothing holds it.
	Hold string
}

// Rollout is how far one is.
type Rollout struct {
	// Replacing is how many pods the Deployment's controller was last allowed to replace; 0 while it is paused.
	Replacing int
	// Placed says that the Deployment's ReplicaSets ask for all its replicas together.
	Placed bool
	// Unknown says that there is no ReplicaSet of the newest template yet.
	Unknown bool
}

// Roll says how a rollout goes on without ending a busy pod: idle pods are replaced one for one, and busy ones once they are
// idle.
//
// A Deployment is paused but for the moments in which it replaces pods. Resumed, its controller ends as many old pods as may be
// unavailable: those that are not ready first, then those of the oldest ReplicaSet, in that one's line. So many have been
// fenced before. The new ones that it creates are not available before they are admitted, which is done once it is paused
// again: so it ends no more, even if nobody comes to pause it. A StatefulSet with OnDelete replaces pods that are deleted.
func Roll(in Input, r Rollout) RollStep {
	if !in.Settled {
		return RollStep{Replace: r.Replacing}
	}
	if in.Order == Ordinal {
		return in.rollOrdinal()
	}
	var old []Pod
	var waited []*Pod
	gated, unready := false, 0
	for i := range in.Pods {
		p := &in.Pods[i]
		switch {
		case p.Old:
			old = append(old, *p)
		case !p.Ready:
			unready++
		}
		if p.Gate == Open || p.Old && p.mayGo() {
			continue
		}
		gated = true
		if p.Gate == Waited {
			waited = append(waited, p)
		}
	}
	sorted := rollLine(old)
	ahead := head(sorted)
	switch {
	case r.Replacing > 0 && (!r.Placed || r.Unknown || ahead > 0 && in.absent()+unready < r.Replacing):
		return RollStep{Replace: r.Replacing, Go: names(sorted[:ahead])} // under way
	case r.Replacing > 0:
		return RollStep{} // done, or as many new pods are still to come as may be unavailable: pause it
	case len(old) == 0 && r.Unknown:
		return RollStep{Replace: 1} // there is nothing to end
	case gated || unready > 0:
		// Those that came are to be there first, be they old by now. If the template were edited while the Deployment is
		// resumed, those that are not ready would be ended before all others.
		return RollStep{Admit: names(waited)}
	case len(old) == 0:
		return RollStep{}
	case unreadyInTheWay(sorted):
		return RollStep{Hold: "a pod to be replaced is not ready, would be ended first, and may be busy"}
	}
	if fence := toFenceOld(sorted); len(fence) > 0 {
		return RollStep{Fence: names(fence)}
	}
	if ahead == 0 {
		return RollStep{Hold: "the pods to be replaced are busy"}
	}
	return RollStep{Go: names(sorted[:ahead]), Replace: ahead}
}

// rollLine sorts old pods by the order in which a rollout ends them.
func rollLine(old []Pod) []*Pod {
	sorted := line(old, ReplicaSet)
	slices.SortStableFunc(sorted, func(a, b *Pod) int {
		return cmp.Or(boolean(a.Ready, b.Ready), cmp.Compare(a.Set, b.Set))
	})
	return sorted
}

func unreadyInTheWay(sorted []*Pod) bool {
	return slices.ContainsFunc(sorted, func(p *Pod) bool { return !p.Ready && !p.mayGo() })
}

// toFenceOld are the idle pods to fence: within the oldest ReplicaSet costs let idle ones pass busy ones; those of a later one
// come after all of it.
func toFenceOld(sorted []*Pod) []*Pod {
	var fence []*Pod
	busy := false
	for i, p := range sorted {
		if busy && p.Set != sorted[i-1].Set {
			break
		}
		switch {
		case p.mayGo():
		case p.State == Idle:
			fence = append(fence, p)
		default:
			busy = true
		}
	}
	return fence
}

// rollOrdinal replaces one pod at a time: the old one with the highest ordinal that may go, or can be fenced.
func (in *Input) rollOrdinal() RollStep {
	if len(in.Pods) < in.Current {
		return RollStep{} // one that was deleted is not back yet
	}
	sorted := line(in.Pods, Ordinal)
	old := false
	for _, p := range sorted {
		if p.Old && p.mayGo() {
			return RollStep{Delete: []string{p.Name}}
		}
		old = old || p.Old
	}
	for _, p := range sorted {
		if p.Old && p.State == Idle {
			return RollStep{Fence: []string{p.Name}}
		}
	}
	if old {
		return RollStep{Hold: "the pods to be replaced are busy"}
	}
	return RollStep{}
}
