package integration_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/worker"
)

// consumer is one that answers Longhaul at an address of its own, and takes what a test gives it.
type consumer struct {
	address string
	inbox   chan string
	done    chan error
}

// startConsumers starts consumers at several loopback addresses, which share a port.
func startConsumers(t *testing.T, addresses ...string) (port int32, consumers []*consumer) {
	t.Helper()
	for _, address := range addresses {
		var config net.ListenConfig
		listener, err := config.Listen(t.Context(), "tcp", net.JoinHostPort(address, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		port = int32(listener.Addr().(*net.TCPAddr).Port)
		w := worker.New()
		server := &http.Server{Handler: w, ReadHeaderTimeout: time.Second}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		c := &consumer{address: address, inbox: make(chan string), done: make(chan error)}
		go func() {
			_ = worker.Run(t.Context(), w, func(ctx context.Context) (string, string, error) {
				select {
				case m := <-c.inbox:
					return m, m, nil
				case <-ctx.Done():
					return "", "", ctx.Err()
				}
			}, func(context.Context, string) error { return <-c.done })
		}()
		consumers = append(consumers, c)
	}
	return port, consumers
}

// target creates a Deployment and its ReplicaSet, or a StatefulSet, with one pod that runs at an address.
func (p *plane) target(t *testing.T, namespace, kind, name, address string) client.Object {
	t.Helper()
	labels := map[string]string{"app": name}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "consumer", Image: "example/consumer:1"}}},
	}
	object := metav1.ObjectMeta{Namespace: namespace, Name: name}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-0", Labels: map[string]string{"app": name}}, Spec: *template.Spec.DeepCopy()}
	pod.Spec.NodeName = "somewhere"
	var created client.Object
	if kind == "StatefulSet" {
		s := &appsv1.StatefulSet{ObjectMeta: object, Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](1), Selector: selector, Template: template}}
		p.create(t, s)
		created = s
		pod.Labels[appsv1.ControllerRevisionHashLabelKey] = "old"
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(s, appsv1.SchemeGroupVersion.WithKind(kind))}
	} else {
		d := &appsv1.Deployment{ObjectMeta: object, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1), Selector: selector, Template: template}}
		p.create(t, d)
		created = d
		set := &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: name + "-1", Labels: labels,
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind(kind))},
			},
			Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](1), Selector: selector, Template: template},
		}
		p.create(t, set)
		pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: v1alpha1.ConditionAdmitted}}
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
	}
	p.create(t, pod)
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}, Conditions: []corev1.PodCondition{
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue},
	}}
	if err := p.client.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	return created
}

func (p *plane) create(t *testing.T, o client.Object) {
	t.Helper()
	if err := p.client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// act is what controllers do for a target, as far as Longhaul waits for it: they have seen the newest, and its ReplicaSet asks
// for as many pods and is of the newest template.
func (p *plane) act(ctx context.Context, namespace string) error {
	var deployments appsv1.DeploymentList
	var sets appsv1.ReplicaSetList
	var stateful appsv1.StatefulSetList
	for _, list := range []client.ObjectList{&deployments, &sets, &stateful} {
		if err := p.client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err
		}
	}
	for i := range deployments.Items {
		d := &deployments.Items[i]
		for j := range sets.Items {
			s := &sets.Items[j]
			s.Spec.Replicas, s.Spec.Template = d.Spec.Replicas, d.Spec.Template
			if err := p.client.Update(ctx, s); err != nil {
				return err
			}
			s.Status.ObservedGeneration = s.Generation
			if err := p.client.Status().Update(ctx, s); err != nil {
				return err
			}
		}
		d.Status.ObservedGeneration = d.Generation
		if err := p.client.Status().Update(ctx, d); err != nil {
			return err
		}
	}
	for i := range stateful.Items {
		s := &stateful.Items[i]
		s.Status.ObservedGeneration, s.Status.UpdateRevision = s.Generation, "new"
		if err := p.client.Status().Update(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// scales is the story of a Deployment and a StatefulSet that a manager sizes.
func (p *plane) scales(t *testing.T, namespace string, broker *miniredis.Miniredis) {
	t.Helper()
	port, consumers := startConsumers(t, "127.0.7.1", "127.0.7.2")
	for i, kind := range []string{"Deployment", "StatefulSet"} {
		name := strings.ToLower(kind)
		p.target(t, namespace, kind, name, consumers[i].address)
		p.create(t, &v1alpha1.ScaledDeployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec: v1alpha1.ScaledDeploymentSpec{
				ScaleTargetRef: v1alpha1.ScaleTargetRef{Kind: kind, Name: name},
				Triggers: []v1alpha1.ReplicaTrigger{{RedisList: &v1alpha1.RedisListTrigger{
					RedisConnection: v1alpha1.RedisConnection{Addresses: []string{broker.Addr()}, Password: &v1alpha1.SecretKeyRef{Name: "broker", Key: "password"}},
					List:            name,
				}}},
				PollingInterval: &metav1.Duration{Duration: 100 * time.Millisecond},
				ScaleDown:       &v1alpha1.ScaleDown{Stabilization: &metav1.Duration{}},
				Suspend:         ptr.To(kind == "Deployment"),
				Termination: v1alpha1.Termination{
					Busy:  v1alpha1.BusySignal{HTTPGet: &v1alpha1.PodHTTP{Path: "/longhaul/state", Port: port}},
					Fence: &v1alpha1.Fence{HTTPPost: v1alpha1.PodHTTP{Path: "/longhaul/fence", Port: port}},
				},
			},
		})
	}
	awaits := func(what string, holds func() (bool, string)) {
		t.Helper()
		eventually(t, what, func() (bool, string) {
			if err := p.act(t.Context(), namespace); err != nil {
				return false, err.Error() // written by somebody else meanwhile
			}
			return holds()
		})
	}
	deployment, pod := &appsv1.Deployment{}, &corev1.Pod{}
	get := func(o client.Object, name string) error {
		return p.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o)
	}

	consumers[0].inbox <- "8141"
	awaits("the busy pod is marked and admitted, and the Deployment is managed", func() (bool, string) {
		if err := get(pod, "deployment-0"); err != nil {
			return false, err.Error()
		}
		if err := get(deployment, "deployment"); err != nil {
			return false, err.Error()
		}
		spec := deployment.Spec.Template.Spec
		admitted := false
		for _, c := range pod.Status.Conditions {
			admitted = admitted || c.Type == v1alpha1.ConditionAdmitted && c.Status == corev1.ConditionTrue
		}
		return pod.Labels[v1alpha1.LabelBusy] == "deployment" && pod.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false" &&
			pod.Annotations["karpenter.sh/do-not-disrupt"] == "1h0m0s" && admitted && deployment.Spec.Paused &&
			*spec.TerminationGracePeriodSeconds == 3600 && spec.Containers[0].Lifecycle != nil && len(spec.ReadinessGates) == 1, fmt.Sprintf("%+v\n%+v", pod, deployment.Spec)
	})
	budget := &policyv1.PodDisruptionBudget{}
	if err := get(budget, "deployment-busy"); err != nil {
		t.Error(err)
	}

	// Nothing is scaled before that is asked for.
	sd := &v1alpha1.ScaledDeployment{}
	if err := get(sd, "deployment"); err != nil {
		t.Fatal(err)
	}
	before := sd.DeepCopy()
	sd.Spec.Suspend = ptr.To(false)
	if err := p.client.Patch(t.Context(), sd, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	if _, err := broker.Push("deployment", "8142"); err != nil {
		t.Fatal(err)
	}
	awaits("a replica for the message beside the busy pod, and a status that says so", func() (bool, string) {
		if err := get(sd, "deployment"); err != nil {
			return false, err.Error()
		}
		if err := get(deployment, "deployment"); err != nil {
			return false, err.Error()
		}
		s := sd.Status
		return *deployment.Spec.Replicas == 2 && ptr.Deref(s.Busy, 0) == 1 && ptr.Deref(s.Replicas, 0) == 2 && len(s.Pods) == 1 && s.Pods[0].MessageID == "8141" &&
			meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady) && meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionManaged), fmt.Sprintf("%d replicas, status %+v", *deployment.Spec.Replicas, s)
	})
	if _, err := broker.Lpop("deployment"); err != nil {
		t.Fatal(err)
	}
	consumers[0].done <- nil
	awaits("no replica, and no mark", func() (bool, string) {
		if err := get(pod, "deployment-0"); err != nil {
			return false, err.Error()
		}
		if err := get(deployment, "deployment"); err != nil {
			return false, err.Error()
		}
		_, protected := pod.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"]
		return *deployment.Spec.Replicas == 0 && pod.Labels[v1alpha1.LabelBusy] == "" && !protected && pod.Annotations[corev1.PodDeletionCost] == "-2147483648", fmt.Sprintf("%+v\n%+v", pod, deployment.Spec)
	})
	if err := get(budget, "deployment-busy"); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the PodDisruptionBudget is still there: %v", err)
	}

	stateful := &appsv1.StatefulSet{}
	awaits("the StatefulSet's pod is replaced, and gone with its replica", func() (bool, string) {
		if err := get(stateful, "statefulset"); err != nil {
			return false, err.Error()
		}
		err := get(pod, "statefulset-0")
		deleted := err != nil || pod.DeletionTimestamp != nil
		return deleted && *stateful.Spec.Replicas == 0 && stateful.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType, fmt.Sprintf("%v %+v", err, stateful.Spec)
	})

	for _, name := range []string{"deployment", "statefulset"} {
		if err := p.client.Delete(t.Context(), &v1alpha1.ScaledDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	awaits("what was managed is taken back", func() (bool, string) {
		if err := get(deployment, "deployment"); err != nil {
			return false, err.Error()
		}
		if err := get(stateful, "statefulset"); err != nil {
			return false, err.Error()
		}
		spec := deployment.Spec.Template.Spec
		return client.IgnoreNotFound(get(sd, "deployment")) == nil && !deployment.Spec.Paused && spec.Containers[0].Lifecycle == nil && len(spec.ReadinessGates) == 0 &&
			ptr.Deref(spec.TerminationGracePeriodSeconds, 30) == 30 && stateful.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType, fmt.Sprintf("%+v\n%+v", deployment.Spec, stateful.Spec)
	})
}
