package node

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/test/node/internal/podstatus"
)

// requestTimeout is how long one request may take.
const requestTimeout = 10 * time.Second

// How long to wait before a request is tried again: the first time, and at most.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// report writes the pod's status whenever it has changed, and each until the API server has it, up to the last. It
// returns early when ctx ends.
func (p *pod) report(ctx context.Context) {
	var written corev1.PodStatus
	retry := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		status, object, last := p.status()
		if !equality.Semantic.DeepEqual(status, written) {
			gone, err := p.node.writeStatus(ctx, object, status)
			switch {
			case gone:
				p.abandon()
				return
			case err != nil:
				if ctx.Err() == nil {
					p.node.log.Warn("the status was not written", "pod", p.name, "error", err)
				}
				pause(retry, ctx.Done())
				retry = min(2*retry, lastRetry)
				p.poke()
				continue
			}
			retry, written = firstRetry, status
		}
		if last {
			return
		}
	}
}

// status returns the pod's status now, and whether it is the last. The times at which conditions changed are those of
// the first status that shows them, written or not.
func (p *pod) status() (status corev1.PodStatus, object *corev1.Pod, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	status = podstatus.Build(p.known, metav1.Now())
	p.known.Before = status.Conditions
	return status, p.known.Object, p.known.Over
}

// writeStatus writes a pod's status. Conditions that are not the node's are left as they are. It tells if the pod is gone,
// which is no error.
func (n *node) writeStatus(ctx context.Context, object *corev1.Pod, status corev1.PodStatus) (gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	patch, err := statusPatch(object.UID, status)
	if err != nil {
		return false, err
	}
	pods := n.client.CoreV1().Pods(object.Namespace)
	_, err = pods.Patch(ctx, object.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case apierrors.IsConflict(err):
		// It may be another pod's name by now, or only a race with other writers.
		found, getErr := pods.Get(ctx, object.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(getErr) || getErr == nil && found.UID != object.UID {
			return true, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("patching the status: %w", err)
	}
	return false, nil
}

// statusPatch is a strategic merge patch. The identity keeps it from another pod of the same name. Lists of addresses would
// be merged with those that are there, of which a pod may have but one: they are replaced.
func statusPatch(uid types.UID, status corev1.PodStatus) ([]byte, error) {
	type element = map[string]string
	list := func(address string) []element {
		if address == "" {
			return nil // a pod that was given up before it had one
		}
		return []element{{"ip": address}, {"$patch": "replace"}}
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": uid},
		"status": struct {
			corev1.PodStatus
			PodIPs  []element `json:"podIPs,omitempty"`
			HostIPs []element `json:"hostIPs,omitempty"`
		}{status, list(status.PodIP), list(status.HostIP)},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the patch: %w", err)
	}
	return patch, nil
}

// remove deletes a pod's object for good, and tries until that is done or ctx ends.
func (n *node) remove(ctx context.Context, object *corev1.Pod) {
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		err := n.delete(ctx, object)
		if err == nil || !pause(retry, ctx.Done()) {
			return
		}
		n.log.Warn("the pod was not deleted", "pod", object.Namespace+"/"+object.Name, "error", err)
	}
}

func (n *node) delete(ctx context.Context, object *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	now := metav1.NewDeleteOptions(0)
	now.Preconditions = metav1.NewUIDPreconditions(string(object.UID))
	err := n.client.CoreV1().Pods(object.Namespace).Delete(ctx, object.Name, *now)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, and perhaps another has its name
	}
	return err
}
