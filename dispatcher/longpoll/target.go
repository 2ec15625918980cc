package longpoll

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll/size"
)

// errNoTarget is wrapped by the error of a target that does not exist, or cannot be scaled.
var errNoTarget = errors.New("cannot be scaled")

// The kinds of targets whose rollouts can be held.
const (
	kindDeployment  = "Deployment"
	kindStatefulSet = "StatefulSet"
)

// target is what is scaled, as it was read.
type target struct {
	ref       v1alpha1.ScaleTargetRef
	namespace string
	// replicas is what they are set to, and version the resource version with which a write of them is tied to this
	// reading.
	replicas int
	version  string
	selector labels.Selector
	// observed says that the target's controller has acted on its newest generation.
	observed bool
	// template is that of its pods; nil of other kinds.
	template *corev1.PodTemplateSpec
	// recreates says that an edit ends all pods at once (a Deployment's strategy Recreate).
	recreates bool
	// defaultStrategy says that the strategy is as the API server fills it in; owners are those of the fields.
	defaultStrategy bool
	owners          []metav1.ManagedFieldsEntry
	// onDelete says that a StatefulSet replaces only pods that are deleted.
	onDelete bool
	// revision is the newest, of a StatefulSet.
	revision string
	// sets are the ReplicaSets that the selector matches.
	sets []appsv1.ReplicaSet
	// newest is the UID of the ReplicaSet of the template; empty while there is none.
	newest types.UID
	// paused says that a Deployment is, and strategy how it replaces pods.
	paused   bool
	strategy *appsv1.RollingUpdateDeployment
}

// handle names the target to the API server.
func (t *target) handle() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.FromAPIVersionAndKind(t.ref.APIVersion, t.ref.Kind))
	u.SetNamespace(t.namespace)
	u.SetName(t.ref.Name)
	return u
}

// observeTarget reads the target from the API server, before its pods.
func (c *Controller) observeTarget(ctx context.Context, sd *v1alpha1.ScaledDeployment) (*target, error) {
	t := &target{ref: sd.Spec.ScaleTargetRef, namespace: sd.Namespace}
	var err error
	switch t.ref.Kind {
	case kindDeployment:
		err = c.observeDeployment(ctx, t)
	case kindStatefulSet:
		err = c.observeStatefulSet(ctx, t)
	default:
		err = c.observeScale(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	if t.ref.Kind == kindStatefulSet {
		return t, nil
	}
	var sets appsv1.ReplicaSetList
	if err := c.Live.List(ctx, &sets, client.InNamespace(t.namespace), client.MatchingLabelsSelector{Selector: t.selector}); err != nil {
		return nil, fmt.Errorf("listing the ReplicaSets of %s %s: %w", t.ref.Kind, t.ref.Name, err)
	}
	t.sets = sets.Items
	if t.template != nil {
		t.newest = newestSet(t)
	}
	return t, nil
}

func (c *Controller) observeDeployment(ctx context.Context, t *target) error {
	var d appsv1.Deployment
	if err := c.get(ctx, t, &d); err != nil {
		return err
	}
	t.replicas, t.version = int(ptr.Deref(d.Spec.Replicas, 1)), d.ResourceVersion
	t.observed = d.Status.ObservedGeneration >= d.Generation
	t.template, t.recreates = &d.Spec.Template, d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
	t.owners, t.paused, t.strategy = d.ManagedFields, d.Spec.Paused, d.Spec.Strategy.RollingUpdate
	t.defaultStrategy = !t.paused && t.strategy != nil && t.strategy.MaxUnavailable != nil && t.strategy.MaxSurge != nil &&
		t.strategy.MaxUnavailable.String() == "25%" && t.strategy.MaxSurge.String() == "25%"
	return t.selects(d.Spec.Selector)
}

func (c *Controller) observeStatefulSet(ctx context.Context, t *target) error {
	var s appsv1.StatefulSet
	if err := c.get(ctx, t, &s); err != nil {
		return err
	}
	t.replicas, t.version = int(ptr.Deref(s.Spec.Replicas, 1)), s.ResourceVersion
	t.observed = s.Status.ObservedGeneration >= s.Generation
	t.template, t.revision, t.owners = &s.Spec.Template, s.Status.UpdateRevision, s.ManagedFields
	t.onDelete = s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType
	t.defaultStrategy = s.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType &&
		(s.Spec.UpdateStrategy.RollingUpdate == nil || ptr.Deref(s.Spec.UpdateStrategy.RollingUpdate.Partition, 0) == 0)
	return t.selects(s.Spec.Selector)
}

// observeScale reads what any kind with a scale subresource tells.
func (c *Controller) observeScale(ctx context.Context, t *target) error {
	scale := &unstructured.Unstructured{}
	scale.SetGroupVersionKind(schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"})
	err := c.Client.SubResource("scale").Get(ctx, t.handle(), scale)
	if err != nil {
		return t.unread(err)
	}
	replicas, _, err1 := unstructured.NestedInt64(scale.Object, "spec", "replicas")
	present, _, err2 := unstructured.NestedInt64(scale.Object, "status", "replicas")
	selector, _, err3 := unstructured.NestedString(scale.Object, "status", "selector")
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("reading the scale of %s %s: %w", t.ref.Kind, t.ref.Name, err)
	}
	if selector == "" {
		return fmt.Errorf("%s %q %w: its scale subresource names no selector of its pods", t.ref.Kind, t.ref.Name, errNoTarget)
	}
	t.replicas, t.version, t.observed = int(replicas), scale.GetResourceVersion(), replicas == present
	if t.selector, err = labels.Parse(selector); err != nil {
		return fmt.Errorf("reading the selector of %s %s: %w", t.ref.Kind, t.ref.Name, err)
	}
	return nil
}

func (c *Controller) get(ctx context.Context, t *target, o client.Object) error {
	return t.unread(c.Live.Get(ctx, types.NamespacedName{Namespace: t.namespace, Name: t.ref.Name}, o))
}

// unread explains why a target could not be read.
func (t *target) unread(err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s %q %w: it does not exist in namespace %s, or has no scale subresource; create it, or correct scaleTargetRef",
			t.ref.Kind, t.ref.Name, errNoTarget, t.namespace)
	case meta.IsNoMatchError(err):
		return fmt.Errorf("%s %q %w: the cluster has no kind %s in %s; correct scaleTargetRef", t.ref.Kind, t.ref.Name, errNoTarget, t.ref.Kind, t.ref.APIVersion)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s %q %w: the manager may not read it: give it the rights that docs/scaleddeployment.md lists: %w", t.ref.Kind, t.ref.Name, errNoTarget, err)
	default:
		return fmt.Errorf("reading %s %s: %w", t.ref.Kind, t.ref.Name, err)
	}
}

func (t *target) selects(selector *metav1.LabelSelector) error {
	var err error
	if t.selector, err = metav1.LabelSelectorAsSelector(selector); err != nil {
		return fmt.Errorf("reading the selector of %s %s: %w", t.ref.Kind, t.ref.Name, err)
	}
	return nil
}

// hashLabel is on each ReplicaSet of a Deployment, on its pods, and in its selector.
const hashLabel = appsv1.DefaultDeploymentUniqueLabelKey

// newestSet is the ReplicaSet whose template is the Deployment's, but for the hash; empty where there is none yet.
func newestSet(t *target) types.UID {
	for i := range t.sets {
		set := t.sets[i].Spec.Template.DeepCopy()
		delete(set.Labels, hashLabel)
		if sameTemplate(set, t.template) {
			return t.sets[i].UID
		}
	}
	return ""
}

// order is that in which the target's controller ends pods.
func (t *target) order(pods []corev1.Pod) size.Order {
	switch t.ref.Kind {
	case kindDeployment:
		return size.ReplicaSet
	case kindStatefulSet:
		return size.Ordinal
	}
	owners := map[types.UID]bool{}
	for i := range pods {
		owner := metav1.GetControllerOf(&pods[i])
		if owner == nil || owner.Kind != "ReplicaSet" {
			return size.Any
		}
		owners[owner.UID] = true
	}
	if len(owners) > 1 {
		return size.Any
	}
	return size.ReplicaSet
}

// rollout says how far one of a Deployment is, which may replace so many pods.
func (t *target) rollout(replacing int) size.Rollout {
	placed := int32(0)
	for i := range t.sets {
		placed += ptr.Deref(t.sets[i].Spec.Replicas, 1)
	}
	return size.Rollout{Replacing: replacing, Placed: int(placed) == t.replicas, Unknown: t.ref.Kind == kindDeployment && t.newest == ""}
}

// settled says whether the target's controllers are about to end none of the pods, which were listed after the target was
// read: each has seen the newest it was told, and wants as many as there are.
func (t *target) settled(staying []corev1.Pod) bool {
	if !t.observed {
		return false
	}
	if len(t.sets) == 0 {
		return len(staying) <= t.replicas
	}
	of := map[types.UID]int32{}
	for i := range staying {
		if owner := metav1.GetControllerOf(&staying[i]); owner != nil {
			of[owner.UID]++
		}
	}
	for i := range t.sets {
		s := &t.sets[i]
		if s.Status.ObservedGeneration < s.Generation || of[s.UID] > ptr.Deref(s.Spec.Replicas, 1) {
			return false
		}
	}
	return true
}

// alive is how many ReplicaSets ask for pods, or have some.
func (t *target) alive(staying []corev1.Pod) int {
	n := 0
	for i := range t.sets {
		s := &t.sets[i]
		if ptr.Deref(s.Spec.Replicas, 1) > 0 || slices.ContainsFunc(staying, func(p corev1.Pod) bool { return metav1.IsControlledBy(&p, s) }) {
			n++
		}
	}
	return n
}

// rival says who else owns the target's replicas: an autoscaler, or another ScaledDeployment that is older.
func (c *Controller) rival(ctx context.Context, sd *v1alpha1.ScaledDeployment) (*trouble, error) {
	var scalers autoscalingv2.HorizontalPodAutoscalerList
	if err := c.Client.List(ctx, &scalers, client.InNamespace(sd.Namespace)); err != nil {
		return nil, fmt.Errorf("listing HorizontalPodAutoscalers: %w", err)
	}
	ref := sd.Spec.ScaleTargetRef
	for i := range scalers.Items {
		if r := scalers.Items[i].Spec.ScaleTargetRef; r.Kind == ref.Kind && r.Name == ref.Name && sameGroup(r.APIVersion, ref.APIVersion) {
			return &trouble{v1alpha1.ReasonReplicasOwned, fmt.Sprintf("HorizontalPodAutoscaler %q sets the replicas of %s %q too: delete it "+
				"(KEDA's ScaledObject makes one), or delete this ScaledDeployment", scalers.Items[i].Name, ref.Kind, ref.Name)}, nil
		}
	}
	var others v1alpha1.ScaledDeploymentList
	if err := c.Client.List(ctx, &others, client.InNamespace(sd.Namespace)); err != nil {
		return nil, fmt.Errorf("listing ScaledDeployments: %w", err)
	}
	for i := range others.Items {
		o := &others.Items[i]
		r := o.Spec.ScaleTargetRef
		older := o.CreationTimestamp.Before(&sd.CreationTimestamp) || o.CreationTimestamp.Equal(&sd.CreationTimestamp) && o.Name < sd.Name
		if o.UID != sd.UID && older && r.Kind == ref.Kind && r.Name == ref.Name && sameGroup(r.APIVersion, ref.APIVersion) {
			return &trouble{v1alpha1.ReasonReplicasOwned, fmt.Sprintf("ScaledDeployment %q, which is older, sets the replicas of %s %q: delete one of them",
				o.Name, ref.Kind, ref.Name)}, nil
		}
	}
	return nil, nil //nolint:nilnil // nobody else is no trouble
}

func sameGroup(a, b string) bool {
	ga, errA := schema.ParseGroupVersion(a)
	gb, errB := schema.ParseGroupVersion(b)
	return errA == nil && errB == nil && ga.Group == gb.Group
}
