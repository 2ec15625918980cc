package recorder_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/recorder"
	"github.com/longhaul-dev/longhaul/history/store"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

// The tests tell a Recorder what a cache would, with a real store, a cluster that is a fake client, and a clock that they step.

const (
	namespace = "media"
	name      = "transcode"
	podIndex  = "controller"
)

var epoch = time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)

// world is what recorders share.
type world struct {
	t       *testing.T
	cluster client.Client
	store   *flaky
	clock   *clocktesting.FakeClock
	logs    recorder.LogReader
	woken   []types.NamespacedName
	shared  *v1alpha1.ScaledJob
}

// flaky is a store that can be told to fail.
type flaky struct {
	*store.Store
	mu    sync.Mutex
	down  error
	saves int
	// during is called while a batch is being saved; nil for nothing.
	during func()
}

func (f *flaky) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

func (f *flaky) failing() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (f *flaky) Save(ctx context.Context, records []history.Record) error {
	if err := f.failing(); err != nil {
		return err
	}
	f.mu.Lock()
	f.saves++
	f.mu.Unlock()
	if f.during != nil {
		f.during()
	}
	return f.Store.Save(ctx, records)
}

func (f *flaky) Known(ctx context.Context, uids []string) ([]history.Record, error) {
	if err := f.failing(); err != nil {
		return nil, err
	}
	return f.Store.Known(ctx, uids)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kept, err := store.Open(t.Context(), store.Options{SQLite: filepath.Join(t.TempDir(), "history.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close() })
	scheme := runtime.NewScheme()
	if err := errors.Join(batchv1.AddToScheme(scheme), corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: &flaky{Store: kept}, clock: clocktesting.NewFakeClock(epoch)}
	w.cluster = fake.NewClientBuilder().WithScheme(scheme).WithIndex(&corev1.Pod{}, podIndex, func(o client.Object) []string {
		if owner := metav1.GetControllerOf(o); owner != nil {
			return []string{string(owner.UID)}
		}
		return nil
	}).Build()
	w.shared = &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "scaledjob"},
		Spec:       v1alpha1.ScaledJobSpec{Rollout: &v1alpha1.Rollout{Strategy: v1alpha1.RolloutGradual}},
	}
	w.create(w.shared)
	return w
}

// start returns a recorder as a manager has one that starts now.
func (w *world) start() *recorder.Recorder {
	w.t.Helper()
	measured, err := recorder.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	return recorder.New(recorder.Options{
		Store: w.store, Cache: w.cluster, PodIndex: podIndex, Live: w.cluster, Logs: w.logs, Log: logr.Discard(), Clock: w.clock, Metrics: measured,
		Selects: func(_ context.Context, namespace string) (bool, error) { return namespace == "media", nil },
		Keeps:   func(_ context.Context, namespace string) (bool, error) { return namespace != "elsewhere", nil },
		Wake:    func(name types.NamespacedName) { w.woken = append(w.woken, name) },
	})
}

func (w *world) create(o client.Object) {
	w.t.Helper()
	if err := w.cluster.Create(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

// job is the ScaledJob's with a sequence, dispatched now for a message seen 3 s ago.
func (w *world) job(sequence int64) *batchv1.Job {
	w.t.Helper()
	revision, err := jobtemplate.Revision(&w.shared.Spec.JobTemplate)
	if err != nil {
		w.t.Fatal(err)
	}
	now := w.clock.Now()
	job := jobtemplate.Job(w.shared, revision, jobtemplate.Order{Sequence: sequence, Trigger: "videos", Seen: now.Add(-3 * time.Second), Created: now})
	job.UID, job.CreationTimestamp = types.UID(fmt.Sprintf("job-%d", sequence)), metav1.NewTime(now.Truncate(time.Second))
	w.create(job)
	return job
}

// pod is one of a Job's that runs from now on.
func (w *world) pod(job *batchv1.Job, name string) *corev1.Pod {
	w.t.Helper()
	now := metav1.NewTime(w.clock.Now())
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: job.Namespace, Name: name, UID: types.UID("uid-" + name), CreationTimestamp: now,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))},
		},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "worker", Image: "worker:1"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "worker", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		}}},
	}
	w.create(pod)
	return pod
}

// exit has a pod end.
func (w *world) exit(pod *corev1.Pod, code int32, message string) *corev1.Pod {
	w.t.Helper()
	status := &pod.Status.ContainerStatuses[0]
	started := pod.CreationTimestamp
	pod.Status.Phase = corev1.PodSucceeded
	if code != 0 {
		pod.Status.Phase = corev1.PodFailed
	}
	status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Message: message, StartedAt: started, FinishedAt: metav1.NewTime(w.clock.Now()),
	}}
	w.updateStatus(pod)
	return pod
}

// finish has a Job end as the Job controller has it.
func (w *world) finish(job *batchv1.Job, kind batchv1.JobConditionType) *batchv1.Job {
	w.t.Helper()
	job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.clock.Now())}}
	if kind == batchv1.JobComplete {
		job.Status.Succeeded = 1
	} else {
		job.Status.Failed = 1
	}
	w.updateStatus(job)
	return job
}

func (w *world) update(o client.Object) {
	w.t.Helper()
	if err := w.cluster.Update(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) updateStatus(o client.Object) {
	w.t.Helper()
	if err := w.cluster.Status().Update(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) delete(o client.Object) {
	w.t.Helper()
	if err := w.cluster.Delete(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) see(r *recorder.Recorder, objects ...client.Object) {
	w.t.Helper()
	w.told(r, false, objects...)
}

func (w *world) told(r *recorder.Recorder, initial bool, objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		var err error
		switch o := o.(type) {
		case *batchv1.Job:
			err = r.SeeJob(w.t.Context(), o.DeepCopy(), initial)
		case *corev1.Pod:
			err = r.SeePod(w.t.Context(), o.DeepCopy())
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) flush(r *recorder.Recorder) {
	w.t.Helper()
	if _, err := r.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// records are what the store holds, newest first, each as a line.
func (w *world) records() []string {
	w.t.Helper()
	page, err := w.store.List(w.t.Context(), store.Query{Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	var lines []string
	for i := range page.Records {
		r := &page.Records[i]
		line := fmt.Sprintf("%s %s %s", r.Job, r.Outcome, r.Category)
		for _, a := range r.Attempts {
			line += fmt.Sprintf(", %s", a.Pod)
			if a.ExitCode != nil {
				line += fmt.Sprintf(" exit %d", *a.ExitCode)
			}
			if a.LogTail != "" {
				line += fmt.Sprintf(" log %q", a.LogTail)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func (w *world) want(lines ...string) {
	w.t.Helper()
	if diff := cmp.Diff(lines, w.records()); diff != "" {
		w.t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestWhatChangesWhileARecordIsBeingSavedIsSavedNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	job := w.job(1)
	w.see(r, job)
	w.store.during = func() {
		w.store.during = nil
		w.see(r, w.finish(job, batchv1.JobComplete))
		w.clock.Step(20 * time.Second) // no pod of it will tell more
	}
	w.flush(r)
	w.want("transcode-000001  ")
	w.flush(r)
	w.want("transcode-000001 succeeded Succeeded")
}

func TestTroubleEndsThoughAllIsStoredAlready(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	job := w.finish(w.job(1), batchv1.JobComplete)
	w.see(r, job)
	w.clock.Step(20 * time.Second)
	w.flush(r)
	w.want("transcode-000001 succeeded Succeeded")
	// The next manager has nothing to save, and cannot know that until the store answers.
	r = w.start()
	w.told(r, true, job)
	w.store.fail(errors.New("no space left on device"))
	if _, err := r.Flush(t.Context()); err == nil || r.Trouble() == nil {
		t.Fatalf("the store is down: flushing says %v, and trouble is %v", err, r.Trouble())
	}
	w.store.fail(nil)
	w.flush(r)
	if err := r.Trouble(); err != nil {
		t.Errorf("the store is back, and trouble is still %v", err)
	}
}

func TestAJobIsRecordedFromItsDispatchToItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	job := w.job(1)
	w.see(r, job)
	w.flush(r)
	w.want("transcode-000001  ")
	if r.Stored(job.UID) {
		t.Error("a Job that runs counts as recorded")
	}
	pod := w.pod(job, "a")
	w.see(r, pod)
	w.clock.Step(5 * time.Second)
	w.see(r, w.exit(pod, 0, `{"messageID":"8141"}`))
	w.see(r, w.finish(job, batchv1.JobComplete))
	if r.Stored(job.UID) {
		t.Error("a Job counts as recorded before its record is stored")
	}
	w.flush(r)
	w.want("transcode-000001 succeeded Succeeded, a exit 0")
	if !r.Stored(job.UID) {
		t.Error("a Job whose record is stored does not count as recorded")
	}
	if diff := cmp.Diff([]types.NamespacedName{{Namespace: namespace, Name: name}}, w.woken); diff != "" {
		t.Errorf("woken, that the Job be cleared away (-want +got):\n%s", diff)
	}
	record, err := w.store.Get(t.Context(), namespace, name, 1)
	if err != nil {
		t.Fatal(err)
	}
	run, _ := record.Run()
	if record.MessageID != "8141" || record.Trigger != "videos" || record.Wait() != 3*time.Second || run != 5*time.Second {
		t.Errorf("the record says %+v", record)
	}
}

func TestTheEndWaitsForWhatPodsTellButNotForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	job := w.job(1)
	pod := w.pod(job, "a")
	w.see(r, job, pod)
	w.flush(r)
	w.see(r, w.finish(job, batchv1.JobFailed))
	w.flush(r)
	w.want("transcode-000001  , a")
	again, err := r.Flush(t.Context())
	if err != nil || again <= 0 {
		t.Fatalf("the recorder wants to look again in %v (%v), though an end waits", again, err)
	}
	w.clock.Step(again)
	w.flush(r)
	w.want("transcode-000001 failed Failed, a")
	if !r.Stored(job.UID) {
		t.Error("a Job of whose pod nobody tells any more is kept for ever")
	}
}

func TestWhileTheStoreIsDownNothingCountsAsRecordedAndNothingIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	w.store.fail(errors.New("no space left on device"))
	var jobs []*batchv1.Job
	for n := int64(1); n <= 3; n++ {
		job := w.job(n)
		pod := w.exit(w.pod(job, fmt.Sprint("p", n)), 0, "")
		w.see(r, w.finish(job, batchv1.JobComplete), pod)
		jobs = append(jobs, job)
	}
	if _, err := r.Flush(t.Context()); err == nil || r.Trouble() == nil {
		t.Errorf("the store fails, and the recorder says %v and %v", err, r.Trouble())
	}
	if slices.ContainsFunc(jobs, func(j *batchv1.Job) bool { return r.Stored(j.UID) }) {
		t.Error("a Job counts as recorded that is not")
	}
	// One is cleared away all the same, since too many wait.
	w.delete(jobs[0])
	if err := r.SeeJobGone(t.Context(), jobs[0]); err != nil {
		t.Fatal(err)
	}
	w.store.fail(nil)
	w.flush(r)
	w.want("transcode-000003 succeeded Succeeded, p3 exit 0", "transcode-000002 succeeded Succeeded, p2 exit 0", "transcode-000001 succeeded Succeeded, p1 exit 0")
	if r.Trouble() != nil || !r.Stored(jobs[2].UID) {
		t.Errorf("the store is back: trouble %v, recorded %v", r.Trouble(), r.Stored(jobs[2].UID))
	}
}

func TestTroubleEndsWhenSomethingIsStoredAndAllAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	running := w.job(1)
	w.see(r, running, w.pod(running, "a"))
	w.flush(r)
	w.woken = nil
	w.store.fail(errors.New("no space left on device"))
	w.see(r, w.job(2))
	if _, err := r.Flush(t.Context()); err == nil {
		t.Fatal("the store does not fail")
	}
	if len(w.woken) == 0 {
		t.Error("trouble begins, and no ScaledJob is told")
	}
	// An end that waits for its pod is nothing that was stored.
	w.store.fail(nil)
	w.flush(r)
	w.store.fail(errors.New("no space left on device"))
	w.see(r, w.job(3))
	_, _ = r.Flush(t.Context())
	w.see(r, w.finish(running, batchv1.JobFailed))
	for range 3 {
		_, _ = r.Flush(t.Context())
	}
	if r.Trouble() == nil {
		t.Error("all is said to be well though nothing was stored")
	}
	w.woken = nil
	w.store.fail(nil)
	w.flush(r)
	if r.Trouble() != nil || len(w.woken) == 0 {
		t.Errorf("the store is back: trouble %v, woken %v", r.Trouble(), w.woken)
	}
}

func TestAManagerThatComesBackRecordsWhatHappenedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.start()
	ended, ran, deleted, lagging := w.job(1), w.job(2), w.job(3), w.job(4)
	first, second := w.pod(ran, "a"), w.pod(ended, "b")
	w.see(before, ended, ran, deleted, lagging, first, second)
	w.see(before, w.exit(first, 1, "no"))
	w.flush(before)

	// It is down. One Job finishes, one tries again, its first pod gone, and one is deleted.
	w.exit(second, 0, "")
	w.finish(ended, batchv1.JobComplete)
	w.delete(first)
	third := w.pod(ran, "c")
	w.delete(deleted)

	after := w.start()
	w.told(after, true, ended, ran, third, second) // the cache does not show the last Job yet
	if after.Stored(ended.UID) {
		t.Error("a Job counts as recorded before the store was asked")
	}
	if err := after.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.flush(after)
	w.want(
		"transcode-000004  ",
		"transcode-000003 cancelled Cancelled",
		"transcode-000002  , a exit 1, c",
		"transcode-000001 succeeded Succeeded, b exit 0",
	)
	w.see(after, w.exit(third, 0, ""))
	w.see(after, w.finish(ran, batchv1.JobComplete))
	w.flush(after)
	w.want(
		"transcode-000004  ",
		"transcode-000003 cancelled Cancelled",
		"transcode-000002 succeeded Succeeded, a exit 1, c exit 0",
		"transcode-000001 succeeded Succeeded, b exit 0",
	)
	// The next one finds all of it stored, and saves nothing.
	w.woken = nil
	last := w.start()
	w.told(last, true, ended, ran)
	w.flush(last)
	if !last.Stored(ended.UID) || !last.Stored(ran.UID) || len(w.woken) == 0 {
		t.Errorf("recorded: %v and %v; woken: %v", last.Stored(ended.UID), last.Stored(ran.UID), w.woken)
	}
}

func TestADeletedJobIsRecordedWithTheReason(t *testing.T) {
	t.Parallel()
	for story, c := range map[string]struct {
		meanwhile func(w *world)
		want      string
	}{
		"somebody deleted it":       {func(*world) {}, "transcode-000001 cancelled Cancelled, a"},
		"its ScaledJob was deleted": {func(w *world) { w.delete(w.shared) }, "transcode-000001 cancelled Cancelled, a"},
		"a rollout ended it": {func(w *world) {
			w.shared.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate
			w.shared.Spec.JobTemplate.Labels = map[string]string{"new": "template"}
			w.update(w.shared)
		}, "transcode-000001 cancelled Replaced, a"},
		"somebody deleted it though rollouts are immediate": {func(w *world) {
			w.shared.Spec.Rollout.Strategy = v1alpha1.RolloutImmediate
			w.update(w.shared)
		}, "transcode-000001 cancelled Cancelled, a"},
	} {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := w.start()
			job := w.job(1)
			w.see(r, job, w.pod(job, "a"))
			c.meanwhile(w)
			w.delete(job)
			if err := r.SeeJobGone(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			w.flush(r)
			w.want(c.want)
		})
	}
}

func TestTheLogOfAnAttemptThatFailedIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asked := make(chan string, 10)
	answer := make(chan string)
	w.logs = func(_ context.Context, namespace, pod, container string) (string, error) {
		asked <- namespace + "/" + pod + "/" + container
		if text := <-answer; text != "" {
			return text, nil
		}
		return "", errors.New("the node does not answer")
	}
	r := w.start()
	job := w.job(1)
	first, second := w.pod(job, "a"), w.pod(job, "b")
	w.see(r, job)
	w.see(r, w.exit(first, 1, ""), w.exit(second, 0, ""))
	w.see(r, w.exit(first, 1, ""), w.finish(job, batchv1.JobComplete))
	if got := <-asked; got != "media/a/worker" {
		t.Errorf("the log of %s was asked for", got)
	}
	w.flush(r)
	if r.Stored(job.UID) {
		t.Error("the Job may be cleared away, and its pod with it, while its log is being read")
	}
	answer <- "the last words"
	w.eventually(r, job)
	w.want(`transcode-000001 succeeded Succeeded, a exit 1 log "the last words", b exit 0`)

	unreadable := w.job(2)
	third := w.pod(unreadable, "c")
	w.see(r, unreadable)
	w.see(r, w.exit(third, 2, ""), w.finish(unreadable, batchv1.JobFailed))
	answer <- ""
	w.eventually(r, unreadable)
	record, err := w.store.Get(t.Context(), namespace, name, 2)
	if err != nil || record.Attempts[0].LogTail != "(the log could not be read: the node does not answer)" {
		t.Errorf("of a log that cannot be read it says %+v (%v)", record.Attempts, err)
	}
	if len(asked) > 1 {
		t.Errorf("%d logs more were asked for", len(asked)-1)
	}
}

func TestALogThatComesLateIsSavedOnceThoughItsJobIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answer := make(chan string)
	w.logs = func(context.Context, string, string, string) (string, error) { return <-answer, nil }
	r := w.start()
	job := w.job(1)
	pod := w.pod(job, "a")
	w.see(r, job)
	w.see(r, w.exit(pod, 1, ""), w.finish(job, batchv1.JobFailed))
	w.clock.Step(time.Minute) // nobody waits for a log for ever
	w.flush(r)
	w.delete(job)
	if err := r.SeeJobGone(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	answer <- "the last words"
	want := `transcode-000001 failed Failed, a exit 1 log "the last words"`
	for deadline := time.Now().Add(10 * time.Second); !slices.Contains(w.records(), want); w.flush(r) {
		if time.Now().After(deadline) {
			t.Fatalf("the records are %v", w.records())
		}
	}
	before := w.store.saves
	w.flush(r)
	w.flush(r)
	if w.store.saves != before {
		t.Errorf("it is saved %d times more", w.store.saves-before)
	}
}

// eventually flushes until a Job is recorded.
func (w *world) eventually(r *recorder.Recorder, job *batchv1.Job) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !r.Stored(job.UID); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("Job %s is not recorded", job.Name)
		}
		w.flush(r)
	}
}

func TestOtherPeoplesJobsAreNotRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	foreign := w.job(1)
	foreign.OwnerReferences[0].APIVersion = "batch/v1"
	elsewhere := w.job(2)
	elsewhere.Namespace = "another-managers"
	labelled := w.job(3)
	labelled.OwnerReferences = nil
	w.see(r, foreign, elsewhere, labelled)
	w.flush(r)
	w.want()
}

func TestRecordsThatCannotWaitAnyLongerAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	w.store.fail(errors.New("no space left on device"))
	job := w.job(1)
	w.see(r, w.finish(w.job(2), batchv1.JobComplete)) // exists, and waits
	const tooMany = 50_000 + 3
	for n := range tooMany {
		gone := job.DeepCopy()
		gone.UID = types.UID(fmt.Sprint("gone-", n))
		if err := r.SeeJobGone(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Flush(t.Context()); err == nil {
		t.Fatal("the store does not fail")
	}
	if got, want := fmt.Sprint(r.Trouble()), "saving 500 records: no space left on device; 3 records are lost"; got != want {
		t.Errorf("trouble: %s, want %s", got, want)
	}
}

func TestRecordsAreDroppedAsTheirScaledJobSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	w.shared.Spec.HistoryRetention = &v1alpha1.HistoryRetention{
		Succeeded: &v1alpha1.RetentionLimit{MaxAgeDays: 1},
		Failed:    &v1alpha1.RetentionLimit{MaxRecords: 1},
	}
	w.update(w.shared)
	finish := func(sequence int64, how batchv1.JobConditionType, exists bool) {
		job := w.job(sequence)
		w.see(r, w.finish(job, how))
		w.clock.Step(20 * time.Second) // no pod of it will tell more
		w.flush(r)
		if !exists {
			w.delete(job)
			if err := r.SeeJobGone(t.Context(), job); err != nil {
				t.Fatal(err)
			}
		}
	}
	finish(1, batchv1.JobComplete, false)
	finish(2, batchv1.JobComplete, true)
	finish(3, batchv1.JobFailed, false)
	finish(4, batchv1.JobFailed, true)
	w.clock.Step(25 * time.Hour)
	finish(5, batchv1.JobComplete, false)
	finish(6, batchv1.JobFailed, false)
	pruner := &recorder.Pruner{Recorder: r, Store: w.store.Store}
	prune := func() {
		if err := pruner.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	prune()
	w.want("transcode-000006 failed NeverStarted", "transcode-000005 succeeded Succeeded", "transcode-000004 failed NeverStarted", "transcode-000002 succeeded Succeeded")
	// Without its ScaledJob a record stays for 30 and 180 days.
	w.delete(w.shared)
	w.clock.Step(29 * 24 * time.Hour)
	prune()
	w.want("transcode-000006 failed NeverStarted", "transcode-000005 succeeded Succeeded", "transcode-000004 failed NeverStarted", "transcode-000002 succeeded Succeeded")
	w.clock.Step(2 * 24 * time.Hour)
	prune()
	w.want("transcode-000006 failed NeverStarted", "transcode-000004 failed NeverStarted", "transcode-000002 succeeded Succeeded")
	w.clock.Step(150 * 24 * time.Hour)
	prune()
	w.want("transcode-000004 failed NeverStarted", "transcode-000002 succeeded Succeeded")
}

func TestRecordsOfANamespaceThatIsGoneAreDroppedAndThoseOfAnotherManagersAreNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	finished := epoch.Add(time.Minute)
	for _, namespace := range []string{"gone", "elsewhere"} {
		err := w.store.Save(t.Context(), []history.Record{{
			UID: namespace, Namespace: namespace, ScaledJob: name, Sequence: 1, Job: jobtemplate.Name(name, 1), Created: epoch, Finished: &finished,
			Outcome: history.Succeeded, Category: history.CategorySucceeded,
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.clock.Step(31 * 24 * time.Hour)
	if err := (&recorder.Pruner{Recorder: r, Store: w.store.Store}).Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := w.store.List(t.Context(), store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, record := range page.Records {
		left = append(left, record.Namespace)
	}
	if diff := cmp.Diff([]string{"elsewhere"}, left); diff != "" {
		t.Errorf("whose records are left (-want +got):\n%s", diff)
	}
}
