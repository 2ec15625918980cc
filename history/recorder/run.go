package recorder

import (
	"context"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// lastSave is how long a manager that stops takes at most to save what waits.
	lastSave = 5 * time.Second
	// tryAgain is how long what could not be noted waits to be tried again.
	tryAgain = time.Second
)

// Process is a Recorder that a manager runs, told by the manager's cache.
type Process struct {
	*Recorder

	// Informers are the cache's.
	Informers cache.Informers

	mu    sync.Mutex
	again []func() error
}

// NeedLeaderElection says that only the leader records.
func (p *Process) NeedLeaderElection() bool { return true }

// Start records until the context ends, and then saves what waits.
func (p *Process) Start(ctx context.Context) error {
	if err := p.watch(ctx); err != nil {
		return fmt.Errorf("watching Jobs and pods to record them: %w", err)
	}
	p.record(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSave)
	defer cancel()
	for {
		if again, err := p.Flush(ctx); err != nil || again != time.Millisecond {
			return err
		}
	}
}

// watch has the cache tell of Jobs and pods, and returns when those that exist have been told of.
func (p *Process) watch(ctx context.Context) error {
	jobs := toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, initial bool) {
			p.try(func() error { return p.SeeJob(ctx, o.(*batchv1.Job), initial) })
		},
		UpdateFunc: func(_, o any) {
			p.try(func() error { return p.SeeJob(ctx, o.(*batchv1.Job), false) })
		},
		DeleteFunc: func(o any) {
			if job, ok := lastSeen(o).(*batchv1.Job); ok {
				p.try(func() error { return p.SeeJobGone(ctx, job) })
			}
		},
	}
	pods := toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			p.try(func() error { return p.SeePod(ctx, o.(*corev1.Pod)) })
		},
		UpdateFunc: func(_, o any) {
			p.try(func() error { return p.SeePod(ctx, o.(*corev1.Pod)) })
		},
		DeleteFunc: func(o any) {
			if pod, ok := lastSeen(o).(*corev1.Pod); ok {
				p.SeePodGone(pod)
			}
		},
	}
	var synced []toolscache.InformerSynced
	for _, each := range []struct {
		kind    client.Object
		handler toolscache.ResourceEventHandler
	}{{&batchv1.Job{}, jobs}, {&corev1.Pod{}, pods}} {
		informer, err := p.Informers.GetInformer(ctx, each.kind)
		if err != nil {
			return err
		}
		registration, err := informer.AddEventHandler(each.handler)
		if err != nil {
			return err
		}
		synced = append(synced, registration.HasSynced)
	}
	toolscache.WaitForCacheSync(ctx.Done(), synced...)
	return nil
}

// lastSeen is an object that was deleted, as it was last seen.
func lastSeen(o any) any {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		return unknown.Obj
	}
	return o
}

// try notes something, or has it tried again: what is not noted would not be recorded.
func (p *Process) try(note func() error) {
	if err := note(); err != nil {
		p.Log.Error(err, "a record could not be brought up to date, and will be soon")
		p.mu.Lock()
		defer p.mu.Unlock()
		p.again = append(p.again, note)
		p.poke()
	}
}

func (p *Process) retry() {
	p.mu.Lock()
	again := p.again
	p.again = nil
	p.mu.Unlock()
	for _, note := range again {
		p.try(note)
	}
}

// record saves what there is to save, until the context ends.
func (p *Process) record(ctx context.Context) {
	var (
		pause  time.Duration
		closed bool
	)
	for ctx.Err() == nil {
		p.retry()
		var err error
		if !closed {
			err = p.Close(ctx)
			closed = err == nil
		}
		var again time.Duration
		if err == nil {
			again, err = p.Flush(ctx)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			if pause == 0 {
				p.Log.Error(err, "records wait in memory until they can be stored")
			}
			pause = min(max(firstPause, 2*pause), lastPause)
			p.sleep(ctx, pause)
		case err == nil:
			if pause > 0 {
				p.Log.Info("records are stored again")
			}
			pause = 0
			p.await(ctx, again)
		}
	}
}

// await returns when there may be more to save: when something has changed, a moment later so that more goes along, or
// when as much time has passed; zero stands for no such time.
func (p *Process) await(ctx context.Context, again time.Duration) {
	p.mu.Lock()
	if len(p.again) > 0 && (again == 0 || again > tryAgain) {
		again = tryAgain
	}
	p.mu.Unlock()
	if again == 0 {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		p.sleep(ctx, gather)
		return
	}
	timer := p.Clock.NewTimer(again)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C():
	case <-p.changed:
		p.sleep(ctx, gather)
	}
}

func (p *Process) sleep(ctx context.Context, length time.Duration) {
	timer := p.Clock.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C():
	}
}
