package longpoll

import (
	"context"
	"sync/atomic"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
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

// indexSecrets is the index of ScaledDeployments by the Secrets that their triggers refer to.
const indexSecrets = "spec.triggers.secrets"

// Waker wakes a Controller when a trigger shows something new.
type Waker struct {
	queue atomic.Pointer[workqueue.TypedRateLimitingInterface[reconcile.Request]]
}

// Wake has a pass run over a ScaledDeployment. It does not block. Before the Controller runs it does nothing: the first pass
// is yet to come then.
func (w *Waker) Wake(owner trigger.Owner) {
	if queue := w.queue.Load(); queue != nil {
		(*queue).Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}})
	}
}

func (w *Waker) start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	w.queue.Store(&queue)
	return nil
}

// SetupWithManager has a manager run the Controller: at most so many passes at a time, over different ScaledDeployments.
func (c *Controller) SetupWithManager(ctx context.Context, mgr ctrl.Manager, w *Waker, passes int) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ScaledDeployment{}, indexSecrets, func(o client.Object) []string {
		return resolve.SecretsOf(triggersOf(o.(*v1alpha1.ScaledDeployment)))
	})
	if err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named("scaleddeployment").
		For(&v1alpha1.ScaledDeployment{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, finalizersChanged()))).
		Watches(&autoscalingv2.HorizontalPodAutoscaler{}, handler.EnqueueRequestsFromMapFunc(c.ofScaler)).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(c.ofSecret)).
		WatchesRawSource(ctrlsource.Func(w.start)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: passes,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, 30*time.Second),
		})
	if c.WatchNamespaces {
		b = b.WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(c.ofNamespace))
	}
	return b.Complete(c)
}

// finalizersChanged lets the change through that our own finalizer makes.
func finalizersChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return len(e.ObjectOld.GetFinalizers()) != len(e.ObjectNew.GetFinalizers()) ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

// ofScaler are the ScaledDeployments of a namespace whose autoscalers have changed; those that have nothing to do with it
// find that out.
func (c *Controller) ofScaler(ctx context.Context, scaler client.Object) []reconcile.Request {
	return c.listed(ctx, client.InNamespace(scaler.GetNamespace()))
}

func (c *Controller) ofSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	return c.listed(ctx, client.InNamespace(secret.GetNamespace()), client.MatchingFields{indexSecrets: secret.GetName()})
}

func (c *Controller) ofNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	return c.listed(ctx, client.InNamespace(namespace.GetName()))
}

func (c *Controller) listed(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	var list v1alpha1.ScaledDeploymentList
	if err := c.Client.List(ctx, &list, opts...); err != nil {
		return nil // what a cache that cannot be read shows when it can is told anew
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i] = reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}
	}
	return requests
}
