package dispatcher

import (
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/decide"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

const (
	// patience is how long triggers that have answered wait for those that have not, so that a slot goes to the trigger
	// with the fewest Jobs and not to the one with the fastest broker.
	patience = 200 * time.Millisecond
	// keptAtLeast is how long a Job is kept after its creation, whatever the limits: its name is what refuses a second
	// manager with an old view, which leader election lets live for some 15 seconds.
	keptAtLeast = 30 * time.Second
	// keptUnstored is how many finished Jobs of one ScaledJob are kept at most, beyond the limits, until their records are
	// stored. Beyond that they are cleared away, and their records wait in the manager's memory alone.
	keptUnstored = 1000
	// lookAgain is when a pass runs at the latest, should everything that ought to bring one about have failed.
	lookAgain = 2 * time.Minute
)

// plan is what a pass is going to do, and why.
type plan struct {
	// decided says that the backlog was set against the Jobs; if not, nothing is dispatched.
	decided bool
	reason  string
	orders  []jobtemplate.Order
	// replace are unfinished Jobs of an older template, forget finished Jobs beyond the limits.
	replace, forget []*batchv1.Job
	// unstored is how many of those to forget go although their records are not stored.
	unstored int
	// waits are what cron triggers have due, in Jobs not dispatched yet.
	waits map[string]int64
	// again is when something is due; zero where nothing is.
	again time.Time
}

// sooner notes that something is due.
func (p *plan) sooner(at time.Time) {
	if !at.IsZero() && (p.again.IsZero() || at.Before(p.again)) {
		p.again = at
	}
}

// mayDispatch says whether a Job could be dispatched at all, whatever waits.
func (m *memory) mayDispatch(sj *v1alpha1.ScaledJob, o *observation) bool {
	return !*sj.Spec.Suspend &&
		!o.at.Before(m.refusal.until) &&
		o.census.active() < int(*sj.Spec.MaxParallelism)
}

// mayReplace says whether Jobs of an older template are to be ended as soon as the triggers have been read: not for a
// template of which the API server takes no Job.
func (m *memory) mayReplace(sj *v1alpha1.ScaledJob, o *observation) bool {
	return sj.Spec.Rollout.Strategy == v1alpha1.RolloutImmediate && m.refusal.mayPass() && len(outdated(o)) > 0
}

// plan says what to do about what was observed.
func (m *memory) plan(sj *v1alpha1.ScaledJob, o *observation) *plan {
	p := &plan{waits: map[string]int64{}}
	if !o.settled {
		p.sooner(o.at.Add(doubtAfter))
		return p
	}
	m.watchArrivals(sj, o)
	due := m.planSchedules(sj, o, p)
	p.forget = m.planForgetting(sj, o, p)
	if m.mayReplace(sj, o) && m.allRead(o) {
		p.replace = outdated(o)
	}
	if m.refusal.until.After(o.at) {
		p.sooner(m.refusal.until)
	}
	if m.mayDispatch(sj, o) && m.answersSuffice(sj, o, p) {
		m.planOrders(sj, o, p, due)
	}
	m.planRun(sj, o, p)
	return p
}

// planRun sees to the Job that a user asked for: one of those dispatched anyway, or else one more. Suspending does not hold
// it back.
func (m *memory) planRun(sj *v1alpha1.ScaledJob, o *observation, p *plan) {
	request := sj.Annotations[v1alpha1.AnnotationRun]
	for _, j := range o.census.jobs {
		if request != "" && j.job.Annotations[jobtemplate.AnnotationRun] == request {
			m.lastRun = request
		}
	}
	if request == "" || len(request) > v1alpha1.MaxRunRequest || request == sj.Status.LastRunRequest || request == m.lastRun {
		return
	}
	full := o.census.active() >= int(*sj.Spec.MaxParallelism) && !strings.HasPrefix(request, v1alpha1.ForcedRun)
	switch {
	case len(p.orders) > 0:
		p.orders[0].Run = request
	case full, o.at.Before(m.refusal.until):
	default:
		m.lastSequence++
		order := jobtemplate.Order{Sequence: m.lastSequence, Run: request}
		if s := o.forOneMore(sj); s != nil {
			order.Trigger, order.Queue = s.name, s.queue
		}
		p.orders, p.reason = append(p.orders, order), "asked for by the annotation "+v1alpha1.AnnotationRun
	}
}

// forOneMore is the trigger that a Job is for which no trigger asks for: the first that is a queue, else the first; nil where
// Jobs are for all of them.
func (o *observation) forOneMore(sj *v1alpha1.ScaledJob) *source {
	if sj.Spec.Combine != v1alpha1.CombineSum {
		return nil
	}
	for i := range o.sources {
		if s := &o.sources[i]; s.queued() {
			return s
		}
	}
	return &o.sources[0]
}

// answersSuffice says whether enough triggers have answered to decide.
func (m *memory) answersSuffice(sj *v1alpha1.ScaledJob, o *observation, p *plan) bool {
	for i := range o.sources {
		s := &o.sources[i]
		if !s.queued() || o.answered[s.name] {
			continue
		}
		if sj.Spec.Combine != v1alpha1.CombineSum {
			return false
		}
		last := o.backlogs[s.name]
		until := m.account(s.name).question.asked.Add(patience)
		if last.Err == nil && o.at.Before(until) {
			p.sooner(until)
			return false
		}
	}
	return true
}

// planOrders decides, and numbers the Jobs to create.
func (m *memory) planOrders(sj *v1alpha1.ScaledJob, o *observation, p *plan, due map[string]time.Time) {
	in := decide.Input{
		MaxParallelism: int(*sj.Spec.MaxParallelism),
		MinParallelism: int(*sj.Spec.MinParallelism),
		Active:         o.census.active(),
		Combine:        combineOf(sj.Spec.Combine),
		Strategy:       strategyOf(sj.Spec.Strategy.Type),
	}
	if c := sj.Spec.Strategy.Custom; c != nil {
		in.Deduction, in.RunningPercentage = int64(*c.QueueLengthDeduction), int64(*c.RunningJobPercentage)
	}
	for i := range o.sources {
		s := &o.sources[i]
		in.Triggers = append(in.Triggers, m.known(sj, s, o, p))
	}
	m.awaitSettling(sj, o, p)
	queues := map[string]string{}
	for i := range o.sources {
		queues[o.sources[i].name] = o.sources[i].queue
	}
	d := decide.Decide(in)
	p.decided, p.reason = true, d.Reason
	for _, share := range d.Create {
		for i := range share.Jobs {
			m.lastSequence++
			order := jobtemplate.Order{Sequence: m.lastSequence, Trigger: share.Trigger, Queue: queues[share.Trigger]}
			if int64(i) < p.waits[share.Trigger] {
				order.ScheduledTime, order.Seen = due[share.Trigger], due[share.Trigger]
			} else {
				order.Seen = m.seenSince(o, share.Trigger)
			}
			p.orders = append(p.orders, order)
		}
	}
}

// known is what a decision may rest on of one trigger: the Jobs counted for its question, and since, and the backlog read
// after the first.
func (m *memory) known(sj *v1alpha1.ScaledJob, s *source, o *observation, p *plan) decide.Trigger {
	t := decide.Trigger{
		Name:                s.name,
		MessagesPerJob:      s.perJob(),
		ActivationThreshold: *s.spec.ActivationThreshold,
		Scheduled:           s.err == nil && s.source.Schedule != nil,
	}
	n := s.count(sj, o)
	switch {
	case t.Scheduled:
		t.Known, t.Waiting, t.MessagesPerJob, t.ActivationThreshold = true, p.waits[s.name], 1, 0
	case s.queued() && o.answered[s.name] && o.backlogs[s.name].Err == nil:
		a, last := m.account(s.name), o.backlogs[s.name]
		// What has changed since the question was asked may be in the backlog or not: the greater number errs towards too few.
		n = n.atLeast(a.question.counts)
		t.Known, t.Waiting = true, last.Backlog.Waiting
		a.post(o.census.of(sj, s.name).marks(), n, last, t.MessagesPerJob)
		t.Starting = a.ledger.Owed()
		if s.live(last) {
			t.Held = last.Backlog.Held
			t.Starting = decide.StartingHeld(n.notRunning, n.running, n.runningUnsettled, t.Held, t.MessagesPerJob)
		}
		a.arrivals.See(t.Waiting-t.Starting, t.Waiting, last.At)
	}
	t.NotRunning, t.Running, t.Pending = n.notRunning, n.running, n.pending
	return t
}

// watchArrivals notes since when messages wait, also while no Job could be dispatched for them.
func (m *memory) watchArrivals(sj *v1alpha1.ScaledJob, o *observation) {
	for i := range o.sources {
		s := &o.sources[i]
		last := o.backlogs[s.name]
		if !s.queued() || last.At.IsZero() || last.Err != nil {
			continue
		}
		least := last.Backlog.Waiting - int64(s.count(sj, o).unsettled)*s.perJob()
		m.account(s.name).arrivals.See(least, last.Backlog.Waiting, last.At)
	}
}

// seenSince is when the message, or the first of the messages, of the next Job was first seen to wait. A Job that is for a
// message of every trigger waits for the one that came first.
func (m *memory) seenSince(o *observation, trigger string) time.Time {
	var first time.Time
	for i := range o.sources {
		s := &o.sources[i]
		if !s.queued() || (trigger != "" && trigger != s.name) {
			continue
		}
		since, ok := m.account(s.name).arrivals.Take(s.perJob())
		if ok && (first.IsZero() || since.Before(first)) {
			first = since
		}
	}
	return first
}

// awaitSettling has a pass run when the next Job settles, while messages wait that may be for it.
func (m *memory) awaitSettling(sj *v1alpha1.ScaledJob, o *observation, p *plan) {
	for i := range o.sources {
		s := &o.sources[i]
		last := o.backlogs[s.name]
		if s.queued() && o.answered[s.name] && last.Backlog.Waiting > 0 {
			_, settles := o.census.of(sj, s.name).count(o.at, sj.Spec.SettlingTime.Duration, s.queue)
			p.sooner(settles)
		}
	}
}

// planSchedules finds what cron triggers have due, and marks what is done with.
func (m *memory) planSchedules(sj *v1alpha1.ScaledJob, o *observation, p *plan) map[string]time.Time {
	due := map[string]time.Time{}
	for i := range o.sources {
		s := &o.sources[i]
		if s.err != nil || s.source.Schedule == nil {
			continue
		}
		m.followSchedule(sj, s.name, o.at)
		if at, ok := s.source.Schedule.Due(m.scheduled[s.name], o.at); ok {
			missing := s.source.Schedule.Jobs() - o.census.scheduled(s.name, at)
			if missing <= 0 {
				m.scheduled[s.name] = at
			} else {
				due[s.name], p.waits[s.name] = at, int64(missing)
			}
		}
		p.sooner(s.source.Schedule.Next(o.at))
	}
	return due
}

// followSchedule says since when a schedule is followed: since its status says, since its ScaledJob was created, or, for
// one added later, since now.
func (m *memory) followSchedule(sj *v1alpha1.ScaledJob, name string, now time.Time) {
	if _, ok := m.scheduled[name]; ok {
		return
	}
	m.scheduled[name] = now
	if sj.Status.ObservedGeneration == 0 {
		m.scheduled[name] = sj.CreationTimestamp.Time
	}
	for _, t := range sj.Status.Triggers {
		if t.Name == name && t.LastScheduleTime != nil {
			m.scheduled[name] = t.LastScheduleTime.Time
		}
	}
}

// planForgetting lists the finished Jobs beyond the limits whose going loses nothing: the status tells what only they
// did, no one with an old view can try their names again, and their records are stored. Of those that only wait for their
// records, the oldest beyond a bound go nevertheless.
func (m *memory) planForgetting(sj *v1alpha1.ScaledJob, o *observation, p *plan) []*batchv1.Job {
	jobs, unstored := make([]*batchv1.Job, 0, len(o.census.jobs)), map[types.UID]bool{}
	for _, j := range o.census.jobs {
		jobs = append(jobs, j.job)
		unstored[j.job.UID] = j.unstored
	}
	recorded := map[string]time.Time{}
	for _, t := range sj.Status.Triggers {
		if t.LastScheduleTime != nil {
			recorded[t.Name] = t.LastScheduleTime.Time
		}
	}
	var forget, waiting []*batchv1.Job
	for _, job := range history.Beyond(jobs, history.Limits{
		Succeeded: int(*sj.Spec.SuccessfulJobsHistoryLimit),
		Failed:    int(*sj.Spec.FailedJobsHistoryLimit),
	}) {
		sequence, _ := jobtemplate.Sequence(job)
		at, scheduled := jobtemplate.ScheduledTime(job)
		due := job.CreationTimestamp.Add(keptAtLeast)
		switch {
		case sequence > sj.Status.LastSequence:
		case m.lastRun != "" && m.lastRun != sj.Status.LastRunRequest && job.Annotations[jobtemplate.AnnotationRun] == m.lastRun:
		case scheduled && at.After(recorded[job.Labels[jobtemplate.LabelTrigger]]):
		case o.at.Before(due):
			p.sooner(due)
		case unstored[job.UID]:
			waiting = append(waiting, job)
		default:
			forget = append(forget, job)
		}
	}
	p.unstored = max(0, len(waiting)-keptUnstored)
	return append(forget, waiting[:p.unstored]...)
}

// allRead says whether every trigger has been read with success since it was last changed.
func (m *memory) allRead(o *observation) bool {
	for i := range o.sources {
		s := &o.sources[i]
		last := o.backlogs[s.name]
		if s.err != nil || (s.queued() && (last.Err != nil || last.At.Before(m.sources.since))) {
			return false
		}
	}
	return true
}

// outdated lists the unfinished Jobs of an older template.
func outdated(o *observation) []*batchv1.Job {
	var jobs []*batchv1.Job
	for _, j := range o.census.jobs {
		if j.phase != ended && !j.ending && j.job.Annotations[jobtemplate.AnnotationRevision] != o.revision {
			jobs = append(jobs, j.job)
		}
	}
	return jobs
}

func combineOf(c v1alpha1.Combine) decide.Combine {
	switch c {
	case v1alpha1.CombineMax:
		return decide.Max
	case v1alpha1.CombineMin:
		return decide.Min
	case v1alpha1.CombineAverage:
		return decide.Average
	default:
		return decide.Sum
	}
}

func strategyOf(s v1alpha1.StrategyType) decide.Strategy {
	switch s {
	case v1alpha1.StrategyDefault:
		return decide.Default
	case v1alpha1.StrategyAccurate:
		return decide.Accurate
	case v1alpha1.StrategyCustom:
		return decide.Custom
	case v1alpha1.StrategyEager:
		return decide.Eager
	default:
		return decide.Auto
	}
}
