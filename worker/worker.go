// Package worker is a consumer's side of a ScaledDeployment: it tells Longhaul whether the pod works, and takes nothing more
// when it is fenced.
//
// A worker is busy from the moment in which it has a message until it has done with it, and idle otherwise. A fence asks it to
// take nothing more: an idle worker is drained at once, and stays so until the fence is taken back; one that is busy goes on as
// before. Serve a Worker at a port of the pod, and give Run what receives a message and what works on it:
//
//	w := worker.New()
//	w.Hold(10 * time.Second)
//	go http.ListenAndServe(":8081", w)
//	err := worker.Run(ctx, w, receive, work)
//
// The requests are those that docs/consumers.md describes: GET /longhaul/state, and POST, DELETE and GET /longhaul/fence.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Worker is the state of one consumer, which works on one message at a time. Its zero value is of no use: see New.
type Worker struct {
	mux *http.ServeMux

	mu sync.Mutex
	// fenced says that it takes nothing more, and held that this ends by itself.
	fenced, held bool
	// busy says that there is a message, and message is its name.
	busy    bool
	message string
	// receiving ends the receiving that is under way; nil where none is.
	receiving context.CancelFunc
	changed   *sync.Cond // of the above
}

// New returns a worker that is idle and not fenced.
func New() *Worker {
	w := &Worker{mux: http.NewServeMux()}
	w.changed = sync.NewCond(&w.mu)
	w.mux.HandleFunc("GET /longhaul/state", w.serveState)
	w.mux.HandleFunc("POST /longhaul/fence", w.serveFence)
	w.mux.HandleFunc("DELETE /longhaul/fence", w.serveUnfence)
	w.mux.HandleFunc("GET /longhaul/fence", w.serveDrain)
	return w
}

// Hold fences a worker before it begins, until Longhaul takes the fence back, or for limit. So a pod that comes in the place of
// one that dies while replicas go down takes no message before it is known to stay. Call it before Run.
func (w *Worker) Hold(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fenced, w.held = true, true
	time.AfterFunc(limit, func() { //nolint:forbidigo // a worker's time is the real one
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fenced = w.fenced && !w.held
		w.changed.Broadcast()
	})
}

// Run receives and works until the context ends, and then returns nil once the work in hand is done: end it with the
// pod's SIGTERM. While the worker is fenced nothing is received.
//
// Receive waits for one message and returns it and its name, which may be empty. A fence ends its context: then it must return
// the message that it has taken all the same, or none, having given it back, and the context's error. Work is done on the
// message, and its acknowledgement with it; its context is not ended by anything but its own return. The first error of either
// is returned, but for that of a context that ended.
func Run[M any](ctx context.Context, w *Worker, receive func(context.Context) (M, string, error), work func(context.Context, M) error) error {
	for {
		receiving, ok := w.begin(ctx)
		if !ok {
			return nil
		}
		m, name, err := receive(receiving)
		w.set(err == nil, name)
		switch {
		case err == nil:
			err = work(context.WithoutCancel(ctx), m)
			w.set(false, "")
			if err != nil {
				return err
			}
		case receiving.Err() == nil || !errors.Is(err, receiving.Err()):
			return err
		}
	}
}

// begin waits until the worker is not fenced, and returns the context of a receiving; false once ctx has ended.
func (w *Worker) begin(ctx context.Context) (context.Context, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.fenced && ctx.Err() == nil {
		w.wait(ctx)
	}
	if ctx.Err() != nil {
		return nil, false
	}
	receiving, cancel := context.WithCancel(ctx)
	w.receiving = cancel
	return receiving, true
}

// set notes that there is a message in hand, or none.
func (w *Worker) set(busy bool, message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.receiving != nil {
		w.receiving()
	}
	w.receiving, w.busy, w.message = nil, busy, message
	w.fenced = w.fenced && !busy // the message came first
	w.changed.Broadcast()
}

// wait waits until something has changed or a context has ended. Callers hold w.mu, which is given up meanwhile.
func (w *Worker) wait(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})()
	w.changed.Wait()
}

// ServeHTTP answers Longhaul's requests.
func (w *Worker) ServeHTTP(to http.ResponseWriter, r *http.Request) { w.mux.ServeHTTP(to, r) }

// state is what a worker says.
type state struct {
	Busy      bool   `json:"busy"`
	Fenced    bool   `json:"fenced,omitempty"`
	MessageID string `json:"messageID,omitempty"`
}

func (w *Worker) serveState(to http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	// Who is fenced and still receives may have a message in hand: that it has none is said once it is known.
	s := state{Busy: w.busy || w.fenced && w.receiving != nil, MessageID: w.message}
	s.Fenced = w.fenced && !s.Busy
	w.mu.Unlock()
	answer(to, http.StatusOK, s)
}

func (w *Worker) serveFence(to http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.busy {
		w.fenced, w.held = true, false
		w.settle(r.Context())
	}
	if w.busy || w.receiving != nil || !w.fenced {
		answer(to, http.StatusConflict, state{Busy: true, MessageID: w.message})
		return
	}
	answer(to, http.StatusOK, state{Fenced: true})
}

// settle ends the receiving, and waits until it has ended: with a message or without. Callers hold w.mu.
func (w *Worker) settle(ctx context.Context) {
	for w.receiving != nil && w.fenced && ctx.Err() == nil {
		w.receiving()
		w.wait(ctx)
	}
}

func (w *Worker) serveUnfence(to http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fenced = false
	w.changed.Broadcast()
	answer(to, http.StatusOK, state{Busy: w.busy, MessageID: w.message})
}

// serveDrain fences the worker, busy or not, and answers when it is drained. A preStop hook asks this: the pod is about to go.
func (w *Worker) serveDrain(to http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for r.Context().Err() == nil {
		w.fenced, w.held = true, false
		w.settle(r.Context())
		if !w.busy && w.receiving == nil {
			answer(to, http.StatusOK, state{Fenced: true})
			return
		}
		w.wait(r.Context())
	}
}

func answer(to http.ResponseWriter, code int, s state) {
	body, _ := json.Marshal(s) //nolint:errchkjson // nothing in it cannot be written
	to.Header().Set("Content-Type", "application/json")
	to.WriteHeader(code)
	_, _ = to.Write(append(body, '\n')) // who does not read it asks again
}
