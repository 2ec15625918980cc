package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

// scalesWanted is how many times a target is to be made larger or smaller in the tests that do so at random;
// LONGHAUL_TEST_SCALES asks for more.
const scalesWanted = 60

// fleet is a Deployment or StatefulSet of test consumers with its ScaledDeployment, and the list that they take from.
type fleet struct {
	stage     *stage
	namespace string
	redis     *redis.Client
	list      string
	journal   string
	put       int
	// ups and downs count how often the target's replicas were set higher and lower.
	mu         sync.Mutex
	ups, downs int
	// ours are pods that the test has ended itself.
	ours map[string]bool
	// hang has consumers answer nothing while they work on what is queued from now on.
	hang bool
}

// newFleet creates a fleet.
func (s *stage) newFleet(ctx context.Context, t *testing.T, kind string, change func(*v1alpha1.ScaledDeploymentSpec), env ...corev1.EnvVar) *fleet {
	t.Helper()
	c, address := redisClient(t) //nolint:contextcheck // it is the test's
	f := &fleet{stage: s, namespace: s.namespace(ctx, t, "longpoll"), redis: c, list: brokertest.Unique("videos"), ours: map[string]bool{}}
	f.journal = filepath.Join(s.dir, f.namespace+".journal")
	if err := os.WriteFile(f.journal, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	labels := map[string]string{"app": "consumer"}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "consumer", Image: "consumer", Command: []string{"consumer"},
			Env: append(env,
				corev1.EnvVar{Name: "REDIS", Value: address},
				corev1.EnvVar{Name: "LIST", Value: f.list},
				corev1.EnvVar{Name: "JOURNAL", Value: f.journal},
				corev1.EnvVar{Name: "POD_NAME", ValueFrom: field("metadata.name")},
				corev1.EnvVar{Name: "POD_IP", ValueFrom: field("status.podIP")},
			),
		}}},
	}
	meta := metav1.ObjectMeta{Namespace: f.namespace, Name: "consumer"}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	var target client.Object = &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](0), Selector: selector, Template: template}}
	if kind == "StatefulSet" {
		target = &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](0), Selector: selector, Template: template, PodManagementPolicy: appsv1.ParallelPodManagement}}
	}
	spec := v1alpha1.ScaledDeploymentSpec{
		ScaleTargetRef: v1alpha1.ScaleTargetRef{Kind: kind, Name: "consumer"},
		Triggers: []v1alpha1.ReplicaTrigger{{RedisList: &v1alpha1.RedisListTrigger{
			RedisConnection: v1alpha1.RedisConnection{Addresses: []string{address}}, List: f.list, ProcessingList: f.list + ":processing",
		}}},
		MaxReplicas:     ptr.To[int32](6),
		PollingInterval: &metav1.Duration{Duration: 100 * time.Millisecond},
		ScaleDown:       &v1alpha1.ScaleDown{Stabilization: &metav1.Duration{}},
		Termination: v1alpha1.Termination{
			Busy:        v1alpha1.BusySignal{HTTPGet: &v1alpha1.PodHTTP{Path: "/longhaul/state", Port: 8081}},
			Fence:       &v1alpha1.Fence{HTTPPost: v1alpha1.PodHTTP{Path: "/longhaul/fence", Port: 8081}},
			GracePeriod: &metav1.Duration{Duration: time.Minute},
			// The net is not what is tried here: without the hook a consumer that is ended while it works is told so at once.
			PreStop: v1alpha1.PreStopNone,
		},
	}
	if change != nil {
		change(&spec)
	}
	for _, o := range []client.Object{target, &v1alpha1.ScaledDeployment{ObjectMeta: meta, Spec: spec}} {
		if err := s.client.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	f.count(ctx, t, target)
	t.Cleanup(func() {
		if t.Failed() {
			f.tell(t)
		}
		_ = s.client.Delete(context.WithoutCancel(ctx), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}})
	})
	return f
}

// count counts the changes of the target's replicas until the test ends.
func (f *fleet) count(ctx context.Context, t *testing.T, target client.Object) {
	t.Helper()
	var list client.ObjectList = &appsv1.DeploymentList{}
	if _, ok := target.(*appsv1.StatefulSet); ok {
		list = &appsv1.StatefulSetList{}
	}
	w, err := f.stage.client.Watch(ctx, list, client.InNamespace(f.namespace))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	go func() {
		var last int32
		for e := range w.ResultChan() {
			if e.Type != watch.Modified && e.Type != watch.Added {
				continue
			}
			var now int32
			switch o := e.Object.(type) {
			case *appsv1.Deployment:
				now = ptr.Deref(o.Spec.Replicas, 1)
			case *appsv1.StatefulSet:
				now = ptr.Deref(o.Spec.Replicas, 1)
			}
			f.mu.Lock()
			switch {
			case now > last:
				f.ups++
			case now < last:
				f.downs++
			}
			f.mu.Unlock()
			last = now
		}
	}()
}

func (f *fleet) changes() (ups, downs int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ups, f.downs
}

// queue puts messages that take so long each.
func (f *fleet) queue(ctx context.Context, work ...time.Duration) error {
	var values []any
	for _, w := range work {
		f.put++
		raw, err := json.Marshal(map[string]any{"id": fmt.Sprintf("message-%04d", f.put), "work": w.String(), "hang": f.hang})
		if err != nil {
			return err
		}
		values = append(values, string(raw))
	}
	return f.redis.RPush(ctx, f.list, values...).Err()
}

// line is one line of the journal.
type line struct{ what, pod, message string }

func (f *fleet) lines() ([]line, error) {
	file, err := os.Open(f.journal)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var lines []line
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 3 {
			return nil, fmt.Errorf("the journal has a line %q", scanner.Text())
		}
		lines = append(lines, line{what: fields[1], pod: fields[2], message: strings.Join(fields[3:], " ")})
	}
	return lines, scanner.Err()
}

// account is what became of messages and consumers.
type tally struct {
	done map[string]int
	// endedBusy are lines of consumers that were signalled while busy, or took a message although they had been.
	endedBusy []line
	signalled int
}

func (f *fleet) tally(t *testing.T) tally {
	t.Helper()
	lines, err := f.lines()
	if err != nil {
		t.Fatal(err)
	}
	a := tally{done: map[string]int{}}
	gone := map[string]bool{}
	for _, l := range lines {
		switch l.what {
		case "up":
			delete(gone, l.pod) // a StatefulSet's has the name of the one before
		case "done":
			a.done[l.message]++
		case "busy-signalled":
			if f.ours[l.pod] {
				continue
			}
			a.endedBusy = append(a.endedBusy, l)
			a.signalled++
		case "idle-signalled":
			gone[l.pod] = true
			a.signalled++
		case "took":
			if gone[l.pod] && !f.ours[l.pod] {
				a.endedBusy = append(a.endedBusy, l)
			}
		}
	}
	return a
}

// wantAllDone waits until all messages are done and the target is at a number of replicas, and fails for each busy consumer
// that was ended, and each message that was not worked on exactly once.
func (f *fleet) wantAllDone(ctx context.Context, t *testing.T, replicas int) tally {
	t.Helper()
	err := wait(ctx, 2*time.Minute, "all to be done", func() (bool, error) {
		lines, err := f.lines()
		done := 0
		for _, l := range lines {
			if l.what == "done" {
				done++
			}
		}
		return done >= f.put, err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = wait(ctx, time.Minute, fmt.Sprintf("%d pods", replicas), func() (bool, error) {
		var pods corev1.PodList
		err := f.stage.client.List(ctx, &pods, client.InNamespace(f.namespace))
		return len(pods.Items) == replicas, err
	})
	if err != nil {
		t.Error(err)
	}
	a := f.tally(t)
	for _, l := range a.endedBusy {
		t.Errorf("a busy consumer was ended: %s %s %s", l.pod, l.what, l.message)
	}
	for id, n := range a.done {
		if n != 1 {
			t.Errorf("%s was done %d times", id, n)
		}
	}
	if len(a.done) != f.put {
		t.Errorf("%d of %d messages were done", len(a.done), f.put)
	}
	return a
}

// tell logs what there is to know of a fleet that did not do as it should.
func (f *fleet) tell(t *testing.T) {
	t.Helper()
	kube := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	for _, arguments := range []string{"get scaleddeployments,deployments,replicasets,statefulsets,pods -o wide", "describe scaleddeployments", "get events"} {
		command := exec.Command(kube, append([]string{"--kubeconfig", f.stage.kubeconfig, "-n", f.namespace}, strings.Fields(arguments)...)...)
		output, err := command.CombinedOutput()
		t.Logf("%s: %v\n%s", arguments, err, output)
	}
	lines, _ := f.lines()
	for _, l := range lines[max(0, len(lines)-60):] {
		t.Log(l.what, l.pod, l.message)
	}
}

// scales is how many changes a random test is to bring about.
func scales(t *testing.T) int {
	t.Helper()
	asked := os.Getenv("LONGHAUL_TEST_SCALES")
	if asked == "" {
		return scalesWanted
	}
	n, err := strconv.Atoi(asked)
	if err != nil {
		t.Fatalf("LONGHAUL_TEST_SCALES=%q: give a number", asked)
	}
	return n
}

// churn queues work at random until the target has been scaled so often, and lets something happen meanwhile.
func (f *fleet) churn(ctx context.Context, t *testing.T, changes int, happen func(step int) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(changes)*2*time.Second)
	defer cancel()
	random := rand.New(rand.NewPCG(1, uint64(changes)))
	for step := 0; ; step++ {
		if ups, downs := f.changes(); ups+downs >= changes {
			return
		}
		var work []time.Duration
		for range 1 + random.IntN(6) {
			work = append(work, time.Duration(random.IntN(900))*time.Millisecond)
		}
		if err := f.queue(ctx, work...); err != nil {
			t.Fatal(err)
		}
		if happen != nil {
			if err := happen(step); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-time.After(time.Duration(random.IntN(1200)) * time.Millisecond): // demand comes and goes
		}
	}
}

// scenario churns, and fails for each busy consumer that was ended.
func (f *fleet) scenario(t *testing.T, happen func(step int) error) {
	t.Helper()
	f.churn(t.Context(), t, scales(t), happen)
	a := f.wantAllDone(t.Context(), t, 0)
	ups, downs := f.changes()
	t.Logf("%d messages, %d times up, %d times down, %d consumers ended, %d of them busy", f.put, ups, downs, a.signalled, len(a.endedBusy))
}

// begunFenced has consumers take nothing before they are let.
var begunFenced = corev1.EnvVar{Name: "HOLD", Value: "1m"}

var targetKinds = []string{"Deployment", "StatefulSet"}

func TestNoBusyConsumerIsEndedByScalingAtRandom(t *testing.T) { //nolint:paralleltest // the scenarios share one machine
	s := stages.get(t)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metrics := listener.Addr().String()
	_ = listener.Close()
	s.startManager(t, "a", "--metrics-bind-address", metrics)
	for _, kind := range targetKinds {
		t.Run(kind, func(t *testing.T) {
			f := s.newFleet(t.Context(), t, kind, nil)
			f.scenario(t, nil)
			f.logShrinks(t, metrics)
		})
	}
}

// logShrinks logs how long it took from the decision that a pod goes until it was gone, as the manager's metrics tell.
func (f *fleet) logShrinks(t *testing.T, metrics string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+metrics+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	scanner := bufio.NewScanner(response.Body)
	for scanner.Scan() {
		name, labels, _ := strings.Cut(scanner.Text(), "{")
		if what, ok := strings.CutPrefix(name, "longhaul_scaleddeployment_shrink_duration_seconds"); ok && strings.Contains(labels, f.namespace) &&
			(what != "_bucket" || strings.Contains(labels, `le="0`)) {
			t.Log("seconds from the decision to gone", what, labels)
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestNoBusyConsumerIsEndedThoughTheManagerIsKilled(t *testing.T) { //nolint:paralleltest // the scenarios share one machine
	s := stages.get(t)
	m := s.startManager(t, "0")
	kills := 0
	for _, kind := range targetKinds {
		t.Run(kind, func(t *testing.T) {
			s.newFleet(t.Context(), t, kind, nil).scenario(t, func(step int) error {
				if step%4 == 3 {
					kills++
					m.kill()
					m = s.startManager(t, fmt.Sprint(kills))
				}
				return nil
			})
		})
	}
	t.Logf("the manager was killed %d times", kills)
}

func TestNoBusyConsumerIsEndedByARollout(t *testing.T) { //nolint:paralleltest // the scenarios share one machine
	s := stages.get(t)
	s.startManager(t, "a")
	for _, kind := range targetKinds {
		t.Run(kind, func(t *testing.T) {
			f := s.newFleet(t.Context(), t, kind, nil, begunFenced)
			rollouts := 0
			f.scenario(t, func(step int) error {
				if step%8 != 3 {
					return nil
				}
				rollouts++
				return f.edit(t.Context(), kind, rollouts)
			})
			t.Logf("%d rollouts", rollouts)
			f.wantRevision(t.Context(), t, rollouts)
		})
	}
}

// edit changes the target's template, as a new version of it does.
func (f *fleet) edit(ctx context.Context, kind string, revision int) error {
	var target client.Object = &appsv1.Deployment{}
	if kind == "StatefulSet" {
		target = &appsv1.StatefulSet{}
	}
	target.SetNamespace(f.namespace)
	target.SetName("consumer")
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"revision":"%d"}}}}}`, revision)
	return f.stage.client.Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, []byte(patch)))
}

// wantRevision queues long work, and wants consumers of a revision to do it.
func (f *fleet) wantRevision(ctx context.Context, t *testing.T, revision int) {
	t.Helper()
	if err := f.queue(ctx, 2*time.Second, 2*time.Second); err != nil {
		t.Fatal(err)
	}
	err := wait(ctx, 20*time.Second, fmt.Sprintf("a consumer of revision %d", revision), func() (bool, error) {
		var pods corev1.PodList
		err := f.stage.client.List(ctx, &pods, client.InNamespace(f.namespace))
		for i := range pods.Items {
			if pods.Items[i].Annotations["revision"] == strconv.Itoa(revision) {
				return true, err
			}
		}
		return false, err
	})
	if err != nil {
		t.Error(err)
	}
	f.wantAllDone(ctx, t, 0)
}

func TestNoBusyConsumerIsEndedThoughFencedOnesDie(t *testing.T) { //nolint:paralleltest // the scenarios share one machine
	s := stages.get(t)
	s.startManager(t, "a")
	// Without HOLD the pod in the place of one that died can take a message before its ReplicaSet, which was told to be smaller
	// in that moment, ends it.
	f := s.newFleet(t.Context(), t, "Deployment", nil, begunFenced)
	died := 0
	f.scenario(t, func(step int) error {
		if step%2 == 0 {
			return nil
		}
		n, err := f.killFenced(t.Context())
		died += n
		return err
	})
	t.Logf("%d fenced consumers died by themselves", died)
	if died == 0 {
		t.Error("no fenced consumer died: nothing was tried")
	}
}

// killFenced deletes an idle pod of its own accord: it is fenced first, and what it does later is not Longhaul's fault.
func (f *fleet) killFenced(ctx context.Context) (int, error) {
	var pods corev1.PodList
	if err := f.stage.client.List(ctx, &pods, client.InNamespace(f.namespace)); err != nil {
		return 0, err
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.PodIP == "" || pod.DeletionTimestamp != nil {
			continue
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+pod.Status.PodIP+":8081/longhaul/fence", http.NoBody)
		if err != nil {
			return 0, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			continue // it does not run yet, or no longer
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			continue
		}
		f.mu.Lock()
		f.ours[pod.Name] = true
		f.mu.Unlock()
		return 1, client.IgnoreNotFound(f.stage.client.Delete(ctx, pod, client.GracePeriodSeconds(1)))
	}
	return 0, nil
}

func TestAConsumerThatHangsCountsAsBusyAndThenAsLost(t *testing.T) { //nolint:paralleltest // the scenarios share one machine
	s := stages.get(t)
	s.startManager(t, "a")
	ctx := t.Context()
	f := s.newFleet(ctx, t, "Deployment", func(spec *v1alpha1.ScaledDeploymentSpec) {
		spec.Termination.BusyTimeout = &metav1.Duration{Duration: 4 * time.Second}
	})
	if err := f.queue(ctx, 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	f.hang = true
	if err := f.queue(ctx, 3*time.Second); err != nil { // shorter than the timeout: nothing may happen to it
		t.Fatal(err)
	}
	f.wantAllDone(ctx, t, 0)
	if err := f.queue(ctx, 30*time.Second); err != nil { // longer: it is lost
		t.Fatal(err)
	}
	err := wait(ctx, 20*time.Second, "the event of the lost pod", func() (bool, error) {
		var list eventsv1.EventList
		err := s.client.List(ctx, &list, client.InNamespace(f.namespace))
		for i := range list.Items {
			if list.Items[i].Reason == "PodLost" {
				return true, err
			}
		}
		return false, err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestAMessageWhoseNodeDiesIsDoneByAnother is what nobody can keep from happening, and what the broker makes of it. RabbitMQ
// also tells which pods are busy here: the workers are asked nothing.
func TestAMessageWhoseNodeDiesIsDoneByAnother(t *testing.T) { //nolint:paralleltest // the scenarios share one machine
	s := stages.get(t)
	s.startManager(t, "a")
	ctx := t.Context()
	namespace := s.namespace(ctx, t, "node")
	q := rabbitQueue(t, "classic", true)
	s.consumersOf(ctx, t, namespace, q)
	clip, output := filepath.Join(s.dir, "node.y4m"), t.TempDir()
	if said, err := exec.CommandContext(ctx, s.bin("transcode-worker"), "make-clip", "--size", "64x36", "--frames", "300", "--out", clip).CombinedOutput(); err != nil {
		t.Fatalf("making a clip: %v: %s", err, said)
	}
	messages, err := orders(clip, output, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.put(ctx, messages); err != nil {
		t.Fatal(err)
	}
	var sd v1alpha1.ScaledDeployment
	awaits := func(what string, holds func(*v1alpha1.ScaledDeploymentStatus) bool) {
		t.Helper()
		err := wait(ctx, time.Minute, what, func() (bool, error) {
			err := s.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "encoder"}, &sd)
			return holds(&sd.Status), err
		})
		if err != nil {
			t.Fatalf("%v; the last status: %+v", err, sd.Status)
		}
	}
	awaits("a pod that holds the message", func(status *v1alpha1.ScaledDeploymentStatus) bool {
		return ptr.Deref(status.Held, 0) == 1 && len(status.Pods) == 1 && status.Pods[0].State == v1alpha1.ConsumerBusy
	})
	first := sd.Status.Pods[0].Name
	if n := killPod(t, first); n != 1 {
		t.Fatalf("%d processes of pod %s were killed", n, first)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: first}}
	if err := s.client.Delete(ctx, pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	awaits("another pod that holds the message", func(status *v1alpha1.ScaledDeploymentStatus) bool {
		return ptr.Deref(status.Held, 0) == 1 && len(status.Pods) == 1 && status.Pods[0].Name != first
	})
	awaits("the message to be done, and no pod left", func(status *v1alpha1.ScaledDeploymentStatus) bool {
		return ptr.Deref(status.Held, 1) == 0 && ptr.Deref(status.Waiting, 1) == 0 && len(status.Pods) == 0 && ptr.Deref(status.Replicas, 1) == 0
	})
	if _, err := os.Stat(filepath.Join(output, "video-001.avi")); err != nil {
		t.Error(err)
	}
}

// consumersOf creates a Deployment of transcode workers that stay up, and its ScaledDeployment, which has RabbitMQ tell which of
// them are busy.
func (s *stage) consumersOf(ctx context.Context, t *testing.T, namespace string, q queue) {
	t.Helper()
	labels := map[string]string{"app": "encoder"}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "encoder"}
	name := corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}
	address := corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}
	uri := corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "broker"}, Key: "uri"}}
	for _, o := range []client.Object{
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "broker"}, StringData: q.secret},
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "worker", Image: "none", Command: []string{"transcode-worker", "consume"},
				Env: append([]corev1.EnvVar{
					// On this node all pods connect from one address: RabbitMQ knows them by the names of their connections.
					{Name: "TAKER", ValueFrom: &name},
					{Name: "POD_IP", ValueFrom: &address},
					{Name: "LISTEN", Value: "$(POD_IP):8081"},
					{Name: "QUEUE_URI", ValueFrom: &uri},
					{Name: "ENCODER", Value: "builtin"},
					{Name: "MAX_SPEED", Value: "1"},
					{Name: "HOLD", Value: "0"},
				}, q.env...),
			}}}},
		}},
		&v1alpha1.ScaledDeployment{ObjectMeta: meta, Spec: v1alpha1.ScaledDeploymentSpec{
			ScaleTargetRef:  v1alpha1.ScaleTargetRef{Name: "encoder"},
			Triggers:        []v1alpha1.ReplicaTrigger{{RabbitMQ: q.trigger.RabbitMQ}},
			MaxReplicas:     ptr.To[int32](1),
			PollingInterval: &metav1.Duration{Duration: 250 * time.Millisecond},
			ScaleDown:       &v1alpha1.ScaleDown{Stabilization: &metav1.Duration{}},
			Termination:     v1alpha1.Termination{Busy: v1alpha1.BusySignal{RabbitMQConsumers: &v1alpha1.RabbitMQConsumers{}}},
		}},
	} {
		if err := s.client.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
}

// killPod ends the workers of a pod as a node does that dies, and returns how many there were.
func killPod(t *testing.T, pod string) int {
	t.Helper()
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, file := range environments {
		content, err := os.ReadFile(file)
		if err != nil || !strings.Contains("\x00"+string(content), "\x00TAKER="+pod+"\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

func TestTheNetLetsABusyPodThatSomebodyEndsFinish(t *testing.T) { //nolint:paralleltest // the scenarios share one machine
	s := stages.get(t)
	s.startManager(t, "a")
	ctx := t.Context()
	f := s.newFleet(ctx, t, "Deployment", func(spec *v1alpha1.ScaledDeploymentSpec) { spec.Termination.PreStop = v1alpha1.PreStopAuto })
	if err := f.queue(ctx, 4*time.Second); err != nil {
		t.Fatal(err)
	}
	var busy string
	err := wait(ctx, 30*time.Second, "a consumer to take the message", func() (bool, error) {
		lines, err := f.lines()
		for _, l := range lines {
			if l.what == "took" {
				busy = l.pod
			}
		}
		return busy != "", err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.client.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: busy}}); err != nil {
		t.Fatal(err)
	}
	f.wantAllDone(ctx, t, 0) // none signalled while busy: the hook waits for the drain before the signal comes
	lines, err := f.lines()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if l.what == "done" && l.pod != busy {
			t.Errorf("the message was done by %s, not by %s", l.pod, busy)
		}
	}
	var list eventsv1.EventList
	if err := s.client.List(ctx, &list, client.InNamespace(f.namespace)); err != nil {
		t.Fatal(err)
	}
	told := 0
	for i := range list.Items {
		if list.Items[i].Reason == "BusyPodEnded" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d events tell of the busy pod that was being ended", told)
	}
}
