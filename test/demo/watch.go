package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/test/demo/internal/board"
)

// lookInterval is how often workers' reports are read and the picture is drawn.
const lookInterval = 100 * time.Millisecond

// watches tell what happens in the cluster, each in the order in which the API server stored it.
type watches struct {
	jobs, pods, scaledJobs watch.Interface
}

func (c *cluster) watch(ctx context.Context) (w watches, err error) {
	for _, each := range []struct {
		into *watch.Interface
		list client.ObjectList
	}{
		{&w.jobs, &batchv1.JobList{}},
		{&w.pods, &corev1.PodList{}},
		{&w.scaledJobs, &v1alpha1.ScaledJobList{}},
	} {
		if *each.into, err = c.client.Watch(ctx, each.list, client.InNamespace(namespace)); err != nil {
			w.stop()
			return watches{}, fmt.Errorf("watching Jobs, pods and ScaledJobs: %w", err)
		}
	}
	return w, nil
}

func (w watches) stop() {
	for _, each := range []watch.Interface{w.jobs, w.pods, w.scaledJobs} {
		if each != nil {
			each.Stop()
		}
	}
}

// follower puts on the board what happens, and shows it.
type follower struct {
	demo    *demo
	watches watches
	show    *show
	scaled  *v1alpha1.ScaledJob // as last seen
}

// follow returns when all Jobs have finished, no message waits, and the ScaledJob says the same; or when there is a Job too
// many.
func (f *follower) follow(ctx context.Context) error {
	ticks := time.NewTicker(lookInterval)
	defer ticks.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return f.stuck(context.Cause(ctx))
		case part := <-f.demo.parts.Ended():
			return part.Failure()
		case event, ok := <-f.watches.jobs.ResultChan():
			err = f.see(event, ok)
		case event, ok := <-f.watches.pods.ResultChan():
			err = f.see(event, ok)
		case event, ok := <-f.watches.scaledJobs.ResultChan():
			err = f.see(event, ok)
		case <-ticks.C:
			var done bool
			if done, err = f.look(ctx); done {
				return nil
			}
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// see puts an event of a watch on the board.
func (f *follower) see(event watch.Event, ok bool) error {
	switch {
	case !ok:
		return errors.New("a watch of the API server has ended")
	case event.Type == watch.Error:
		return fmt.Errorf("watching: %w", apierrors.FromObject(event.Object))
	}
	gone := event.Type == watch.Deleted
	switch object := event.Object.(type) {
	case *batchv1.Job:
		f.demo.board.SeeJob(object, gone, time.Now())
	case *corev1.Pod:
		f.demo.board.SeePod(object, gone, time.Now())
	case *v1alpha1.ScaledJob:
		f.scaled = object
	}
	return nil
}

// look reads what is not watched, shows the picture, and tells whether it is the last one.
func (f *follower) look(ctx context.Context) (done bool, err error) {
	b := f.demo.board
	for uid, pod := range b.RunningPods() {
		// Before the worker has begun there is nothing, and then there is a report.
		if written, err := os.ReadFile(f.demo.cluster.report(pod, uid)); err == nil {
			b.SeeReport(uid, board.ParseReport(string(written)), time.Now())
		}
	}
	waiting, err := f.demo.queue.Waiting(ctx)
	if err != nil {
		return false, fmt.Errorf("asking %s how many messages wait: %w", f.demo.broker, err)
	}
	f.show.picture(b.Look(waiting, time.Now()))
	return b.TooMany() || (waiting == 0 && b.Finished() && f.idle()), nil
}

// idle tells whether Longhaul has seen that nothing waits and no Job is active. What it decided then is done: a Job too many
// would be among the active ones.
func (f *follower) idle() bool {
	if f.scaled == nil || f.scaled.Status.Waiting == nil {
		return false
	}
	s := f.scaled.Status
	return *s.Waiting+ptr.Deref(s.Held, 0) == 0 && ptr.Deref(s.Starting, 0)+ptr.Deref(s.Running, 0) == 0
}

// cap is how many Jobs may be at once.
func (f *follower) cap() int {
	if f.scaled == nil {
		return 0
	}
	return int(ptr.Deref(f.scaled.Spec.MaxParallelism, 0))
}

// stuck adds to the reason what Longhaul says of the ScaledJob.
func (f *follower) stuck(reason error) error {
	if errors.Is(reason, context.Canceled) || f.scaled == nil {
		return reason
	}
	ready := meta.FindStatusCondition(f.scaled.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return fmt.Errorf("%w; the ScaledJob %s has no status", reason, f.scaled.Name)
	}
	return fmt.Errorf("%w; the ScaledJob %s is Ready=%s, %s: %s", reason, f.scaled.Name, ready.Status, ready.Reason, ready.Message)
}
