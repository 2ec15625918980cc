// Package worker takes one message, transcodes the clip that it names, and settles the message: what a Job does that is
// run for one message.
//
// An order is what a message says: which clip, and where to. The report is what the worker tells while it is at it: lines
// for people, and a status for programs.
//
// The message is held until the output is there, so that no order is lost when a worker dies; one may then be carried out
// twice, which does no harm, since the output is the same. An order that cannot be carried out is rejected. Where the
// worker is stopped, or fails for reasons of its own, the message is given back.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/encode"
	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/inbox"
)

// errOrder is wrapped by errors that are the message's fault, so that nobody needs to try it again.
var errOrder = errors.New("the message is no good")

// ErrStopped is the cause with which a caller ends a context to stop the worker.
var ErrStopped = errors.New("stopped")

// Settings are what the worker is told from outside.
type Settings struct {
	// Inbox says where messages come from.
	Inbox inbox.Settings
	// Wait is how long to wait for a message where there is none.
	Wait time.Duration
	// StartDelay is how long to wait before asking for a message, as a worker does that loads something large first.
	StartDelay time.Duration
	// Encoder is auto, ffmpeg or builtin; see encode.Find.
	Encoder string
	// MaxSpeed is how many seconds of video may at most be transcoded in a second; 0 for as many as can be.
	MaxSpeed float64
	// InputDir and OutputDir are where relative names in a message begin; empty for the working directory.
	InputDir, OutputDir string
	// StatusFiles are files to keep the status in: one line of JSON.
	StatusFiles []string
	// Log is where lines for people go.
	Log io.Writer
}

// Exit codes, as far as they can be from sysexits.h, so that a Job's podFailurePolicy can tell them apart.
const (
	// ExitEmpty says that no message waited.
	ExitEmpty = 3
	// ExitUsage says that the settings make no sense.
	ExitUsage = 64
	// ExitRejected says that the message was no good, and was rejected.
	ExitRejected = 65
	// ExitFailed says that the work failed though the message may be good; it was given back.
	ExitFailed = 74
	// ExitUnreachable says that the broker could not be reached, or was lost. Trying later may help.
	ExitUnreachable = 75
	// ExitRefused says that the broker refuses what the settings ask for.
	ExitRefused = 78
	// ExitStopped says that the worker was stopped; it gave back its message if it had one.
	ExitStopped = 143
)

// ExitCode is the process's exit code for what Run returned.
func ExitCode(err error) int {
	for _, code := range []struct {
		of   error
		exit int
	}{
		{nil, 0},
		{ErrStopped, ExitStopped},
		{inbox.ErrUnreachable, ExitUnreachable},
		{inbox.ErrRefused, ExitRefused},
		{inbox.ErrSettings, ExitUsage},
		{inbox.ErrEmpty, ExitEmpty},
		{errOrder, ExitRejected},
		{encode.ErrInput, ExitRejected},
	} {
		if errors.Is(err, code.of) {
			return code.exit
		}
	}
	return ExitFailed
}

// Run does one message's work. When the context ends, it gives the message back.
func Run(ctx context.Context, s Settings) error {
	report := newReport(s.Log, s.StatusFiles)
	err := run(ctx, s, report)
	report.end(err)
	return err
}

func run(ctx context.Context, s Settings, report *report) error {
	encoder, box, err := s.open()
	if err != nil {
		return err
	}
	// What the broker thinks of it no longer matters: the message is settled, or there is another error to tell.
	defer func() { _ = box.Close() }()
	if err := sleep(ctx, s.StartDelay); err != nil {
		return err
	}
	message, err := box.Take(ctx, s.Wait)
	if errors.Is(err, inbox.ErrEmpty) {
		return fmt.Errorf("%w in %s, and none came within %s", err, s.Inbox.Name(), s.Wait)
	}
	if err != nil {
		return err
	}
	result, failure := carryOut(ctx, s, encoder, message, report)
	if errors.Is(failure, inbox.ErrUnreachable) {
		return failure // the message is lost, so there is nothing to settle
	}
	// A worker that is being stopped settles too: that is what its grace period is for.
	if err := message.Settle(context.WithoutCancel(ctx), outcome(failure)); err != nil {
		if failure != nil {
			return fmt.Errorf("%w; and %w", failure, err)
		}
		return err
	}
	if failure != nil {
		return failure
	}
	report.done(result)
	return nil
}

// carryOut does what the message orders. It breaks off when the message is lost.
func carryOut(ctx context.Context, s Settings, encoder encode.Encoder, message *inbox.Message, report *report) (encode.Result, error) {
	order, err := parseOrder(message.Body)
	if err != nil {
		return encode.Result{}, err
	}
	report.begin(order.ID)
	task, err := order.task(s)
	if err != nil {
		return encode.Result{}, err
	}
	report.line("transcoding %s to %s", task.Input, task.Output)
	task.Progress = report.progress
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case lost := <-message.Lost:
			cancel(lost)
		case <-ctx.Done():
		}
	}()
	return encoder(ctx, task)
}

// outcome is what becomes of a message whose order came to an end this way.
func outcome(failure error) inbox.Outcome {
	switch {
	case failure == nil:
		return inbox.Done
	case errors.Is(failure, errOrder), errors.Is(failure, encode.ErrInput):
		return inbox.Rejected
	default:
		return inbox.GivenBack
	}
}

// sleep waits, unless the context ends; then it returns its cause.
func sleep(ctx context.Context, length time.Duration) error {
	select {
	case <-time.After(length):
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}
