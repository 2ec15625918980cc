package longpoll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll/size"
)

// What keeps autoscalers of nodes from a busy pod.
const (
	safeToEvict  = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	doNotDisrupt = "karpenter.sh/do-not-disrupt"
	// doNotDisruptGrain is by how much Karpenter is asked for more at a time: it counts from the pod's start, so that the
	// value of a pod that stays busy has to grow.
	doNotDisruptGrain = time.Hour
)

// finalize puts our finalizer on a ScaledDeployment, or takes it off.
func (c *Controller) finalize(ctx context.Context, sd *v1alpha1.ScaledDeployment, on bool) error {
	next := sd.DeepCopy()
	if on {
		controllerutil.AddFinalizer(next, v1alpha1.FinalizerManaged)
	} else {
		controllerutil.RemoveFinalizer(next, v1alpha1.FinalizerManaged)
	}
	err := c.Client.Patch(ctx, next, client.MergeFromWithOptions(sd, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing the finalizer %s: %w", v1alpha1.FinalizerManaged, err)
	}
	return nil
}

// scale sets the target's replicas, if the target is still as it was read. It says whether it was.
func (c *Controller) scale(ctx context.Context, t *target, replicas int) (bool, error) {
	scale := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": int64(replicas)}}}
	scale.SetGroupVersionKind(schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"})
	scale.SetNamespace(t.namespace)
	scale.SetName(t.ref.Name)
	scale.SetResourceVersion(t.version)
	err := c.Client.SubResource("scale").Update(ctx, t.handle(), client.WithSubResourceBody(scale))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("setting the replicas of %s %s to %d: %w", t.ref.Kind, t.ref.Name, replicas, err)
	}
	return true, nil
}

// patchPod changes the labels and annotations of a pod; nil takes one away. What is so already is not written.
func (c *Controller) patchPod(ctx context.Context, pod *corev1.Pod, labels, annotations map[string]*string) error {
	changed := func(have map[string]string, want map[string]*string) bool {
		for k, v := range want {
			if old, ok := have[k]; ok != (v != nil) || v != nil && old != *v {
				return true
			}
		}
		return false
	}
	if !changed(pod.Labels, labels) && !changed(pod.Annotations, annotations) {
		return nil
	}
	metadata := map[string]any{"uid": pod.UID}
	if labels != nil { // a null would take all of them away
		metadata["labels"] = labels
	}
	if annotations != nil {
		metadata["annotations"] = annotations
	}
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("writing a patch of pod %s: %w", pod.Name, err)
	}
	patched := pod.DeepCopy()
	err = c.Client.Patch(ctx, patched, client.RawPatch(types.MergePatchType, body))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // gone, and perhaps another of its name
		return nil
	}
	if err != nil {
		return fmt.Errorf("patching pod %s: %w", pod.Name, err)
	}
	pod.Labels, pod.Annotations = patched.Labels, patched.Annotations
	return nil
}

// setCosts gives the pods that go the lowest cost, and busy ones the highest.
func (c *Controller) setCosts(ctx context.Context, seen *census, going []string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asking)
	lowest, highest := strconv.Itoa(size.LowestCost), strconv.Itoa(size.HighestCost)
	goes := make(map[string]bool, len(going))
	for _, name := range going {
		goes[name] = true
	}
	for i := range seen.staying {
		k := &seen.staying[i]
		switch {
		case goes[k.pod.Name]:
			group.Go(func() error { return c.patchPod(ctx, k.pod, nil, map[string]*string{costAnnotation: &lowest}) })
		case k.state == size.Busy:
			group.Go(func() error { return c.patchPod(ctx, k.pod, nil, map[string]*string{costAnnotation: &highest}) })
		}
	}
	return group.Wait()
}

// ourCost says whether the cost of a pod is one that is written here.
func ourCost(pod *corev1.Pod) bool {
	n := cost(pod)
	return n == size.LowestCost || n == size.HighestCost
}

// fenceAll fences the pods named, and notes in the census what each answered. Its error is the first of a pod's; whatever
// did not answer counts as silent.
func (c *Controller) fenceAll(ctx context.Context, sd *v1alpha1.ScaledDeployment, seen *census, pods []string) error {
	if len(pods) == 0 {
		return nil
	}
	at := sd.Spec.Termination.Fence.HTTPPost
	errs := make([]error, len(pods))
	var group errgroup.Group
	group.SetLimit(asking)
	for i, name := range pods {
		k := seen.find(name)
		group.Go(func() error {
			var drained bool
			drained, errs[i] = c.fence(ctx, k.pod, at)
			switch {
			case errs[i] != nil:
				k.state = size.Silent
			case drained:
				k.fenced = true
			default:
				k.state = size.Busy
			}
			return nil
		})
	}
	_ = group.Wait() // errors are each pod's own
	for _, name := range pods {
		// One that is busy is not fenced, and one that does not answer may be.
		if k := seen.find(name); k.state == size.Busy {
			seen.let[k.pod.UID] = true
		} else {
			delete(seen.let, k.pod.UID)
		}
	}
	return errors.Join(errs...)
}

// unfenceAll lets the pods named work again. A pod that cannot be told is told again with the next pass.
func (c *Controller) unfenceAll(ctx context.Context, sd *v1alpha1.ScaledDeployment, seen *census, pods []string) error {
	if sd.Spec.Termination.Fence == nil {
		return nil
	}
	at := sd.Spec.Termination.Fence.HTTPPost
	var group errgroup.Group
	group.SetLimit(asking)
	for _, name := range pods {
		k := seen.find(name)
		group.Go(func() error {
			if ourCost(k.pod) {
				if err := c.patchPod(ctx, k.pod, nil, map[string]*string{costAnnotation: nil}); err != nil {
					return err
				}
			}
			if err := c.unfence(ctx, k.pod, at); err == nil {
				k.fenced = false
			}
			return nil
		})
	}
	err := group.Wait()
	for _, name := range pods {
		if k := seen.find(name); !k.fenced {
			seen.let[k.pod.UID] = true
		}
	}
	return err
}

// protect keeps others from busy pods: evictions by a PodDisruptionBudget, and autoscalers of nodes by annotations. Idle
// pods are left to them. Of a silent pod nothing changes.
func (c *Controller) protect(ctx context.Context, sd *v1alpha1.ScaledDeployment, t *target, m *memory, seen *census) error {
	busy := 0
	for _, pods := range [][]consumer{seen.staying, seen.leaving} {
		for i := range pods {
			if pods[i].state == size.Busy || pods[i].state == size.Silent && pods[i].pod.Labels[v1alpha1.LabelBusy] != "" {
				busy++
			}
		}
	}
	if busy > 0 {
		if err := c.guard(ctx, sd, m); err != nil {
			return err
		}
	}
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(asking)
	for _, pods := range [][]consumer{seen.staying, seen.leaving} {
		for i := range pods {
			k := &pods[i]
			switch {
			case k.state == size.Busy:
				group.Go(func() error { return c.mark(grouped, sd, k, seen.at) })
			case k.state != size.Silent && k.pod.Labels[v1alpha1.LabelBusy] != "":
				group.Go(func() error { return c.unmark(grouped, t, k.pod) })
			}
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if busy == 0 {
		return c.unguard(ctx, sd, m)
	}
	return nil
}

// mark shows that a pod is busy. Annotations that the user's template has are left as they are.
func (c *Controller) mark(ctx context.Context, sd *v1alpha1.ScaledDeployment, k *consumer, now time.Time) error {
	annotations := map[string]*string{}
	marked := k.pod.Labels[v1alpha1.LabelBusy] != ""
	if _, has := k.pod.Annotations[safeToEvict]; marked || !has {
		annotations[safeToEvict] = ptr.To("false")
	}
	if value, has := k.pod.Annotations[doNotDisrupt]; marked || !has {
		if until := disruptAfter(sd, k, now); !has || longer(until, value) {
			annotations[doNotDisrupt] = ptr.To(until.String())
		}
	}
	return c.patchPod(ctx, k.pod, map[string]*string{v1alpha1.LabelBusy: &sd.Name}, annotations)
}

// disruptAfter is how old a pod has to be before Karpenter may disrupt it: until it says that it is done, or for another
// grain.
func disruptAfter(sd *v1alpha1.ScaledDeployment, k *consumer, now time.Time) time.Duration {
	until := now.Add(max(sd.Spec.PollingInterval.Duration*2, doNotDisruptGrain/2))
	if k.answer.Until.After(until) {
		until = k.answer.Until
	}
	return until.Sub(k.pod.CreationTimestamp.Time).Truncate(doNotDisruptGrain) + doNotDisruptGrain
}

func longer(d time.Duration, than string) bool {
	old, err := time.ParseDuration(than)
	return err != nil || d > old
}

// unmark shows that a pod is no longer busy.
func (c *Controller) unmark(ctx context.Context, t *target, pod *corev1.Pod) error {
	annotations := map[string]*string{}
	for _, key := range []string{safeToEvict, doNotDisrupt} {
		if t.template == nil || t.template.Annotations[key] == "" {
			annotations[key] = nil
		}
	}
	if cost(pod) == size.HighestCost {
		annotations[costAnnotation] = nil
	}
	return c.patchPod(ctx, pod, map[string]*string{v1alpha1.LabelBusy: nil}, annotations)
}

// budgetName is that of the PodDisruptionBudget of a ScaledDeployment's busy pods.
func budgetName(sd *v1alpha1.ScaledDeployment) string { return sd.Name + "-busy" }

// guard has a PodDisruptionBudget that lets none of the busy pods be evicted.
func (c *Controller) guard(ctx context.Context, sd *v1alpha1.ScaledDeployment, m *memory) error {
	if ptr.Deref(m.guarded, false) {
		return nil
	}
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: sd.Namespace, Name: budgetName(sd),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(sd, v1alpha1.GroupVersion().WithKind(OwnerKind))},
		},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(0)),
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelBusy: sd.Name}},
		},
	}
	if err := c.Client.Create(ctx, budget); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating PodDisruptionBudget %s: %w", budget.Name, err)
	}
	m.guarded = ptr.To(true)
	return nil
}

// unguard removes it.
func (c *Controller) unguard(ctx context.Context, sd *v1alpha1.ScaledDeployment, m *memory) error {
	if !ptr.Deref(m.guarded, true) {
		return nil
	}
	budget := &policyv1.PodDisruptionBudget{}
	err := c.Live.Get(ctx, types.NamespacedName{Namespace: sd.Namespace, Name: budgetName(sd)}, budget)
	if err == nil && metav1.IsControlledBy(budget, sd) {
		err = c.Client.Delete(ctx, budget, client.Preconditions{UID: &budget.UID})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("removing PodDisruptionBudget %s: %w", budgetName(sd), err)
	}
	m.guarded = ptr.To(false)
	return nil
}

// admit opens a pod's readiness gate.
func (c *Controller) admit(ctx context.Context, k *consumer, now time.Time) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": k.pod.UID},
		"status": map[string]any{"conditions": []map[string]any{{
			"type": v1alpha1.ConditionAdmitted, "status": corev1.ConditionTrue, "reason": "Admitted",
			"message": "its being ready ends no busy pod", "lastTransitionTime": metav1.NewTime(now.Truncate(time.Second)),
		}}},
	})
	if err != nil {
		return fmt.Errorf("writing a patch of pod %s: %w", k.pod.Name, err)
	}
	err = c.Client.Status().Patch(ctx, k.pod.DeepCopy(), client.RawPatch(types.StrategicMergePatchType, body))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("admitting pod %s: %w", k.pod.Name, err)
	}
	return nil
}

// end deletes a pod that a rollout is to replace, if it is still the one that was seen.
func (c *Controller) end(ctx context.Context, k *consumer) error {
	err := c.Client.Delete(ctx, k.pod, client.Preconditions{UID: &k.pod.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("ending pod %s: %w", k.pod.Name, err)
	}
	return nil
}

// release undoes what was written to the pods: they work, are admitted, and nothing protects them.
func (c *Controller) release(ctx context.Context, sd *v1alpha1.ScaledDeployment, t *target, seen *census) error {
	var errs []error
	var fenced []string
	for _, pods := range [][]consumer{seen.staying, seen.leaving} {
		for i := range pods {
			k := &pods[i]
			if k.pod.Labels[v1alpha1.LabelBusy] != "" {
				errs = append(errs, c.unmark(ctx, t, k.pod))
			}
			if ourCost(k.pod) {
				errs = append(errs, c.patchPod(ctx, k.pod, nil, map[string]*string{costAnnotation: nil}))
			}
		}
	}
	for i := range seen.staying {
		k := &seen.staying[i]
		if k.fenced && seen.settled {
			fenced = append(fenced, k.pod.Name)
		}
		if k.sized().Gate != size.Open {
			errs = append(errs, c.admit(ctx, k, seen.at))
		}
	}
	errs = append(errs, c.unfenceAll(ctx, sd, seen, fenced), c.unguard(ctx, sd, newMemory(sd.UID)))
	return errors.Join(errs...)
}
