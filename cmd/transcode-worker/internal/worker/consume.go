package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/encode"
	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/inbox"
	consumer "github.com/longhaul-dev/longhaul/worker"
)

// Consume does one message's work after another until the context ends; the one in hand is finished then. While the consumer
// is fenced it takes none. An order that cannot be carried out is rejected, and said so; any other failure is returned, after its
// message was given back.
func Consume(ctx context.Context, s Settings, w *consumer.Worker) error {
	encoder, box, err := s.open()
	if err != nil {
		return err
	}
	defer func() { _ = box.Close() }() // as in run
	if err := sleep(ctx, s.StartDelay); err != nil {
		return err
	}
	return consumer.Run(ctx, w,
		func(ctx context.Context) (*inbox.Message, string, error) { return await(ctx, s, box) },
		func(ctx context.Context, message *inbox.Message) error { return consume(ctx, s, encoder, message) },
	)
}

// await waits for a message, and returns it with its order's name; it is empty where the message is no good.
func await(ctx context.Context, s Settings, box inbox.Inbox) (*inbox.Message, string, error) {
	for {
		message, err := box.Take(ctx, max(s.Wait, time.Second))
		switch {
		case err == nil:
			order, _ := parseOrder(message.Body) // what is wrong with it is told when it is carried out
			return message, order.ID, nil
		case ctx.Err() != nil:
			return nil, "", ctx.Err()
		case !errors.Is(err, inbox.ErrEmpty):
			return nil, "", err
		}
	}
}

// consume does what one message orders, and settles it.
func consume(ctx context.Context, s Settings, encoder encode.Encoder, message *inbox.Message) error {
	report := newReport(s.Log, s.StatusFiles)
	result, failure := carryOut(ctx, s, encoder, message, report)
	if !errors.Is(failure, inbox.ErrUnreachable) { // else it is lost, and there is nothing to settle
		if err := message.Settle(ctx, outcome(failure)); err != nil {
			failure = errors.Join(failure, err)
		} else if failure == nil {
			report.done(result)
		}
	}
	report.end(failure)
	if failure != nil && outcome(failure) == inbox.Rejected {
		report.line("rejected a message: %v", failure)
		return nil
	}
	return failure
}

// open checks the settings.
func (s Settings) open() (encode.Encoder, inbox.Inbox, error) {
	encoder, err := encode.Find(s.Encoder)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", inbox.ErrSettings, err)
	}
	if s.Wait < 0 || s.Inbox.Patience < 0 || s.StartDelay < 0 || s.MaxSpeed < 0 {
		return nil, nil, fmt.Errorf("%w: WAIT, PATIENCE, START_DELAY and MAX_SPEED must not be negative", inbox.ErrSettings)
	}
	box, err := inbox.Open(s.Inbox)
	if err != nil {
		return nil, nil, err
	}
	return encoder, box, nil
}
