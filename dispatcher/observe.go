package dispatcher

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/resolve"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

// doubtAfter is how long the cache may take to show a created Job before the API server is asked what became of it.
const doubtAfter = 5 * time.Second

// observation is what one pass sees: the Jobs, and of each trigger what it last showed. It exists only if every read of
// the cluster succeeded. Brokers are not waited for; what they show is set against the Jobs counted before.
type observation struct {
	// at is when the Jobs had been listed.
	at     time.Time
	census census
	// settled says that the Jobs listed hold all that were dispatched.
	settled bool
	// sources are the triggers; backlogs what those with a queue last showed, by name, and answered whether that was read
	// after the Jobs of the trigger's question were counted.
	sources  []source
	backlogs map[string]trigger.Observation
	answered map[string]bool
	revision string
	// recording says that a history is kept, and trouble why records cannot be stored; nil while they can.
	recording bool
	trouble   error
}

// observe makes every read of a pass: Jobs first, then the backlog.
func (c *Controller) observe(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory) (*observation, error) {
	if err := c.observeSources(ctx, sj, m); err != nil {
		return nil, err
	}
	revision, err := jobtemplate.Revision(&sj.Spec.JobTemplate)
	if err != nil {
		return nil, err
	}
	jobs, err := c.jobsOf(ctx, sj)
	if err != nil {
		return nil, err
	}
	o := &observation{
		sources:  m.sources.triggers,
		backlogs: map[string]trigger.Observation{},
		answered: map[string]bool{},
		revision: revision,
	}
	for _, job := range jobs {
		var pods []*corev1.Pod
		// Kept Jobs may be thousands, and nothing of theirs is up to their pods any more.
		if _, _, finished := history.Finished(job); !finished {
			if pods, err = c.podsOf(ctx, job); err != nil {
				return nil, err
			}
		}
		o.census.jobs = append(o.census.jobs, stateOf(job, pods, sj.Spec.Strategy.PendingPodConditions))
	}
	o.at = c.Clock.Now()
	c.observeRecords(o)
	m.sight(o)
	m.missLast(sj, o)
	if o.settled, err = c.observeExpected(ctx, sj, m, jobs, o.at); err != nil {
		return nil, err
	}
	m.lastSequence = max(m.lastSequence, sj.Status.LastSequence, o.census.lastSequence())
	if o.settled {
		c.observeBacklogs(sj, m, o)
	} else {
		c.observeLast(sj, o)
	}
	return o, nil
}

// observeRecords looks which finished Jobs are not recorded yet.
func (c *Controller) observeRecords(o *observation) {
	if o.recording = c.Records != nil; !o.recording {
		return
	}
	o.trouble = c.Records.Trouble()
	for i := range o.census.jobs {
		j := &o.census.jobs[i]
		_, _, finished := history.Finished(j.job)
		j.unstored = finished && !c.Records.Stored(j.job.UID)
	}
}

// sight notes since when Jobs have been seen to run.
func (m *memory) sight(o *observation) {
	sightings := make(map[types.UID]sighting, len(o.census.jobs))
	for i := range o.census.jobs {
		if j := &o.census.jobs[i]; j.phase == running {
			seen := m.settlesFrom(*j, o.at)
			j.settlesFrom, sightings[j.job.UID] = seen.seen, seen
		}
	}
	m.sightings = sightings
}

// missLast expects the Job of the status' last sequence where the cache shows none of it or later. It may lag behind in Jobs
// only, and hide what a manager before this one dispatched last; or that Job was forgotten, as the API server can tell.
func (m *memory) missLast(sj *v1alpha1.ScaledJob, o *observation) {
	if last := sj.Status.LastSequence; last > max(m.lastSequence, o.census.lastSequence()) {
		m.expected[jobtemplate.Name(sj.Name, last)] = expectation{since: o.at, doubtful: true}
	}
}

// observeLast has the status tell what the triggers showed last, while nothing can be decided.
func (c *Controller) observeLast(sj *v1alpha1.ScaledJob, o *observation) {
	for i := range o.sources {
		if s := &o.sources[i]; s.queued() {
			o.backlogs[s.name], _ = c.Meter.Last(ownerOf(client.ObjectKeyFromObject(sj)), s.name, o.at)
		}
	}
}

// observeBacklogs looks for an answer to each trigger's question. A trigger without one gets a question, of the Jobs just
// counted; one whose count has changed and for which no answer is on its way gets a new one. While one is, the question
// stays: Jobs that come and go quicker than a broker answers would otherwise put it off for ever.
func (c *Controller) observeBacklogs(sj *v1alpha1.ScaledJob, m *memory, o *observation) {
	owner := ownerOf(client.ObjectKeyFromObject(sj))
	ask := m.mayDispatch(sj, o) || m.mayReplace(sj, o)
	for i := range o.sources {
		s := &o.sources[i]
		if !s.queued() {
			continue
		}
		a := m.account(s.name)
		if a.question != nil {
			o.backlogs[s.name], o.answered[s.name] = c.Meter.Last(owner, s.name, a.question.at)
		}
		if o.answered[s.name] || (a.question != nil && !a.question.asked.IsZero()) {
			continue
		}
		a.ask(s.count(sj, o), o.at)
		if !ask {
			o.backlogs[s.name], _ = c.Meter.Last(owner, s.name, a.question.at)
			continue
		}
		o.backlogs[s.name], o.answered[s.name] = c.Meter.Observe(owner, s.name, a.question.at)
		a.question.asked = o.at
	}
}

// askNext closes the questions that a decision has answered. Where no Job was created, the Jobs as they are now counted
// become the next question, which what the meter reads of itself will answer; if they are no longer as they were when the
// decided one was asked, an answer is wanted at once.
func (c *Controller) askNext(sj *v1alpha1.ScaledJob, m *memory, o *observation, p *plan) {
	if !p.decided {
		return
	}
	for i := range o.sources {
		s := &o.sources[i]
		if !s.queued() || !o.answered[s.name] {
			continue
		}
		a := m.account(s.name)
		decided := a.question.counts
		a.question = nil
		if len(m.expected) > 0 {
			continue // asked anew when the cache shows them
		}
		a.ask(s.count(sj, o), o.at)
		if a.question.counts != decided {
			c.Meter.Observe(ownerOf(client.ObjectKeyFromObject(sj)), s.name, a.question.at)
			a.question.asked = o.at
		}
	}
}

// ask makes the count of a trigger's Jobs its question, unless that is the same as before.
func (a *account) ask(n counts, at time.Time) {
	if a.question == nil || a.question.counts != n {
		a.question = &question{at: at, counts: n}
	}
}

// count counts the Jobs that are for a trigger.
func (s *source) count(sj *v1alpha1.ScaledJob, o *observation) counts {
	n, _ := o.census.of(sj, s.name).count(o.at, sj.Spec.SettlingTime.Duration, s.queue)
	return n
}

// observeSources resolves the triggers where they, or a Secret they refer to, have changed, and has the meter read them.
func (c *Controller) observeSources(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory) error {
	cluster := resolve.Cluster{Cache: c.Client, Live: c.Live}
	versions, err := cluster.Versions(ctx, sj.Namespace, resolve.SecretsOf(sj.Spec.Triggers))
	if err != nil {
		return err
	}
	if m.sources.triggers != nil && m.sources.generation == sj.Generation && maps.Equal(m.sources.versions, versions) {
		return nil
	}
	secrets, failed := cluster.Secrets(ctx, sj.Namespace)
	triggers := resolveAll(c.Kinds, sj, secrets)
	if err := failed(); err != nil {
		return err // not the user's fault: tried again, and the triggers stay as they were
	}
	before := m.sources.triggers
	m.adopt(sources{generation: sj.Generation, versions: versions, triggers: triggers, since: c.Clock.Now()})
	var watches []trigger.Watch
	for _, s := range triggers {
		if s.queued() {
			watches = append(watches, trigger.Watch{Trigger: s.name, Source: s.source, Interval: sj.Spec.PollingInterval.Duration})
		}
	}
	c.Meter.Watch(ownerOf(client.ObjectKeyFromObject(sj)), watches)
	for _, old := range before {
		if !slices.ContainsFunc(triggers, func(t source) bool { return t.name == old.name && t.queued() == old.queued() }) {
			c.Metrics.forgetTrigger(client.ObjectKeyFromObject(sj), old.name)
		}
	}
	return nil
}

// adopt replaces the triggers. The account of one that is read elsewhere now starts anew, for its figures are of another
// queue; and a schedule that is another now is followed from now on.
func (m *memory) adopt(s sources) {
	before := map[string]source{}
	for _, old := range m.sources.triggers {
		before[old.name] = old
	}
	accounts, scheduled := map[string]*account{}, map[string]time.Time{}
	for _, t := range s.triggers {
		old, ok := before[t.name]
		if ok && old.source.Endpoint == t.source.Endpoint && old.source.Queue == t.source.Queue {
			accounts[t.name] = m.account(t.name)
			accounts[t.name].question = nil
		}
		if since, ok := m.scheduled[t.name]; ok && t.spec.Cron != nil {
			scheduled[t.name] = since
			if old.timetable() != t.timetable() {
				scheduled[t.name] = later(since, s.since)
			}
		}
	}
	m.accounts, m.scheduled, m.sources = accounts, scheduled, s
}

// observeExpected says whether the Jobs listed hold all that were dispatched. A Job that the cache does not show in good
// time is asked for at the API server: it may have been deleted at once, or never created.
func (c *Controller) observeExpected(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory, jobs []*batchv1.Job, now time.Time) (bool, error) {
	for _, job := range jobs {
		delete(m.expected, job.Name)
	}
	for name, e := range m.expected {
		if !e.doubtful && now.Sub(e.since) < doubtAfter {
			continue
		}
		var job batchv1.Job
		err := c.Live.Get(ctx, types.NamespacedName{Namespace: sj.Namespace, Name: name}, &job)
		switch {
		case apierrors.IsNotFound(err), err == nil && !metav1.IsControlledBy(&job, sj):
			delete(m.expected, name)
		case err != nil:
			return false, fmt.Errorf("asking what became of Job %s: %w", name, err)
		default:
			m.expected[name] = expectation{since: now}
		}
	}
	return len(m.expected) == 0, nil
}

// jobsOf lists a ScaledJob's Jobs. They are its own by their controller's UID; labels, which users may set, say nothing.
func (c *Controller) jobsOf(ctx context.Context, sj *v1alpha1.ScaledJob) ([]*batchv1.Job, error) {
	var list batchv1.JobList
	if err := c.Client.List(ctx, &list, client.InNamespace(sj.Namespace), client.MatchingFields{IndexController: string(sj.UID)}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the Jobs of ScaledJob %s: %w", sj.Name, err)
	}
	jobs := make([]*batchv1.Job, len(list.Items))
	for i := range list.Items {
		jobs[i] = &list.Items[i]
	}
	return jobs, nil
}

// podsOf lists a Job's pods.
func (c *Controller) podsOf(ctx context.Context, job *batchv1.Job) ([]*corev1.Pod, error) {
	var list corev1.PodList
	if err := c.Client.List(ctx, &list, client.InNamespace(job.Namespace), client.MatchingFields{IndexController: string(job.UID)}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the pods of Job %s: %w", job.Name, err)
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return pods, nil
}
