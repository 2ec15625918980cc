package longpoll_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/cron"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/resolve"
)

// The tests of passes happen in a world: an API server that is a fake client, the controllers of Deployments and ReplicaSets as
// far as they choose which pods to end (cluster_test.go), consumers that answer at their pods' addresses, a broker that counts
// their messages, and a clock that the test steps. Whenever the manager asks or writes anything, something else may happen
// first: that is what a pass has to bear. Each story runs in a bubble of testing/synctest.

const (
	namespace = "media"
	name      = "encoder"
)

var key = types.NamespacedName{Namespace: namespace, Name: name}

// story tells what happens in a new world, with a ScaledDeployment that was changed so, and its Deployment.
func story(t *testing.T, tell func(w *world), changes ...func(*v1alpha1.ScaledDeploymentSpec)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { tell(newWorld(t, changes...)) })
}

type world struct {
	t     *testing.T
	api   client.WithWatch
	clock *clocktesting.FakeClock
	// events are those that the manager has sent.
	events recorder
	// manager is the Controller; kill ends it.
	manager *longpoll.Controller
	metrics *prometheus.Registry
	kill    context.CancelFunc

	// before is called before each request of the manager, with what it is about to do, such as "scale": it may have things
	// happen, and its error is the request's.
	before func(doing string) error

	mu sync.Mutex
	// consumers are those that ever were, by the addresses of their pods.
	consumers map[string]*consumer
	waiting   int64
	messages  int
	// broken is why the broker cannot be read.
	broken error
	// hold has new consumers begin fenced.
	hold bool
	// endedBusy are the consumers that were ended while they worked, and chronicle what has happened.
	endedBusy, chronicle []string
	pods, sets           int
	// applied are the configurations of the Deployment that the manager has applied.
	applied []string
	// conflict is what applying one comes to.
	conflict error
}

// consumer is what runs in a pod.
type consumer struct {
	pod          string
	busy, fenced bool
	message      string
	until        time.Time
	// silent has it answer nothing. ended says that its pod is being ended.
	silent, ended bool
}

func newWorld(t *testing.T, changes ...func(*v1alpha1.ScaledDeploymentSpec)) *world {
	t.Helper()
	w := &world{
		t: t, clock: clocktesting.NewFakeClock(time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)), consumers: map[string]*consumer{},
		before: func(string) error { return nil },
	}
	scheme := runtime.NewScheme()
	err := errors.Join(appsv1.AddToScheme(scheme), corev1.AddToScheme(scheme), policyv1.AddToScheme(scheme), autoscalingv2.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
	w.must(err)
	tracker := clienttesting.NewObjectTracker(scheme, serializer.NewCodecFactory(scheme).UniversalDecoder()) // of no managed fields
	w.api = fake.NewClientBuilder().WithScheme(scheme).WithObjectTracker(tracker).
		WithStatusSubresource(&v1alpha1.ScaledDeployment{}, &corev1.Pod{}).Build()
	w.must(w.api.Create(t.Context(), newDeployment()))
	sd := newScaledDeployment()
	for _, change := range changes {
		change(&sd.Spec)
	}
	w.must(w.api.Create(t.Context(), sd))
	w.start()
	return w
}

func newDeployment() *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "deployment", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "encoder", Image: "encoder:1"}}},
			},
		},
	}
}

// newScaledDeployment is one as the API server hands it out: with its defaults, and one list as its trigger.
func newScaledDeployment() *v1alpha1.ScaledDeployment {
	return &v1alpha1.ScaledDeployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "scaled", Generation: 1, Finalizers: []string{v1alpha1.FinalizerManaged}},
		Spec: v1alpha1.ScaledDeploymentSpec{
			ScaleTargetRef: v1alpha1.ScaleTargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			Triggers:       []v1alpha1.ReplicaTrigger{list("videos")},
			Combine:        v1alpha1.CombineMax,
			MinReplicas:    ptr.To[int32](0),
			MaxReplicas:    ptr.To[int32](4),
			PollingInterval: &metav1.Duration{
				Duration: time.Second,
			},
			ScaleDown: &v1alpha1.ScaleDown{Stabilization: &metav1.Duration{}},
			Suspend:   ptr.To(false),
			Termination: v1alpha1.Termination{
				Busy:        v1alpha1.BusySignal{HTTPGet: &v1alpha1.PodHTTP{Path: "/state", Port: 8081}},
				Fence:       &v1alpha1.Fence{HTTPPost: v1alpha1.PodHTTP{Path: "/fence", Port: 8081}},
				BusyTimeout: &metav1.Duration{Duration: time.Minute},
				GracePeriod: &metav1.Duration{Duration: time.Hour},
				PreStop:     v1alpha1.PreStopNone,
				Rollout:     v1alpha1.RolloutAuto,
			},
		},
	}
}

func list(of string) v1alpha1.ReplicaTrigger {
	return v1alpha1.ReplicaTrigger{
		Name: of, MessagesPerReplica: ptr.To[int32](1), Acknowledge: v1alpha1.AcknowledgeAfterWork, ActivationThreshold: ptr.To[int64](0),
		RedisList: &v1alpha1.RedisListTrigger{RedisConnection: v1alpha1.RedisConnection{Addresses: []string{"redis:6379"}}, List: of, ProcessingList: of + ":processing"},
	}
}

// start starts a manager, which remembers nothing of one before it.
func (w *world) start() {
	w.t.Helper()
	if w.kill != nil {
		w.kill()
		synctest.Wait()
	}
	w.metrics = prometheus.NewRegistry()
	metrics, err := longpoll.NewMetrics(w.metrics)
	w.must(err)
	meter := trigger.NewMeter(w.clock, func(trigger.Owner) {}, metrics.Read)
	ctx, kill := context.WithCancel(w.t.Context())
	w.kill = kill
	go func() { _ = meter.Start(ctx) }() // it never fails
	c := w.client()
	w.manager = longpoll.New(longpoll.Options{
		Client: c, Live: c, Meter: meter, Clock: w.clock, Recorder: &w.events, Metrics: metrics,
		HTTP: &http.Client{Transport: w},
		Kinds: []resolve.Kind{
			resolve.KindOf("redisList", func(t *v1alpha1.Trigger) *v1alpha1.RedisListTrigger { return t.RedisList }, w.source),
			resolve.KindOf("rabbitmq", func(t *v1alpha1.Trigger) *v1alpha1.RabbitMQTrigger { return t.RabbitMQ },
				func(s *v1alpha1.RabbitMQTrigger, _ trigger.Secrets) (trigger.Source, error) {
					return w.queue("rabbitmq", s.Queue, "unacknowledged")
				}),
			resolve.KindOf("cron", func(t *v1alpha1.Trigger) *v1alpha1.CronTrigger { return t.Cron }, cron.Source),
		},
		Consumers: func(*v1alpha1.RabbitMQTrigger, trigger.Secrets) (longpoll.Consumers, error) {
			return connections{w}, nil
		},
		Selects: func(context.Context, string) (bool, error) { return true, nil },
	})
}

// must fails the test on an error in what the test itself does.
func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// pass makes one pass, and the meter then reads what it was asked for. Its error is that of the pass.
func (w *world) pass() error {
	_, err := w.manager.Reconcile(w.t.Context(), reconcile.Request{NamespacedName: key})
	w.step(20 * time.Millisecond) // longer than the meter's least gap
	return err
}

// passes makes so many passes, and has the cluster act after each.
func (w *world) passes(n int) {
	w.t.Helper()
	for range n {
		w.must(w.pass())
		w.act()
	}
}

// settle makes passes until nothing more can come of what is so now.
func (w *world) settle() {
	w.t.Helper()
	w.passes(12)
	w.step(time.Second) // the least time between two status writes
	w.passes(2)
}

func (w *world) step(d time.Duration) {
	w.clock.Step(d)
	synctest.Wait()
}

// client is what the manager reads and writes with.
func (w *world) client() client.Client {
	return interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return w.request(ctx, "get "+kindOf(o), func() error { return c.Get(ctx, k, o, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
			return w.request(ctx, "list "+kindOf(l), func() error { return c.List(ctx, l, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return w.request(ctx, "create "+kindOf(o), func() error { return c.Create(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, _ ...client.DeleteOption) error {
			return w.request(ctx, "delete "+kindOf(o), func() error { return c.Delete(ctx, o) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return w.request(ctx, "patch "+kindOf(o), func() error { return c.Patch(ctx, o, patch, opts...) })
		},
		Apply: func(ctx context.Context, _ client.WithWatch, o runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
			return w.request(ctx, "apply", func() error { return w.apply(ctx, o) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return w.request(ctx, "patch "+kindOf(o)+" "+sub, func() error { return c.SubResource(sub).Patch(ctx, o, patch, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, _ client.Client, sub string, _ client.Object, opts ...client.SubResourceUpdateOption) error {
			body := (&client.SubResourceUpdateOptions{}).ApplyOptions(opts).SubResourceBody.(*unstructured.Unstructured)
			return w.request(ctx, sub, func() error { return w.scale(ctx, body) })
		},
	})
}

func kindOf(o any) string {
	kind := fmt.Sprintf("%T", o)
	return strings.TrimSuffix(kind[strings.LastIndexByte(kind, '.')+1:], "List")
}

func (w *world) request(ctx context.Context, doing string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.before(doing); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return do()
}

// scale sets the Deployment's replicas, if it is as it was read.
func (w *world) scale(ctx context.Context, body *unstructured.Unstructured) error {
	var d appsv1.Deployment
	if err := w.api.Get(ctx, key, &d); err != nil {
		return err
	}
	if d.ResourceVersion != body.GetResourceVersion() {
		return apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, name, errors.New("the object has been modified"))
	}
	replicas, _, err := unstructured.NestedInt64(body.Object, "spec", "replicas")
	if err != nil {
		return err
	}
	w.note("the manager sets replicas from %d to %d", *d.Spec.Replicas, replicas)
	d.Spec.Replicas = ptr.To(int32(replicas))
	d.Generation++
	return w.api.Update(ctx, &d)
}

// apply plays server-side apply for the fields that the manager manages.
func (w *world) apply(ctx context.Context, o runtime.ApplyConfiguration) error {
	if w.conflict != nil {
		return w.conflict
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return err
	}
	w.applied = append(w.applied, string(raw))
	var d appsv1.Deployment
	if err := w.api.Get(ctx, key, &d); err != nil {
		return err
	}
	before := d.DeepCopy()
	d.Spec.Paused, d.Spec.Strategy.RollingUpdate = false, nil
	d.Spec.Template.Spec.ReadinessGates, d.Spec.Template.Spec.TerminationGracePeriodSeconds = nil, nil
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	if !equalJSON(before.Spec, d.Spec) {
		d.Generation++
		w.note("the manager applies paused %t, and %v", d.Spec.Paused, d.Spec.Strategy.RollingUpdate)
	}
	return w.api.Update(ctx, &d)
}

func equalJSON(a, b any) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

// RoundTrip is how consumers answer.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := w.before(r.Method + " " + strings.TrimPrefix(r.URL.Path, "/")); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.consumers[r.URL.Hostname()]
	if k == nil || k.silent || r.URL.Port() != "8081" {
		return nil, errors.New("connection refused")
	}
	code := http.StatusOK
	switch {
	case r.Method == http.MethodPost && k.busy:
		code = http.StatusConflict
	case r.Method == http.MethodPost:
		k.fenced = true
		w.note("%s is fenced", k.pod)
	case r.Method == http.MethodDelete:
		k.fenced = false
		w.note("%s is let work", k.pod)
	}
	answer := map[string]any{"busy": k.busy, "fenced": k.fenced && !k.busy, "messageID": k.message}
	if !k.until.IsZero() {
		answer["until"] = k.until
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
}

// source is the broker's.
func (w *world) source(spec *v1alpha1.RedisListTrigger, _ trigger.Secrets) (trigger.Source, error) {
	return w.queue(spec.Addresses[0], spec.List, spec.ProcessingList)
}

func (w *world) queue(endpoint, name, beside string) (trigger.Source, error) {
	return trigger.Source{
		Endpoint: endpoint, Queue: trigger.Queue{Name: name, Beside: beside},
		Open: func(context.Context) (trigger.Reader, error) { return reader{w}, nil },
	}, nil
}

// connections are those of consumers to a broker that tells what each holds.
type connections struct{ *world }

func (c connections) Held(context.Context) (func(address, name string) (int64, bool), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := map[string]int64{}
	for address, k := range c.consumers {
		if !k.silent {
			held[address] = 0
		}
		if k.busy {
			held[address] = 1
		}
	}
	return func(address, _ string) (int64, bool) {
		n, known := held[address]
		return n, known
	}, c.broken
}

func (connections) Close() {}

type reader struct{ *world }

func (r reader) Read(_ context.Context, queues []trigger.Queue) ([]trigger.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	results := make([]trigger.Result, len(queues))
	for i := range queues {
		results[i].Err = r.broken
		results[i].Backlog = trigger.Backlog{Waiting: r.waiting, Held: r.held(), HeldKnown: true, HeldLive: true}
	}
	return results, nil
}

func (r reader) Close() error { return nil }

// held is how many messages consumers work on.
func (w *world) held() int64 {
	held := int64(0)
	for _, k := range w.consumers {
		if k.busy {
			held++
		}
	}
	return held
}

// note adds to the chronicle. Callers hold w.mu.
func (w *world) note(format string, args ...any) {
	w.chronicle = append(w.chronicle, fmt.Sprintf(format, args...))
}

// put queues messages.
func (w *world) put(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting += n
}

// take has a consumer take a message, if it may.
func (w *world) take(k *consumer) bool {
	if k.busy || k.fenced || w.waiting == 0 {
		return false
	}
	w.waiting--
	w.messages++
	k.busy, k.message = true, fmt.Sprint(8140+w.messages)
	w.note("%s takes message %s", k.pod, k.message)
	if k.ended {
		w.endedBusy = append(w.endedBusy, fmt.Sprintf("%s, which took message %s when it was being ended", k.pod, k.message))
	}
	return true
}

// finish has a consumer be done with its message.
func (w *world) finish(k *consumer) {
	if k.busy {
		w.note("%s is done with message %s", k.pod, k.message)
		k.busy, k.message = false, ""
	}
}

// of returns the consumer of a pod.
func (w *world) of(pod string) *consumer {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.consumers {
		if k.pod == pod {
			return k
		}
	}
	w.t.Fatalf("there is no consumer of pod %s; this happened:\n%s", pod, strings.Join(w.chronicle, "\n"))
	return nil
}

// work has the consumers of the pods named take a message each, or be done with it.
func (w *world) work(pods ...string) {
	w.t.Helper()
	for _, pod := range pods {
		k := w.of(pod)
		w.mu.Lock()
		if k.busy {
			w.finish(k)
		} else if !w.take(k) {
			w.t.Errorf("%s cannot take a message: fenced %t, %d wait", pod, k.fenced, w.waiting)
		}
		w.mu.Unlock()
	}
}

func (w *world) deployment() *appsv1.Deployment {
	w.t.Helper()
	var d appsv1.Deployment
	w.must(w.api.Get(w.t.Context(), key, &d))
	return &d
}

func (w *world) scaledDeployment() *v1alpha1.ScaledDeployment {
	w.t.Helper()
	var sd v1alpha1.ScaledDeployment
	w.must(w.api.Get(w.t.Context(), key, &sd))
	return &sd
}

// change changes the ScaledDeployment's spec, as a user does.
func (w *world) change(change func(*v1alpha1.ScaledDeploymentSpec)) {
	w.t.Helper()
	sd := w.scaledDeployment()
	change(&sd.Spec)
	sd.Generation++
	w.must(w.api.Update(w.t.Context(), sd))
}

// condition returns a condition of the ScaledDeployment.
func (w *world) condition(kind string) metav1.Condition {
	w.t.Helper()
	return ptr.Deref(meta.FindStatusCondition(w.scaledDeployment().Status.Conditions, kind), metav1.Condition{})
}

// wantCondition checks a condition by its reason, and that its message has some words.
func (w *world) wantCondition(kind string, status metav1.ConditionStatus, reason string, words ...string) {
	w.t.Helper()
	c := w.condition(kind)
	if c.Status != status || c.Reason != reason {
		w.t.Errorf("%s is %s (%s: %s), want %s (%s)", kind, c.Status, c.Reason, c.Message, status, reason)
	}
	for _, word := range words {
		if !strings.Contains(c.Message, word) {
			w.t.Errorf("%s does not say %q: %s", kind, word, c.Message)
		}
	}
}

// wantReplicas checks what the Deployment's replicas are set to.
func (w *world) wantReplicas(want int32, when string) {
	w.t.Helper()
	if got := *w.deployment().Spec.Replicas; got != want {
		w.t.Errorf("%s there are %d replicas, not %d: %s\n%s", when, got, want, w.scaledDeployment().Status.LastDecision, strings.Join(w.chronicle, "\n"))
	}
}

// wantNoneEnded checks that no busy consumer was ended.
func (w *world) wantNoneEnded() {
	w.t.Helper()
	for _, ended := range w.endedBusy {
		w.t.Errorf("a busy consumer was ended: %s", ended)
	}
	if w.t.Failed() {
		w.t.Logf("this happened:\n%s", strings.Join(w.chronicle[max(0, len(w.chronicle)-60):], "\n"))
	}
}

// recorder keeps the events that it is given.
type recorder struct {
	mu   sync.Mutex
	sent []string
}

func (r *recorder) Eventf(_, _ runtime.Object, _, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, reason+": "+fmt.Sprintf(note, args...))
}

// of lists the events of a reason.
func (r *recorder) of(reason string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var events []string
	for _, e := range r.sent {
		if strings.HasPrefix(e, reason+": ") {
			events = append(events, e)
		}
	}
	return events
}

// chance draws at random, again and again the same for a seed.
func chance(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 41)) }
