// Package size says how many replicas a target should have, and which of its pods may go for it.
//
// Demand is the number that messages ask for: those that wait, and those being worked on. A wish is a demand within the
// limits; smaller wishes count once they have lasted. A pod is busy while it works on a message, silent while it cannot be
// asked, which counts as busy, and lost once it has been silent for too long. A pod is fenced when it has said that it is
// idle and takes nothing more. The line is the order in which a target's controller ends pods when replicas go down; what
// may go, fenced pods and lost ones, may go only as far as it stands at the head of the line.
//
// All of it is pure: time and what was seen are handed in.
package size

// Work is what one trigger shows, in messages.
type Work struct {
	// Waiting is how many messages no one has taken; 0 or more.
	Waiting int64
	// Held is how many are taken and not yet acknowledged; 0 or more, and meaningless unless HeldKnown.
	Held int64
	// HeldKnown says that the broker can tell what is held, and HeldLive that it is as fresh as Waiting.
	HeldKnown, HeldLive bool
	// PerReplica is how many messages one replica works on at a time; 1 or more.
	PerReplica int64
}

// Combine says how several triggers make one number.
type Combine int

// The ways to combine triggers.
const (
	Max Combine = iota
	Min
	Sum
	Average
)

// Demand is how many replicas messages ask for, before any limit. Busy is how many pods that stay are busy, and leaving how
// many that are being ended work still: what they hold asks for no replica.
//
// Where each trigger tells live what is held, demand follows from waiting and held. Otherwise each busy pod counts as fully
// occupied, and what waits asks for others. It is never below the number of busy pods, and never 0 while anything is held.
func Demand(work []Work, c Combine, busy, leaving int) int {
	live, held := true, false
	for _, w := range work {
		live = live && w.HeldLive
		held = held || w.HeldKnown && w.Held > int64(leaving)
	}
	asked := make([]int64, len(work))
	for i, w := range work {
		messages := w.Waiting
		if live {
			messages += max(0, w.Held-int64(leaving))
		}
		asked[i] = ceil(messages, w.PerReplica)
	}
	demand := combine(asked, c)
	if !live {
		demand += int64(busy)
	}
	demand = max(demand, int64(busy))
	if held {
		demand = max(demand, 1)
	}
	return int(min(demand, maxReplicas))
}

// maxReplicas is more than any target may have, and less than an overflow.
const maxReplicas = 1 << 30

func ceil(messages, each int64) int64 {
	n := messages / each
	if messages%each > 0 {
		n++
	}
	return min(n, maxReplicas)
}

func combine(asked []int64, c Combine) int64 {
	if len(asked) == 0 {
		return 0
	}
	most, least, sum := asked[0], asked[0], int64(0)
	for _, n := range asked {
		most, least, sum = max(most, n), min(least, n), sum+n
	}
	switch c {
	case Min:
		return least
	case Sum:
		return sum
	case Average:
		return ceil(sum, int64(len(asked)))
	default:
		return most
	}
}
