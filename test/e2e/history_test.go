package e2e_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
)

// down is for how long the history cannot be written. Jobs that ended at its beginning are old enough to be cleared away long
// before its end: each is kept for 30 s at least.
const down = time.Minute

func TestEachJobIsRecordedOnceThoughTheManagerIsKilled(t *testing.T) { //nolint:paralleltest // as the other scenarios
	s := stages.get(t)
	const jobs, kills = 500, 20
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	m := s.startManager(t, "0")
	r := s.shortJobs(ctx, t, redisList(t, true), v1alpha1.ScaledJobSpec{MaxParallelism: ptr.To[int32](20), SuccessfulJobsHistoryLimit: ptr.To[int32](10)})
	r.put(ctx, t, jobs)
	for i := range kills {
		r.awaitEnded(ctx, t, (2*i+1)*jobs/(2*kills))
		m.kill()
		m = s.startManager(t, fmt.Sprint(i+1))
	}
	// Not opened before: a file that somebody has open is not found as a process that was killed has left it.
	records := s.openHistory(ctx, t)
	r.awaitRecorded(ctx, t, records, jobs)
	r.checkRecords(ctx, t, records)
}

func TestJobsGoOnAndWaitForTheirRecordsWhileTheHistoryCannotBeWritten(t *testing.T) { //nolint:paralleltest // as the others
	s := stages.get(t)
	const atFirst, meanwhile = 10, 20
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	s.startManager(t, "a")
	r := s.shortJobs(ctx, t, redisList(t, true), v1alpha1.ScaledJobSpec{MaxParallelism: ptr.To[int32](5), SuccessfulJobsHistoryLimit: ptr.To[int32](0)})
	records := s.openHistory(ctx, t)
	r.put(ctx, t, atFirst)
	r.awaitRecorded(ctx, t, records, atFirst)
	r.awaitCondition(ctx, t, metav1.ConditionTrue, v1alpha1.ReasonRecordsStored)

	release := s.lockHistory(ctx, t)
	r.put(ctx, t, meanwhile)
	r.awaitEnded(ctx, t, atFirst+meanwhile)
	end := time.Now().Add(down)
	r.awaitCondition(ctx, t, metav1.ConditionFalse, v1alpha1.ReasonStoreUnavailable)
	for ended := r.ended(); time.Now().Before(end); ended++ {
		r.put(ctx, t, 1)
		r.awaitEnded(ctx, t, ended+1)
		if c := r.recorded(ctx, t); c.Status != metav1.ConditionFalse {
			t.Fatalf("the history cannot be written, and it is said: %+v", c)
		}
	}
	// A pass that dispatches also looks which Jobs are beyond the limit.
	r.put(ctx, t, meanwhile)
	r.awaitEnded(ctx, t, r.messages)
	stored := r.stored(ctx, t, records)
	if len(stored) != atFirst {
		t.Errorf("%d Jobs are recorded in a history that cannot be written, %d before", len(stored), atFirst)
	}
	for uid := range r.deleted() {
		if _, ok := stored[uid]; !ok {
			t.Errorf("Job %s is cleared away and not recorded", uid)
		}
	}

	release()
	r.awaitRecorded(ctx, t, records, r.messages)
	r.awaitCondition(ctx, t, metav1.ConditionTrue, v1alpha1.ReasonRecordsStored)
	r.checkRecords(ctx, t, records)
	err := wait(ctx, time.Minute, "the Jobs to be cleared away that waited for their records", func() (bool, error) {
		return len(r.deleted()) >= atFirst+meanwhile, nil
	})
	if err != nil {
		t.Errorf("%v: %d of %d are", err, len(r.deleted()), atFirst+meanwhile)
	}
}

// shortRun is a ScaledJob whose Jobs take moments, and what comes of it.
type shortRun struct {
	*account
	s         *stage
	namespace string
	output    string
	queue     queue
	messages  int // that were put
}

// shortJobs creates a ScaledJob of which each Job takes one message and some 100 ms.
func (s *stage) shortJobs(ctx context.Context, t *testing.T, q queue, spec v1alpha1.ScaledJobSpec) *shortRun {
	t.Helper()
	namespace := s.namespace(ctx, t, "history")
	r := &shortRun{
		account: follow(ctx, t, s.client, namespace), s: s, namespace: namespace,
		output: filepath.Join(s.dir, "out", namespace), queue: q,
	}
	if err := os.MkdirAll(r.output, 0o700); err != nil {
		t.Fatal(err)
	}
	spec.Triggers = []v1alpha1.Trigger{r.queue.trigger}
	spec.FailedJobsHistoryLimit = spec.SuccessfulJobsHistoryLimit
	spec.JobTemplate = batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{
		BackoffLimit: ptr.To[int32](0),
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "worker", Image: "none", Command: []string{"transcode-worker"},
				Env: append([]corev1.EnvVar{
					{Name: "QUEUE_URI", Value: r.queue.secret["uri"]},
					{Name: "START_DELAY", Value: "50ms"},
					{Name: "WAIT", Value: "1s"},
					{Name: "ENCODER", Value: "builtin"},
				}, r.queue.env...),
			}},
		}},
	}}
	sj := &v1alpha1.ScaledJob{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "short"}, Spec: spec}
	if err := s.client.Create(ctx, sj); err != nil {
		t.Fatal(err)
	}
	return r
}

// put puts so many more messages.
func (r *shortRun) put(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	texts, err := orders(r.s.clip, r.output, r.messages+1, r.messages+n)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.queue.put(ctx, texts); err != nil {
		t.Fatal(err)
	}
	r.messages += n
}

// ended is how many Jobs have ended: the pods of how many.
func (r *shortRun) ended() int { return len(r.jobsThat(podSucceeded, podFailed)) }

// deleted are the Jobs that are gone.
func (r *shortRun) deleted() map[types.UID]bool { return r.jobsThat(jobDeleted) }

func (r *shortRun) jobsThat(changes ...change) map[types.UID]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	jobs := map[types.UID]bool{}
	for _, e := range r.events {
		if slices.Contains(changes, e.change) {
			jobs[e.job] = true
		}
	}
	return jobs
}

// awaitEnded waits until so many Jobs have ended.
func (r *shortRun) awaitEnded(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	err := wait(ctx, time.Minute, fmt.Sprintf("%d Jobs to have ended", n), func() (bool, error) { return r.ended() >= n, nil })
	if err != nil {
		t.Fatalf("%v: %d of %d have", err, r.ended(), r.created())
	}
}

// recorded is what the ScaledJob says of its records.
func (r *shortRun) recorded(ctx context.Context, t *testing.T) metav1.Condition {
	t.Helper()
	var sj v1alpha1.ScaledJob
	if err := r.s.client.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: "short"}, &sj); err != nil {
		t.Fatal(err)
	}
	return ptr.Deref(meta.FindStatusCondition(sj.Status.Conditions, v1alpha1.ConditionRecorded), metav1.Condition{})
}

// awaitCondition waits until the ScaledJob says so of its records.
func (r *shortRun) awaitCondition(ctx context.Context, t *testing.T, status metav1.ConditionStatus, reason string) {
	t.Helper()
	var c metav1.Condition
	err := wait(ctx, time.Minute, "the condition Recorded to be "+string(status), func() (bool, error) {
		c = r.recorded(ctx, t)
		return c.Status == status && c.Reason == reason, nil
	})
	if err != nil {
		t.Fatalf("%v: it is %+v", err, c)
	}
}

// stored are the records of the Jobs that have ended.
func (r *shortRun) stored(ctx context.Context, t *testing.T, records *store.Store) map[types.UID]history.Record {
	t.Helper()
	return stored(ctx, t, records, r.namespace)
}

// stored are the records of the Jobs in a namespace that have ended.
func stored(ctx context.Context, t *testing.T, records *store.Store, namespace string) map[types.UID]history.Record {
	t.Helper()
	stored := map[types.UID]history.Record{}
	for _, record := range recordsIn(ctx, t, records, namespace) {
		if record.Ended() {
			stored[types.UID(record.UID)] = record
		}
	}
	return stored
}

func recordsIn(ctx context.Context, t *testing.T, records *store.Store, namespace string) []history.Record {
	t.Helper()
	page, err := records.List(ctx, store.Query{Namespaces: []string{namespace}, Limit: store.MaxBatch})
	if err != nil {
		t.Fatal(err)
	}
	if page.Next != "" {
		t.Fatalf("there are more than %d records", len(page.Records))
	}
	return page.Records
}

// awaitRecorded waits until the records of so many Jobs say how these ended.
func (r *shortRun) awaitRecorded(ctx context.Context, t *testing.T, records *store.Store, n int) {
	t.Helper()
	err := wait(ctx, time.Minute, fmt.Sprintf("%d Jobs to be recorded", n), func() (bool, error) {
		return len(r.stored(ctx, t, records)) >= n, nil
	})
	if err != nil {
		t.Fatalf("%v: %d of %d are", err, len(r.stored(ctx, t, records)), r.created())
	}
}

// checkRecords finds that each message had a Job that succeeded at once, and each Job that there was one record.
func (r *shortRun) checkRecords(ctx context.Context, t *testing.T, records *store.Store) {
	t.Helper()
	all := recordsIn(ctx, t, records, r.namespace)
	if len(all) != r.messages {
		t.Errorf("%d records of %d messages", len(all), r.messages)
	}
	uids, sequences, done := map[types.UID]bool{}, map[int64]bool{}, map[string]bool{}
	for _, record := range all {
		uids[types.UID(record.UID)], sequences[record.Sequence], done[record.MessageID] = true, true, true
		if record.Outcome != history.Succeeded || len(record.Attempts) != 1 || !record.Attempts[0].Succeeded ||
			record.Started == nil || record.Finished == nil {
			t.Errorf("a record is not that of a Job that succeeded in one attempt: %+v", record)
		}
	}
	r.mu.Lock()
	created := maps.Clone(r.jobs)
	r.mu.Unlock()
	if diff := cmp.Diff(created, uids); diff != "" {
		t.Errorf("the Jobs that are recorded (-created +recorded):\n%s", diff)
	}
	if len(sequences) != r.messages || len(done) != r.messages || done[""] {
		t.Errorf("the records have %d sequences and %d messages of %d", len(sequences), len(done), r.messages)
	}
}

// openHistory opens the managers' file beside them.
func (s *stage) openHistory(ctx context.Context, t *testing.T) *store.Store {
	t.Helper()
	records, err := store.Open(ctx, store.Options{SQLite: s.history()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := records.Close(); err != nil {
			t.Error(err)
		}
	})
	return records
}

// lockHistory keeps all others from writing to the managers' file, as a backup would that does not end, until it is
// released.
func (s *stage) lockHistory(ctx context.Context, t *testing.T) (release func()) {
	t.Helper()
	u := url.URL{Scheme: "file", Path: s.history(), RawQuery: url.Values{"_pragma": {"busy_timeout(10000)"}}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	connection, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connection.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := connection.ExecContext(ctx, "ROLLBACK"); err != nil {
			t.Error(err)
		}
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
	}
}
