package dispatcher_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
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
	"github.com/longhaul-dev/longhaul/dispatcher"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/cron"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/resolve"
)

// The tests of this package make one pass after the other. They happen in a world: an API server that is a fake client, a
// broker whose counts the test sets, and a clock that the test steps. A manager is a Controller with a Meter, a cache and
// faults of its own; a world can have several. Each story runs in a bubble of testing/synctest, so that "the meter has
// nothing left to do" is something that can be waited for.

const (
	namespace = "media"
	name      = "transcode"
	videos    = "videos" // the queue, and the name of its trigger
	// between is the time between two passes: longer than the meter's least gap, so that each pass finds its answer.
	between = 10 * time.Millisecond
)

var (
	key     = types.NamespacedName{Namespace: namespace, Name: name}
	request = reconcile.Request{NamespacedName: key}
)

// story tells what happens in a new world.
func story(t *testing.T, tell func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { tell(t, newWorld(t)) })
}

// world is what managers share.
type world struct {
	t      *testing.T
	api    client.WithWatch
	clock  *clocktesting.FakeClock
	broker *broker

	// admit is what an admission rule says of each Job, dry runs among them; nil admits all. Calls come one at a time.
	admit func(job *batchv1.Job, dryRun bool) error

	writes atomic.Int64 // of what is listed; what changes a manager's view counts too

	mu   sync.Mutex
	uids int
	// tried are the names of all Jobs whose creation was tried, dry runs not among them.
	tried []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: clocktesting.NewFakeClock(time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC))}
	w.broker = &broker{queues: map[string]backlog{}, broken: map[string]error{}, clock: w.clock}
	w.api = interceptor.NewClient(newStore(t), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			defer w.writes.Add(1)
			return w.create(ctx, c, o, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			defer w.writes.Add(1)
			return w.remove(ctx, c, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			defer w.writes.Add(1)
			return c.Update(ctx, o, opts...)
		},
		SubResourceUpdate: func(
			ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption,
		) error {
			defer w.writes.Add(1)
			return c.SubResource(sub).Update(ctx, o, opts...)
		},
	})
	return w
}

// newStore returns a fake client that is indexed as a manager's cache is.
func newStore(t *testing.T, objects ...client.Object) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(batchv1.AddToScheme(scheme), corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatalf("making the scheme: %v", err)
	}
	tracker := clienttesting.NewObjectTracker(scheme, serializer.NewCodecFactory(scheme).UniversalDecoder()) // of no managed fields
	b := fake.NewClientBuilder().WithScheme(scheme).WithObjectTracker(tracker).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.ScaledJob{})
	if err := dispatcher.IndexFields(t.Context(), builderIndexer{b}); err != nil {
		t.Fatalf("indexing: %v", err)
	}
	return b.Build()
}

// builderIndexer lets a builder of fake clients be indexed like a cache.
type builderIndexer struct{ *fake.ClientBuilder }

func (b builderIndexer) IndexField(_ context.Context, o client.Object, field string, by client.IndexerFunc) error {
	b.WithIndex(o, field, by)
	return nil
}

// create does what an API server does besides storing: it admits, takes names once, and gives UIDs and times.
func (w *world) create(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	dry := len((&client.CreateOptions{}).ApplyOptions(opts).DryRun) > 0
	if job, ok := o.(*batchv1.Job); ok {
		if !dry {
			w.tried = append(w.tried, job.Name)
		}
		if w.admit != nil {
			if err := w.admit(job, dry); err != nil {
				return err
			}
		}
		if err := c.Get(ctx, client.ObjectKeyFromObject(o), &batchv1.Job{}); err == nil {
			return apierrors.NewAlreadyExists(jobs, o.GetName())
		}
	}
	w.uids++
	o.SetUID(types.UID(fmt.Sprintf("uid-%03d-%s", w.uids, o.GetName())))
	o.SetCreationTimestamp(metav1.NewTime(w.clock.Now().Truncate(time.Second)))
	return c.Create(ctx, o, opts...)
}

// remove does what an API server does when it deletes: it looks at the UID asked for, and at what is to go first.
func (w *world) remove(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
	asked := (&client.DeleteOptions{}).ApplyOptions(opts)
	stored := o.DeepCopyObject().(client.Object)
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), stored); err != nil {
		return err
	}
	if p := asked.Preconditions; p != nil && p.UID != nil && *p.UID != stored.GetUID() {
		return apierrors.NewConflict(jobs, o.GetName(), errors.New("the UID in the precondition does not match"))
	}
	if ptr.Deref(asked.PropagationPolicy, "") == metav1.DeletePropagationForeground {
		stored.SetFinalizers(append(stored.GetFinalizers(), metav1.FinalizerDeleteDependents))
		if err := c.Update(ctx, stored); err != nil {
			return err
		}
	}
	return c.Delete(ctx, o)
}

var jobs = schema.GroupResource{Group: batchv1.GroupName, Resource: "jobs"}

// step lets time go by. When it returns, the meters have done what was due.
func (w *world) step(d time.Duration) {
	w.clock.Step(d)
	synctest.Wait()
}

// must fails the test on an error in what the test itself does.
func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// apply creates what a user applies.
func (w *world) apply(o client.Object) {
	w.t.Helper()
	w.must(w.api.Create(w.t.Context(), o))
}

// edit has a user change the ScaledJob.
func (w *world) edit(change func(*v1alpha1.ScaledJob)) {
	w.t.Helper()
	sj := w.scaledJob()
	change(sj)
	sj.Generation++
	w.must(w.api.Update(w.t.Context(), sj))
}

func (w *world) scaledJob() *v1alpha1.ScaledJob {
	w.t.Helper()
	var sj v1alpha1.ScaledJob
	w.must(w.api.Get(w.t.Context(), key, &sj))
	return &sj
}

// jobs lists the Jobs of the ScaledJob by name, whatever became of them.
func (w *world) jobs() []batchv1.Job {
	w.t.Helper()
	var list batchv1.JobList
	w.must(w.api.List(w.t.Context(), &list, client.InNamespace(namespace)))
	owner := w.scaledJob()
	list.Items = slices.DeleteFunc(list.Items, func(j batchv1.Job) bool { return !metav1.IsControlledBy(&j, owner) })
	slices.SortFunc(list.Items, func(a, b batchv1.Job) int { return cmp.Compare(a.Name, b.Name) })
	return list.Items
}

// wantJobs checks how many Jobs there are, whatever became of them.
func (w *world) wantJobs(want int) []batchv1.Job {
	w.t.Helper()
	got := w.jobs()
	if len(got) != want {
		w.t.Fatalf("there are %d Jobs, want %d: %v", len(got), want, names(got))
	}
	return got
}

func names(jobs []batchv1.Job) []string {
	var n []string
	for i := range jobs {
		n = append(n, jobs[i].Name)
	}
	return n
}

// podOf is the one pod that is made for a Job here.
func podOf(job *batchv1.Job) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace:       job.Namespace,
		Name:            job.Name + "-pod",
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))},
	}}
}

// pod makes or changes the pod of a Job.
func (w *world) pod(job batchv1.Job, change func(*corev1.PodStatus)) {
	w.t.Helper()
	pod := podOf(&job)
	err := w.api.Get(w.t.Context(), client.ObjectKeyFromObject(pod), pod)
	if apierrors.IsNotFound(err) {
		err = w.api.Create(w.t.Context(), pod)
	}
	w.must(err)
	change(&pod.Status)
	w.must(w.api.Status().Update(w.t.Context(), pod))
}

// run starts the pods of Jobs.
func (w *world) run(jobs ...batchv1.Job) {
	w.t.Helper()
	since := &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(w.clock.Now().Truncate(time.Second))}
	for _, job := range jobs {
		w.pod(job, func(s *corev1.PodStatus) {
			s.Phase = corev1.PodRunning
			s.ContainerStatuses = []corev1.ContainerStatus{{Name: "worker", State: corev1.ContainerState{Running: since}}}
		})
	}
}

// succeed ends the pods of Jobs well. The Jobs' own status follows later: see complete.
func (w *world) succeed(jobs ...batchv1.Job) {
	w.t.Helper()
	for _, job := range jobs {
		w.pod(job, func(s *corev1.PodStatus) { s.Phase, s.ContainerStatuses = corev1.PodSucceeded, nil })
	}
}

// crash ends the pods of Jobs badly; they will be tried again.
func (w *world) crash(jobs ...batchv1.Job) {
	w.t.Helper()
	for _, job := range jobs {
		w.pod(job, func(s *corev1.PodStatus) { s.Phase, s.ContainerStatuses = corev1.PodFailed, nil })
	}
}

// evict takes the pods of Jobs away, as an eviction does, and counts them as failed.
func (w *world) evict(jobs ...batchv1.Job) {
	w.t.Helper()
	for _, job := range jobs {
		w.must(w.api.Delete(w.t.Context(), podOf(&job)))
		w.failedOnce(job)
	}
}

// failedOnce has the status of a Job tell that a pod of it has failed.
func (w *world) failedOnce(job batchv1.Job) {
	w.t.Helper()
	w.must(w.api.Get(w.t.Context(), client.ObjectKeyFromObject(&job), &job))
	job.Status.Failed = 1
	w.must(w.api.Status().Update(w.t.Context(), &job))
}

// finish gives Jobs a terminal condition.
func (w *world) finish(how batchv1.JobConditionType, jobs ...batchv1.Job) {
	w.t.Helper()
	for _, job := range jobs {
		w.must(w.api.Get(w.t.Context(), client.ObjectKeyFromObject(&job), &job))
		job.Status.StartTime = ptr.To(job.CreationTimestamp)
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
			Type: how, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.clock.Now().Truncate(time.Second)),
		})
		w.must(w.api.Status().Update(w.t.Context(), &job))
	}
}

// condition returns one condition of the ScaledJob's status.
func (w *world) condition(kind string) metav1.Condition {
	w.t.Helper()
	return ptr.Deref(meta.FindStatusCondition(w.scaledJob().Status.Conditions, kind), metav1.Condition{})
}

// wantReady checks condition Ready by its reason, and returns its message.
func (w *world) wantReady(status metav1.ConditionStatus, reason string) string {
	w.t.Helper()
	c := w.condition(v1alpha1.ConditionReady)
	if c.Status != status || c.Reason != reason {
		w.t.Fatalf("Ready is %s (%s: %s), want %s (%s)", c.Status, c.Reason, c.Message, status, reason)
	}
	return c.Message
}

// secret makes or changes a Secret.
func (w *world) secret(of, field, value string) {
	w.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: of}}
	secret.Data = map[string][]byte{field: []byte(value)}
	err := w.api.Create(w.t.Context(), secret)
	if apierrors.IsAlreadyExists(err) {
		w.must(w.api.Get(w.t.Context(), client.ObjectKeyFromObject(secret), secret))
		secret.Data = map[string][]byte{field: []byte(value)}
		err = w.api.Update(w.t.Context(), secret)
	}
	w.must(err)
}

// manager is one Controller, with what is its own.
type manager struct {
	*world

	controller *dispatcher.Controller
	metrics    *prometheus.Registry
	events     *recorder
	faults     faults
	// frozen is what its cache shows instead of what is; nil where the cache is up to date.
	frozen client.Reader
	// statusWrites counts the status writes that the API server took.
	statusWrites int

	listedAt int64
	lists    map[string]runtime.Object
	woken    atomic.Bool // by the meter
	killed   context.CancelFunc
}

// faults are what goes wrong between a manager and the API server; what is nil goes well.
type faults struct {
	// list is asked before a list of the cache is read.
	list func(client.ObjectList) error
	// shows says whether the cache shows a Job.
	shows func(*batchv1.Job) bool
	// create stands before the creation of a Job that is no dry run, and may call it. Calls come one at a time.
	create func(job *batchv1.Job, create func() error) error
	// status stands before a status write.
	status func(write func() error) error
	// remove is asked before a Job is deleted.
	remove func(*batchv1.Job) error
	// live is asked before something is read from the API server past the cache.
	live func(client.Object) error
}

// manager starts a manager. Several may be alive.
func (w *world) manager(changes ...func(*dispatcher.Options)) *manager {
	w.t.Helper()
	m := &manager{world: w, metrics: prometheus.NewRegistry(), events: &recorder{}}
	measured, err := dispatcher.NewMetrics(m.metrics)
	w.must(err)
	meter := trigger.NewMeter(w.clock, func(trigger.Owner) { m.woken.Store(true) }, measured.Read)
	ctx, kill := context.WithCancel(w.t.Context())
	m.killed = kill
	go func() { _ = meter.Start(ctx) }() // it never fails
	o := dispatcher.Options{
		Client:              m.client(),
		Live:                liveReader{m},
		Meter:               meter,
		Kinds:               w.broker.kinds(),
		Clock:               w.clock,
		Recorder:            m.events,
		Metrics:             measured,
		CreationConcurrency: 4,
	}
	for _, change := range changes {
		change(&o)
	}
	m.controller = dispatcher.New(o)
	return m
}

// kill ends a manager as a crash does: all that it remembers is lost.
func (m *manager) kill() {
	m.killed()
	synctest.Wait()
}

// client is what the Controller reads and writes with.
func (m *manager) client() client.Client {
	var creating sync.Mutex
	return interceptor.NewClient(m.api, interceptor.Funcs{
		Get: func(ctx context.Context, _ client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return m.cache().Get(ctx, k, o, opts...)
		},
		List: func(ctx context.Context, _ client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if m.faults.list != nil {
				if err := m.faults.list(list); err != nil {
					return err
				}
			}
			if err := m.list(ctx, list, opts...); err != nil {
				return err
			}
			if jobs, ok := list.(*batchv1.JobList); ok && m.faults.shows != nil {
				jobs.Items = slices.DeleteFunc(jobs.Items, func(j batchv1.Job) bool { return !m.faults.shows(&j) })
			}
			return nil
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			create := func() error { return c.Create(ctx, o, opts...) }
			job, ok := o.(*batchv1.Job)
			if dry := len((&client.CreateOptions{}).ApplyOptions(opts).DryRun) > 0; !ok || dry || m.faults.create == nil {
				return create()
			}
			creating.Lock()
			defer creating.Unlock()
			return m.faults.create(job, create)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if job, ok := o.(*batchv1.Job); ok && m.faults.remove != nil {
				if err := m.faults.remove(job); err != nil {
					return err
				}
			}
			return c.Delete(ctx, o, opts...)
		},
		SubResourcePatch: func(
			ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption,
		) error {
			write := func() error {
				err := c.SubResource(sub).Patch(ctx, o, patch, opts...)
				if err == nil {
					m.statusWrites++
				}
				return err
			}
			if m.faults.status != nil {
				return m.faults.status(write)
			}
			return write()
		},
	})
}

func (m *manager) cache() client.Reader {
	if m.frozen != nil {
		return m.frozen
	}
	return m.api
}

// list reads from the cache. A fake client takes its time to make a list, so each is kept until something is written.
func (m *manager) list(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if now := m.writes.Load(); now != m.listedAt {
		m.listedAt, m.lists = now, map[string]runtime.Object{}
	}
	asked := fmt.Sprintf("%T %v", list, opts)
	kept, ok := m.lists[asked]
	if !ok {
		if err := m.cache().List(ctx, list, opts...); err != nil {
			return err
		}
		kept = list.DeepCopyObject()
		m.lists[asked] = kept
	}
	reflect.ValueOf(list).Elem().Set(reflect.ValueOf(kept.DeepCopyObject()).Elem())
	return nil
}

// freeze has the manager's cache show from now on what is now.
func (m *manager) freeze() {
	m.t.Helper()
	var objects []client.Object
	for _, list := range []client.ObjectList{
		&v1alpha1.ScaledJobList{}, &batchv1.JobList{}, &corev1.PodList{}, &corev1.SecretList{}, &corev1.NamespaceList{},
	} {
		m.must(m.api.List(m.t.Context(), list))
		m.must(meta.EachListItem(list, func(o runtime.Object) error {
			objects = append(objects, o.(client.Object))
			return nil
		}))
	}
	m.frozen = newStore(m.t, objects...)
	m.writes.Add(1)
}

// thaw has the manager's cache catch up.
func (m *manager) thaw() {
	m.frozen = nil
	m.writes.Add(1)
}

// liveReader reads from the API server.
type liveReader struct{ *manager }

func (r liveReader) Get(ctx context.Context, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if r.faults.live != nil {
		if err := r.faults.live(o); err != nil {
			return err
		}
	}
	return r.api.Get(ctx, k, o, opts...)
}

func (r liveReader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return r.api.List(ctx, list, opts...)
}

// try makes a pass, which may fail, and lets the meter do what it was asked for.
func (m *manager) try() (reconcile.Result, error) {
	m.t.Helper()
	result, err := m.controller.Reconcile(m.t.Context(), request)
	synctest.Wait()
	if err == nil && result.RequeueAfter <= 0 {
		if getErr := m.api.Get(m.t.Context(), key, &v1alpha1.ScaledJob{}); getErr == nil {
			m.t.Fatalf("after a pass none is due: %+v", result)
		}
	}
	return result, err
}

// pass makes a pass that succeeds.
func (m *manager) pass() reconcile.Result {
	m.t.Helper()
	result, err := m.try()
	m.must(err)
	return result
}

// passes makes several passes that succeed, a moment apart: enough of them for the cache to show what was created, for a
// question to be asked and answered, and for a decision.
func (m *manager) passes(n int) {
	m.t.Helper()
	for range n {
		m.pass()
		m.step(between)
	}
}

// arrive has messages come and the meter see them, so that the next pass decides on them.
func (m *manager) arrive(n int64) {
	m.t.Helper()
	m.settle()
	m.broker.put(videos, n)
	m.step(time.Second) // the polling interval
}

// follow makes passes as the work queue does, for as long as given: when the controller says that one is due, and when the
// meter tells something new.
func (m *manager) follow(d time.Duration) {
	m.t.Helper()
	end := m.clock.Now().Add(d)
	for m.clock.Now().Before(end) {
		m.woken.Store(false)
		due := m.clock.Now().Add(m.pass().RequeueAfter)
		m.step(between)
		for m.clock.Now().Before(due) && m.clock.Now().Before(end) && !m.woken.Load() {
			m.step(min(100*time.Millisecond, due.Sub(m.clock.Now())))
		}
	}
}

// settle makes passes until nothing more can come of what is so now, status among it.
func (m *manager) settle() {
	m.t.Helper()
	m.passes(5)
	m.step(time.Second) // the least time between two status writes
	m.passes(2)
}

// recorder keeps the events that it is given.
type recorder struct {
	mu   sync.Mutex
	sent []event
}

type event struct{ Type, Reason, Note string }

func (r *recorder) Eventf(_, _ runtime.Object, kind, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, event{kind, reason, fmt.Sprintf(note, args...)})
}

// of lists the events of a reason.
func (r *recorder) of(reason string) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var events []event
	for _, e := range r.sent {
		if e.Reason == reason {
			events = append(events, e)
		}
	}
	return events
}

// broker is a broker whose counts the test sets. It plays a Redis server: lists, whose held messages are known, and live,
// where they have a processing list.
type broker struct {
	mu     sync.Mutex
	queues map[string]backlog
	// broken are errors of single queues, down one of the whole connection.
	broken map[string]error
	down   error
	// late are the servers whose answers are held back, each until its channel is closed.
	late map[string]chan struct{}
	// passwords are those with which it was connected to.
	passwords []string
	reads     int
	// latency is how long each answer takes by the clock.
	latency time.Duration
	clock   *clocktesting.FakeClock
}

type backlog struct{ waiting, held int64 }

// set says what a queue shows.
func (b *broker) set(queue string, waiting, held int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queues[queue] = backlog{waiting, held}
}

// take has workers take n waiting messages and hold them.
func (b *broker) take(queue string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queues[queue]
	b.queues[queue] = backlog{q.waiting - n, q.held + n}
}

// acknowledge has workers acknowledge n held messages.
func (b *broker) acknowledge(queue string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queues[queue]
	b.queues[queue] = backlog{q.waiting, q.held - n}
}

// giveBack has n held messages wait again.
func (b *broker) giveBack(queue string, n int64) { b.take(queue, -n) }

// put adds n messages.
func (b *broker) put(queue string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queues[queue]
	b.queues[queue] = backlog{q.waiting + n, q.held}
}

// fail has a queue fail, or all of them where none is named; nil mends it.
func (b *broker) fail(queue string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if queue == "" {
		b.down = err
	} else {
		b.broken[queue] = err
	}
}

// delay has the answers of a server take until the returned function is called. They tell what was so when asked for.
func (b *broker) delay(server string) (deliver func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	gate := make(chan struct{})
	if b.late == nil {
		b.late = map[string]chan struct{}{}
	}
	b.late[server] = gate
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.late, server)
		close(gate)
	}
}

// slow has each answer take so long.
func (b *broker) slow(latency time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latency = latency
}

func (b *broker) readings() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reads
}

// kinds are the kinds of triggers that the managers know.
func (b *broker) kinds() []resolve.Kind {
	return []resolve.Kind{
		resolve.KindOf("redisList", func(t *v1alpha1.Trigger) *v1alpha1.RedisListTrigger { return t.RedisList }, b.source),
		resolve.KindOf("cron", func(t *v1alpha1.Trigger) *v1alpha1.CronTrigger { return t.Cron }, cron.Source),
	}
}

func (b *broker) source(spec *v1alpha1.RedisListTrigger, secrets trigger.Secrets) (trigger.Source, error) {
	password := ""
	if ref := spec.Password; ref != nil {
		var err error
		if password, err = secrets(ref.Name, ref.Key); err != nil {
			return trigger.Source{}, err
		}
	}
	server := spec.Addresses[0]
	return trigger.Source{
		Endpoint: fmt.Sprintf("%s#%x", server, sha256.Sum256([]byte(password))),
		Queue:    trigger.Queue{Name: spec.List, Beside: spec.ProcessingList},
		Open: func(context.Context) (trigger.Reader, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.passwords = append(b.passwords, password)
			return reader{b, server}, nil
		},
	}, nil
}

// reader is a connection to one server.
type reader struct {
	*broker
	server string
}

func (r reader) Read(ctx context.Context, queues []trigger.Queue) ([]trigger.Result, error) {
	r.mu.Lock()
	r.reads++
	results, err := r.answer(queues), r.down
	gate, latency := r.late[r.server], r.latency
	r.mu.Unlock()
	if latency > 0 {
		timer := r.clock.NewTimer(latency)
		select {
		case <-timer.C():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return results, err
}

func (r reader) answer(queues []trigger.Queue) []trigger.Result {
	results := make([]trigger.Result, 0, len(queues))
	for _, q := range queues {
		if err := r.broken[q.Name]; err != nil {
			results = append(results, trigger.Result{Err: err})
			continue
		}
		shown := trigger.Backlog{Waiting: r.queues[q.Name].waiting}
		if q.Beside != "" {
			shown.Held, shown.HeldKnown, shown.HeldLive = r.queues[q.Name].held, true, !strings.HasSuffix(q.Beside, ":stale")
			if !shown.HeldLive {
				shown.Held = 0
			}
		}
		results = append(results, trigger.Result{Backlog: shown})
	}
	return results
}

func (r reader) Close() error { return nil }

// newScaledJob is a ScaledJob as the API server hands it out: with its defaults, and one list as its trigger.
func newScaledJob(changes ...func(*v1alpha1.ScaledJob)) *v1alpha1.ScaledJob {
	sj := &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Generation: 1},
		Spec: v1alpha1.ScaledJobSpec{
			Triggers:                   []v1alpha1.Trigger{list(videos)},
			MaxParallelism:             ptr.To[int32](100),
			MinParallelism:             ptr.To[int32](0),
			PollingInterval:            &metav1.Duration{Duration: time.Second},
			Combine:                    v1alpha1.CombineSum,
			Strategy:                   &v1alpha1.Strategy{Type: v1alpha1.StrategyAuto},
			SettlingTime:               &metav1.Duration{Duration: 10 * time.Second},
			SuccessfulJobsHistoryLimit: ptr.To[int32](10),
			FailedJobsHistoryLimit:     ptr.To[int32](10),
			Suspend:                    ptr.To(false),
			Rollout:                    &v1alpha1.Rollout{Strategy: v1alpha1.RolloutGradual},
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "worker", Image: "worker:1"}}},
			}}},
		},
	}
	for _, change := range changes {
		change(sj)
	}
	return sj
}

// list is a trigger that is a list of which only what waits is known.
func list(queue string) v1alpha1.Trigger {
	return v1alpha1.Trigger{
		Name:                queue,
		MessagesPerJob:      ptr.To[int32](1),
		Acknowledge:         v1alpha1.AcknowledgeAfterWork,
		ActivationThreshold: ptr.To[int64](0),
		RedisList: &v1alpha1.RedisListTrigger{
			RedisConnection: v1alpha1.RedisConnection{Addresses: []string{"redis:6379"}},
			List:            queue,
		},
	}
}

// held is a list of which what is held is known as well, live.
func held(queue string) v1alpha1.Trigger {
	t := list(queue)
	t.RedisList.ProcessingList = queue + ":processing"
	return t
}

// stale is a list of which what is held is shown, long after.
func stale(queue string) v1alpha1.Trigger {
	t := list(queue)
	t.RedisList.ProcessingList = queue + ":stale"
	return t
}

// scheduled is a trigger that is a schedule.
func scheduled(schedule string, jobs int32) v1alpha1.Trigger {
	t := list("cron")
	t.RedisList, t.Cron = nil, &v1alpha1.CronTrigger{Schedule: schedule, TimeZone: "Etc/UTC", Jobs: &jobs}
	return t
}

// triggers replaces the triggers of a ScaledJob.
func triggers(ts ...v1alpha1.Trigger) func(*v1alpha1.ScaledJob) {
	return func(sj *v1alpha1.ScaledJob) { sj.Spec.Triggers = ts }
}

// parallelism sets the least and the most Jobs of a ScaledJob.
func parallelism(least, most int32) func(*v1alpha1.ScaledJob) {
	return func(sj *v1alpha1.ScaledJob) { sj.Spec.MinParallelism, sj.Spec.MaxParallelism = &least, &most }
}

// foreignJob is a Job that looks like one of the ScaledJob's, and is another's.
func foreignJob(called string, marks labels.Set) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: called, Labels: marks}}
}
