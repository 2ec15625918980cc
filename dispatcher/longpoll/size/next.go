package size

import "fmt"

// Input is what the next step rests on.
type Input struct {
	// Current is what the target's replicas are set to, and Wanted what they should be.
	Current, Wanted int
	// Order is that in which the target's controller ends pods.
	Order Order
	// Pods are those that are not being ended.
	Pods []Pod
	// Sets is how many ReplicaSets of a Deployment ask for pods, or have some.
	Sets int
	// Settled says that the controller has acted on Current: it is about to end none of Pods.
	Settled bool
	// Unfenceable says that pods cannot be fenced: that they are idle has to do.
	Unfenceable bool
	// MaxPerStep is how many replicas may go at once at most; 0 for no limit.
	MaxPerStep int
}

// Step is what to do next. Fence comes first and alone: with what the pods answer, Next is asked again.
type Step struct {
	// Replicas is what to set the target's replicas to; Current where nothing changes.
	Replicas int
	// Fence and Unfence name the pods to be fenced, and those to be let work again.
	Fence, Unfence []string
	// Go names the pods that are to go with this step, which get the lowest cost.
	Go []string
	// Hold says in words what keeps replicas above Wanted; empty where nothing does.
	Hold string
}

// Next says what to do so that a target comes closer to the wanted replicas and no busy pod is ended.
//
// More are wanted: replicas are raised at once, and fenced pods work again. Not before the controller has acted on the
// number that was set last, though: it may be about to end those.
//
// Fewer are wanted: idle pods are fenced, and replicas go down by those that may go and stand at the head of the line.
func Next(in Input) Step {
	pods := append([]Pod(nil), in.Pods...)
	if in.Unfenceable {
		for i := range pods {
			pods[i].Fenced = pods[i].State == Idle
		}
	}
	s := Step{Replicas: max(in.Current, in.Wanted)}
	switch {
	case !in.Settled:
		if in.Wanted < in.Current {
			s.Hold = "the target's controller has not acted on the last change yet"
		}
		return s
	case in.Wanted < in.Current && in.Order == ReplicaSet && in.Sets > 1:
		// The replicas of two are shared out among them by their size.
		s.Hold = "a rollout goes on"
		s.Unfence = fenced(pods, nil)
		return s.without(in.Unfenceable)
	case in.Wanted >= in.Current:
		s.Unfence = fenced(pods, nil)
		return s.without(in.Unfenceable)
	}
	in.shrink(pods, &s)
	return s.without(in.Unfenceable)
}

// without drops what asks for fences where there are none.
func (s Step) without(unfenceable bool) Step {
	if unfenceable {
		s.Fence, s.Unfence = nil, nil
	}
	return s
}

// absent is how many pods are not there yet.
func (in *Input) absent() int { return max(0, in.Current-len(in.Pods)) }

// shrink plans to take away as many as may go.
func (in *Input) shrink(pods []Pod, s *Step) {
	n := in.Current - in.Wanted
	if in.MaxPerStep > 0 {
		n = min(n, in.MaxPerStep)
	}
	absent := in.absent() // what is not there yet goes first
	needed := max(0, n-absent)
	sorted := line(pods, in.Order)
	if in.Order == Any {
		in.shrinkAny(pods, n, s)
		return
	}
	ahead := head(sorted)
	if ahead < needed {
		if more := toFence(sorted, in.Order, needed); len(more) > 0 {
			s.Fence = names(more)
			return
		}
		s.Hold = hold(sorted, in.Order, ahead)
	}
	going := sorted[:min(ahead, needed)]
	s.Go = names(going)
	s.Replicas = in.Current - min(n, absent+len(going))
	s.Unfence = fenced(pods, going)
}

// shrinkAny takes pods away only where any of them may go.
func (in *Input) shrinkAny(pods []Pod, n int, s *Step) {
	var idle []*Pod
	all := true
	for i := range pods {
		switch p := &pods[i]; {
		case p.mayGo():
		case p.State == Idle:
			idle = append(idle, p)
		default:
			all = false
		}
	}
	switch {
	case !all:
		s.Hold = "nobody knows which pods the target's controller would end, and not all are idle"
		s.Unfence = fenced(pods, nil)
	case len(idle) > 0:
		s.Fence = names(idle)
	default:
		s.Replicas = in.Current - n
	}
}

// fenced names the pods that are fenced, but for those that are going.
func fenced(pods []Pod, going []*Pod) []string {
	var list []string
	for i := range pods {
		if !pods[i].Fenced {
			continue
		}
		goes := false
		for _, g := range going {
			goes = goes || g.Name == pods[i].Name
		}
		if !goes {
			list = append(list, pods[i].Name)
		}
	}
	return list
}

// hold says what is in the way of more.
func hold(sorted []*Pod, o Order, ahead int) string {
	for _, p := range sorted[ahead:] {
		switch {
		case p.mayGo():
		case o == Ordinal:
			return fmt.Sprintf("pod %s has the highest ordinal, and %s", p.Name, p.says())
		case !p.Ready || p.Stage != Running:
			return fmt.Sprintf("pod %s is not ready, would be ended first, and %s", p.Name, p.says())
		}
	}
	return "the others are busy"
}

func (p *Pod) says() string {
	switch p.State {
	case Busy:
		return "is busy"
	case Idle:
		return "cannot be fenced"
	default:
		return "has not said that it is idle"
	}
}
