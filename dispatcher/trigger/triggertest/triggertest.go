// Package triggertest is the suite that every driver passes, on a real broker.
//
// A Dialect is how one kind of queue is spoken to: what the driver makes of its settings, and how producers and workers
// put, take, acknowledge and reject its messages. Run tells a driver's stories about queues, in queues of its own, so that
// one broker may serve many dialects at once. Outage stops the broker under several dialects and starts it again. Refused,
// Silent and FallsSilent are about a broker that does not let the driver in, and one that does not answer.
package triggertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// patience is how long what ought to happen may take on a machine that is busy with other things.
const patience = 30 * time.Second

// Tells says what a driver promises to tell of held messages.
type Tells int

const (
	// Waiting is all that is told; held is not known.
	Waiting Tells = iota
	// Held is known, and may be old.
	Held
	// HeldLive is that held is as fresh as waiting.
	HeldLive
)

// Dialect is how one kind of queue is spoken to.
type Dialect struct {
	// Source is what the driver makes of the settings of the queue with this name. All of a dialect's have one Endpoint.
	Source func(t *testing.T, queue string) trigger.Source
	// Queue is the queue with this name for producers and workers. It need not exist.
	Queue func(t *testing.T, queue string) Queue
	// Tells is what the driver promises to tell.
	Tells Tells
	// EmptyIsMissing says that this broker cannot tell an empty queue from one that does not exist.
	EmptyIsMissing bool
}

// Queue is a queue as its producers and workers meet it. Each method returns when the broker has done what it was asked for,
// so that the next reading must show it.
type Queue interface {
	// Create makes the queue, empty.
	Create(ctx context.Context) error
	// Put puts a message into the queue, to last over the broker's restart.
	Put(ctx context.Context) error
	// Take takes a message, without acknowledging it. It is an error if none waits.
	Take(ctx context.Context) error
	// Acknowledge says that the message that was taken first is done with.
	Acknowledge(ctx context.Context) error
	// Reject gives the message that was taken first back, for somebody else to take.
	Reject(ctx context.Context) error
	// Purge removes all messages that wait. Those taken are left alone.
	Purge(ctx context.Context) error
	// Delete removes the queue.
	Delete(ctx context.Context) error
}

// Run tells what becomes of messages and queues. Its stories run side by side, and with the caller's other tests if those
// do.
func Run(t *testing.T, d Dialect) {
	t.Helper()
	for name, story := range map[string]func(*story){
		"a message waits, is held and is gone":             waitsIsHeldAndIsGone,
		"what is held shows in the end":                    heldShows,
		"a rejected message waits again":                   rejectedWaitsAgain,
		"a purge leaves what is held":                      purgeLeavesHeld,
		"a missing queue heals, and others are read":       missingHeals,
		"one reading shows many queues, each in its place": manyQueues,
		"every reading shows the step before it":           fresh,
		"a context that has ended ends opening":            endedContext,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(tell(t, d))
		})
	}
}

func waitsIsHeldAndIsGone(s *story) {
	s.shows(0, 0)
	s.put(3)
	s.shows(3, 0)
	s.take()
	s.shows(2, 1)
	s.take()
	s.shows(1, 2)
	s.acknowledge()
	s.shows(1, 1)
	s.acknowledge()
	s.shows(1, 0)
}

// heldShows holds for what is told at all, however late.
func heldShows(s *story) {
	s.put(2)
	s.take()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	ticks := clock.RealClock{}.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for s.dialect.Tells >= Held && read(s.t, s.reader, s.source)[0].Backlog.Held != 1 {
		select {
		case <-ctx.Done():
			s.t.Fatalf("after %s, the message that was taken does not show", patience)
		case <-ticks.C():
		}
	}
	s.shows(1, 1)
}

func rejectedWaitsAgain(s *story) {
	s.put(2)
	s.take()
	s.take()
	s.shows(0, 2)
	s.reject()
	s.shows(1, 1)
	s.take()
	s.shows(0, 2)
	s.reject()
	s.reject()
	s.shows(2, 0)
}

func purgeLeavesHeld(s *story) {
	s.put(5)
	s.take()
	s.shows(4, 1)
	s.purge()
	s.shows(0, 1)
	s.put(2)
	s.shows(2, 1)
	s.acknowledge()
	s.shows(2, 0)
}

func missingHeals(s *story) {
	s.put(2)
	name := unique()
	late := s.dialect.Queue(s.t, name)
	sources := []trigger.Source{s.dialect.Source(s.t, name), s.source}
	readBoth := func() trigger.Result {
		results := read(s.t, s.reader, sources...)
		s.compare(results[1], trigger.Backlog{Waiting: 2})
		return results[0]
	}
	s.missing(readBoth(), name)
	s.missing(readBoth(), name) // the first may have cost the driver something
	s.do("create", late.Create)
	s.compare(readBoth(), trigger.Backlog{})
	s.do("put", late.Put)
	s.compare(readBoth(), trigger.Backlog{Waiting: 1})
	s.do("delete", late.Delete)
	s.missing(readBoth(), name)
}

func manyQueues(s *story) {
	const queues, every = 100, 15 // every so many exist
	sources := make([]trigger.Source, queues)
	for i := range sources {
		name := unique()
		sources[i] = s.dialect.Source(s.t, name)
		if i%every == 0 {
			q := s.dialect.Queue(s.t, name)
			s.do("create", q.Create)
			for range i/every + 1 {
				s.do("put", q.Put)
			}
		}
	}
	for i, result := range read(s.t, s.reader, sources...) {
		if i%every == 0 {
			s.compare(result, trigger.Backlog{Waiting: int64(i/every + 1)})
		} else {
			s.missing(result, sources[i].Queue.Name)
		}
	}
}

// fresh does one thing after the other in an order drawn by lot, always the same.
func fresh(s *story) {
	const steps, seed = 200, 7
	random := mathrand.New(mathrand.NewPCG(seed, seed)) //nolint:gosec // the steps must come again
	kinds := []struct {
		name          string
		waiting, held int64
		do            func()
	}{
		{"put", 1, 0, func() { s.put(1) }},
		{"take", -1, 1, s.take},
		{"acknowledge", 0, -1, s.acknowledge},
		{"reject", 1, -1, s.reject},
	}
	var waiting, held int64
	var done []string
	for len(done) < steps {
		kind := kinds[random.IntN(len(kinds))]
		switch {
		case len(done)%40 == 39:
			s.purge()
			waiting = 0
			done = append(done, "purge")
		case waiting+kind.waiting < 0 || held+kind.held < 0:
			continue // there is nothing to do it with
		default:
			kind.do()
			waiting, held = waiting+kind.waiting, held+kind.held
			done = append(done, kind.name)
		}
		s.shows(waiting, held)
		if s.t.Failed() {
			s.t.Fatalf("after the steps %v", done)
		}
	}
}

func endedContext(s *story) {
	ended, end := context.WithCancel(s.t.Context())
	end()
	within(s.t, "opening", func() {
		if reader, err := s.source.Open(ended); err == nil {
			reader.Close()
			s.t.Error("it opens although its context has ended")
		}
	})
	within(s.t, "reading", func() {
		// It may know the answer in spite of that. If so, it must be right.
		results, err := s.reader.Read(ended, []trigger.Queue{s.source.Queue})
		if err == nil {
			s.compare(results[0], trigger.Backlog{})
		}
	})
}

// Outage stops a broker, which has each dialect's reading fail, and starts it again, which has each heal, from the same
// Source. No message is lost on the way.
func Outage(t *testing.T, dialects map[string]Dialect, stop func() error, start func(context.Context) error) {
	t.Helper()
	stories := map[string]*story{}
	for name, d := range dialects {
		s := tell(t, d)
		s.put(2)
		s.shows(2, 0)
		stories[name] = s
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for name, s := range stories {
		within(t, "reading "+name, func() {
			results, err := s.reader.Read(t.Context(), []trigger.Queue{s.source.Queue})
			if err == nil {
				t.Errorf("%s: with the broker stopped, a reading shows %+v, want an error", name, results)
			}
		})
		within(t, "opening "+name, func() {
			if reader, err := s.source.Open(t.Context()); err == nil {
				reader.Close()
				t.Errorf("%s: it opens with the broker stopped", name)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if err := start(ctx); err != nil {
		t.Fatal(err)
	}
	for name, s := range stories {
		s.reader = open(t, s.source)
		s.shows(2, 0)
		s.queue = s.dialect.Queue(t, s.source.Queue.Name) // for the producers' connection is gone, too
		s.put(1)
		s.take()
		s.shows(2, 1)
		if t.Failed() {
			t.Fatalf("after the restart, with %s", name)
		}
	}
}

// Refused checks that a broker does not let a driver in, with an error of these words, and that what is secret is neither in
// the error nor in the endpoint's name.
func Refused(t *testing.T, source trigger.Source, words string, secrets ...string) {
	t.Helper()
	err := refusal(t, source)
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Fatalf("%v, want an error with %q", err, words)
	}
	for _, secret := range secrets {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows %q: %v", secret, err)
		}
		if strings.Contains(source.Endpoint, secret) {
			t.Errorf("the endpoint shows %q: %s", secret, source.Endpoint)
		}
	}
}

// refusal opens and reads, of which one must fail.
func refusal(t *testing.T, source trigger.Source) (err error) {
	t.Helper()
	within(t, "being refused", func() {
		var reader trigger.Reader
		if reader, err = source.Open(t.Context()); err != nil {
			return
		}
		defer reader.Close()
		var results []trigger.Result
		if results, err = reader.Read(t.Context(), []trigger.Queue{source.Queue}); err == nil {
			t.Errorf("it is let in and reads %+v", results)
		}
	})
	return err
}

// Silent checks that Open and Read end with their context when a broker accepts connections and never answers. Source is
// what the driver makes of a queue's settings with this address.
func Silent(t *testing.T, source func(t *testing.T, address string) trigger.Source) {
	t.Helper()
	for how, end := range ends() {
		t.Run("silent from the beginning, context "+how, func(t *testing.T) {
			t.Parallel()
			proxy := newProxy(t, "")
			proxy.silence()
			source := source(t, proxy.address())
			promptly(t, end, func(ctx context.Context) error {
				reader, err := source.Open(ctx)
				if err != nil {
					return err
				}
				defer reader.Close()
				_, err = reader.Read(ctx, []trigger.Queue{source.Queue})
				return err
			})
			if proxy.accepted() == 0 {
				t.Error("it did not connect to the address given")
			}
		})
	}
}

// FallsSilent checks that Read ends with its context when a broker falls silent between two readings, and that Close does not
// wait for the broker either. Source is what the driver makes of a queue's settings with this address, in place of the
// broker's.
func FallsSilent(t *testing.T, broker string, source func(t *testing.T, address string) trigger.Source) {
	t.Helper()
	for how, end := range ends() {
		t.Run("silent between two readings, context "+how, func(t *testing.T) {
			t.Parallel()
			proxy := newProxy(t, broker)
			source := source(t, proxy.address())
			reader, err := source.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			read(t, reader, source)
			proxy.silence()
			promptly(t, end, func(ctx context.Context) error {
				_, err := reader.Read(ctx, []trigger.Queue{source.Queue})
				_ = reader.Close() // what it says is of no use: it is given up in any case
				return err
			})
		})
	}
}

// ends are the ways in which a context ends, soon.
func ends() map[string]func(context.Context) (context.Context, context.CancelFunc) {
	return map[string]func(context.Context) (context.Context, context.CancelFunc){
		"cancelled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			timer, stop := context.WithTimeout(ctx, soon)
			ctx, cancel := context.WithCancel(ctx)
			context.AfterFunc(timer, cancel)
			return ctx, stop
		},
		"past its deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, soon)
		},
	}
}

const (
	// soon is when a context ends that is to end while a broker is silent.
	soon = 300 * time.Millisecond
	// prompt is how long after that it may take to notice: less than any timeout of the libraries.
	prompt = 1500 * time.Millisecond
)

// promptly checks that what is done fails when its context ends: not before, and not long after.
func promptly(
	t *testing.T, end func(context.Context) (context.Context, context.CancelFunc), do func(context.Context) error,
) {
	t.Helper()
	ctx, cancel := end(t.Context())
	defer cancel()
	begun := clock.RealClock{}.Now()
	var err error
	within(t, "waiting for a silent broker", func() { err = do(ctx) })
	took := clock.RealClock{}.Since(begun)
	if err == nil {
		t.Error("it reads from a silent broker")
	}
	if took < soon/2 {
		t.Errorf("it fails after %s, before its context ends: %v", took, err)
	}
	if took > soon+prompt {
		t.Errorf("it took %s to end with a context that ended after %s: %v", took, soon, err)
	}
}

// story is one queue, and a reader of it.
type story struct {
	t       *testing.T
	dialect Dialect
	source  trigger.Source
	reader  trigger.Reader
	queue   Queue
}

// tell begins a story with an empty queue.
func tell(t *testing.T, d Dialect) *story {
	t.Helper()
	name := unique()
	s := &story{t: t, dialect: d, source: d.Source(t, name), queue: d.Queue(t, name)}
	s.reader = open(t, s.source)
	s.do("create", s.queue.Create)
	return s
}

func (s *story) put(messages int) {
	s.t.Helper()
	for range messages {
		s.do("put", s.queue.Put)
	}
}

func (s *story) take()        { s.t.Helper(); s.do("take", s.queue.Take) }
func (s *story) acknowledge() { s.t.Helper(); s.do("acknowledge", s.queue.Acknowledge) }
func (s *story) reject()      { s.t.Helper(); s.do("reject", s.queue.Reject) }
func (s *story) purge()       { s.t.Helper(); s.do("purge", s.queue.Purge) }

func (s *story) do(what string, how func(context.Context) error) { s.t.Helper(); do(s.t, what, how) }

func do(t *testing.T, what string, how func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := how(ctx); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// shows reads once and compares. What is in doubt is read again, as the meter does.
func (s *story) shows(waiting, held int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	got := read(s.t, s.reader, s.source)[0]
	for waiting > 0 && got.Backlog.Doubtful && ctx.Err() == nil {
		got = read(s.t, s.reader, s.source)[0]
	}
	s.compare(got, trigger.Backlog{Waiting: waiting, Held: held})
}

// missing checks that a reading shows that there is no such queue, where the broker can tell.
func (s *story) missing(got trigger.Result, name string) {
	s.t.Helper()
	switch {
	case s.dialect.EmptyIsMissing:
		s.compare(got, trigger.Backlog{})
	case !errors.Is(got.Err, trigger.ErrNotFound) || !strings.Contains(got.Err.Error(), name):
		s.t.Errorf("the reading shows %+v, want ErrNotFound that names the queue %s", got, name)
	}
}

// compare checks all of a reading that the dialect tells live, and that what waits is beyond doubt.
func (s *story) compare(got trigger.Result, want trigger.Backlog) {
	s.t.Helper()
	want.HeldKnown = s.dialect.Tells >= Held
	want.HeldLive = s.dialect.Tells >= HeldLive
	if !want.HeldLive {
		if !want.HeldKnown && got.Backlog.Held != 0 || got.Backlog.Held < 0 {
			s.t.Errorf("%d held, which cannot be known", got.Backlog.Held)
		}
		want.Held, got.Backlog.Held = 0, 0
	}
	if want.Waiting == 0 {
		got.Backlog.Doubtful = false // what else there is to the queue decides that
	}
	if diff := cmp.Diff(trigger.Result{Backlog: want}, got, cmp.Transformer("text", text)); diff != "" {
		s.t.Errorf("the reading (-want +got):\n%s", diff)
	}
}

func text(err error) string { return fmt.Sprint(err) }

// open opens a reader, which is closed when the test is over.
func open(t *testing.T, source trigger.Source) trigger.Reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reader, err := source.Open(ctx)
	if err != nil {
		t.Fatalf("opening %s: %v", source.Endpoint, err)
	}
	// What closing says is of no use: the broker may be gone.
	t.Cleanup(func() { _ = reader.Close() })
	return reader
}

// read reads all sources, which are of one endpoint, in one go.
func read(t *testing.T, reader trigger.Reader, sources ...trigger.Source) []trigger.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	queues := make([]trigger.Queue, len(sources))
	for i, source := range sources {
		queues[i] = source.Queue
	}
	results, err := reader.Read(ctx, queues)
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	if len(results) != len(queues) {
		t.Fatalf("%d results for %d queues", len(results), len(queues))
	}
	return results
}

// within fails the test when something takes longer than it ever may.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatalf("%s takes more than %s", what, patience)
	}
}

// unique is a name that no other test uses. All are valid everywhere, and difficult where one can be: in URIs and JSON.
func unique() string { return "queue {" + rand.Text() + "} 100%/é" }
