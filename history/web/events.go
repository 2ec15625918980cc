package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history/store"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

const (
	// tick is how often what changed is told; of one object at most once.
	tick = time.Second
	// heartbeat is after how long a stream says that it is there.
	heartbeat = 15 * time.Second
	// recordPatience is how long the record of a Job that has ended is waited for.
	recordPatience = time.Minute
	// maxStreams bounds how many streams there are, maxPending how many changes one has not been told yet: then it ends, and
	// its reader begins anew.
	maxStreams, maxPending = 1000, 10_000
)

// happened is one thing to tell: an event, and of what.
type happened struct {
	kind  string
	name  types.NamespacedName // the ScaledJob's
	event v1.Event
}

// hub hands on what happened to all streams.
type hub struct {
	mu sync.Mutex
	// changed are the ScaledJobs and Jobs that changed since the last tick, ending the Jobs whose records are waited for.
	changed map[types.NamespacedName]bool
	jobs    map[types.UID]*batchv1.Job
	ending  map[types.UID]time.Time
	streams map[chan happened]bool
}

func newHub() *hub {
	return &hub{
		changed: map[types.NamespacedName]bool{}, jobs: map[types.UID]*batchv1.Job{}, ending: map[types.UID]time.Time{},
		streams: map[chan happened]bool{},
	}
}

// open is a new stream; false where there are too many.
func (h *hub) open() (chan happened, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.streams) >= maxStreams {
		return nil, false
	}
	stream := make(chan happened, maxPending)
	h.streams[stream] = true
	return stream, true
}

func (h *hub) close(stream chan happened) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[stream] {
		delete(h.streams, stream)
		close(stream)
	}
}

// tell hands on what happened. A stream that is not read ends.
func (h *hub) tell(what happened) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for stream := range h.streams {
		select {
		case stream <- what:
		default:
			delete(h.streams, stream)
			close(stream)
		}
	}
}

// watch has the cache tell what changes.
func (s *Server) watch(ctx context.Context) error {
	scaledJobs, err := s.Informers.GetInformer(ctx, &v1alpha1.ScaledJob{})
	if err != nil {
		return err
	}
	jobs, err := s.Informers.GetInformer(ctx, &batchv1.Job{})
	if err != nil {
		return err
	}
	_, err = scaledJobs.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { s.sawScaledJob(o) },
		UpdateFunc: func(_, o any) { s.sawScaledJob(o) },
		DeleteFunc: func(o any) { s.lostScaledJob(o) },
	})
	if err != nil {
		return err
	}
	_, err = jobs.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { s.sawJob(o, false) },
		UpdateFunc: func(_, o any) { s.sawJob(o, false) },
		DeleteFunc: func(o any) { s.sawJob(o, true) },
	})
	return err
}

func (s *Server) sawScaledJob(o any) {
	sj, ok := o.(*v1alpha1.ScaledJob)
	if !ok {
		return
	}
	name := client.ObjectKeyFromObject(sj)
	if sj.Status.Waiting != nil {
		s.waits.note(name, s.Clock.Now(), *sj.Status.Waiting)
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.changed[name] = true
}

func (s *Server) lostScaledJob(o any) {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	sj, ok := o.(*v1alpha1.ScaledJob)
	if !ok {
		return
	}
	name := client.ObjectKeyFromObject(sj)
	s.waits.forget(name)
	s.paces.forget(name)
	left := gone(name.Namespace, name.Name)
	s.hub.tell(happened{kind: "gone", name: name, event: v1.Event{ScaledJob: &left}})
}

func (s *Server) sawJob(o any, deleted bool) {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	job, ok := o.(*batchv1.Job)
	if !ok {
		return
	}
	owner := metav1.GetControllerOf(job)
	if owner == nil || owner.APIVersion != v1alpha1.GroupVersion().String() {
		return
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if len(s.hub.streams) == 0 {
		return
	}
	if deleted {
		delete(s.hub.jobs, job.UID)
		if _, waited := s.hub.ending[job.UID]; !waited {
			s.hub.ending[job.UID] = s.Clock.Now()
		}
		return
	}
	s.hub.jobs[job.UID] = job
}

// follow tells each second what has changed, until the context ends.
func (s *Server) follow(ctx context.Context) {
	ticker := s.Clock.NewTicker(tick)
	defer ticker.Stop()
	told := map[types.UID]bool{} // records that were told, of those still waited for by nobody
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		if err := s.tellChanges(ctx, told); err != nil && ctx.Err() == nil {
			s.Log.Error(err, "what has changed could not all be told, and is told when it changes again")
		}
	}
}

// tellChanges tells what has changed since it was called last.
func (s *Server) tellChanges(ctx context.Context, told map[types.UID]bool) error {
	s.hub.mu.Lock()
	changed, jobs := s.hub.changed, s.hub.jobs
	s.hub.changed, s.hub.jobs = map[types.NamespacedName]bool{}, map[types.UID]*batchv1.Job{}
	idle := len(s.hub.streams) == 0
	if idle {
		clear(s.hub.ending)
	}
	s.hub.mu.Unlock()
	if idle {
		clear(told)
		return nil
	}
	for name := range changed {
		var sj v1alpha1.ScaledJob
		if err := s.Cache.Get(ctx, name, &sj); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("reading ScaledJob %s: %w", name, err)
		} else if err != nil {
			continue
		}
		one, err := s.show(ctx, &sj)
		if err != nil {
			return err
		}
		s.hub.tell(happened{kind: "scaledjob", name: name, event: v1.Event{ScaledJob: &one}})
	}
	for _, job := range jobs {
		owner := metav1.GetControllerOf(job).Name
		name := types.NamespacedName{Namespace: job.Namespace, Name: owner}
		one, active, err := s.showJob(ctx, job, owner)
		if err != nil {
			return err
		}
		if active {
			s.hub.tell(happened{kind: "job", name: name, event: v1.Event{Job: &one}})
			continue
		}
		s.hub.mu.Lock()
		if _, waited := s.hub.ending[job.UID]; !waited && !told[job.UID] {
			s.hub.ending[job.UID] = s.Clock.Now()
		}
		s.hub.mu.Unlock()
	}
	return s.tellRecords(ctx, told)
}

// tellRecords tells the records of Jobs that have ended, when they are stored.
func (s *Server) tellRecords(ctx context.Context, told map[types.UID]bool) error {
	if s.Store == nil {
		return nil
	}
	now := s.Clock.Now()
	s.hub.mu.Lock()
	var uids []string
	for uid, since := range s.hub.ending {
		if told[uid] || now.Sub(since) > recordPatience {
			delete(s.hub.ending, uid)
			delete(told, uid)
			continue
		}
		uids = append(uids, string(uid))
	}
	s.hub.mu.Unlock()
	for part := range slices.Chunk(uids, store.MaxBatch) {
		records, err := s.Store.Known(ctx, part)
		if err != nil {
			return err
		}
		for _, r := range records {
			if !r.Ended() {
				continue
			}
			uid, one := types.UID(r.UID), showRecord(r)
			told[uid] = true
			s.hub.mu.Lock()
			delete(s.hub.ending, uid)
			s.hub.mu.Unlock()
			s.hub.tell(happened{kind: "record", name: types.NamespacedName{Namespace: r.Namespace, Name: r.ScaledJob}, event: v1.Event{Record: &one}})
		}
	}
	return nil
}

// events streams what happens to a caller.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	caller, err := s.Access.Caller(r)
	if err == nil {
		err = checkParameters(r.URL.Query(), eventParameters())
	}
	var sc *scope
	if err == nil {
		sc, err = s.scopeOf(r.Context(), caller, scaledJobs)
	}
	if err == nil {
		err = sc.mayList(r.Context(), r.URL.Query()["namespace"])
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	stream, ok := s.hub.open()
	if !ok {
		fail(w, &failure{http.StatusServiceUnavailable, fmt.Sprintf("there are %d streams already: try again later", maxStreams)})
		return
	}
	defer s.hub.close(stream)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	s.stream(w, r, sc, stream)
}

func eventParameters() []parameter {
	return []parameter{
		{"namespace", "only what is in it", "string", true},
		{"scaledJob", "only what is about the ScaledJob of this name", "string", false},
	}
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request, sc *scope, stream <-chan happened) {
	control := http.NewResponseController(w)
	beat := s.Clock.NewTicker(heartbeat)
	defer beat.Stop()
	for text := ": what happens from now on\n\n"; ; {
		if text != "" {
			//nolint:gosec // JSON in an event stream, which no browser takes for a page
			if _, err := fmt.Fprint(w, text); err != nil || control.Flush() != nil {
				return
			}
		}
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-beat.C():
			text, err = ": still there\n\n", sc.renew(r.Context(), s.Access)
		case what, ok := <-stream:
			if !ok {
				return
			}
			text, err = sc.told(r.Context(), r.URL.Query(), what)
		}
		if err != nil {
			return // the caller comes again, and is told then
		}
	}
}

// renew asks anew what a caller may see: that may have changed.
func (sc *scope) renew(ctx context.Context, access Access) (err error) {
	clear(sc.seen)
	sc.all, err = access.May(ctx, sc.caller, Action{Verb: "list", Resource: sc.resource})
	return err
}

// told is what a caller is told of what happened; nothing of what the caller did not ask for, or does not see.
func (sc *scope) told(ctx context.Context, q url.Values, what happened) (string, error) {
	if wanted, err := sc.wants(ctx, q, what); err != nil || !wanted {
		return "", err
	}
	data, err := json.Marshal(what.event)
	if err != nil {
		return "", fmt.Errorf("writing an event: %w", err)
	}
	return fmt.Sprintf("event: %s\ndata: %s\n\n", what.kind, data), nil
}

// wants says whether a caller asked for what happened, and sees it.
func (sc *scope) wants(ctx context.Context, q url.Values, what happened) (bool, error) {
	if len(q["namespace"]) > 0 && !slices.Contains(q["namespace"], what.name.Namespace) {
		return false, nil
	}
	if name := q.Get("scaledJob"); name != "" && name != what.name.Name {
		return false, nil
	}
	return sc.sees(ctx, what.name.Namespace)
}
