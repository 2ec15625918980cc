package trigger_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"k8s.io/utils/clock"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is where a story of a meter is played. Time is a synctest bubble's: it stands still while anything happens, and
// moves when the story says so, past every timer on the way. Moments are told as time since the story began.
type stage struct {
	t     *testing.T
	epoch time.Time
	meter *trigger.Meter
	// end ends the meter's context; ended is closed when Start has returned. Both are set by start.
	end     context.CancelFunc
	ended   chan struct{}
	brokers []*broker

	mu       sync.Mutex
	changes  []change
	readings []reading
}

// change is one call that told an owner to look.
type change struct {
	At    time.Duration
	Owner string
}

// reading is one call that told of a reading; its At is when it was told.
type reading struct {
	At             time.Duration
	Owner, Trigger string
	Observation    trigger.Observation
}

// play plays a story. In the end the meter is stopped, and must leave no connection open and no goroutine behind.
func play(t *testing.T, story func(s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, epoch: time.Now()}
		s.meter = trigger.NewMeter(clock.RealClock{}, s.onChange, s.onRead)
		story(s)
		if s.end != nil {
			s.end()
			<-s.ended
		}
		for _, b := range s.brokers {
			if _, opened, closed := b.log(); opened != closed {
				t.Errorf("%s saw %d connections opened and only %d closed when the meter had stopped", b.name, opened, closed)
			}
		}
	})
}

// start starts the meter. Watches from before it are all in place when it reads first.
func (s *stage) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	s.end, s.ended = cancel, make(chan struct{})
	go func() {
		defer close(s.ended)
		if err := s.meter.Start(ctx); err != nil {
			s.t.Errorf("Start failed: %v", err)
		}
	}()
	synctest.Wait()
}

// step lets time pass, and all that is to happen in it.
func (s *stage) step(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *stage) now() time.Duration { return time.Since(s.epoch) }

// at is the moment some time after the story began.
func (s *stage) at(d time.Duration) time.Time { return s.epoch.Add(d) }

func (s *stage) onChange(o trigger.Owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = append(s.changes, change{s.now(), o.Name})
}

func (s *stage) onRead(o trigger.Owner, name string, observed trigger.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readings = append(s.readings, reading{s.now(), o.Name, name, observed})
}

// changed lists when an owner was told to look.
func (s *stage) changed(owner string) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := []time.Duration{}
	for _, c := range s.changes {
		if c.Owner == owner {
			told = append(told, c.At)
		}
	}
	return told
}

// observed lists what the readings of an owner's triggers showed.
func (s *stage) observed(owner string) []trigger.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	observed := []trigger.Observation{}
	for _, r := range s.readings {
		if r.Owner == owner {
			observed = append(observed, r.Observation)
		}
	}
	return observed
}

// watch has an owner watch one trigger, called as its queue is.
func (s *stage) watch(owner string, b *broker, queue string, interval time.Duration) {
	s.meter.Watch(named(owner), []trigger.Watch{{Trigger: queue, Source: b.source(queue), Interval: interval}})
}

func named(owner string) trigger.Owner { return trigger.Owner{Namespace: "default", Name: owner} }

// broker is an endpoint that does as a story says. Its fields are set with tell once the meter runs.
type broker struct {
	t     *testing.T
	name  string
	epoch time.Time

	mu sync.Mutex
	// backlogs are the queues; those that are absent are missing.
	backlogs map[string]trigger.Backlog
	// onOpen and onRead are what opening and reading do first, and onClose closing; nil for nothing.
	onOpen  func(context.Context) error
	onRead  func(context.Context) error
	onClose func()
	// short is how many results too few reading gives.
	short int
	// requests are the readings begun, opens and closes when connections were.
	requests      []request
	opens, closes []time.Duration
}

// request is one reading: when it was begun, and of which queues, in order of their names.
type request struct {
	At     time.Duration
	Queues []string
}

var errMissing = errors.New("no such queue")

func (s *stage) broker(name string, queues ...string) *broker {
	b := &broker{t: s.t, name: name, epoch: s.epoch, backlogs: map[string]trigger.Backlog{}}
	for _, q := range queues {
		b.backlogs[q] = trigger.Backlog{}
	}
	s.brokers = append(s.brokers, b)
	return b
}

func (b *broker) source(queue string) trigger.Source {
	return trigger.Source{Endpoint: b.name, Queue: trigger.Queue{Name: queue}, Open: b.open}
}

// tell changes what the broker does.
func (b *broker) tell(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// holds sets how many messages wait in a queue.
func (b *broker) holds(queue string, waiting int64) {
	b.tell(func() { b.backlogs[queue] = trigger.Backlog{Waiting: waiting} })
}

// fails makes each reading fail; nil heals it.
func (b *broker) fails(err error) {
	b.tell(func() { b.onRead = func(context.Context) error { return err } })
}

// takes makes each reading take a while.
func (b *broker) takes(d time.Duration) {
	b.tell(func() {
		b.onRead = func(ctx context.Context) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// never is an opening or a reading that no one answers.
func never(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (b *broker) log() (requests []request, opened, closed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests), len(b.opens), len(b.closes)
}

// reads lists when readings were begun; of one queue, or of any without a name.
func (b *broker) reads(queue string) []time.Duration {
	requests, _, _ := b.log()
	begun := []time.Duration{}
	for _, r := range requests {
		if queue == "" || slices.Contains(r.Queues, queue) {
			begun = append(begun, r.At)
		}
	}
	return begun
}

func (b *broker) openings() []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.opens)
}

// connections fails the test unless so many connections were opened and closed.
func (b *broker) connections(opened, closed int) {
	b.t.Helper()
	if _, o, c := b.log(); o != opened || c != closed {
		b.t.Errorf("%s saw %d connections opened and %d closed; want %d and %d", b.name, o, c, opened, closed)
	}
}

func (b *broker) open(ctx context.Context) (trigger.Reader, error) {
	b.mu.Lock()
	b.opens = append(b.opens, time.Since(b.epoch))
	first := b.onOpen
	b.mu.Unlock()
	if first != nil {
		if err := first(ctx); err != nil {
			b.mu.Lock()
			b.closes = append(b.closes, time.Since(b.epoch)) // what was not opened need not be closed
			b.mu.Unlock()
			return nil, err
		}
	}
	return &reader{broker: b}, nil
}

// reader is a connection to a broker that insists on what Reader promises.
type reader struct {
	broker *broker
	busy   sync.Mutex
	closed bool
}

func (r *reader) Read(ctx context.Context, queues []trigger.Queue) ([]trigger.Result, error) {
	b := r.broker
	if !r.busy.TryLock() {
		b.t.Errorf("%s is read twice at the same time over one connection", b.name)
	}
	defer r.busy.Unlock()
	if r.closed {
		b.t.Errorf("%s is read over a connection that was closed", b.name)
	}
	q := request{At: time.Since(b.epoch)}
	for _, queue := range queues {
		q.Queues = append(q.Queues, queue.Name)
	}
	slices.Sort(q.Queues)
	b.mu.Lock()
	b.requests = append(b.requests, q)
	first := b.onRead
	b.mu.Unlock()
	if first != nil {
		if err := first(ctx); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	results := []trigger.Result{}
	for _, queue := range queues {
		backlog, ok := b.backlogs[queue.Name]
		if !ok {
			// What comes with an error means nothing.
			results = append(results, trigger.Result{Err: errMissing, Backlog: trigger.Backlog{Waiting: int64(len(b.requests))}})
			continue
		}
		results = append(results, trigger.Result{Backlog: backlog})
	}
	return results[b.short:], nil
}

func (r *reader) Close() error {
	b := r.broker
	if !r.busy.TryLock() {
		b.t.Errorf("a connection to %s is closed while it is read", b.name)
	}
	defer r.busy.Unlock()
	if r.closed {
		b.t.Errorf("a connection to %s is closed twice", b.name)
	}
	r.closed = true
	b.mu.Lock()
	first := b.onClose
	b.mu.Unlock()
	if first != nil {
		first()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closes = append(b.closes, time.Since(b.epoch))
	return errors.New("closing says this, which is of no use to anyone")
}
