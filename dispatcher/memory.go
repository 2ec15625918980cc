package dispatcher

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/dispatcher/decide"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// memory is what the dispatcher remembers of one ScaledJob from pass to pass. What a restart loses is found again in the
// cluster, or errs towards too few Jobs until the Jobs have settled. A ScaledJob has one pass at a time, so its memory
// needs no lock.
type memory struct {
	uid types.UID

	// expected are the Jobs that were created, or may have been, and that the cache does not show yet. Until it does,
	// nothing is decided.
	expected map[string]expectation
	// lastSequence is the highest sequence that was dispatched or found taken.
	lastSequence int64
	// lastDispatch is when a Job was last created; the status may tell of it later.
	lastDispatch time.Time

	sources  sources
	accounts map[string]*account
	// scheduled is the latest time of each schedule that is done with.
	scheduled map[string]time.Time

	// tried is the generation of the spec whose template the API server has tried; refusal is what it last said of a Job.
	tried   int64
	refusal refusal
	tracks  map[types.UID]*track
	// followed says that the Jobs have been followed before, so that what is new to tracks is new.
	followed bool
	reported reported
}

// expectation is a Job that the cache is to show.
type expectation struct {
	since time.Time
	// doubtful says that the API server did not tell whether it created the Job.
	doubtful bool
}

// account is what is kept for one trigger.
type account struct {
	// question is the count of Jobs that a backlog is to be set against, and since when: only a backlog read after may
	// be. nil until Jobs are counted.
	question *question
	ledger   decide.Ledger
	// dispatched is for how many Jobs were created since the ledger's last posting.
	dispatched int64
	// failures are those of each Job at the ledger's last posting.
	failures map[types.UID]int64
}

// question is a count of Jobs, to be answered by a backlog read at that moment or later.
type question struct {
	at       time.Time
	counts   counts
	failures map[types.UID]int64
	// asked is when an answer was first missed; zero before.
	asked time.Time
}

// refusal is how the API server last refused to create a Job, and until when none is tried again.
type refusal struct {
	err error
	// invalid says that a Job of the template was called invalid before there was one to create.
	invalid bool
	times   int
	until   time.Time
}

const (
	firstRefusalPause = time.Second
	lastRefusalPause  = time.Minute
)

// refused returns the refusal after one more.
func (r refusal) refused(err error, now time.Time) refusal {
	pause := lastRefusalPause
	if r.times < 6 {
		pause = firstRefusalPause << r.times
	}
	return refusal{err: err, times: r.times + 1, until: now.Add(pause)}
}

// track is what is remembered of a Job for metrics and events.
type track struct {
	created time.Time
	ran     bool
	ended   bool
}

// memories holds the memory of each ScaledJob.
type memories struct {
	mu sync.Mutex
	of map[types.NamespacedName]*memory
}

// recall returns what is remembered of a ScaledJob: nothing, where one of the same name was another.
func (m *memories) recall(name types.NamespacedName, uid types.UID) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.of[name]; ok && old.uid == uid {
		return old
	}
	if m.of == nil {
		m.of = map[types.NamespacedName]*memory{}
	}
	fresh := &memory{
		uid:       uid,
		expected:  map[string]expectation{},
		accounts:  map[string]*account{},
		scheduled: map[string]time.Time{},
		tracks:    map[types.UID]*track{},
	}
	m.of[name] = fresh
	return fresh
}

func (m *memories) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, name)
}

// account returns the account of a trigger.
func (m *memory) account(name string) *account {
	a, ok := m.accounts[name]
	if !ok {
		a = &account{}
		m.accounts[name] = a
	}
	return a
}

// post brings the ledger up to an answered question. Jobs are counted as messages.
func (a *account) post(q *question, o trigger.Observation, perJob int64) {
	var retried int64
	for uid, n := range q.failures {
		retried += max(0, n-a.failures[uid])
	}
	a.ledger = a.ledger.Post(decide.Entry{
		Fallen:     o.Fallen,
		Dispatched: a.dispatched * perJob,
		Retried:    retried * perJob,
		Unsettled:  int64(q.counts.unsettled) * perJob,
	})
	a.dispatched, a.failures = 0, q.failures
}
