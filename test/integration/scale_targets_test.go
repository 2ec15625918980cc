package integration_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// fleets is a kind that nobody knows, with a scale subresource.
const fleets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: fleets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Fleet, listKind: FleetList, plural: fleets, singular: fleet}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
`

// sized is a ScaledDeployment of a target.
func sized(namespace, list, broker string, target v1alpha1.ScaleTargetRef, port int32) *v1alpha1.ScaledDeployment {
	return &v1alpha1.ScaledDeployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: target.Name},
		Spec: v1alpha1.ScaledDeploymentSpec{
			ScaleTargetRef: target,
			Triggers: []v1alpha1.ReplicaTrigger{{RedisList: &v1alpha1.RedisListTrigger{
				RedisConnection: v1alpha1.RedisConnection{Addresses: []string{broker}}, List: list,
			}}},
			PollingInterval: &metav1.Duration{Duration: 100 * time.Millisecond},
			ScaleDown:       &v1alpha1.ScaleDown{Stabilization: &metav1.Duration{}},
			Termination: v1alpha1.Termination{
				Busy:  v1alpha1.BusySignal{HTTPGet: &v1alpha1.PodHTTP{Path: "/longhaul/state", Port: port}},
				Fence: &v1alpha1.Fence{HTTPPost: v1alpha1.PodHTTP{Path: "/longhaul/fence", Port: port}},
			},
		},
	}
}

// awaitCondition waits until a ScaledDeployment has a condition for a reason, with some words.
func (p *plane) awaitCondition(t *testing.T, namespace, name, kind, reason string, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s of %s is for reason %s with %q", kind, name, reason, words), func() (bool, string) {
		var sd v1alpha1.ScaledDeployment
		if err := p.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &sd); err != nil {
			return false, err.Error()
		}
		c := ptr.Deref(meta.FindStatusCondition(sd.Status.Conditions, kind), metav1.Condition{})
		holds := c.Reason == reason
		for _, word := range words {
			holds = holds && strings.Contains(c.Message, word)
		}
		return holds, fmt.Sprintf("%+v", sd.Status)
	})
}

// TestTargetsOfEachKind is what a manager with all rights makes of targets that are not just Deployments of its own.
func TestTargetsOfEachKind(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	namespace := p.namespace(t)
	ns := &corev1.Namespace{}
	if err := p.client.Get(t.Context(), client.ObjectKey{Name: namespace}, ns); err != nil {
		t.Fatal(err)
	}
	ns.Labels["longhaul-shard"] = "targets"
	if err := p.client.Update(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	broker := miniredis.RunT(t)
	manager := startManager(t, build(t), p.kubeconfig, "--namespace-selector=longhaul-shard=targets", "--leader-elect=false")
	manager.becomesReady(t)

	t.Run("any kind with a scale subresource is sized, while all its pods are idle", func(t *testing.T) {
		p.sizesFleet(t, namespace, broker)
	})

	deployment := func(name string) *appsv1.Deployment {
		labels := map[string]string{"app": name}
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "consumer", Image: "example/consumer:1"}}},
			},
		}}
	}
	t.Run("a field that somebody else has applied is theirs", func(t *testing.T) {
		content := fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: owned, namespace: %s}, spec: {selector: {matchLabels: {app: owned}}, template: {
			metadata: {labels: {app: owned}}, spec: {terminationGracePeriodSeconds: 77, containers: [{name: consumer, image: "example/consumer:1"}]}}}}`, namespace)
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(content), &u.Object); err != nil {
			t.Fatal(err)
		}
		if err := p.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("helm")); err != nil {
			t.Fatal(err)
		}
		p.create(t, sized(namespace, "owned", broker.Addr(), v1alpha1.ScaleTargetRef{Name: "owned"}, 8081))
		p.awaitCondition(t, namespace, "owned", v1alpha1.ConditionManaged, v1alpha1.ReasonFieldConflict, `"helm"`, "terminationGracePeriodSeconds")
		p.awaitCondition(t, namespace, "owned", v1alpha1.ConditionRolloutGuarded, v1alpha1.ReasonRolloutUnguarded)
		if _, err := broker.Push("owned", "1", "2", "3"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is scaled all the same, and the field as it was", func() (bool, string) {
			var d appsv1.Deployment
			err := p.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "owned"}, &d)
			return err == nil && *d.Spec.Replicas == 3 && *d.Spec.Template.Spec.TerminationGracePeriodSeconds == 77, fmt.Sprintf("%v %+v", err, d.Spec)
		})
	})

	t.Run("a target that an autoscaler scales is left to it", func(t *testing.T) {
		p.create(t, deployment("shared"))
		p.create(t, &autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "keda-hpa-shared"},
			Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "shared"}, MaxReplicas: 3,
			},
		})
		if _, err := broker.Push("shared", "1"); err != nil {
			t.Fatal(err)
		}
		p.create(t, sized(namespace, "shared", broker.Addr(), v1alpha1.ScaleTargetRef{Name: "shared"}, 8081))
		p.awaitCondition(t, namespace, "shared", v1alpha1.ConditionReady, v1alpha1.ReasonReplicasOwned, `HorizontalPodAutoscaler "keda-hpa-shared"`)
		var d appsv1.Deployment
		if err := p.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "shared"}, &d); err != nil || *d.Spec.Replicas != 0 || d.Spec.Paused {
			t.Errorf("it was written to: %v %+v", err, d.Spec)
		}
	})

	t.Run("a namespace that comes to be this manager's", func(t *testing.T) {
		late := p.namespace(t)
		p.create(t, sized(late, "none", broker.Addr(), v1alpha1.ScaleTargetRef{Name: "none"}, 8081))
		ns := &corev1.Namespace{}
		if err := p.client.Get(t.Context(), client.ObjectKey{Name: late}, ns); err != nil {
			t.Fatal(err)
		}
		ns.Labels["longhaul-shard"] = "targets"
		if err := p.client.Update(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
		p.awaitCondition(t, late, "none", v1alpha1.ConditionReady, v1alpha1.ReasonTargetNotFound)
	})

	t.Run("a target that does not exist, and a kind that does not", func(t *testing.T) {
		p.create(t, sized(namespace, "none", broker.Addr(), v1alpha1.ScaleTargetRef{Name: "none"}, 8081))
		p.awaitCondition(t, namespace, "none", v1alpha1.ConditionReady, v1alpha1.ReasonTargetNotFound, `Deployment "none"`, "create it, or correct scaleTargetRef")
		p.create(t, sized(namespace, "no-kind", broker.Addr(), v1alpha1.ScaleTargetRef{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: "no-kind"}, 8081))
		p.awaitCondition(t, namespace, "no-kind", v1alpha1.ConditionReady, v1alpha1.ReasonTargetNotFound, `Rollout "no-kind"`)
	})
}

// sizesFleet is the story of a Fleet, whose controller the test plays.
func (p *plane) sizesFleet(t *testing.T, namespace string, broker *miniredis.Miniredis) {
	t.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal([]byte(fleets), &crd); err != nil {
		t.Fatal(err)
	}
	if _, err := envtest.InstallCRDs(p.config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{&crd}}); err != nil {
		t.Fatal(err)
	}
	port, consumers := startConsumers(t, "127.0.7.3", "127.0.7.4")
	fleet := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": int64(0)}}}
	fleet.SetAPIVersion("example.com/v1")
	fleet.SetKind("Fleet")
	fleet.SetNamespace(namespace)
	fleet.SetName("fleet")
	p.create(t, fleet)
	acts := func() error {
		if err := p.client.Get(t.Context(), client.ObjectKeyFromObject(fleet), fleet); err != nil {
			return err
		}
		replicas, _, _ := unstructured.NestedInt64(fleet.Object, "spec", "replicas")
		fleet.Object["status"] = map[string]any{"replicas": replicas, "selector": "app=fleet"}
		return p.client.Status().Update(t.Context(), fleet)
	}
	awaits := func(what string, replicas int64) {
		t.Helper()
		eventually(t, what, func() (bool, string) {
			if err := acts(); err != nil {
				return false, err.Error()
			}
			got, _, _ := unstructured.NestedInt64(fleet.Object, "spec", "replicas")
			return got == replicas, fmt.Sprint(got, " replicas")
		})
	}
	if err := acts(); err != nil {
		t.Fatal(err)
	}
	if _, err := broker.Push("fleet", "8141", "8142"); err != nil {
		t.Fatal(err)
	}
	p.create(t, sized(namespace, "fleet", broker.Addr(), v1alpha1.ScaleTargetRef{APIVersion: "example.com/v1", Kind: "Fleet", Name: "fleet"}, port))
	awaits("two replicas for two messages", 2)
	p.awaitCondition(t, namespace, "fleet", v1alpha1.ConditionManaged, v1alpha1.ReasonKindNotManaged, "Fleet")
	for i, c := range consumers {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint("fleet-", i), Labels: map[string]string{"app": "fleet"}},
			Spec:       corev1.PodSpec{NodeName: "somewhere", Containers: []corev1.Container{{Name: "consumer", Image: "example/consumer:1"}}},
		}
		p.create(t, pod)
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: c.address, PodIPs: []corev1.PodIP{{IP: c.address}}}
		if err := p.client.Status().Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		c.inbox <- fmt.Sprint(8141 + i)
		if _, err := broker.Lpop("fleet"); err != nil {
			t.Fatal(err)
		}
	}
	consumers[0].done <- nil
	eventually(t, "one is idle, and stays while nobody knows which would go", func() (bool, string) {
		var sd v1alpha1.ScaledDeployment
		err := p.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "fleet"}, &sd)
		return err == nil && ptr.Deref(sd.Status.Idle, 0) == 1 && strings.Contains(sd.Status.LastDecision, "nobody knows which pods the target's controller would end"), fmt.Sprintf("%v %+v", err, sd.Status)
	})
	awaits("two replicas still", 2)
	consumers[1].done <- nil
	awaits("none, when all are idle", 0)
}
