package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

// scaledJobs answers with all that the caller sees.
func (s *Server) scaledJobs(c *call) (any, error) {
	deleted, err := boolean(c.URL.Query(), "deleted")
	if err != nil {
		return nil, err
	}
	selector, wanted, err := s.chosen(c, scaledJobs)
	if err != nil {
		return nil, err
	}
	var list v1alpha1.ScaledJobList
	if err := s.Cache.List(c.Context(), &list); err != nil {
		return nil, fmt.Errorf("listing ScaledJobs: %w", err)
	}
	all, exist := v1.ScaledJobList{Items: []v1.ScaledJob{}}, map[types.NamespacedName]bool{}
	for i := range list.Items {
		sj := &list.Items[i]
		exist[client.ObjectKeyFromObject(sj)] = true
		if ok, err := wanted(sj.Namespace); err != nil {
			return nil, err
		} else if !ok || !selector.Matches(labels.Set(sj.Labels)) {
			continue
		}
		one, err := s.show(c.Context(), sj)
		if err != nil {
			return nil, err
		}
		all.Items = append(all.Items, one)
	}
	if deleted && s.Store != nil && selector.Empty() {
		left, err := s.left(c.Context(), exist, wanted)
		if err != nil {
			return nil, err
		}
		all.Items = append(all.Items, left...)
	}
	slices.SortFunc(all.Items, func(a, b v1.ScaledJob) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// chosen is what a caller asks of the objects of a resource: their labels, and which namespaces, among those that the caller sees.
func (s *Server) chosen(c *call, resource string) (selector labels.Selector, wanted func(namespace string) (bool, error), err error) {
	q := c.URL.Query()
	if selector, err = labels.Parse(q.Get("labelSelector")); err != nil {
		return nil, nil, bad("labelSelector=%q: %v; give one such as app=video,tier!=test", q.Get("labelSelector"), err)
	}
	sc, err := s.scopeOf(c.Context(), c.caller, resource)
	if err != nil {
		return nil, nil, err
	}
	if err := sc.mayList(c.Context(), q["namespace"]); err != nil {
		return nil, nil, err
	}
	return selector, func(namespace string) (bool, error) {
		if len(q["namespace"]) > 0 && !slices.Contains(q["namespace"], namespace) {
			return false, nil
		}
		return sc.sees(c.Context(), namespace)
	}, nil
}

// left are the ScaledJobs of which only the history is left, in wanted namespaces.
func (s *Server) left(ctx context.Context, exist map[types.NamespacedName]bool, wanted func(namespace string) (bool, error)) ([]v1.ScaledJob, error) {
	kept, err := s.Store.ScaledJobs(ctx)
	if err != nil {
		return nil, err
	}
	var left []v1.ScaledJob
	for _, k := range kept {
		if exist[types.NamespacedName{Namespace: k.Namespace, Name: k.Name}] {
			continue
		}
		if ok, err := wanted(k.Namespace); err != nil {
			return nil, err
		} else if ok {
			left = append(left, gone(k.Namespace, k.Name))
		}
	}
	return left, nil
}

// mayList refuses a caller who names a namespace and does not see it.
func (sc *scope) mayList(ctx context.Context, namespaces []string) error {
	for _, n := range namespaces {
		if sees, err := sc.sees(ctx, n); err != nil {
			return err
		} else if !sees {
			return forbidden("%s may not list %s.%s in namespace %q, or this manager does not look after it: ask for a role "+
				"that allows it, such as view", sc.caller.Name, sc.resource, v1alpha1.Group, n)
		}
	}
	return nil
}

// gone is what is left of a ScaledJob that was deleted.
func gone(namespace, name string) v1.ScaledJob {
	return v1.ScaledJob{Namespace: namespace, Name: name, Deleted: true, Why: "It was deleted; its history is left."}
}

// scaledJob answers with one.
func (s *Server) scaledJob(c *call) (any, error) {
	namespace, name := c.PathValue("namespace"), c.PathValue("name")
	if err := s.mayGet(c.Context(), c.caller, scaledJobs, namespace, name); err != nil {
		return nil, err
	}
	var sj v1alpha1.ScaledJob
	err := s.Cache.Get(c.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &sj)
	switch {
	case err == nil:
		return s.show(c.Context(), &sj)
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("reading ScaledJob %s/%s: %w", namespace, name, err)
	case s.Store != nil:
		kept, err := s.Store.ScaledJobs(c.Context())
		if err != nil {
			return nil, err
		}
		if slices.Contains(kept, store.Name{Namespace: namespace, Name: name}) {
			return gone(namespace, name), nil
		}
	}
	return nil, notFound("there is no ScaledJob %q in namespace %q, and no history of one", name, namespace)
}

// show is a ScaledJob as callers see it.
func (s *Server) show(ctx context.Context, sj *v1alpha1.ScaledJob) (v1.ScaledJob, error) {
	pace, err := s.paces.of(ctx, sj)
	if err != nil {
		return v1.ScaledJob{}, err
	}
	status := &sj.Status
	one := v1.ScaledJob{
		Namespace: sj.Namespace, Name: sj.Name, UID: string(sj.UID), Labels: sj.Labels, Created: ptr.To(sj.CreationTimestamp.UTC()),
		Suspended:      ptr.Deref(sj.Spec.Suspend, false),
		MaxParallelism: ptr.Deref(sj.Spec.MaxParallelism, 0), MinParallelism: ptr.Deref(sj.Spec.MinParallelism, 0),
		Waiting: status.Waiting, Held: status.Held,
		Starting: ptr.Deref(status.Starting, 0), Running: ptr.Deref(status.Running, 0),
		KeptSucceeded: ptr.Deref(status.Succeeded, 0), KeptFailed: ptr.Deref(status.Failed, 0),
		LastSequence: status.LastSequence, LastHour: pace, Why: why(sj, pace),
	}
	one.LastDispatch, one.Conditions = timeOf(status.LastDispatchTime), conditions(status.Conditions)
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil {
		one.Ready = string(ready.Status)
	}
	for i := range sj.Spec.Triggers {
		one.Triggers = append(one.Triggers, showTrigger(&sj.Spec.Triggers[i], status.Triggers))
	}
	return one, nil
}

func conditions(all []metav1.Condition) []v1.Condition {
	var list []v1.Condition
	for _, c := range all {
		list = append(list, v1.Condition{Type: c.Type, Status: string(c.Status), Reason: c.Reason, Message: c.Message, Since: c.LastTransitionTime.UTC()})
	}
	return list
}

// showTrigger is a trigger, with what the status says of it.
func showTrigger(spec *v1alpha1.Trigger, status []v1alpha1.TriggerStatus) v1.Trigger {
	t := v1.Trigger{Name: spec.EffectiveName(), Kind: spec.Kind()}
	for _, shown := range status {
		if shown.Name == t.Name {
			t.Waiting, t.Held, t.Message, t.LastRead = shown.Waiting, shown.Held, shown.Message, timeOf(shown.LastReadTime)
		}
	}
	return t
}

// activeJobs answers with the Jobs that have not ended.
func (s *Server) activeJobs(c *call) (any, error) {
	namespace, name := c.PathValue("namespace"), c.PathValue("name")
	if err := s.mayGet(c.Context(), c.caller, scaledJobs, namespace, name); err != nil {
		return nil, err
	}
	withProgress, err := boolean(c.URL.Query(), "progress")
	if err != nil {
		return nil, err
	}
	var sj v1alpha1.ScaledJob
	err = s.Cache.Get(c.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &sj)
	if apierrors.IsNotFound(err) {
		return v1.JobList{Items: []v1.Job{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading ScaledJob %s/%s: %w", namespace, name, err)
	}
	var jobs batchv1.JobList
	if err := s.Cache.List(c.Context(), &jobs, client.InNamespace(namespace), client.MatchingFields{s.Index: string(sj.UID)}); err != nil {
		return nil, fmt.Errorf("listing Jobs: %w", err)
	}
	list := v1.JobList{Items: []v1.Job{}}
	for i := range jobs.Items {
		job, active, err := s.showJob(c.Context(), &jobs.Items[i], name)
		if err != nil {
			return nil, err
		}
		if active {
			list.Items = append(list.Items, job)
		}
	}
	slices.SortFunc(list.Items, func(a, b v1.Job) int { return cmp.Compare(a.Sequence, b.Sequence) })
	if withProgress {
		s.progress.add(c.Context(), list.Items)
	}
	return list, nil
}

// showJob is a Job as callers see it; false for one that has ended.
func (s *Server) showJob(ctx context.Context, job *batchv1.Job, scaledJob string) (v1.Job, bool, error) {
	if _, _, finished := history.Finished(job); finished {
		return v1.Job{}, false, nil
	}
	var pods corev1.PodList
	if err := s.Cache.List(ctx, &pods, client.InNamespace(job.Namespace), client.MatchingFields{s.Index: string(job.UID)}); err != nil {
		return v1.Job{}, false, fmt.Errorf("listing the pods of Job %s: %w", job.Name, err)
	}
	var all []*corev1.Pod
	for i := range pods.Items {
		all = append(all, &pods.Items[i])
	}
	sequence, _ := jobtemplate.Sequence(job)
	// What a record would tell of it now.
	r := history.Record{Created: jobtemplate.Created(job)}.Follow(job, all, s.Clock.Now())
	one := v1.Job{
		Namespace: job.Namespace, ScaledJob: scaledJob, Sequence: sequence, Name: job.Name, UID: string(job.UID),
		Trigger: job.Labels[jobtemplate.LabelTrigger], State: v1.Starting, Created: r.Created, Started: r.Started,
		Attempts: len(r.Attempts),
	}
	if seen := jobtemplate.Seen(job); !seen.IsZero() {
		one.Seen = &seen
	}
	if n := len(r.Attempts); n > 0 {
		last := &r.Attempts[n-1]
		one.Pod, one.Node = last.Pod, last.Node
		switch {
		case last.Succeeded:
			return v1.Job{}, false, nil // its Job is about to be told
		case last.Started != nil && !last.Ended():
			one.State = v1.Running
		case !last.Ended():
			one.Message = cmp.Or(last.Message, last.Reason)
		}
	}
	return one, true, nil
}

const (
	// paceLength is over how long a pace is measured, paceKept how long it is taken for the same.
	paceLength, paceKept = time.Hour, 5 * time.Second
)

// paces remembers how many Jobs of each ScaledJob finished within the last hour.
type paces struct {
	*Server

	mu   sync.Mutex
	kept map[types.NamespacedName]keptPace
}

type keptPace struct {
	pace v1.Pace
	at   time.Time
}

func newPaces(s *Server) *paces { return &paces{Server: s, kept: map[types.NamespacedName]keptPace{}} }

// of is the pace of a ScaledJob; zero where no history is kept.
func (p *paces) of(ctx context.Context, sj *v1alpha1.ScaledJob) (v1.Pace, error) {
	if p.Store == nil {
		return v1.Pace{}, nil
	}
	name, now := client.ObjectKeyFromObject(sj), p.Clock.Now()
	p.mu.Lock()
	kept, ok := p.kept[name]
	p.mu.Unlock()
	if ok && now.Sub(kept.at) < paceKept {
		return kept.pace, nil
	}
	from := now.Add(-paceLength)
	found, err := p.Store.Stats(ctx, store.StatsQuery{Namespace: sj.Namespace, ScaledJob: sj.Name, From: from, To: now})
	if err != nil {
		return v1.Pace{}, fmt.Errorf("counting what finished: %w", err)
	}
	if sj.CreationTimestamp.After(from) {
		from = sj.CreationTimestamp.Time
	}
	pace := v1.Pace{Succeeded: found.Outcomes[history.Succeeded], Failed: found.Outcomes[history.Failed]}
	pace.PerMinute = float64(pace.Succeeded+pace.Failed) / max(1, now.Sub(from).Minutes())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept[name] = keptPace{pace, now}
	return pace, nil
}

// forget drops what is kept of a ScaledJob that is gone.
func (p *paces) forget(name types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.kept, name)
}

// isBadQuery says whether the caller asked the store for what cannot be.
func isBadQuery(err error) error {
	if errors.Is(err, store.ErrBadQuery) {
		return bad("%v", err)
	}
	return err
}
