// Package decide says how many Jobs to create, and why. It is pure: plain values in, plain values out.
//
// Messages wait until a Job takes them; taken and not yet acknowledged, they are held. A Job is active until it has
// ended; it is starting while, so far as anyone can know, it has not taken its message. A strategy sets a demand against
// a cover: the demand is what ought to have a Job, the cover what the active Jobs already stand for, both in messages.
// The strategy Auto sets what waits against what the starting Jobs are about to take, and so makes one Job per message.
//
// Four things hold for every strategy, and are fuzzed: no more Jobs are active than the cap allows, the cap being applied
// last; no more Jobs are created than messages wait (but for those that the minimum keeps going); deciding again after
// dispatching dispatches nothing; and more waiting never means fewer Jobs.
package decide

import (
	"fmt"
	"slices"
	"strings"
)

// Strategy names the rule that sets demand against cover.
type Strategy int

// The strategies. What each subtracts is told at Trigger.demand.
const (
	Auto Strategy = iota
	Default
	Accurate
	Custom
	Eager
)

// Combine says how several triggers make one number.
type Combine int

// The ways to combine. With Sum each Job is for one trigger; with the others each Job is for all of them.
const (
	Sum Combine = iota
	Max
	Min
	Average
)

// Input is all that a decision rests on. Counts are never negative.
type Input struct {
	// MaxParallelism is the cap on active Jobs, MinParallelism how many are kept going; both in Jobs.
	MaxParallelism, MinParallelism int
	// Suspended holds all dispatching.
	Suspended bool
	// Active is how many Jobs are active over all triggers, those of triggers since removed among them.
	Active int
	// Combine says how the triggers make one number.
	Combine Combine
	// Strategy is the rule; Deduction (messages) and RunningPercentage (0 to 100) are the numbers of Custom.
	Strategy          Strategy
	Deduction         int64
	RunningPercentage int64
	// Triggers are what is known of each trigger.
	Triggers []Trigger
}

// Trigger is what is known of one trigger, from Jobs counted first and a backlog read after. With a Combine other than
// Sum, its Jobs are all of them.
type Trigger struct {
	// Name tells it from the others.
	Name string
	// Known says that the backlog was read; without it the trigger gets no Job.
	Known bool
	// Scheduled says that Waiting follows from a schedule: it is what the due time has no Job for yet, so whatever Jobs of
	// earlier times do, each of it gets one. Such a trigger is given no Jobs to keep the minimum going while there are
	// others.
	Scheduled bool
	// Waiting and Held are the backlog in messages; Held is 0 where the broker cannot tell.
	Waiting, Held int64
	// Starting is how many messages the starting Jobs are about to take: StartingHeld, or a Ledger's Owed.
	Starting int64
	// MessagesPerJob is how many messages one Job takes; less than 1 counts as 1.
	MessagesPerJob int64
	// ActivationThreshold is how many messages may wait without a Job.
	ActivationThreshold int64
	// NotRunning and Running are the active Jobs, by whether their pod runs. Pending are those that an Accurate strategy
	// takes to be on their way: NotRunning, and those Running that lack a condition asked for.
	NotRunning, Running, Pending int
}

// Share is how many Jobs are created for one trigger.
type Share struct {
	// Trigger is its name; empty where a Job is for all of them.
	Trigger string
	// Jobs is how many; 1 or more.
	Jobs int
}

// Decision is how many Jobs to create, and why.
type Decision struct {
	// Create has one share for each trigger that gets a Job, in the order of Input.Triggers.
	Create []Share
	// Reason is a sentence with the numbers that led here.
	Reason string
}

// Total is how many Jobs to create in all.
func (d Decision) Total() int {
	n := 0
	for _, s := range d.Create {
		n += s.Jobs
	}
	return n
}

// Decide says how many Jobs to create.
func Decide(in Input) Decision {
	free := max(0, in.MaxParallelism-in.Active)
	missing := max(0, in.MinParallelism-in.Active)
	switch {
	case in.Suspended:
		return Decision{Reason: "suspended: " + in.backlog()}
	case in.Combine == Sum:
		return Decision{Create: in.apart(free, missing), Reason: in.reason(free)}
	default:
		return Decision{Create: in.together(free, missing), Reason: in.reason(free)}
	}
}

// apart gives each trigger Jobs of its own. Where slots are short, the next goes to the trigger with the fewest active
// Jobs, so that none starves another.
func (in Input) apart(free, missing int) []Share {
	need := make([]int, len(in.Triggers))
	for i, t := range in.Triggers {
		demand, cover := t.demand(in)
		need[i] = clampJobs(min(ceilDiv(demand-cover, t.perJob()), ceilDiv(t.open(), t.perJob())))
	}
	given := make([]int, len(in.Triggers))
	for range free {
		i := in.fewest(given, func(i int) bool { return need[i] > given[i] })
		if i < 0 {
			break
		}
		given[i]++
	}
	total := 0
	for _, n := range given {
		total += n
	}
	for ; total < min(missing, free); total++ {
		i := in.fewest(given, in.mayKeepGoing)
		if i < 0 {
			break
		}
		given[i]++
	}
	var shares []Share
	for i, n := range given {
		if n > 0 {
			shares = append(shares, Share{Trigger: in.Triggers[i].Name, Jobs: n})
		}
	}
	return shares
}

// fewest is the index of the trigger with the fewest Jobs, active and given, among those allowed; -1 for none.
func (in Input) fewest(given []int, allowed func(i int) bool) int {
	best, fewest := -1, 0
	for i, t := range in.Triggers {
		if n := t.NotRunning + t.Running + given[i]; allowed(i) && (best < 0 || n < fewest) {
			best, fewest = i, n
		}
	}
	return best
}

// mayKeepGoing says whether a Job that keeps the minimum going may be for trigger i.
func (in Input) mayKeepGoing(i int) bool {
	onlySchedules := !slices.ContainsFunc(in.Triggers, func(t Trigger) bool { return !t.Scheduled })
	return in.Triggers[i].Known && (onlySchedules || !in.Triggers[i].Scheduled)
}

// together makes one number of all triggers. Each must be known: what is unknown cannot be the most, the fewest or part
// of a mean. A Job covers a message of every trigger, also of one that has none for it, so what each asks for beyond its
// own cover is what is combined: below zero where it is covered more than it needs.
func (in Input) together(free, missing int) []Share {
	var needs, waits []int64
	notRunning := 0
	for _, t := range in.Triggers {
		if !t.Known {
			return nil
		}
		d, c := t.demand(in)
		needs = append(needs, ceilDiv(d-c, t.perJob()))
		waits = append(waits, ceilDiv(t.eligible(), t.perJob()))
		notRunning = max(notRunning, t.NotRunning)
	}
	if len(needs) == 0 {
		return nil
	}
	need := clampJobs(min(in.Combine.of(needs), in.Combine.of(waits)-int64(notRunning)))
	if n := min(free, max(need, missing)); n > 0 {
		return []Share{{Jobs: n}}
	}
	return nil
}

// of combines values, one per trigger.
func (c Combine) of(values []int64) int64 {
	switch c {
	case Max:
		return slices.Max(values)
	case Min:
		return slices.Min(values)
	default:
		var sum int64
		for _, v := range values {
			sum += v
		}
		if c == Average {
			return ceilDiv(sum, int64(len(values)))
		}
		return sum
	}
}

// demand sets what ought to have a Job against what the active Jobs already stand for, in messages.
func (t Trigger) demand(in Input) (demand, cover int64) {
	waiting, per := t.eligible(), t.perJob()
	held := t.Held
	if waiting == 0 {
		held = 0 // what is held is worked on already
	}
	if t.Scheduled {
		return waiting, 0
	}
	switch in.Strategy {
	case Default:
		return waiting + held, int64(t.NotRunning+t.Running) * per
	case Accurate:
		return waiting, int64(t.Pending) * per
	case Custom:
		share := int64(t.Running) * in.RunningPercentage / 100
		return max(0, waiting+held-in.Deduction), (int64(t.NotRunning) + share) * per
	case Eager:
		return waiting, int64(t.NotRunning) * per
	default:
		return waiting, t.Starting
	}
}

// eligible is how many messages may have a Job: none where nothing is known or the threshold is not passed.
func (t Trigger) eligible() int64 {
	if !t.Known || t.Waiting <= t.ActivationThreshold {
		return 0
	}
	return t.Waiting
}

// open is how many messages no Job is on its way to for certain. A Job whose pod does not run has taken nothing, whatever
// others take or hold; so no strategy makes more Jobs than these.
func (t Trigger) open() int64 {
	if t.Scheduled {
		return t.eligible()
	}
	return max(0, t.eligible()-int64(t.NotRunning)*t.perJob())
}

func (t Trigger) perJob() int64 { return max(1, t.MessagesPerJob) }

// reason tells the numbers, and what bounds them.
func (in Input) reason(free int) string {
	s := fmt.Sprintf("%s, %d of %d slots busy", in.backlog(), in.Active, in.MaxParallelism)
	if free == 0 {
		s += ": at the cap"
	}
	return s
}

// backlog tells what waits and what is starting, for each trigger where there are several.
func (in Input) backlog() string {
	if len(in.Triggers) == 0 {
		return "no trigger"
	}
	parts := make([]string, 0, len(in.Triggers))
	for _, t := range in.Triggers {
		prefix := ""
		if len(in.Triggers) > 1 {
			prefix = t.Name + ": "
		}
		switch {
		case !t.Known:
			parts = append(parts, prefix+"not read")
		case t.Waiting > 0 && t.Waiting <= t.ActivationThreshold:
			parts = append(parts, fmt.Sprintf("%s%d waiting, not above the activation threshold of %d", prefix, t.Waiting, t.ActivationThreshold))
		default:
			parts = append(parts, fmt.Sprintf("%s%d waiting, %d of them about to be taken", prefix, t.Waiting, min(t.Starting, t.Waiting)))
		}
	}
	return strings.Join(parts, "; ")
}

// ceilDiv is a/b rounded up, for b of 1 or more.
func ceilDiv(a, b int64) int64 {
	if a <= 0 {
		return -(-a / b)
	}
	return (a-1)/b + 1
}

// clampJobs makes a number of Jobs of a difference: none below zero, and few enough for an int everywhere.
func clampJobs(n int64) int {
	return int(min(max(n, 0), 1<<30))
}
