package node

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

// binders is how many pods are bound at a time.
const binders = 16

// binder binds pods to the node.
type binder struct {
	node  *node
	queue workqueue.TypedRateLimitingInterface[unboundPod]
}

type unboundPod struct {
	namespace, name string
	uid             types.UID
}

func (n *node) newBinder() *binder {
	limits := workqueue.NewTypedItemExponentialFailureRateLimiter[unboundPod](firstRetry, lastRetry)
	return &binder{node: n, queue: workqueue.NewTypedRateLimitingQueue(limits)}
}

// add has a pod bound, unless it waits for something or somebody else.
func (b *binder) add(pod *corev1.Pod) {
	if pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0 &&
		pod.Spec.SchedulerName == b.node.SchedulerName {
		b.queue.Add(unboundPod{pod.Namespace, pod.Name, pod.UID})
	}
}

// run binds pods until ctx ends.
func (b *binder) run(ctx context.Context) {
	var working sync.WaitGroup
	for range binders {
		working.Go(func() {
			for b.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	b.queue.ShutDown()
	working.Wait()
}

func (b *binder) next(ctx context.Context) bool {
	pod, closed := b.queue.Get()
	if closed {
		return false
	}
	defer b.queue.Done(pod)
	if err := b.bind(ctx, pod); err != nil {
		if ctx.Err() == nil {
			b.node.log.Warn("the pod was not bound", "pod", pod.namespace+"/"+pod.name, "error", err)
		}
		b.queue.AddRateLimited(pod)
		return true
	}
	b.queue.Forget(pod)
	return true
}

func (b *binder) bind(ctx context.Context, pod unboundPod) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := b.node.client.CoreV1().Pods(pod.namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.namespace, Name: pod.name, UID: pod.uid},
		Target:     corev1.ObjectReference{Kind: "Node", Name: b.node.Name},
	}, metav1.CreateOptions{})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil // it is gone, or another was faster
	case err != nil:
		return fmt.Errorf("binding: %w", err)
	}
	return nil
}
