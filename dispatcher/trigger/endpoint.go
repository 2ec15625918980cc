package trigger

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// attemptTimeout bounds one connecting and one reading, so that a broker that accepts and never answers shows as an
	// error.
	attemptTimeout = 10 * time.Second
	// leastRest is the least time from the end of a reading of an endpoint to the beginning of the next: those who ask
	// meanwhile share that. It is twice what the reading took if that is longer, so that no endpoint is kept busy for more
	// than a third of the time; but never more than mostRest, for they wait.
	leastRest = 5 * time.Millisecond
	mostRest  = time.Second
	// firstRetry and lastRetry bound the growing pause after attempts at an endpoint that fails. What could not be read is
	// read again after lastRetry, however seldom it is read otherwise.
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second
	// doubtLasts is how long a queue must show doubtful backlogs until a fall to them counts: a broker that is merely slow
	// to answer has told the truth by then. doubtRest is how soon to read again meanwhile, to know it early.
	doubtLasts = 2 * time.Second
	doubtRest  = 250 * time.Millisecond
)

// endpoint is one connection and what is read over it.
type endpoint struct {
	meter *Meter
	open  func(context.Context) (Reader, error)
	stop  chan struct{}
	wake  chan struct{}

	mu       sync.Mutex
	readings map[Queue]*reading
}

// reading is what is known of one queue, and for whom it is read.
type reading struct {
	watchers map[watcher]time.Duration
	waiting  map[watcher]time.Time // who waits for a reading begun at that moment or later
	last     Observation
	seen     bool
	believed int64     // the last Waiting that was neither a failure's nor doubted
	doubted  time.Time // since when a fall from it is doubted; zero where none is
}

func newEndpoint(m *Meter, open func(context.Context) (Reader, error)) *endpoint {
	return &endpoint{
		meter:    m,
		open:     open,
		stop:     make(chan struct{}),
		wake:     make(chan struct{}, 1),
		readings: map[Queue]*reading{},
	}
}

func (e *endpoint) add(who watcher, q Queue, interval time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.readings[q]
	if !ok {
		r = &reading{watchers: map[watcher]time.Duration{}, waiting: map[watcher]time.Time{}}
		e.readings[q] = r
	}
	if old, ok := r.watchers[who]; !ok || old != interval {
		r.watchers[who] = interval
		poke(e.wake)
	}
}

// drop says whether nothing is left to read.
func (e *endpoint) drop(who watcher, q Queue) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r, ok := e.readings[q]; ok {
		delete(r.watchers, who)
		delete(r.waiting, who)
		if len(r.watchers) == 0 {
			delete(e.readings, q)
		}
	}
	return len(e.readings) == 0
}

// last is the last observation of a queue, and whether it was begun at or after a moment.
func (e *endpoint) last(q Queue, since time.Time) (Observation, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.readings[q]
	if !ok {
		return Observation{}, false
	}
	return r.last, r.seen && !r.last.At.Before(since)
}

// ask has a queue read for who waits for a reading begun at or after a moment.
func (e *endpoint) ask(who watcher, q Queue, since time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.readings[q]
	if !ok {
		return
	}
	// Who has left meanwhile asks for nobody: nothing would ever end the wait.
	if _, watches := r.watchers[who]; watches {
		r.waiting[who] = since
		poke(e.wake)
	}
}

// run reads until the context or the endpoint ends.
func (e *endpoint) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-e.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	line := line{open: e.open, clock: e.meter.clock}
	defer line.close()
	var pause time.Duration
	rested := time.Time{} // no attempt begins before
	for ctx.Err() == nil {
		now := e.meter.clock.Now()
		wait, urgent := e.untilDue(now)
		if !e.sleep(ctx, max(wait, rested.Sub(now)), urgent) {
			continue
		}
		queues := e.due(e.meter.clock.Now())
		if len(queues) == 0 {
			continue
		}
		began, results, err := line.read(ctx, queues)
		if ctx.Err() != nil {
			return
		}
		ended := e.meter.clock.Now()
		took := ended.Sub(began)
		e.publish(began, took, queues, results, err)
		pause = nextPause(pause, err)
		rested = ended.Add(pause)
		if err == nil {
			rested = ended.Add(min(max(leastRest, 2*took), mostRest))
		}
	}
}

// nextPause doubles from the first retry to the last, and starts again with a success.
func nextPause(pause time.Duration, err error) time.Duration {
	if err == nil {
		return 0
	}
	return min(max(2*pause, firstRetry), lastRetry)
}

// sleep waits, and says whether the time has come; false where something happened meanwhile that the wait depends on.
func (e *endpoint) sleep(ctx context.Context, wait time.Duration, urgent bool) bool {
	if wait <= 0 {
		return true
	}
	timer := e.meter.clock.NewTimer(wait)
	defer timer.Stop()
	wake := e.wake
	if urgent {
		wake = nil // nothing that may happen makes it sooner
	}
	select {
	case <-ctx.Done():
		return false
	case <-wake:
		return false
	case <-timer.C():
		return true
	}
}

// untilDue is how long until a queue is due, and whether someone waits for one now.
func (e *endpoint) untilDue(now time.Time) (time.Duration, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	wait := time.Hour
	for _, r := range e.readings {
		if len(r.waiting) > 0 || !r.seen {
			return 0, true
		}
		wait = min(wait, r.last.At.Add(r.interval()).Sub(now))
	}
	return wait, false
}

// due lists the queues to read now: those that someone waits for, and those whose interval is over, or nearly so, which
// saves them a request of their own.
func (e *endpoint) due(now time.Time) []Queue {
	e.mu.Lock()
	defer e.mu.Unlock()
	var queues []Queue
	for q, r := range e.readings {
		interval := r.interval()
		if len(r.waiting) > 0 || !r.seen || !now.Before(r.last.At.Add(interval-interval/4)) {
			queues = append(queues, q)
		}
	}
	return queues
}

// interval is how long after the last reading to read again at the latest.
func (r *reading) interval() time.Duration {
	shortest := time.Hour
	for _, i := range r.watchers {
		shortest = min(shortest, i)
	}
	switch {
	case r.last.Err != nil:
		return min(shortest, lastRetry)
	case !r.doubted.IsZero():
		return min(shortest, doubtRest)
	default:
		return shortest
	}
}

// publish keeps what was read and tells those concerned.
func (e *endpoint) publish(at time.Time, took time.Duration, queues []Queue, results []Result, err error) {
	changed := map[Owner]bool{}
	e.mu.Lock()
	for i, q := range queues {
		r, ok := e.readings[q]
		if !ok {
			continue
		}
		result := Result{Err: err}
		if err == nil {
			result = results[i]
		}
		before, seen := r.last, r.seen
		r.take(at, took, result)
		for who := range r.watchers {
			e.meter.read(who.owner, who.trigger, r.last)
			since, waits := r.waiting[who]
			answered := waits && !at.Before(since)
			if answered {
				delete(r.waiting, who)
			}
			if answered || !seen || tellsNew(before, r.last) {
				changed[who.owner] = true
			}
		}
	}
	e.mu.Unlock()
	for owner := range changed {
		e.meter.changed(owner)
	}
}

// take makes a result the last observation.
func (r *reading) take(at time.Time, took time.Duration, result Result) {
	o := Observation{At: at, Took: took, Fallen: r.last.Fallen, Err: result.Err}
	doubted := r.doubts(at, result)
	if result.Err == nil {
		o.Backlog = result.Backlog
		if !doubted {
			o.Fallen += max(0, r.believed-result.Backlog.Waiting)
			r.believed = result.Backlog.Waiting
		}
	}
	r.last, r.seen = o, true
}

// doubts says whether a result shows a fall that is not to be believed yet. It would have starting Jobs count as having
// taken their messages, and other Jobs created for those once the broker can tell again.
func (r *reading) doubts(at time.Time, result Result) bool {
	doubtful := result.Err == nil && result.Backlog.Doubtful && result.Backlog.Waiting < r.believed
	switch {
	case !doubtful || !r.doubted.IsZero() && at.Sub(r.doubted) >= doubtLasts:
		r.doubted = time.Time{}
	case r.doubted.IsZero():
		r.doubted = at
	}
	return !r.doubted.IsZero()
}

// tellsNew says whether b tells something that a did not. That a fall is believed shows in Fallen.
func tellsNew(a, b Observation) bool {
	a.Backlog.Doubtful = b.Backlog.Doubtful
	return a.Backlog != b.Backlog || a.Fallen != b.Fallen ||
		(a.Err == nil) != (b.Err == nil) || (a.Err != nil && a.Err.Error() != b.Err.Error())
}

// line is a Reader that is opened when needed.
type line struct {
	open   func(context.Context) (Reader, error)
	clock  clock.PassiveClock
	reader Reader
}

// read reads, and says when the reading began. A connection that has served before may have been cut while idle: then it
// is opened anew and read again, once, before the failure counts. What was in vain before a success is not part of it.
func (l *line) read(ctx context.Context, queues []Queue) (time.Time, []Result, error) {
	first, served := l.clock.Now(), l.reader != nil
	began, results, err := l.attempt(ctx, queues)
	if err != nil && served && ctx.Err() == nil {
		began, results, err = l.attempt(ctx, queues)
	}
	if err != nil {
		return first, nil, err
	}
	return began, results, nil
}

// attempt opens the connection if there is none, and says when the reading over it began.
func (l *line) attempt(ctx context.Context, queues []Queue) (time.Time, []Result, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if l.reader == nil {
		reader, err := l.open(ctx)
		if err != nil {
			return time.Time{}, nil, err
		}
		l.reader = reader
	}
	began := l.clock.Now()
	results, err := l.reader.Read(ctx, queues)
	if err == nil && len(results) != len(queues) {
		err = fmt.Errorf("the driver returned %d results for %d queues", len(results), len(queues))
	}
	if err != nil {
		l.close()
		return time.Time{}, nil, err
	}
	return began, results, nil
}

// close closes the connection, if there is one. What closing says is of no use: it is given up in any case.
func (l *line) close() {
	if l.reader != nil {
		_ = l.reader.Close()
		l.reader = nil
	}
}
