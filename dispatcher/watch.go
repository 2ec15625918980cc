package dispatcher

import (
	"context"
	"sync/atomic"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/resolve"
)

// indexSecrets is the index of ScaledJobs by the Secrets that their triggers refer to.
const indexSecrets = "spec.triggers.secrets"

// Waker wakes a Controller when a trigger shows something new. Its Wake is the Meter's changed function.
type Waker struct {
	queue atomic.Pointer[workqueue.TypedRateLimitingInterface[reconcile.Request]]
}

// Wake has a pass run over a ScaledJob. It does not block. Before the Controller runs it does nothing: the first pass is
// yet to come then.
func (w *Waker) Wake(owner trigger.Owner) {
	w.WakeScaledJob(types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name})
}

// WakeScaledJob does the same, for whoever knows ScaledJobs and no triggers.
func (w *Waker) WakeScaledJob(name types.NamespacedName) {
	if queue := w.queue.Load(); queue != nil {
		(*queue).Add(reconcile.Request{NamespacedName: name})
	}
}

func (w *Waker) start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	w.queue.Store(&queue)
	return nil
}

// SetupWithManager has a manager run the Controller: at most so many passes at a time, over different ScaledJobs.
func (c *Controller) SetupWithManager(ctx context.Context, mgr ctrl.Manager, w *Waker, passes int) error {
	if err := IndexFields(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ScaledJob{}, indexSecrets, func(o client.Object) []string {
		return resolve.SecretsOf(o.(*v1alpha1.ScaledJob).Spec.Triggers)
	})
	if err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named("scaledjob").
		For(&v1alpha1.ScaledJob{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, asksForRun()))).
		Owns(&batchv1.Job{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(c.ofPod)).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(c.ofSecret)).
		WatchesRawSource(ctrlsource.Func(w.start)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: passes,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, 30*time.Second),
		})
	if c.NamespaceSelector != nil && !c.NamespaceSelector.Empty() {
		b = b.WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(c.ofNamespace))
	}
	return b.Complete(c)
}

// asksForRun lets changes through by which a user asks for a Job.
func asksForRun() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetAnnotations()[v1alpha1.AnnotationRun] != e.ObjectNew.GetAnnotations()[v1alpha1.AnnotationRun]
	}}
}

// ofPod is the ScaledJob whose Job a pod is of. A cache that cannot be read has nothing to wake for: what it shows when it
// can is told anew.
func (c *Controller) ofPod(ctx context.Context, pod client.Object) []reconcile.Request {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "Job" {
		return nil
	}
	var job batchv1.Job
	if err := c.Client.Get(ctx, types.NamespacedName{Namespace: pod.GetNamespace(), Name: owner.Name}, &job, client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	scaledJob := metav1.GetControllerOf(&job)
	if job.UID != owner.UID || scaledJob == nil || scaledJob.APIVersion != v1alpha1.GroupVersion().String() {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: pod.GetNamespace(), Name: scaledJob.Name}}}
}

func (c *Controller) ofSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	return c.listed(ctx, client.InNamespace(secret.GetNamespace()), client.MatchingFields{indexSecrets: secret.GetName()})
}

func (c *Controller) ofNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	return c.listed(ctx, client.InNamespace(namespace.GetName()))
}

func (c *Controller) listed(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	var list v1alpha1.ScaledJobList
	if err := c.Client.List(ctx, &list, opts...); err != nil {
		return nil
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i] = reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}
	}
	return requests
}
