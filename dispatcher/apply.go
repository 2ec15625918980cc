package dispatcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

// createTimeout bounds the creation of one Job, which goes on when the manager is told to stop.
const createTimeout = 20 * time.Second

// dispatched is what came of a batch of orders.
type dispatched struct {
	created []jobtemplate.Order
	at      time.Time
}

// apply makes every write of a Job that a plan calls for.
func (c *Controller) apply(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory, o *observation, p *plan) (dispatched, error) {
	done := c.create(ctx, sj, m, o, p)
	return done, errors.Join(
		c.remove(ctx, p.replace, metav1.DeletePropagationForeground), // so that a Job fills its slot until its pods have ended
		c.remove(ctx, p.forget, metav1.DeletePropagationBackground),
	)
}

// create creates the Jobs ordered, several at a time. The first error stops the batch; Jobs that the API server has not
// answered for are finished with, also when the manager is told to stop meanwhile. A batch takes as long as the limit on
// requests has it take.
func (c *Controller) create(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory, o *observation, p *plan) dispatched {
	ctx = context.WithoutCancel(ctx)
	var (
		mu      sync.Mutex
		refused error
		done    dispatched
		batch   sync.WaitGroup
	)
	failed := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return refused != nil
	}
	for i, order := range p.orders {
		if failed() || c.creating.Acquire(ctx, 1) != nil {
			// Numbers that no one has tried are used next time.
			m.lastSequence = p.orders[i].Sequence - 1
			break
		}
		batch.Go(func() {
			defer c.creating.Release(1)
			ctx, cancel := context.WithTimeout(ctx, createTimeout)
			defer cancel()
			order.Created = c.Clock.Now()
			job := jobtemplate.Job(sj, o.revision, order)
			err := c.Client.Create(ctx, job)
			mu.Lock()
			defer mu.Unlock()
			now := c.Clock.Now()
			if err == nil {
				m.expected[job.Name] = expectation{since: now}
				m.tracks[job.UID] = &track{created: now}
				m.lastRun = cmp.Or(order.Run, m.lastRun)
				done.created = append(done.created, order)
				return
			}
			if mayHaveCreated(err) {
				m.expected[job.Name] = expectation{since: now, doubtful: true}
			}
			if refused == nil {
				refused = err
			}
		})
	}
	batch.Wait()
	done.at = c.Clock.Now()
	if len(done.created) > 0 {
		m.lastDispatch = done.at
	}
	switch {
	case refused != nil && !apierrors.IsAlreadyExists(refused):
		m.refusal = m.refusal.refused(refused, done.at)
	case len(done.created) > 0:
		m.refusal = refusal{}
	}
	return done
}

// mayHaveCreated says whether a Job may exist although creating it failed: its name was taken already, by us perhaps, or
// the API server's answer was lost.
func mayHaveCreated(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsAlreadyExists(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || !errors.As(err, &status)
}

// remove deletes Jobs: exactly these, and not ones that have taken their names since. A Job that is gone already is as
// wanted; one that cannot be deleted does not keep the others.
func (c *Controller) remove(ctx context.Context, jobs []*batchv1.Job, how metav1.DeletionPropagation) error {
	var failed []error
	for _, job := range jobs {
		err := c.Client.Delete(ctx, job, client.Preconditions{UID: &job.UID}, client.PropagationPolicy(how))
		if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			failed = append(failed, fmt.Errorf("deleting Job %s: %w", job.Name, err))
		}
	}
	return errors.Join(failed...)
}

// tryTemplate has the API server check a Job of the template, without creating it, whenever the spec has changed, so that a
// bad one shows before any message waits. It does so again when the pause after a refusal is over, so that a refusal that no
// longer holds goes away though nothing waits. That goes for a template called invalid, too: an admission rule may say so
// as well as the Job's own validation, and neither the code nor the reason of the refusal tells which did.
func (c *Controller) tryTemplate(ctx context.Context, sj *v1alpha1.ScaledJob, m *memory) error {
	now := c.Clock.Now()
	if m.tried != sj.Generation {
		m.refusal = refusal{}
	} else if m.refusal.err == nil || now.Before(m.refusal.until) {
		return nil
	}
	revision, err := jobtemplate.Revision(&sj.Spec.JobTemplate)
	if err != nil {
		return err
	}
	err = c.Client.Create(ctx, jobtemplate.Job(sj, revision, jobtemplate.Order{}), client.DryRunAll)
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		// Only a Job that was really created says that those are taken: there are rules that let dry runs pass.
		m.refusal = refusal{times: m.refusal.times}
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		m.refusal = m.refusal.refused(err, now)
		m.refusal.invalid = true
	case apierrors.IsForbidden(err), apierrors.IsTooManyRequests(err), apierrors.IsInternalError(err):
		// Quota, an admission rule, a webhook that is down: true of now, not of the template.
		m.refusal = m.refusal.refused(err, now)
	default:
		return fmt.Errorf("trying the job template: %w", err)
	}
	m.tried = sj.Generation
	return nil
}
