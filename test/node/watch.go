package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// watch keeps a store up to date with the pods that a field selector selects, until ctx ends.
func (n *node) watch(ctx context.Context, selector string, store *podStore) {
	source := cache.NewListWatchFromClient(
		n.client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, fields.ParseSelectorOrDie(selector))
	log := klog.FromContext(ctx)
	cache.NewReflectorWithOptions(source, &corev1.Pod{}, store, cache.ReflectorOptions{
		Name: "pods with " + selector, Logger: &log,
		// An API server on the same machine is back soon, or not at all.
		Backoff: &wait.Backoff{Duration: 100 * time.Millisecond, Cap: lastRetry, Steps: 6, Factor: 2, Jitter: 0.1},
	}).RunWithContext(ctx)
}

// podStore passes on what a reflector learns: one call for each pod that has come or changed, one for each that has gone.
// The calls come one after the other.
type podStore struct {
	first  func([]*corev1.Pod) // called with the pods that there are at first, before all else; may be nil
	seen   func(*corev1.Pod)
	gone   func(*corev1.Pod)
	synced chan struct{} // closed when the pods that there were at first have been passed on

	mu    sync.Mutex
	known map[types.UID]*corev1.Pod
}

func newPodStore(seen, gone func(*corev1.Pod)) *podStore {
	return &podStore{seen: seen, gone: gone, synced: make(chan struct{}), known: map[types.UID]*corev1.Pod{}}
}

// Add is called for a pod that has come.
func (s *podStore) Add(object any) error { return s.Update(object) }

// Update is called for a pod that has come or changed.
func (s *podStore) Update(object any) error {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("storing a %T: it is no pod", object)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(pod)
	return nil
}

// Delete is called for a pod that has gone.
func (s *podStore) Delete(object any) error {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("forgetting a %T: it is no pod", object)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, pod.UID)
	s.gone(pod)
	return nil
}

// Replace is called with all pods: at first, and when changes were missed.
func (s *podStore) Replace(objects []any, _ string) error {
	pods := make([]*corev1.Pod, 0, len(objects))
	there := map[types.UID]bool{}
	for _, object := range objects {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("storing a %T: it is no pod", object)
		}
		pods = append(pods, pod)
		there[pod.UID] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first != nil && !is(s.synced) {
		s.first(pods)
	}
	for _, pod := range pods {
		if before, ok := s.known[pod.UID]; !ok || before.ResourceVersion != pod.ResourceVersion {
			s.put(pod)
		}
	}
	for uid, pod := range s.known {
		if !there[uid] {
			delete(s.known, uid)
			s.gone(pod)
		}
	}
	if !is(s.synced) {
		close(s.synced)
	}
	return nil
}

// Resync is never asked for.
func (s *podStore) Resync() error { return nil }

func (s *podStore) put(pod *corev1.Pod) {
	pod.ManagedFields = nil // nobody looks at them, and they are the larger half
	s.known[pod.UID] = pod
	s.seen(pod)
}

// folders returns the folders of the pods that there are.
func (s *podStore) folders(pods string) map[podFolder]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	folders := make(map[podFolder]bool, len(s.known))
	for _, pod := range s.known {
		folders[newPodFolder(pods, pod)] = true
	}
	return folders
}
