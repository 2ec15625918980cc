package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// account is what came of the Jobs and Pods of one namespace.
type account struct {
	mu     sync.Mutex
	events []event
	jobs   map[types.UID]bool
	lost   error
}

// event is one change. The API server numbers changes of all objects in one order.
type event struct {
	revision int64
	job      types.UID
	change   change
	pod      types.UID
	exit     int32
	message  string
}

type change int

const (
	jobCreated change = iota
	jobFailed
	jobDeleted
	podCreated
	podSucceeded
	podFailed
)

// summary is what an account comes to.
type summary struct {
	Jobs      int
	Succeeded int
	Failed    int
	Deleted   int
	// Empty is how many workers found no message.
	Empty int
	// Messages is how many different messages were done by a Job that succeeded.
	Messages int
	// JobsAtOnce is the most Jobs that were active at the same time: from their creation until their pod ended well, or they
	// failed for good. PodsAtOnce is the most pods that had not ended.
	JobsAtOnce, PodsAtOnce int
	// Retried is how many pods failed.
	Retried int
}

// follow begins an account of a namespace, before anything is in it.
func follow(ctx context.Context, t *testing.T, c client.WithWatch, namespace string) *account {
	t.Helper()
	a := &account{jobs: map[types.UID]bool{}}
	for _, list := range []client.ObjectList{&batchv1.JobList{}, &corev1.PodList{}} {
		// From the revision of a list, that nothing is missed before the watch begins.
		if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		go a.watch(ctx, c, list, namespace)
	}
	return a
}

// watch follows one kind until the context ends. The API server ends the watches of those who are slow: what it has not
// told then, it tells the next.
func (a *account) watch(ctx context.Context, c client.WithWatch, list client.ObjectList, namespace string) {
	seen := list.GetResourceVersion()
	for ctx.Err() == nil {
		w, err := c.Watch(ctx, list, client.InNamespace(namespace),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: seen}})
		if err != nil {
			a.lose(ctx, err)
			return
		}
		for e := range w.ResultChan() {
			switch o := e.Object.(type) {
			case *batchv1.Job:
				seen = o.ResourceVersion
				a.job(e.Type, o)
			case *corev1.Pod:
				seen = o.ResourceVersion
				a.pod(o)
			default:
				a.lose(ctx, apierrors.FromObject(e.Object))
				return
			}
		}
	}
}

// lose notes that the account is not whole.
func (a *account) lose(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost = fmt.Errorf("watching: %w", err)
}

func (a *account) job(kind watch.EventType, j *batchv1.Job) {
	switch {
	case kind == watch.Added:
		a.note(j, event{job: j.UID, change: jobCreated})
	case kind == watch.Deleted:
		a.note(j, event{job: j.UID, change: jobDeleted})
	case slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue
	}):
		a.note(j, event{job: j.UID, change: jobFailed})
	}
}

func (a *account) pod(p *corev1.Pod) {
	e := event{pod: p.UID, change: podCreated}
	for _, o := range p.OwnerReferences {
		e.job = o.UID
	}
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		e.change = podSucceeded
	case corev1.PodFailed:
		e.change = podFailed
	}
	for _, s := range p.Status.ContainerStatuses {
		if ended := s.State.Terminated; ended != nil {
			e.exit, e.message = ended.ExitCode, ended.Message
		}
	}
	a.note(p, e)
}

func (a *account) note(o client.Object, e event) {
	e.revision, _ = strconv.ParseInt(o.GetResourceVersion(), 10, 64)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
	if e.change == jobCreated {
		a.jobs[e.job] = true
	}
}

// created is how many Jobs were created so far.
func (a *account) created() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.jobs)
}

// sum replays all that happened, in the order in which it did.
func (a *account) sum() (summary, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.SortStableFunc(a.events, func(x, y event) int { return cmp.Compare(x.revision, y.revision) })
	var s summary
	jobs, ended := map[types.UID]change{}, map[types.UID]bool{}
	activeJobs, activePods := map[types.UID]bool{}, map[types.UID]bool{}
	messages := map[string]bool{}
	for _, e := range a.events {
		switch e.change {
		case jobCreated:
			jobs[e.job], activeJobs[e.job] = jobCreated, true
		case jobFailed:
			jobs[e.job] = jobFailed
			delete(activeJobs, e.job)
		case jobDeleted:
			s.Deleted++
			delete(activeJobs, e.job)
		case podCreated:
			if !ended[e.pod] {
				activePods[e.pod] = true
			}
		case podSucceeded, podFailed:
			if ended[e.pod] {
				continue
			}
			ended[e.pod] = true
			delete(activePods, e.pod)
			if e.change == podFailed {
				s.Retried++
				if e.exit == 3 {
					s.Empty++
				}
				continue
			}
			jobs[e.job] = podSucceeded
			delete(activeJobs, e.job)
			messages[messageID(e.message)] = true
		}
		s.JobsAtOnce, s.PodsAtOnce = max(s.JobsAtOnce, len(activeJobs)), max(s.PodsAtOnce, len(activePods))
	}
	delete(messages, "")
	s.Jobs, s.Messages = len(jobs), len(messages)
	for _, c := range jobs {
		switch c {
		case podSucceeded:
			s.Succeeded++
		case jobFailed:
			s.Failed++
		default: // it had not ended
		}
	}
	return s, a.lost
}

// messageID is the message that a worker says it did.
func messageID(termination string) string {
	var said struct {
		MessageID string `json:"messageID"`
	}
	if json.Unmarshal([]byte(termination), &said) != nil {
		return ""
	}
	return said.MessageID
}
