package recorder

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history/store"
)

const (
	// firstPrune is how long after its start a manager first looks for records to drop, and pruneEvery how often it does then.
	firstPrune, pruneEvery = time.Minute, 10 * time.Minute
	// day is what a retention counts in.
	day = 24 * time.Hour
	// succeededDays and failedDays are how long records are kept of ScaledJobs that do not exist, and where one does not say.
	succeededDays, failedDays = 30, 180
)

// Pruner drops the records that are older, or more, than their ScaledJobs ask for.
type Pruner struct {
	*Recorder

	// Store is what to drop them from.
	Store *store.Store
	// MaxBytes is how large the store may be, in bytes; 0 for as large as it will. It is for SQLite.
	MaxBytes int64
}

// NeedLeaderElection says that only the leader drops records.
func (p *Pruner) NeedLeaderElection() bool { return true }

// Start drops records now and then until the context ends.
func (p *Pruner) Start(ctx context.Context) error {
	for pause := firstPrune; ; pause = pruneEvery {
		timer := p.Clock.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
		if err := p.Prune(ctx); err != nil && ctx.Err() == nil {
			p.Log.Error(err, "old records could not all be dropped, and will be tried again", "in", pruneEvery)
		}
	}
}

// Prune drops what is to be dropped now. A record of a Job that still exists stays: dropped, it would be taken for a new one.
func (p *Pruner) Prune(ctx context.Context) error {
	scaledJobs, err := p.Store.ScaledJobs(ctx)
	if err != nil {
		return fmt.Errorf("listing the ScaledJobs in the history: %w", err)
	}
	var failed []error
	for _, sj := range scaledJobs {
		if err := p.pruneScaledJob(ctx, sj.Namespace, sj.Name); err != nil {
			failed = append(failed, err)
		}
	}
	if p.MaxBytes > 0 {
		dropped, err := p.Store.Shrink(ctx, p.MaxBytes, p.exists)
		if err != nil {
			failed = append(failed, fmt.Errorf("making the history smaller: %w", err))
		}
		if dropped > 0 {
			p.Log.Info("the oldest records were dropped, as the history was larger than it may be", "records", dropped, "maxBytes", p.MaxBytes)
		}
	}
	return errors.Join(failed...)
}

func (p *Pruner) pruneScaledJob(ctx context.Context, namespace, name string) error {
	mine, err := p.Keeps(ctx, namespace)
	if err != nil || !mine {
		return err
	}
	var sj v1alpha1.ScaledJob
	err = p.Cache.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &sj)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading ScaledJob %s/%s: %w", namespace, name, err)
	}
	if _, err := p.Store.Prune(ctx, namespace, name, retentionOf(sj.Spec.HistoryRetention), p.Clock.Now(), p.exists); err != nil {
		return fmt.Errorf("dropping old records of ScaledJob %s/%s: %w", namespace, name, err)
	}
	return nil
}

// exists says whether a Job is in the cluster.
func (p *Pruner) exists(uid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.entries[types.UID(uid)]
	return ok && !e.gone
}

// retentionOf is what a ScaledJob says of its records; nil says nothing.
func retentionOf(spec *v1alpha1.HistoryRetention) store.Retention {
	limits := ptr.Deref(spec, v1alpha1.HistoryRetention{})
	return store.Retention{
		Succeeded: limitOf(limits.Succeeded, succeededDays),
		Failed:    limitOf(limits.Failed, failedDays),
	}
}

func limitOf(spec *v1alpha1.RetentionLimit, days int32) store.Limit {
	if spec == nil {
		return store.Limit{MaxAge: time.Duration(days) * day}
	}
	return store.Limit{
		MaxAge:     time.Duration(spec.MaxAgeDays) * day,
		MaxRecords: int(spec.MaxRecords),
	}
}
