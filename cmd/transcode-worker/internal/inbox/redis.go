package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// failedSuffix makes the name of the list or stream to which rejected messages go.
const failedSuffix = ":failed"

// redisInbox is a Redis list or stream. Its two verbs differ between them.
type redisInbox struct {
	client   *redis.Client
	patience time.Duration
	// take takes a message; ErrEmpty where there is none.
	take func(context.Context) (*held, error)
	// settle settles it. It may be called again for a message that an earlier call settled, whose answer was lost: then
	// it does nothing.
	settle func(context.Context, *held, Outcome) error
}

// held is a message as Redis has it.
type held struct {
	body   []byte
	id     string   // of a stream's entry
	fields []string // of a stream's entry, names and values in turn
}

func openRedis(s Settings) (Inbox, error) {
	options, err := redis.ParseURL(s.URI)
	if err != nil { // err may quote the URI
		return nil, badURI("Redis' client cannot read it")
	}
	if s.Username != "" {
		options.Username = s.Username
	}
	if s.Password != "" {
		options.Password = s.Password
	}
	// A command whose answer was lost may have been carried out: only the inbox knows which may be sent again.
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.PoolSize = 2
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch {
	case s.Queue != "" && s.Stream != "":
		return nil, fmt.Errorf("%w: QUEUE and STREAM are both set: set QUEUE for a list, or STREAM for a stream", ErrSettings)
	case s.Queue != "":
		err = belong("a Redis list", map[string]string{"CONSUMER_GROUP": s.ConsumerGroup})
	case s.Stream == "":
		err = fmt.Errorf("%w: neither QUEUE nor STREAM is set: set QUEUE to the name of a list, or STREAM to that of a stream", ErrSettings)
	case s.ConsumerGroup == "":
		err = fmt.Errorf("%w: CONSUMER_GROUP is not set: set it to the name of the stream's consumer group", ErrSettings)
	default:
		err = belong("a Redis stream", map[string]string{"PROCESSING_LIST": s.ProcessingList})
	}
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(options)
	inbox := &redisInbox{client: client, patience: s.Patience}
	switch {
	case s.Stream != "":
		stream := redisStream{client: client, settings: s}
		inbox.take, inbox.settle = stream.take, stream.settle
	case s.ProcessingList != "":
		list := redisList{client: client, settings: s}
		inbox.take, inbox.settle = list.take, list.settle
	default:
		list := plainList{client: client, settings: s}
		inbox.take, inbox.settle = list.take, list.settle
	}
	return inbox, nil
}

// Take implements Inbox.
func (r *redisInbox) Take(ctx context.Context, wait time.Duration) (*Message, error) {
	return takeWithin(ctx, wait, func(ctx context.Context) (*Message, error) {
		var taken *held
		err := persist(ctx, r.patience, func(ctx context.Context) (err error) {
			taken, err = r.take(ctx)
			return redisError("taking a message", err)
		})
		if err != nil {
			return nil, err
		}
		return &Message{Body: taken.body, settle: func(ctx context.Context, outcome Outcome) error {
			return persist(ctx, r.patience, func(ctx context.Context) error {
				return redisError("settling the message", r.settle(ctx, taken, outcome))
			})
		}}, nil
	})
}

// Close implements Inbox.
func (r *redisInbox) Close() error { return r.client.Close() }

// redisError says whether trying again may help: it may, unless the server understood and said no.
func redisError(doing string, err error) error {
	var answer redis.Error
	switch {
	case err == nil, errors.Is(err, ErrEmpty):
		return err
	case errors.Is(err, redis.Nil):
		return ErrEmpty
	case errors.As(err, &answer) && !passing(answer.Error()):
		return fmt.Errorf("%s: %w: %w", doing, ErrRefused, err)
	default:
		return fmt.Errorf("%s: %w: %w", doing, ErrUnreachable, err)
	}
}

// passing says whether an error that the server answers with is of a state that passes.
func passing(answer string) bool {
	states := []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY ", "OOM", "NOREPLICAS", "max number of clients"}
	return slices.ContainsFunc(states, func(state string) bool { return strings.Contains(answer, state) })
}
