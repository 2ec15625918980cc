// Package recorder writes down what becomes of each Job, while it happens.
//
// It watches the Jobs of ScaledJobs and their pods, keeps the record of each Job that exists in memory, and saves it to a
// store when there is something to keep: when the Job is new, when a pod of it has ended, and when it has ended itself. Saves
// are batched, and no pass over a ScaledJob waits for one. A record is stored when the store holds all of it; only then is
// its Job cleared away. While the store cannot be written, records wait in memory; a record is lost when too many wait whose
// Jobs are gone, which is counted and told, never silent.
//
// A Job whose record had not ended when a manager stopped, and that is gone when the next one starts, was deleted in between:
// its record ends as cancelled, and says that nobody saw how.
package recorder

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

const (
	// batch is how many records are saved at once at most.
	batch = 500
	// gather is how long a save waits for more records to go with it.
	gather = 50 * time.Millisecond
	// patience is how long the end of a record waits for what is told apart from the Job's own end: its pods' ends and logs.
	patience = 10 * time.Second
	// firstPause and lastPause are how long saving rests after a failure: longer each time.
	firstPause, lastPause = 100 * time.Millisecond, 10 * time.Second
	// saveTimeout bounds one request to the store.
	saveTimeout = 30 * time.Second
	// maxGone is how many records wait in memory whose Jobs are gone, some 2 KiB each.
	maxGone = 50_000
)

// Store keeps records. Its methods may be called concurrently.
type Store interface {
	// Save keeps records, all or none. One that has ended is not overwritten by one that has not.
	Save(ctx context.Context, records []history.Record) error
	// Known returns those that are kept of the Jobs with these UIDs.
	Known(ctx context.Context, uids []string) ([]history.Record, error)
	// Unfinished returns up to limit records that have not ended, and what the following call is given as after: the first
	// is given 0, and there are no more where it returns 0.
	Unfinished(ctx context.Context, after int64, limit int) (records []history.Record, next int64, err error)
}

// LogReader returns the end of a container's log.
type LogReader func(ctx context.Context, namespace, pod, container string) (string, error)

// Selects says whether something of a namespace is this manager's.
type Selects func(ctx context.Context, namespace string) (bool, error)

// Options are what a Recorder works with. All are required but Logs.
type Options struct {
	Store Store
	// Cache reads the Jobs, pods and ScaledJobs that are watched. Pods are indexed by their controller's UID as PodIndex.
	Cache    client.Reader
	PodIndex string
	// Live reads from the API server.
	Live client.Reader
	// Logs reads the logs of attempts that failed; nil leaves them out.
	Logs LogReader
	// Selects says which namespaces' Jobs are this manager's to record, and Keeps which namespaces' history is its to look
	// after: that of namespaces that are gone, too.
	Selects, Keeps Selects
	// Wake has a pass run over a ScaledJob: a Job of it may be cleared away now. It does not block.
	Wake func(scaledJob types.NamespacedName)
	Log  logr.Logger
	// Clock tells the time.
	Clock clock.Clock
	// Metrics takes measurements.
	Metrics *Metrics
}

// Recorder keeps the records of all Jobs up to date.
type Recorder struct {
	Options

	mu      sync.Mutex
	entries map[types.UID]*entry
	// dirty are the entries that are to be saved, or of which the store is to be asked.
	dirty   map[types.UID]*entry
	gone    int
	lost    int64
	failure error
	// changed has the saving loop look again.
	changed chan struct{}
	logs    sync.WaitGroup
	reading chan struct{}
}

// entry is what is kept of one Job while it exists, or its record is not stored.
type entry struct {
	record history.Record
	// job is what the Job last showed; nil where none was seen.
	job  *batchv1.Job
	gone bool
	// asked says that the store has told what it holds of the Job, or is known to hold nothing.
	asked bool
	// version counts what is worth saving, and saved is the last of them that was stored.
	version, saved int
	// finishing is when the Job was first seen to have finished; zero before.
	finishing time.Time
	// tails are the attempts, by pod UID, whose log has been asked for; reading is how many of those are not there yet.
	tails   map[types.UID]bool
	reading int
}

// logReaders is how many logs are read at a time.
const logReaders = 4

// New returns a Recorder. SetupWithManager has it run.
func New(o Options) *Recorder {
	return &Recorder{
		Options: o,
		entries: map[types.UID]*entry{},
		dirty:   map[types.UID]*entry{},
		changed: make(chan struct{}, 1),
		reading: make(chan struct{}, logReaders),
	}
}

// Stored says whether the record of a Job that has ended is stored, so that the Job may go.
func (r *Recorder) Stored(job types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[job]
	return ok && e.stored()
}

// Trouble says why records cannot be stored, and how many were lost since the manager started; nil while all is well.
func (r *Recorder) Trouble() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil && r.lost > 0 {
		return fmt.Errorf("%w; %d records are lost", r.failure, r.lost)
	}
	return r.failure
}

// stored says whether the store holds all of a record that has ended.
func (e *entry) stored() bool { return e.asked && e.record.Ended() && e.saved == e.version }

// SeeJob notes what a Job shows. initial says that it was there when the watch began, so that the store may know of it.
func (r *Recorder) SeeJob(ctx context.Context, job *batchv1.Job, initial bool) error {
	if ours, err := r.ours(ctx, job); !ours || err != nil {
		return err
	}
	pods, err := r.podsOf(ctx, job)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[job.UID]
	if !ok {
		e = &entry{record: begin(job), asked: !initial, tails: map[types.UID]bool{}, version: 1}
		r.entries[job.UID] = e
	}
	e.job = job
	r.follow(ctx, e, pods)
	return nil
}

// SeePod notes what a pod shows.
func (r *Recorder) SeePod(ctx context.Context, pod *corev1.Pod) error {
	job, err := r.jobOf(ctx, pod)
	if job == nil || err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.entries[job.UID]; ok {
		r.follow(ctx, e, []*corev1.Pod{pod})
	}
	return nil // of a Job not seen yet: it lists its pods when it is
}

// SeePodGone notes that a pod was deleted, and what it last showed.
func (r *Recorder) SeePodGone(pod *corev1.Pod) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[owner.UID]
	if !ok {
		return
	}
	before := e.record
	e.record = e.record.PodGone(pod, r.Clock.Now())
	if e.job != nil {
		e.record = e.record.Follow(e.job, nil, r.Clock.Now())
	}
	r.keep(e, before)
}

// SeeJobGone notes that a Job was deleted, and what it last showed.
func (r *Recorder) SeeJobGone(ctx context.Context, job *batchv1.Job) error {
	if ours, err := r.ours(ctx, job); !ours || err != nil {
		return err
	}
	why, message, err := r.whyGone(ctx, job)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[job.UID]
	if !ok {
		e = &entry{record: begin(job), asked: true, tails: map[types.UID]bool{}, version: 1}
		r.entries[job.UID] = e
	}
	before := e.record
	e.job, e.gone = nil, true
	e.record = e.record.JobGone(job, why, message, r.Clock.Now())
	r.keep(e, before)
	r.gone++
	r.shed(job.UID, e)
	return nil
}

// shed gives up what is done with, and, where too many wait, what there is no room for.
func (r *Recorder) shed(uid types.UID, e *entry) {
	switch {
	case e.stored():
	case r.gone > maxGone:
		r.lost++
		r.Metrics.lost()
	default:
		return
	}
	delete(r.entries, uid)
	delete(r.dirty, uid)
	r.gone--
}

// follow brings an entry up to what its Job and these pods show.
func (r *Recorder) follow(ctx context.Context, e *entry, pods []*corev1.Pod) {
	if e.job == nil {
		return
	}
	now := r.Clock.Now()
	before := e.record
	e.record = e.record.Follow(e.job, pods, now)
	if _, _, finished := history.Finished(e.job); finished && e.finishing.IsZero() {
		e.finishing = now
		e.version++ // its end is to be saved, be it that its pods never tell of theirs
	}
	for _, pod := range pods {
		r.tail(ctx, e, pod)
	}
	r.keep(e, before)
}

// keep has a record saved if there is something new to keep.
func (r *Recorder) keep(e *entry, before history.Record) {
	if worth(before) != worth(e.record) || before.Ended() != e.record.Ended() || before.Category != e.record.Category {
		e.version++
	}
	if e.saved != e.version {
		r.dirty[types.UID(e.record.UID)] = e
		r.poke()
	}
}

// worth counts what a record would be sorry to lose: attempts that ended, and the ends of their logs.
func worth(r history.Record) int {
	n := 0
	for i := range r.Attempts {
		if r.Attempts[i].Ended() {
			n++
		}
		if r.Attempts[i].LogTail != "" {
			n++
		}
	}
	return n
}

func (r *Recorder) poke() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// tail reads the log of an attempt that failed, once.
func (r *Recorder) tail(ctx context.Context, e *entry, pod *corev1.Pod) {
	container, failed := history.FailedContainer(pod)
	if r.Logs == nil || !failed || e.tails[pod.UID] || pod.Status.Phase != corev1.PodFailed || e.record.HasLogTail(string(pod.UID)) {
		return
	}
	e.tails[pod.UID] = true
	e.reading++
	ctx = context.WithoutCancel(ctx) // a manager that stops still has some seconds for what is on its way
	r.logs.Go(func() {
		r.reading <- struct{}{}
		defer func() { <-r.reading }()
		text := r.read(ctx, pod.Namespace, pod.Name, container)
		r.mu.Lock()
		defer r.mu.Unlock()
		before := e.record
		e.record = e.record.WithLogTail(string(pod.UID), text)
		e.reading--
		r.keep(e, before)
	})
}

// read returns the end of a log, or says why there is none.
func (r *Recorder) read(ctx context.Context, namespace, pod, container string) string {
	ctx, cancel := context.WithTimeout(ctx, patience/2)
	defer cancel()
	text, err := r.Logs(ctx, namespace, pod, container)
	if err != nil {
		return fmt.Sprintf("(the log could not be read: %v)", err)
	}
	return text
}

// begin is the record of a Job that was just seen.
func begin(job *batchv1.Job) history.Record {
	owner := metav1.GetControllerOf(job)
	sequence, _ := jobtemplate.Sequence(job)
	record := history.Record{
		UID:       string(job.UID),
		Namespace: job.Namespace,
		ScaledJob: owner.Name,
		Trigger:   job.Labels[jobtemplate.LabelTrigger],
		Sequence:  sequence,
		Job:       job.Name,
		Revision:  job.Annotations[jobtemplate.AnnotationRevision],
		Seen:      jobtemplate.Seen(job),
		Created:   jobtemplate.Created(job),
	}
	if at, ok := jobtemplate.ScheduledTime(job); ok {
		record.ScheduledTime = &at
	}
	return record
}

// ours says whether a Job is a ScaledJob's, in a namespace that this manager looks after.
func (r *Recorder) ours(ctx context.Context, job *batchv1.Job) (bool, error) {
	owner := metav1.GetControllerOf(job)
	if owner == nil || owner.APIVersion != v1alpha1.GroupVersion().String() {
		return false, nil
	}
	return r.Selects(ctx, job.Namespace)
}

// jobOf is the Job of a ScaledJob that a pod is of; nil where there is none, or it is not seen yet.
func (r *Recorder) jobOf(ctx context.Context, pod *corev1.Pod) (*batchv1.Job, error) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "Job" {
		return nil, nil //nolint:nilnil // see the comment
	}
	var job batchv1.Job
	err := r.Cache.Get(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: owner.Name}, &job, client.UnsafeDisableDeepCopy)
	if err != nil || job.UID != owner.UID {
		return nil, client.IgnoreNotFound(err)
	}
	return &job, nil
}

func (r *Recorder) podsOf(ctx context.Context, job *batchv1.Job) ([]*corev1.Pod, error) {
	var list corev1.PodList
	err := r.Cache.List(ctx, &list, client.InNamespace(job.Namespace), client.MatchingFields{r.PodIndex: string(job.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing the pods of Job %s: %w", job.Name, err)
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return pods, nil
}

// whyGone says why a Job was deleted before it finished.
func (r *Recorder) whyGone(ctx context.Context, job *batchv1.Job) (history.Category, string, error) {
	owner := metav1.GetControllerOf(job)
	var sj v1alpha1.ScaledJob
	err := r.Cache.Get(ctx, types.NamespacedName{Namespace: job.Namespace, Name: owner.Name}, &sj)
	switch {
	case apierrors.IsNotFound(err), err == nil && (sj.UID != owner.UID || sj.DeletionTimestamp != nil):
		return history.CategoryCancelled, "deleted with its ScaledJob", nil
	case err != nil:
		return "", "", fmt.Errorf("reading ScaledJob %s: %w", owner.Name, err)
	}
	revision, err := jobtemplate.Revision(&sj.Spec.JobTemplate)
	if err != nil {
		return "", "", err
	}
	if sj.Spec.Rollout.Strategy == v1alpha1.RolloutImmediate && revision != job.Annotations[jobtemplate.AnnotationRevision] {
		return history.CategoryReplaced, "ended by an immediate rollout of another template", nil
	}
	return history.CategoryCancelled, "the Job was deleted before it finished", nil
}

// Close ends the records, kept as not ended, of Jobs that are no more: they were deleted while no manager watched. It is
// called once all Jobs that exist have been seen.
func (r *Recorder) Close(ctx context.Context) error {
	for after := int64(0); ; {
		records, next, err := r.Store.Unfinished(ctx, after, batch)
		if err != nil {
			err = fmt.Errorf("asking the store for records that have not ended: %w", err)
			r.note(err)
			return err
		}
		for _, record := range records {
			if err := r.close(ctx, record); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
		after = next
	}
}

func (r *Recorder) close(ctx context.Context, record history.Record) error {
	if mine, err := r.Keeps(ctx, record.Namespace); !mine || err != nil {
		return err
	}
	uid := types.UID(record.UID)
	if r.has(uid) {
		return nil
	}
	// The cache may be behind.
	var job batchv1.Job
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: record.Namespace, Name: record.Job}, &job)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("asking what became of Job %s: %w", record.Job, err)
	}
	if err == nil && job.UID == uid {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.entries[uid]; ok {
		return nil
	}
	e := &entry{record: record, asked: true, gone: true, version: 1}
	e.record = record.JobGone(nil, history.CategoryCancelled,
		"the Job was gone when the manager came back: nobody saw how it ended", r.Clock.Now())
	r.entries[uid], r.dirty[uid] = e, e
	r.gone++
	r.poke()
	return nil
}

func (r *Recorder) has(uid types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.entries[uid]
	return ok
}
