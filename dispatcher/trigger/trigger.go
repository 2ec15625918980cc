// Package trigger says what a trigger is to the dispatcher, whatever its broker.
//
// A trigger is one event source of a ScaledJob. Most are queues, at an endpoint: one broker, or one virtual host or
// database of it, reached with one set of credentials. A Reader is a connection to an endpoint; it reads many queues in
// one go and returns a Backlog for each: how many messages were waiting (no one had taken them) and, where the broker
// can tell, held (taken, and not yet acknowledged). The Meter shares one Reader among all triggers of an endpoint, reads
// them as often as they ask for, and keeps the newest Observation of each.
//
// The others are schedules, which need no connection: what is due follows from the time.
//
// A driver is a package that speaks one broker's dialect. It turns a trigger's settings into a Source, and passes the
// suite in triggertest.
package trigger

import (
	"context"
	"errors"
	"time"
)

// Secrets reads one key of a Secret in the trigger's namespace. Its errors name the Secret and the key, never a value.
type Secrets func(name, key string) (string, error)

// Source is what a trigger's settings come to, with every Secret resolved. Either Endpoint, Queue and Open are set, or
// Schedule is.
type Source struct {
	// Endpoint identifies the connection: sources with the same Endpoint share one Reader. It holds everything that
	// Open depends on, credentials only as a digest, so that it may be logged.
	Endpoint string
	// Queue is what to read at the endpoint.
	Queue Queue
	// Open connects to the endpoint. It may block until the context ends. The meter calls it again after a Read that
	// failed as a whole, so it must not assume that the broker is up.
	Open func(ctx context.Context) (Reader, error)
	// Schedule is what a trigger without a queue follows.
	Schedule Schedule
}

// Queue names what is read at an endpoint. It is comparable: triggers that name the same Queue share one reading.
type Queue struct {
	// Kind tells apart what one endpoint reads in different ways, such as lists and streams. Empty where there is one way.
	Kind string
	// Name is the broker's name of the queue, list or stream.
	Name string
	// Beside is what tells held messages, where the dialect needs a second name: a list's processing list, a stream's
	// consumer group. Empty otherwise.
	Beside string
}

// Reader is a connection to one endpoint. The meter never calls its methods concurrently.
type Reader interface {
	// Read reads every queue named, in as few requests as the broker allows, and returns one Result for each, in order.
	// It reads live figures, and held before waiting where it cannot have both at one instant: a message taken between
	// the two then counts as neither, which errs towards too few. The other way round it counts as both, and a Job is
	// dispatched for it again.
	//
	// A queue that cannot be read (missing, of the wrong kind) has its own error in its Result; the others are read all
	// the same. A returned error means that the connection is of no more use: the meter closes the Reader and opens
	// another. Read does not retry. It returns when the context ends.
	Read(ctx context.Context, queues []Queue) ([]Result, error)
	// Close ends the connection. It is called once, and no Read follows.
	Close() error
}

// Result is what reading one queue came to.
type Result struct {
	Backlog Backlog
	// Err says why this queue could not be read, naming it and what to do; then Backlog means nothing.
	Err error
}

// Backlog is what a queue showed at one moment, in messages.
type Backlog struct {
	// Waiting is how many messages no one had taken; 0 or more.
	Waiting int64
	// Held is how many messages were taken and not yet acknowledged; 0 or more, and meaningless unless HeldKnown.
	Held int64
	// HeldKnown says that the broker can tell what is held.
	HeldKnown bool
	// HeldLive says that Held is as fresh as Waiting, so that a decision may rest on it. Implies HeldKnown.
	HeldLive bool
	// Doubtful says that the broker also shows this when it cannot tell. A fall to it is not believed until it has lasted.
	// Only what calls for no Jobs may be doubtful: a Waiting of 0.
	Doubtful bool
}

// Schedule is what a trigger without a queue follows. Implementations are pure: they hold no state and read no clock.
type Schedule interface {
	// Due returns the latest scheduled time that is after since and not after now, and that has not missed its deadline;
	// false where there is none.
	Due(since, now time.Time) (time.Time, bool)
	// Next returns the first scheduled time after now; zero where there is none.
	Next(now time.Time) time.Time
	// Jobs is how many Jobs each scheduled time asks for; 1 or more.
	Jobs() int
}

// ErrNotFound is wrapped by the Result error of a queue, list's server, stream or consumer group that does not exist.
var ErrNotFound = errors.New("not found")
