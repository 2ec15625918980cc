package longpoll_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What the cluster's own controllers do, one move at a time. Callers hold w.mu, or nothing else happens.

// act has the cluster do all that it has to.
func (w *world) act() {
	w.t.Helper()
	for range 4 {
		w.moveDeployment()
		w.moveSets()
		w.moveKubelet()
	}
}

// list returns the ReplicaSets, the oldest first, and the pods.
func (w *world) list() (sets []appsv1.ReplicaSet, pods []corev1.Pod) {
	var s appsv1.ReplicaSetList
	var p corev1.PodList
	w.must(w.api.List(w.t.Context(), &s, client.InNamespace(namespace)))
	w.must(w.api.List(w.t.Context(), &p, client.InNamespace(namespace)))
	slices.SortFunc(s.Items, func(a, b appsv1.ReplicaSet) int { // as the Deployment's controller does
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return s.Items, p.Items
}

// active are the pods of a ReplicaSet that are not being ended.
func active(set *appsv1.ReplicaSet, pods []corev1.Pod) []corev1.Pod {
	var list []corev1.Pod
	for i := range pods {
		if pods[i].DeletionTimestamp == nil && metav1.IsControlledBy(&pods[i], set) {
			list = append(list, pods[i])
		}
	}
	return list
}

func ready(pod *corev1.Pod) bool { return condition(pod, corev1.PodReady) }

func condition(pod *corev1.Pod, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind && c.Status == corev1.ConditionTrue })
}

// moveDeployment is one sync of the Deployment's controller: paused it only shares out replicas, otherwise it also rolls.
func (w *world) moveDeployment() {
	var d appsv1.Deployment
	w.must(w.api.Get(w.t.Context(), key, &d))
	sets, pods := w.list()
	var newest *appsv1.ReplicaSet
	var total, available int32
	for i := range sets {
		s := &sets[i]
		total += *s.Spec.Replicas
		for _, pod := range active(s, pods) {
			if ready(&pod) {
				available++
			}
		}
		if sameTemplate(&s.Spec.Template, &d.Spec.Template) {
			newest = s
		}
	}
	change := map[string]int32{}
	switch {
	case !d.Spec.Paused:
		if newest == nil {
			newest = w.newSet(&d)
			sets = append(sets, *newest)
		}
		w.roll(&d, newest, sets, pods, total, available, change)
	case total != *d.Spec.Replicas && len(sets) > 0:
		// In a pause, replicas go to the newest that there is; a real controller shares them out by size.
		into := &sets[len(sets)-1]
		if newest != nil {
			into = newest
		}
		change[into.Name] = *d.Spec.Replicas - total
	}
	for i := range sets {
		s := &sets[i]
		if by := change[s.Name]; by != 0 {
			s.Spec.Replicas = ptr.To(max(0, *s.Spec.Replicas+by))
			s.Generation++
			w.note("the Deployment's controller sets %s to %d", s.Name, *s.Spec.Replicas)
			w.must(w.api.Update(w.t.Context(), s))
		}
	}
	if d.Status.ObservedGeneration != d.Generation {
		d.Status.ObservedGeneration = d.Generation
		w.must(w.api.Status().Update(w.t.Context(), &d))
	}
}

// roll is a rolling update's step, as syncRolloutStatus' neighbours in Kubernetes' pkg/controller/deployment take it.
func (w *world) roll(d *appsv1.Deployment, newest *appsv1.ReplicaSet, sets []appsv1.ReplicaSet, pods []corev1.Pod, total, available int32, change map[string]int32) {
	desired, surge, unavailable := *d.Spec.Replicas, int32(1), int32(0)
	if r := d.Spec.Strategy.RollingUpdate; r != nil {
		surge, unavailable = int32(r.MaxSurge.IntValue()), int32(r.MaxUnavailable.IntValue())
	}
	if *newest.Spec.Replicas > desired {
		change[newest.Name] = desired - *newest.Spec.Replicas
		return
	}
	if room := min(desired+surge-total, desired-*newest.Spec.Replicas); room > 0 {
		change[newest.Name] = room
		return
	}
	newUnavailable := *newest.Spec.Replicas
	for _, pod := range active(newest, pods) {
		if ready(&pod) {
			newUnavailable--
		}
	}
	least := desired - unavailable
	most := total - least - newUnavailable
	for _, healthy := range []bool{false, true} { // the unhealthy first
		spare := available - least
		for i := range sets {
			s := &sets[i]
			if s.Name == newest.Name || most <= 0 {
				continue
			}
			n := *s.Spec.Replicas + change[s.Name]
			if healthy {
				n = min(n, spare)
			} else {
				for _, pod := range active(s, pods) {
					if ready(&pod) {
						n--
					}
				}
			}
			n = min(n, most)
			if n > 0 {
				change[s.Name] -= n
				most -= n
				spare -= n
			}
		}
	}
}

func (w *world) newSet(d *appsv1.Deployment) *appsv1.ReplicaSet {
	w.sets++
	template := d.Spec.Template.DeepCopy()
	hash := fmt.Sprint("v", w.sets)
	template.Labels["pod-template-hash"] = hash
	s := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name + "-" + hash, UID: typeUID("set", w.sets), Labels: template.Labels, Generation: 1,
			CreationTimestamp: metav1.NewTime(w.clock.Now()),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: *template},
	}
	w.must(w.api.Create(w.t.Context(), s))
	return s
}

// moveSets is one sync of each ReplicaSet: it creates pods, or ends those that come first in its order.
func (w *world) moveSets() {
	sets, pods := w.list()
	for i := range sets {
		s := &sets[i]
		have := active(s, pods)
		for range int(*s.Spec.Replicas) - len(have) {
			w.newPod(s)
		}
		if surplus := len(have) - int(*s.Spec.Replicas); surplus > 0 {
			slices.SortStableFunc(have, victimFirst)
			for _, pod := range have[:surplus] {
				w.end(&pod)
			}
		}
		if s.Status.ObservedGeneration != s.Generation {
			s.Status.ObservedGeneration = s.Generation
			w.must(w.api.Status().Update(w.t.Context(), s))
		}
	}
}

// victimFirst is the order in which a ReplicaSet ends pods: ActivePodsWithRanks in Kubernetes' pkg/controller.
func victimFirst(a, b corev1.Pod) int {
	number := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	phase := map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}
	cost := func(p *corev1.Pod) int {
		n, err := strconv.Atoi(p.Annotations[corev1.PodDeletionCost])
		if err != nil {
			return 0
		}
		return n
	}
	return cmp.Or(
		cmp.Compare(number(a.Spec.NodeName != ""), number(b.Spec.NodeName != "")),
		cmp.Compare(phase[a.Status.Phase], phase[b.Status.Phase]),
		cmp.Compare(number(ready(&a)), number(ready(&b))),
		cmp.Compare(cost(&a), cost(&b)),
		b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
	)
}

func (w *world) newPod(s *appsv1.ReplicaSet) {
	w.pods++
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("pod-%d", w.pods), UID: typeUID("pod", w.pods), Labels: s.Spec.Template.Labels,
			CreationTimestamp: metav1.NewTime(w.clock.Now()), Finalizers: []string{"test/ends"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
		},
		Spec: s.Spec.Template.Spec,
	}
	w.note("%s of %s is created", pod.Name, s.Name)
	w.must(w.api.Create(w.t.Context(), pod))
}

// end begins to end a pod.
func (w *world) end(pod *corev1.Pod) {
	if k := w.consumers[pod.Status.PodIP]; k != nil {
		w.note("%s is ended: busy %t, fenced %t", pod.Name, k.busy, k.fenced)
		k.ended = true
		if k.busy {
			w.endedBusy = append(w.endedBusy, fmt.Sprintf("%s with message %s", pod.Name, k.message))
		}
	} else {
		w.note("%s is ended before it runs", pod.Name)
	}
	w.must(w.api.Delete(w.t.Context(), pod))
}

// moveKubelet assigns pods, starts their consumers, shows their readiness, and removes those that have ended.
func (w *world) moveKubelet() {
	_, pods := w.list()
	for i := range pods {
		pod := &pods[i]
		k := w.consumers[pod.Status.PodIP]
		switch {
		case pod.DeletionTimestamp != nil && (k == nil || !k.busy):
			if k != nil {
				k.silent = true
			}
			pod.Finalizers = nil
			w.must(w.api.Update(w.t.Context(), pod))
		case pod.DeletionTimestamp != nil:
		case pod.Spec.NodeName == "":
			pod.Spec.NodeName = "node"
			w.must(w.api.Update(w.t.Context(), pod))
		case pod.Status.Phase != corev1.PodRunning:
			pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, "10.0.0."+pod.Name[len("pod-"):]
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "encoder", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
			w.consumers[pod.Status.PodIP] = &consumer{pod: pod.Name, fenced: w.hold}
			w.must(w.api.Status().Update(w.t.Context(), pod))
		default:
			admitted := len(pod.Spec.ReadinessGates) == 0 || condition(pod, pod.Spec.ReadinessGates[0].ConditionType)
			if condition(pod, corev1.ContainersReady) && ready(pod) == admitted {
				continue
			}
			pod.Status.Conditions = slices.DeleteFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.ContainersReady || c.Type == corev1.PodReady
			})
			pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionTrue})
			w.note("%s is ready: %t", pod.Name, admitted)
			if admitted {
				pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
			}
			w.must(w.api.Status().Update(w.t.Context(), pod))
		}
	}
}

// die has a pod that is not busy vanish by itself.
func (w *world) die(pod *corev1.Pod) {
	w.note("%s dies by itself", pod.Name)
	if k := w.consumers[pod.Status.PodIP]; k != nil {
		k.ended = true
		k.silent = true
	}
	pod.Finalizers = nil
	w.must(w.api.Update(w.t.Context(), pod))
	w.must(client.IgnoreNotFound(w.api.Delete(w.t.Context(), pod))) // where it was being ended already
}

// edit changes the Deployment's template, as a new version of it does.
func (w *world) edit() {
	var d appsv1.Deployment
	w.must(w.api.Get(w.t.Context(), key, &d))
	d.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("encoder:%d", d.Generation)
	d.Generation++
	w.note("the template is edited: %s", d.Spec.Template.Spec.Containers[0].Image)
	w.must(w.api.Update(w.t.Context(), &d))
}

func sameTemplate(set, deployment *corev1.PodTemplateSpec) bool {
	a := set.DeepCopy()
	delete(a.Labels, "pod-template-hash")
	return equalJSON(a, deployment)
}

func typeUID(kind string, n int) types.UID { return types.UID(fmt.Sprintf("%s-%d", kind, n)) }
