// Package inbox takes one message from a queue, and settles it when the work is done.
//
// An Inbox is one queue of one broker, as one taker sees it. A message that is taken is held: nobody else gets it, and
// the broker still has it. It is held until it is settled, with an Outcome: Done, after which it is gone; Rejected, since
// it is no good, so that nobody tries it again but somebody can look at it; or GivenBack, so that it waits again.
//
// What happens to a message whose taker dies depends on the broker:
//
//   - RabbitMQ gives it back by itself.
//   - A Redis list with a processing list, and a stream, hold it for the taker's name. A taker of the same name, such as
//     the next pod of the same Job, gets that message before any other.
//   - A plain Redis list has forgotten it. That is what its processing list is for.
//
// Taking and settling outlast a broker that is away for a while: they try again until the patience ends.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

var (
	// ErrEmpty says that no message waits.
	ErrEmpty = errors.New("no message waits")
	// ErrUnreachable is wrapped where the broker could not be reached, or was lost, so that trying later may help.
	ErrUnreachable = errors.New("the broker cannot be reached")
	// ErrRefused is wrapped where the broker refuses what the settings ask for: an unknown queue, a wrong password.
	ErrRefused = errors.New("the broker refuses")
	// ErrSettings is wrapped where settings do not make sense.
	ErrSettings = errors.New("bad settings")
)

// Settings say which queue it is, and how to take from it. An error that concerns one of them calls it by the name of
// its environment variable.
type Settings struct {
	// URI is the broker's: amqp://, amqps://, redis:// or rediss://. It may hold a password, so it is never shown.
	URI string
	// Username and Password go before the URI's where they are set.
	Username, Password string
	// Queue is the name of the RabbitMQ queue or Redis list.
	Queue string
	// ProcessingList is the Redis list in which messages are that are worked on; empty for none.
	ProcessingList string
	// Stream and ConsumerGroup are the Redis stream and its group; Queue is empty then.
	Stream, ConsumerGroup string
	// Taker is the name for which Redis holds a message. No two takers may have the same at the same time.
	Taker string
	// Requeue lets a rejected message wait again.
	Requeue bool
	// Patience is how long to go on trying while the broker cannot be reached.
	Patience time.Duration
}

// Name says which queue it is, for people.
func (s Settings) Name() string {
	if s.Stream != "" {
		return fmt.Sprintf("stream %s for group %s", s.Stream, s.ConsumerGroup)
	}
	return "queue " + s.Queue
}

// Inbox is a queue to take messages from. It is not for concurrent use.
type Inbox interface {
	// Take takes a message, and waits for one if there is none; ErrEmpty after that. Where the context ends, it returns
	// its cause, and no message; one that was taken at just that moment is returned all the same.
	Take(ctx context.Context, wait time.Duration) (*Message, error)
	// Close ends the connection. A message that is not settled by then is left as if the taker had died.
	Close() error
}

// Outcome is what became of a message.
type Outcome int

// The outcomes; see the package's comment.
const (
	Done Outcome = iota
	Rejected
	GivenBack
)

// Message is a message that is held.
type Message struct {
	// Body is what the sender wrote.
	Body []byte
	// Lost receives an error when the message is no longer held: the broker has given it back. It is nil where that
	// cannot happen.
	Lost <-chan error

	settle func(ctx context.Context, outcome Outcome) error
}

// Settle tells the broker the outcome, and returns when the broker has answered. It is called once.
func (m *Message) Settle(ctx context.Context, outcome Outcome) error { return m.settle(ctx, outcome) }

// Open checks the settings. It does not connect yet.
func Open(s Settings) (Inbox, error) {
	uri, err := url.Parse(s.URI)
	if err != nil { // err quotes the URI, with the password
		return nil, badURI("it is no URI")
	}
	switch uri.Scheme {
	case "amqp", "amqps":
		return openRabbitMQ(s)
	case "redis", "rediss":
		return openRedis(s)
	case "":
		return nil, badURI("it has no scheme, or is not set")
	default:
		return nil, badURI("its scheme is not known")
	}
}

// badURI never quotes the URI, nor what a library says of it, for either may hold the password.
func badURI(why string) error {
	return fmt.Errorf("%w: QUEUE_URI cannot be used, for %s: set it to amqp://user:password@host:5672/vhost, "+
		"redis://user:password@host:6379/0, or amqps:// or rediss:// for TLS, with / : @ ? # and %% in the password "+
		"written as %%2F %%3A %%40 %%3F %%23 and %%25", ErrSettings, why)
}

// belong refuses settings that are of no use for a kind of queue, so that a mistake shows.
func belong(kind string, strange map[string]string) error {
	for name, value := range strange {
		if value != "" {
			return fmt.Errorf("%w: %s is set, which %s does not have: remove it", ErrSettings, name, kind)
		}
	}
	return nil
}
