package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/longhaul-dev/longhaul/test/node/internal/podstatus"
)

// followEvery is how often it is looked whether a log that is followed has grown.
const followEvery = 100 * time.Millisecond

// logs answers with the log of a container. As with a kubelet, all that keeps it from that is the request's fault.
func (e *endpoint) logs(w http.ResponseWriter, r *http.Request) {
	name, container := r.PathValue("pod"), r.PathValue("container")
	object, worker := e.find(r.PathValue("namespace"), name)
	if object == nil {
		answer(w, http.StatusNotFound, fmt.Sprintf("pod %q does not exist", name))
		return
	}
	if !hasContainer(&object.Spec, container) {
		answer(w, http.StatusNotFound, fmt.Sprintf("container %q not found in pod %q", container, name))
		return
	}
	query, err := parseLogQuery(r.URL.Query())
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	run, err := chooseRun(recordOf(object, worker, container), name, query.previous)
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	file, err := os.Open(newPodFolder(e.node.podsFolder(), object).log(container, run))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("the log of container %q in pod %q is not in the process node's folder", container, name)
		}
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	defer file.Close()
	w.Header().Set("Content-Type", "text/plain")
	if err := query.send(r.Context(), w, file, func() bool { return worker.runs(container, run) }); err != nil {
		// If it is not the client that has gone, it has to see that this is not all.
		e.node.log.Debug("a log was not sent", "pod", object.Namespace+"/"+name, "container", container, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// find returns a pod by its name, and its worker. It has none if the object says that it is over: both are looked up at
// once, so that one of them knows.
func (e *endpoint) find(namespace, name string) (*corev1.Pod, *pod) {
	e.pods.mu.Lock()
	defer e.pods.mu.Unlock()
	for uid, object := range e.pods.known {
		if object.Namespace == namespace && object.Name == name {
			e.node.mu.Lock()
			worker := e.node.pods[uid]
			e.node.mu.Unlock()
			return object, worker
		}
	}
	return nil, nil
}

func hasContainer(spec *corev1.PodSpec, name string) bool {
	named := func(c corev1.Container) bool { return c.Name == name }
	return slices.ContainsFunc(spec.InitContainers, named) || slices.ContainsFunc(spec.Containers, named)
}

// recordOf returns what has become of a container: what the pod's worker knows or, if it has none, what the object says.
func recordOf(object *corev1.Pod, worker *pod, container string) podstatus.Record {
	if worker != nil {
		for _, r := range worker.records() {
			if r.Name == container {
				return r
			}
		}
		return podstatus.NewRecord(container, podstatus.ReasonCreating)
	}
	for _, s := range slices.Concat(object.Status.InitContainerStatuses, object.Status.ContainerStatuses) {
		if s.Name == container {
			return podstatus.Record{Name: s.Name, ID: s.ContainerID, Restarts: s.RestartCount, State: s.State}
		}
	}
	return podstatus.Record{Name: container}
}

// records returns what has become of the pod's containers: none before the worker has found out.
func (p *pod) records() []podstatus.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Concat(p.known.Init, p.known.Main)
}

// runs tells whether a run of a container goes on. Of what was killed with the pod's object, or with the node, the end is
// not recorded: nothing runs when the worker has ended.
func (p *pod) runs(container string, run int32) bool {
	if p == nil || is(p.over) {
		return false
	}
	for _, r := range p.records() {
		if r.Name == container {
			return r.State.Running != nil && r.Restarts == run
		}
	}
	return false
}

// chooseRun returns the number of the run whose log is asked for: the last one, or the one before. As with a kubelet, the
// previous run of a container that waits to run again is the last one.
func chooseRun(r podstatus.Record, pod string, previous bool) (int32, error) {
	waits := r.State.Waiting
	switch {
	case previous && (r.ID == "" || waits == nil && r.Restarts == 0):
		return 0, fmt.Errorf("previous terminated container %q in pod %q not found", r.Name, pod)
	case r.ID == "" && waits != nil:
		return 0, fmt.Errorf("container %q in pod %q is waiting to start: %s", r.Name, pod, waits.Reason)
	case r.ID == "":
		return 0, fmt.Errorf("container %q in pod %q never started", r.Name, pod)
	case previous && waits == nil:
		return r.Restarts - 1, nil
	}
	return r.Restarts, nil
}

// logQuery says which part of which log is asked for.
type logQuery struct {
	previous bool  // of the run before
	follow   bool  // also what is written from now on
	lines    int64 // only so many at the end; negative for all
	limit    int64 // only so many bytes from where it begins
}

// parseLogQuery reads the parameters of a request, which the API server has checked. It refuses those that need more than
// is in the files: processes write there themselves, and nobody sees when.
func parseLogQuery(query url.Values) (logQuery, error) {
	for _, name := range []string{"timestamps", "sinceTime", "sinceSeconds"} {
		if value := query.Get(name); value != "" && value != "false" {
			return logQuery{}, fmt.Errorf("the process node does not know when a line was written: leave out %s", name)
		}
	}
	if stream := query.Get("stream"); stream != "" && stream != corev1.LogStreamAll {
		return logQuery{}, errors.New("the process node keeps standard output and error in one file: leave out stream")
	}
	q := logQuery{previous: query.Get("previous") == "true", follow: query.Get("follow") == "true", lines: -1, limit: math.MaxInt64}
	for name, number := range map[string]*int64{"tailLines": &q.lines, "limitBytes": &q.limit} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		var err error
		if *number, err = strconv.ParseInt(text, 10, 64); err != nil || *number < 0 {
			return logQuery{}, fmt.Errorf("%s is %q, which is no number of lines or bytes", name, text)
		}
	}
	return q, nil
}

// send writes what is asked for of a log. If that is followed it returns when the run has ended and all was written, or
// when ctx ends.
func (q logQuery) send(ctx context.Context, w http.ResponseWriter, log *os.File, runs func() bool) error {
	size, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	at, left := int64(0), q.limit
	if q.lines >= 0 {
		if at, err = tailStart(log, size, q.lines); err != nil {
			return err
		}
	}
	for {
		last := !q.follow || !runs() // asked first: what is there when the run has ended is all
		if size, err = log.Seek(0, io.SeekEnd); err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		// No further than it goes now: a process that does not stop writing would never be caught up with.
		sent, err := io.Copy(w, io.NewSectionReader(log, at, min(size-at, left)))
		if err != nil {
			return fmt.Errorf("sending the log: %w", err)
		}
		at, left = at+sent, left-sent
		if last || left == 0 {
			return nil
		}
		// The first time this also says that there is a log, of which there may be nothing yet.
		if err := http.NewResponseController(w).Flush(); err != nil {
			return fmt.Errorf("sending the log: %w", err)
		}
		if !pause(followEvery, ctx.Done()) {
			return nil
		}
	}
}

// tailStart returns where the last lines of a log of a size begin. What follows the last newline is a line, too.
func tailStart(log io.ReaderAt, size, lines int64) (int64, error) {
	if lines == 0 {
		return size, nil
	}
	block := make([]byte, 32<<10)
	for end := max(size-1, 0); end > 0; { // the last byte ends a line or is part of it
		part := block[:min(end, int64(len(block)))]
		if _, err := log.ReadAt(part, end-int64(len(part))); err != nil {
			return 0, fmt.Errorf("looking for the last lines of the log: %w", err)
		}
		end -= int64(len(part))
		for i := bytes.LastIndexByte(part, '\n'); i >= 0; i = bytes.LastIndexByte(part[:i], '\n') {
			if lines--; lines == 0 {
				return end + int64(i) + 1, nil
			}
		}
	}
	return 0, nil
}
