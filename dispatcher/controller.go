// Package dispatcher runs one Job per waiting message for each ScaledJob, and never more than its cap at once.
//
// It works in passes. A pass observes (Jobs and Pods first, then what the triggers show), plans (how many Jobs to create,
// which to end, which to forget: pure), applies (every Job write), and reports (one status write, then events and
// metrics). A Job is active while it fills a slot, and starting while it may not have taken its message. A question is a
// count of a trigger's Jobs that waits for a backlog read after; a pass never waits for a broker, it comes back when the
// question is answered. A Job dispatched is expected until the cache shows it, and nothing is decided meanwhile. What is
// remembered between passes is a memory; losing it costs time, never a Job too many.
//
// A pass runs when a ScaledJob changes, one of its Jobs or Pods does, a trigger shows something new, a Secret it refers
// to changes, or something is due.
package dispatcher

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/semaphore"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/resolve"
)

// IndexController is the index of Jobs and Pods by the UID of their controller.
const IndexController = "metadata.controllerUID"

// Options are what a Controller works with. All are required but NamespaceSelector and Records.
type Options struct {
	// Client reads from a cache that is indexed by IndexFields, and writes.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Meter reads the triggers, and tells of changes through Wake.
	Meter *trigger.Meter
	// Kinds are the kinds of triggers that this manager knows.
	Kinds []resolve.Kind
	// Records tell what is recorded of Jobs; nil where no history is kept.
	Records Records
	// Clock tells the time.
	Clock clock.Clock
	// Recorder takes events.
	Recorder events.EventRecorder
	// Metrics takes measurements.
	Metrics *Metrics
	// CreationConcurrency is how many Jobs are created at a time, over all ScaledJobs; 1 or more.
	CreationConcurrency int
	// NamespaceSelector picks the namespaces whose ScaledJobs are dispatched, by their labels; nil picks all.
	NamespaceSelector labels.Selector
}

// Records tell what is recorded of Jobs. Their methods do not block.
type Records interface {
	// Stored says whether the record of a Job that has finished is stored, so that the Job may be cleared away.
	Stored(job types.UID) bool
	// Trouble says why records cannot be stored; nil while they can.
	Trouble() error
}

// Controller dispatches the Jobs of ScaledJobs.
type Controller struct {
	Options

	creating *semaphore.Weighted
	memories memories
}

// New returns a Controller. SetupWithManager has it run.
func New(o Options) *Controller {
	return &Controller{Options: o, creating: semaphore.NewWeighted(int64(o.CreationConcurrency))}
}

// Reconcile makes one pass over one ScaledJob.
func (c *Controller) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var sj v1alpha1.ScaledJob
	err := c.Client.Get(ctx, req.NamespacedName, &sj)
	gone := apierrors.IsNotFound(err)
	if err != nil && !gone {
		return reconcile.Result{}, fmt.Errorf("reading the ScaledJob: %w", err)
	}
	mine, err := c.Selects(ctx, req.Namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	if gone || !mine || sj.DeletionTimestamp != nil {
		c.forget(req.NamespacedName)
		return reconcile.Result{}, nil
	}
	return c.pass(ctx, &sj, c.memories.recall(req.NamespacedName, sj.UID))
}

// pass observes, plans, applies and reports.
func (c *Controller) pass(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory) (reconcile.Result, error) {
	if err := c.tryTemplate(ctx, sj, m); err != nil {
		return reconcile.Result{}, err
	}
	seen, err := c.observe(ctx, sj, m)
	if err != nil {
		return reconcile.Result{}, err
	}
	intended := m.plan(sj, seen)
	done, err := c.apply(ctx, sj, m, seen, intended)
	m.clearedUnstored += intended.unstored
	if seen.trouble == nil {
		m.clearedUnstored = 0
	}
	c.askNext(sj, m, seen, intended)
	result, reportErr := c.report(ctx, sj, m, seen, intended, done)
	return result, errors.Join(err, reportErr) // what cannot be deleted is no reason to be silent about the rest
}

// forget ends all that is kept for a ScaledJob that is gone, or no longer ours.
func (c *Controller) forget(name types.NamespacedName) {
	c.memories.forget(name)
	c.Meter.Forget(ownerOf(name))
	c.Metrics.forget(name)
}

// Selects says whether the ScaledJobs of a namespace are this manager's. It reads from the cache.
func (o *Options) Selects(ctx context.Context, namespace string) (bool, error) {
	return o.selects(ctx, namespace, false)
}

// Keeps says whether the history of a namespace is this manager's to look after: that of its namespaces, and of those that are
// gone, which are nobody's any more. It reads from the cache, where a new namespace may not be yet.
func (o *Options) Keeps(ctx context.Context, namespace string) (bool, error) {
	return o.selects(ctx, namespace, true)
}

func (o *Options) selects(ctx context.Context, namespace string, gone bool) (bool, error) {
	if o.NamespaceSelector == nil || o.NamespaceSelector.Empty() {
		return true, nil
	}
	var ns metav1.PartialObjectMetadata
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	switch err := o.Client.Get(ctx, types.NamespacedName{Name: namespace}, &ns); {
	case apierrors.IsNotFound(err):
		return gone, nil
	case err != nil:
		return false, fmt.Errorf("reading the labels of namespace %s: %w", namespace, err)
	}
	return o.NamespaceSelector.Matches(labels.Set(ns.Labels)), nil
}

// IndexFields has a cache index Jobs and Pods by their controller, as a Controller reads them.
func IndexFields(ctx context.Context, indexer client.FieldIndexer) error {
	for _, o := range []client.Object{&batchv1.Job{}, &corev1.Pod{}} {
		if err := indexer.IndexField(ctx, o, IndexController, ByController); err != nil {
			return fmt.Errorf("indexing %T by controller: %w", o, err)
		}
	}
	return nil
}

// ByController is the index function of IndexFields.
func ByController(o client.Object) []string {
	if owner := metav1.GetControllerOf(o); owner != nil {
		return []string{string(owner.UID)}
	}
	return nil
}
