package node

import (
	"context"
	"sync"
	"time"
)

// ending is the order to stop a pod's containers, and the time they have for it.
type ending struct {
	begun  chan struct{} // closed when they are to stop
	killed chan struct{} // closed when they are to be killed at once

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed and made anew when the deadline moves closer
}

func newEnding() *ending {
	return &ending{begun: make(chan struct{}), killed: make(chan struct{}), moved: make(chan struct{})}
}

// begin gives the order, or moves its deadline closer. A later deadline changes nothing.
func (e *ending) begin(deadline time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case !is(e.begun):
		e.deadline = deadline
		close(e.begun)
	case deadline.Before(e.deadline):
		e.deadline = deadline
		close(e.moved)
		e.moved = make(chan struct{})
	}
}

// kill gives the order to be done with at once.
func (e *ending) kill() {
	e.begin(time.Now())
	e.mu.Lock()
	defer e.mu.Unlock()
	if !is(e.killed) {
		close(e.killed)
	}
}

// await returns true when done is closed, and false when the time is up first. At least until the given time it waits in
// any case, except for a kill. It may be called once the ending has begun.
func (e *ending) await(done <-chan struct{}, least time.Time) bool {
	for {
		e.mu.Lock()
		deadline, moved := e.deadline, e.moved
		e.mu.Unlock()
		if deadline.Before(least) {
			deadline = least
		}
		timer := time.NewTimer(time.Until(deadline))
		select {
		case <-done:
			timer.Stop()
			return true
		case <-e.killed:
			timer.Stop()
			return false
		case <-timer.C:
			return false
		case <-moved:
			timer.Stop()
		}
	}
}

// bound returns a context that ends when the time is up.
func (e *ending) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		e.await(ctx.Done(), time.Time{})
	}()
	return ctx, cancel
}

// is tells whether a channel that carries nothing has been closed.
func is(closed <-chan struct{}) bool {
	select {
	case <-closed:
		return true
	default:
		return false
	}
}
