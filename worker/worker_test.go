package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/worker"
)

// patience is how long anything here may take on a busy machine.
const patience = 10 * time.Second

// bench is a worker that takes what a test gives it.
type bench struct {
	server *httptest.Server
	// inbox is what it receives, done lets its work end, and err is what Run returned.
	inbox chan string
	done  chan error
	err   chan error
	stop  context.CancelFunc
	// late is waited for before a receiving that is ended returns; and then returns this message, if it has one.
	late chan string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	w := worker.New()
	b := &bench{server: httptest.NewServer(w), inbox: make(chan string), done: make(chan error), err: make(chan error, 1)}
	t.Cleanup(b.server.Close)
	ctx, stop := context.WithCancel(t.Context())
	b.stop = stop
	receives := make(chan struct{})
	begin := sync.OnceFunc(func() { close(receives) })
	go func() {
		b.err <- worker.Run(ctx, w,
			func(ctx context.Context) (string, string, error) {
				begin()
				select {
				case m := <-b.inbox:
					return m, m, nil
				case <-ctx.Done():
				}
				if b.late != nil {
					if m := <-b.late; m != "" {
						return m, m, nil
					}
				}
				return "", "", ctx.Err()
			},
			func(context.Context, string) error { return <-b.done },
		)
	}()
	t.Cleanup(stop)
	<-receives
	return b
}

// ask asks the worker, and returns the code and what it says.
func (b *bench) ask(t *testing.T, method, path string) (int, map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, b.server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := b.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]any{}
	if err := json.Unmarshal(body, &said); err != nil {
		t.Fatalf("%s %s says %q: %v", method, path, body, err)
	}
	return response.StatusCode, said
}

func (b *bench) want(t *testing.T, method, path string, code int, says map[string]any) {
	t.Helper()
	gotCode, said := b.ask(t, method, path)
	if diff := cmp.Diff([]any{code, says}, []any{gotCode, said}); diff != "" {
		t.Errorf("%s %s (-want +got):\n%s", method, path, diff)
	}
}

// until asks for the state until it is as wanted.
func (b *bench) until(t *testing.T, says map[string]any) {
	t.Helper()
	var said map[string]any
	for began := time.Now(); time.Since(began) < patience; time.Sleep(time.Millisecond) {
		if _, said = b.ask(t, http.MethodGet, "/longhaul/state"); cmp.Equal(says, said) {
			return
		}
	}
	t.Fatalf("the state does not become %v; it is %v", says, said)
}

var (
	idle   = map[string]any{"busy": false}
	fenced = map[string]any{"busy": false, "fenced": true}
	busy   = map[string]any{"busy": true, "messageID": "8141"}
)

func TestAWorkerSaysWhatItDoes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.want(t, http.MethodGet, "/longhaul/state", http.StatusOK, idle)
	b.inbox <- "8141"
	b.until(t, busy)
	b.done <- nil
	b.until(t, idle)
}

func TestAFencedWorkerTakesNothingUntilTheFenceIsTakenBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 2 { // asking again changes nothing
		b.want(t, http.MethodPost, "/longhaul/fence", http.StatusOK, fenced)
	}
	b.want(t, http.MethodGet, "/longhaul/state", http.StatusOK, fenced)
	select {
	case b.inbox <- "8141":
		t.Fatal("a fenced worker took a message")
	case <-time.After(50 * time.Millisecond):
	}
	b.want(t, http.MethodDelete, "/longhaul/fence", http.StatusOK, idle)
	b.inbox <- "8141"
	b.until(t, busy)
}

func TestABusyWorkerIsNotFenced(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.inbox <- "8141"
	b.until(t, busy)
	b.want(t, http.MethodPost, "/longhaul/fence", http.StatusConflict, busy)
	b.done <- nil
	b.until(t, idle) // and not fenced
	b.inbox <- "8141"
}

// fencing is a worker that is being fenced, and whose receiving has not ended; what the fence is answered with comes later.
func fencing(t *testing.T) (*bench, <-chan int) {
	t.Helper()
	b := newBench(t)
	b.late = make(chan string)
	answered := make(chan int, 1)
	go func() {
		code, _ := b.ask(t, http.MethodPost, "/longhaul/fence")
		answered <- code
	}()
	// Until then nobody may take the worker for drained.
	b.until(t, map[string]any{"busy": true})
	return b, answered
}

func TestAMessageThatComesBeforeTheFenceWins(t *testing.T) {
	t.Parallel()
	b, answered := fencing(t)
	b.late <- "8141"
	if code := <-answered; code != http.StatusConflict {
		t.Errorf("the fence is answered with %d", code)
	}
	b.until(t, busy)
	b.done <- nil
	select {
	case b.inbox <- "8142":
	case <-time.After(patience):
		t.Fatal("it stays fenced, though the message came first")
	}
	b.until(t, map[string]any{"busy": true, "messageID": "8142"})
}

func TestAFenceThatIsTakenBackBeforeItHoldsWasNone(t *testing.T) {
	t.Parallel()
	b, answered := fencing(t)
	b.want(t, http.MethodDelete, "/longhaul/fence", http.StatusOK, idle)
	if code := <-answered; code != http.StatusConflict {
		t.Errorf("the fence that was taken back is answered with %d", code)
	}
	b.late <- ""
	b.until(t, idle)
}

func TestAFenceThatNobodyWaitsForAnyMoreHoldsAllTheSame(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.late = make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.server.URL+"/longhaul/fence", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() {
		response, err := b.server.Client().Do(request)
		if err == nil {
			err = response.Body.Close()
		}
		gone <- err
	}()
	b.until(t, map[string]any{"busy": true})
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatalf("the request ended with %v", err)
	}
	b.want(t, http.MethodGet, "/longhaul/state", http.StatusOK, map[string]any{"busy": true})
	b.late <- ""
	b.until(t, fenced)
}

func TestDrainWaitsForTheWorkInHand(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.inbox <- "8141"
	b.until(t, busy)
	drained := make(chan int, 1)
	go func() {
		code, _ := b.ask(t, http.MethodGet, "/longhaul/fence")
		drained <- code
	}()
	select {
	case <-drained:
		t.Fatal("a busy worker says that it is drained")
	case <-time.After(50 * time.Millisecond):
	}
	b.done <- nil
	if code := <-drained; code != http.StatusOK {
		t.Errorf("draining is answered with %d", code)
	}
	b.until(t, fenced)
}

func TestAWorkerThatIsStoppedFinishesItsWork(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.inbox <- "8141"
	b.until(t, busy)
	b.stop()
	select {
	case err := <-b.err:
		t.Fatalf("it ended in the middle of its work: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	b.done <- nil
	if err := <-b.err; err != nil {
		t.Error(err)
	}
}

func TestAWorkerThatIsStoppedWhileIdleOrFencedEnds(t *testing.T) {
	t.Parallel()
	for _, fence := range []bool{false, true} {
		b := newBench(t)
		if fence {
			b.want(t, http.MethodPost, "/longhaul/fence", http.StatusOK, fenced)
		}
		b.stop()
		if err := <-b.err; err != nil {
			t.Errorf("fenced %t: %v", fence, err)
		}
	}
}

func TestAHeldWorkerTakesNothingUntilItIsLet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second
		for _, test := range []struct {
			name string
			// ask is what is asked of it at once.
			ask []string
			// takes says when it takes a message; below 0 for never.
			takes time.Duration
		}{
			{"nobody asks", nil, limit},
			{"Longhaul lets it", []string{http.MethodDelete}, 0},
			{"it is fenced", []string{http.MethodPost}, -1},
			{"it is fenced and let", []string{http.MethodPost, http.MethodDelete}, 0},
			{"it is let and fenced", []string{http.MethodDelete, http.MethodPost}, -1},
			{"it drains", []string{http.MethodGet}, -1},
		} {
			w := worker.New()
			w.Hold(limit)
			began := time.Now()
			ctx, stop := context.WithCancel(t.Context())
			taken, ended := time.Duration(-1), make(chan error)
			go func() {
				ended <- worker.Run(ctx, w, func(ctx context.Context) (int, string, error) {
					time.Sleep(time.Millisecond) // the requests below come first where they come at once
					if ctx.Err() == nil && taken < 0 {
						taken = time.Since(began).Truncate(time.Second)
						return 1, "8141", nil
					}
					<-ctx.Done()
					return 0, "", ctx.Err()
				}, func(context.Context, int) error { return nil })
			}()
			answered := httptest.NewRecorder()
			w.ServeHTTP(answered, httptest.NewRequestWithContext(ctx, http.MethodGet, "/longhaul/state", http.NoBody))
			if diff := cmp.Diff(`{"busy":false,"fenced":true}`+"\n", answered.Body.String()); diff != "" {
				t.Errorf("%s: at first it says (-want +got):\n%s", test.name, diff)
			}
			for _, method := range test.ask {
				answered := httptest.NewRecorder()
				w.ServeHTTP(answered, httptest.NewRequestWithContext(ctx, method, "/longhaul/fence", http.NoBody))
				if answered.Code != http.StatusOK {
					t.Errorf("%s: %s is answered with %d", test.name, method, answered.Code)
				}
			}
			time.Sleep(2 * limit)
			stop()
			if err := <-ended; err != nil {
				t.Errorf("%s: it ended with %v", test.name, err)
			}
			if taken != test.takes && (taken >= 0 || test.takes >= 0) {
				t.Errorf("%s: it takes a message after %s, not after %s", test.name, taken, test.takes)
			}
		}
	})
}

func TestAnErrorOfTheWorkEndsTheWorker(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.inbox <- "8141"
	broken := errors.New("the encoder is broken")
	b.done <- broken
	if err := <-b.err; !errors.Is(err, broken) {
		t.Errorf("it ended with %v", err)
	}
}

func TestAnErrorOfReceivingEndsTheWorker(t *testing.T) {
	t.Parallel()
	broken := errors.New("the broker is gone")
	err := worker.Run(t.Context(), worker.New(),
		func(context.Context) (int, string, error) { return 0, "", broken },
		func(context.Context, int) error { return nil })
	if !errors.Is(err, broken) {
		t.Errorf("it ended with %v", err)
	}
}
