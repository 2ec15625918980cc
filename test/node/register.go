package node

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// registerFor is how long it is tried to register the node.
const registerFor = time.Minute

// How often the node says that it is alive, and for how long that holds.
const (
	aliveEvery   = 10 * time.Second
	aliveSeconds = 40
)

// register makes the Node object, or takes it over. It tries for a minute while the API server cannot be reached.
func (n *node) register(ctx context.Context) error {
	until := time.Now().Add(registerFor)
	for retry := firstRetry; ctx.Err() == nil; retry = min(2*retry, lastRetry) {
		switch err := n.registerOnce(ctx); {
		case err == nil:
			return nil
		case ctx.Err() != nil: // it is not wanted any more
		case apierrors.IsUnauthorized(err), apierrors.IsForbidden(err), time.Now().After(until):
			return fmt.Errorf("registering the node %s: %w", n.Name, err)
		default:
			n.log.Warn("the node is not registered yet", "error", err)
			pause(retry, ctx.Done())
		}
	}
	return nil
}

func (n *node) registerOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	nodes := n.client.CoreV1().Nodes()
	object := n.object()
	if _, err := nodes.Create(ctx, object, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating the Node: %w", err)
	}
	// A new Node is marked as not ready until the controller that does not run here takes the mark away.
	untaint := []byte(`{"spec":{"taints":null}}`)
	if _, err := nodes.Patch(ctx, n.Name, types.MergePatchType, untaint, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("clearing the Node of taints: %w", err)
	}
	status, err := json.Marshal(map[string]any{"status": object.Status})
	if err != nil {
		return fmt.Errorf("writing the Node's status: %w", err)
	}
	_, err = nodes.Patch(ctx, n.Name, types.StrategicMergePatchType, status, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("patching the Node's status: %w", err)
	}
	return nil
}

// object is the Node: large enough for anything, since nothing is measured.
func (n *node) object() *corev1.Node {
	plenty := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("1000"),
		corev1.ResourceMemory:           resource.MustParse("1000Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("1000Gi"),
		corev1.ResourcePods:             resource.MustParse("10000"),
	}
	now := metav1.Now()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
			corev1.LabelHostname:   n.Name,
			corev1.LabelOSStable:   runtime.GOOS,
			corev1.LabelArchStable: runtime.GOARCH,
		}},
		Status: corev1.NodeStatus{
			Capacity:    plenty,
			Allocatable: plenty,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: hostAddress},
				{Type: corev1.NodeHostName, Address: n.Name},
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(n.port)}},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "ProcessNodeReady",
				Message:           "the process node runs commands, not images",
				LastHeartbeatTime: now, LastTransitionTime: now,
			}},
			NodeInfo: corev1.NodeSystemInfo{
				KubeletVersion: "process-node", ContainerRuntimeVersion: "process://1", OSImage: "this machine",
				OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
			},
		},
	}
}

// keepAlive renews the node's lease until ctx ends. Only controllers that do not run everywhere look at it, so that a
// failure is tried again at the next time and told no louder.
func (n *node) keepAlive(ctx context.Context) {
	for {
		if err := n.renew(ctx); err != nil && ctx.Err() == nil {
			n.log.Debug("the node's lease was not renewed", "error", err)
		}
		if !pause(aliveEvery, ctx.Done()) {
			return
		}
	}
}

func (n *node) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	leases := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NowMicro()
	lease, err := leases.Get(ctx, n.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: n.Name},
			Spec: coordinationv1.LeaseSpec{
				HolderIdentity: ptr.To(n.Name), LeaseDurationSeconds: ptr.To[int32](aliveSeconds), RenewTime: &now,
			},
		}, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec.RenewTime = &now
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}
