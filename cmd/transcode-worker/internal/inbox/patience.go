package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// emptyPause is how long to wait before asking an empty queue again.
	emptyPause = 100 * time.Millisecond
	// firstPause and lastPause bound the growing pause between attempts to reach a broker.
	firstPause = 200 * time.Millisecond
	lastPause  = 2 * time.Second
	// attemptTimeout bounds one attempt.
	attemptTimeout = 15 * time.Second
)

// takeWithin asks for a message until there is one, the queue has been empty for the wait, or the context ends.
func takeWithin(ctx context.Context, wait time.Duration, ask func(context.Context) (*Message, error)) (*Message, error) {
	var until time.Time
	for {
		message, err := ask(ctx)
		if !errors.Is(err, ErrEmpty) {
			return message, err
		}
		if until.IsZero() {
			until = time.Now().Add(wait)
		}
		left := time.Until(until)
		if left <= 0 {
			return nil, ErrEmpty
		}
		if err := pause(ctx, min(left, emptyPause)); err != nil {
			return nil, err
		}
	}
}

// persist attempts something until it succeeds, fails for good, or patience or the context ends. An attempt under way is
// not broken off when the context ends: its answer may be a message.
func persist(ctx context.Context, patience time.Duration, attempt func(context.Context) error) error {
	until := time.Now().Add(patience)
	for rest := firstPause; ; rest = min(2*rest, lastPause) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := attemptOnce(ctx, attempt)
		if err == nil || !errors.Is(err, ErrUnreachable) {
			return err
		}
		if left := time.Until(until); left < rest {
			return fmt.Errorf("after %s: %w", patience, err)
		}
		if err := pause(ctx, rest); err != nil {
			return err
		}
	}
}

func attemptOnce(ctx context.Context, attempt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	return attempt(ctx)
}

// pause waits, unless the context ends; then it returns its cause.
func pause(ctx context.Context, length time.Duration) error {
	select {
	case <-time.After(length):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
