package web

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// scaledDeployments answers with all that the caller sees.
func (s *Server) scaledDeployments(c *call) (any, error) {
	selector, wanted, err := s.chosen(c, scaledDeployments)
	if err != nil {
		return nil, err
	}
	var list v1alpha1.ScaledDeploymentList
	if err := s.Cache.List(c.Context(), &list); err != nil {
		return nil, fmt.Errorf("listing ScaledDeployments: %w", err)
	}
	all := v1.ScaledDeploymentList{Items: []v1.ScaledDeployment{}}
	for i := range list.Items {
		sd := &list.Items[i]
		if ok, err := wanted(sd.Namespace); err != nil {
			return nil, err
		} else if ok && selector.Matches(labels.Set(sd.Labels)) {
			all.Items = append(all.Items, showDeployment(sd))
		}
	}
	slices.SortFunc(all.Items, func(a, b v1.ScaledDeployment) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// scaledDeployment answers with one.
func (s *Server) scaledDeployment(c *call) (any, error) {
	namespace, name := c.PathValue("namespace"), c.PathValue("name")
	if err := s.mayGet(c.Context(), c.caller, scaledDeployments, namespace, name); err != nil {
		return nil, err
	}
	var sd v1alpha1.ScaledDeployment
	err := s.Cache.Get(c.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &sd)
	if apierrors.IsNotFound(err) {
		return nil, notFound("there is no ScaledDeployment %q in namespace %q", name, namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("reading ScaledDeployment %s/%s: %w", namespace, name, err)
	}
	return showDeployment(&sd), nil
}

// showDeployment is a ScaledDeployment as callers see it.
func showDeployment(sd *v1alpha1.ScaledDeployment) v1.ScaledDeployment {
	status := &sd.Status
	one := v1.ScaledDeployment{
		Namespace: sd.Namespace, Name: sd.Name, UID: string(sd.UID), Labels: sd.Labels, Created: ptr.To(sd.CreationTimestamp.UTC()),
		TargetKind: sd.Spec.ScaleTargetRef.Kind, TargetName: sd.Spec.ScaleTargetRef.Name,
		Suspended:   ptr.Deref(sd.Spec.Suspend, false),
		MinReplicas: ptr.Deref(sd.Spec.MinReplicas, 0), MaxReplicas: ptr.Deref(sd.Spec.MaxReplicas, 0),
		Waiting: status.Waiting, Held: status.Held,
		DesiredReplicas: status.DesiredReplicas, Replicas: status.Replicas,
		ReadyPods: ptr.Deref(status.Ready, 0), Busy: ptr.Deref(status.Busy, 0), Idle: ptr.Deref(status.Idle, 0), Fenced: ptr.Deref(status.Fenced, 0),
		Leaving: ptr.Deref(status.Leaving, 0), Lost: ptr.Deref(status.Lost, 0),
		LastScale: timeOf(status.LastScaleTime), Why: whyReplicas(sd), Conditions: conditions(status.Conditions),
		Pods: []v1.Consumer{},
	}
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil {
		one.Ready = string(ready.Status)
	}
	for i := range sd.Spec.Triggers {
		t := sd.Spec.Triggers[i].Trigger()
		one.Triggers = append(one.Triggers, showTrigger(&t, status.Triggers))
	}
	for i := range status.Pods {
		p := &status.Pods[i]
		one.Pods = append(one.Pods, v1.Consumer{Name: p.Name, State: string(p.State), MessageID: p.MessageID, Since: timeOf(p.Since), Until: timeOf(p.Until)})
	}
	return one
}

func timeOf(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	return ptr.To(t.UTC())
}

// whyReplicas says in a sentence why a ScaledDeployment has as many replicas as it has.
func whyReplicas(sd *v1alpha1.ScaledDeployment) string {
	ready := meta.FindStatusCondition(sd.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case sd.DeletionTimestamp != nil:
		return "It is being deleted; its target stays."
	case ready == nil:
		return "No manager has looked at it yet. If that lasts, none watches its namespace: see --namespaces and --namespace-selector."
	case ready.Status == metav1.ConditionFalse:
		return ready.Message
	default:
		return sd.Status.LastDecision
	}
}
