package dispatcher

import (
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// sightings tell of each running Job when it was first seen to run.
	sightings map[types.UID]sighting
	// lastRun is the request of a user that a Job was last seen of.
	lastRun string
	// clearedUnstored is how many Jobs were cleared away before their records were stored, since the store could last be
	// written.
	clearedUnstored int
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
	// arrivals tell since when messages wait that have no Job yet.
	arrivals decide.Arrivals
	// posted are the Jobs at the ledger's last posting.
	posted map[types.UID]mark
}

// mark is what a ledger is to know of a Job again later.
type mark struct {
	active, running bool
	failures        int64
}

// question is a count of Jobs, to be answered by a backlog read at that moment or later.
type question struct {
	at     time.Time
	counts counts
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

// mayPass says whether a refusal, if there is one, may be for what the Jobs of an older template take up.
func (r refusal) mayPass() bool {
	return r.err == nil || (apierrors.IsForbidden(r.err) && strings.Contains(r.err.Error(), "exceeded quota"))
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

// sighting is when this manager first saw containers run that began at a moment by their node's clock.
type sighting struct{ began, seen time.Time }

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

// post brings the ledger up to a backlog that was read after the Jobs were counted. Jobs are counted as messages. Those that
// were not there at the last posting were dispatched since, whoever created them. One that has failed since, or that ran and
// runs no longer, will take a message once more: its pod may have been evicted, or taken away by a queue of Jobs.
func (a *account) post(jobs map[types.UID]mark, n counts, o trigger.Observation, perJob int64) {
	var dispatched, retried int64
	for uid, j := range jobs {
		before, known := a.posted[uid]
		switch {
		case !known:
			dispatched++
		case !j.active:
		case before.running && !j.running:
			retried += max(1, j.failures-before.failures)
		default:
			retried += max(0, j.failures-before.failures)
		}
	}
	a.ledger = a.ledger.Post(decide.Entry{
		Fallen:     o.Fallen,
		Dispatched: dispatched * perJob,
		Retried:    retried * perJob,
		Unsettled:  int64(n.unsettled) * perJob,
	})
	a.posted = jobs
}

// settlesFrom is when a Job's settling time begins: when this manager first saw it run, by its own clock, as the clocks of
// nodes may be wrong. Of a Job that ran before this manager did, its node has to be believed, unless that is in the future.
func (m *memory) settlesFrom(j jobState, now time.Time) sighting {
	if old, ok := m.sightings[j.job.UID]; ok && old.began.Equal(j.startedAt) {
		return old
	}
	if !m.followed && j.startedAt.Before(now) {
		return sighting{began: j.startedAt, seen: j.startedAt}
	}
	return sighting{began: j.startedAt, seen: now}
}
