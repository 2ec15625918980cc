package trigger

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Owner names the object that a trigger belongs to, by its kind, its namespace and its name.
type Owner struct {
	Kind, Namespace, Name string
}

// Watch asks the meter to read one trigger.
type Watch struct {
	// Trigger is the trigger's name, unique within its owner.
	Trigger string
	// Source is what to read; its Endpoint is set.
	Source Source
	// Interval is how often to read at least; more than 0.
	Interval time.Duration
}

// Observation is what one reading of a trigger showed.
type Observation struct {
	// At is when the reading was begun: what it shows was so at that moment or later.
	At time.Time
	// Took is how long the request took in which it was read, with others perhaps.
	Took time.Duration
	// Backlog is what it showed; it means nothing with an Err.
	Backlog Backlog
	// Fallen is by how many messages Waiting has fallen from one reading to the next, in all of them so far. A fall to a
	// doubtful backlog is not in it before that has lasted for two seconds.
	Fallen int64
	// Err says why the trigger could not be read.
	Err error
}

// Meter reads triggers: one connection for each endpoint, all its queues in one go. It reads each as often as the
// shortest interval asks for, and at once when someone waits for an observation newer than the last.
//
// A slow endpoint, or one that is down, delays nothing but its own triggers: each has a goroutine of its own, and no
// method of the Meter waits for it. All methods may be called concurrently.
type Meter struct {
	clock   clock.Clock
	changed func(Owner)
	read    func(Owner, string, Observation)

	mu        sync.Mutex
	endpoints map[string]*endpoint
	watches   map[Owner]map[string]Watch
	unstarted []*endpoint
	wake      chan struct{}
}

// NewMeter returns a meter that reads nothing until it is started. It calls changed when an owner's observations tell
// something new, or when one that the owner waits for is there, and read for each reading of a trigger; both from the
// endpoint's goroutine, so they must not block. No read follows for a trigger once Watch or Forget that ends it has
// returned: the endpoint is locked while read is called, which must not call the meter therefore. Changed may.
func NewMeter(c clock.Clock, changed func(Owner), read func(owner Owner, trigger string, o Observation)) *Meter {
	return &Meter{
		clock:     c,
		changed:   changed,
		read:      read,
		endpoints: map[string]*endpoint{},
		watches:   map[Owner]map[string]Watch{},
		wake:      make(chan struct{}, 1),
	}
}

// Start reads until the context ends, and returns when all connections are closed. It never fails.
func (m *Meter) Start(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		m.mu.Lock()
		unstarted := m.unstarted
		m.unstarted = nil
		m.mu.Unlock()
		for _, e := range unstarted {
			running.Go(func() { e.run(ctx) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		}
	}
}

// Watch makes the given triggers all that is read for an owner. What was read before of a trigger whose endpoint and
// queue are the same is kept.
func (m *Meter) Watch(owner Owner, watches []Watch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := make(map[string]Watch, len(watches))
	for _, w := range watches {
		wanted[w.Trigger] = w
	}
	for name, old := range m.watches[owner] {
		if w, ok := wanted[name]; !ok || !sameReading(w.Source, old.Source) {
			m.drop(watcher{owner, name}, old.Source)
		}
	}
	for name, w := range wanted {
		m.add(watcher{owner, name}, w)
	}
	m.watches[owner] = wanted
	if len(wanted) == 0 {
		delete(m.watches, owner)
	}
}

// Forget stops reading for an owner.
func (m *Meter) Forget(owner Owner) { m.Watch(owner, nil) }

// Observe returns the last observation of a trigger, and whether it was begun at or after a moment. If it was not, one is
// made as soon as the endpoint allows, and the owner is told. Before the first reading the observation is zero.
func (m *Meter) Observe(owner Owner, trigger string, since time.Time) (Observation, bool) {
	e, q := m.find(owner, trigger)
	if e == nil {
		return Observation{}, false
	}
	o, ok := e.last(q, since)
	if !ok {
		e.ask(watcher{owner, trigger}, q, since)
	}
	return o, ok
}

// Last returns what Observe does, and has nothing read.
func (m *Meter) Last(owner Owner, trigger string, since time.Time) (Observation, bool) {
	e, q := m.find(owner, trigger)
	if e == nil {
		return Observation{}, false
	}
	return e.last(q, since)
}

func (m *Meter) find(owner Owner, trigger string) (*endpoint, Queue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.watches[owner][trigger]
	return m.endpoints[w.Source.Endpoint], w.Source.Queue
}

// add has one trigger read. Callers hold m.mu.
func (m *Meter) add(who watcher, w Watch) {
	e, ok := m.endpoints[w.Source.Endpoint]
	if !ok {
		e = newEndpoint(m, w.Source.Open)
		m.endpoints[w.Source.Endpoint] = e
		m.unstarted = append(m.unstarted, e)
		poke(m.wake)
	}
	e.add(who, w.Source.Queue, w.Interval)
}

// drop ends the reading of one trigger, and the connection with the last. Callers hold m.mu.
func (m *Meter) drop(who watcher, s Source) {
	e := m.endpoints[s.Endpoint]
	if e != nil && e.drop(who, s.Queue) {
		delete(m.endpoints, s.Endpoint)
		close(e.stop)
	}
}

func sameReading(a, b Source) bool { return a.Endpoint == b.Endpoint && a.Queue == b.Queue }

// watcher is one trigger of one owner.
type watcher struct {
	owner   Owner
	trigger string
}

// poke wakes whoever waits on a channel with room for one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
