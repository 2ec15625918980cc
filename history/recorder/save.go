package recorder

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/history"
)

// Flush saves what is due, in one batch, and says when there is more: zero when nothing waits.
func (r *Recorder) Flush(ctx context.Context) (again time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if err := r.ask(ctx); err != nil {
		err = fmt.Errorf("asking the store which records it has: %w", err)
		r.note(err)
		return 0, err
	}
	due, records, again := r.due()
	if len(due) > 0 {
		began := r.Clock.Now()
		if err := r.Store.Save(ctx, records); err != nil {
			err = fmt.Errorf("saving %d records: %w", len(records), err)
			r.note(err)
			return 0, err
		}
		r.Metrics.saved(len(records), r.Clock.Since(began))
		r.note(nil)
		r.saved(due)
	}
	r.relax()
	return again, nil
}

// version is an entry's version at the time when it was put into a batch.
type version struct {
	uid     types.UID
	version int
}

// due takes what is to be saved now, and says when to look again.
func (r *Recorder) due() (due []version, records []history.Record, again time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Clock.Now()
	for uid, e := range r.dirty {
		if !e.asked {
			continue
		}
		if len(due) == batch {
			again = time.Millisecond
			break
		}
		record, wait := e.ready(now)
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
		if record == nil {
			continue
		}
		due, records = append(due, version{uid, e.version}), append(records, *record)
	}
	// The store lists what is saved later as newer, where clocks tell no difference.
	slices.SortFunc(records, func(a, b history.Record) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return due, records, again
}

// ready is what of an entry is to be saved now; nil for nothing. The end of a record waits a while for what is told apart
// from it; wait is how long, at most.
func (e *entry) ready(now time.Time) (record *history.Record, wait time.Duration) {
	if e.reading > 0 && e.finishing.IsZero() && e.gone {
		e.finishing = now
	}
	if e.finishing.IsZero() || (e.reading == 0 && e.record.Ended() && (e.gone || e.complete())) {
		return &e.record, 0
	}
	if left := e.finishing.Add(patience).Sub(now); left > 0 {
		return nil, left
	}
	if !e.record.Ended() && e.job != nil {
		// Pods whose end nobody will tell any more.
		e.record = e.record.Abandon(now).Follow(e.job, nil, now)
	}
	return &e.record, 0
}

// complete says whether all is told of a Job that has finished.
func (e *entry) complete() bool {
	return e.job == nil || len(e.record.Attempts) >= int(e.job.Status.Succeeded+e.job.Status.Failed)
}

// saved notes what has been stored, and wakes those whose Jobs may go now.
func (r *Recorder) saved(stored []version) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wake := map[types.NamespacedName]bool{}
	for _, v := range stored {
		e, ok := r.dirty[v.uid]
		if !ok {
			continue
		}
		e.saved = v.version
		if e.saved == e.version {
			delete(r.dirty, v.uid)
		}
		if r.entries[v.uid] != e {
			continue // given up already: a log came late
		}
		if e.gone {
			r.shed(v.uid, e)
		} else if e.stored() {
			wake[types.NamespacedName{Namespace: e.record.Namespace, Name: e.record.ScaledJob}] = true
		}
	}
	for scaledJob := range wake {
		r.Wake(scaledJob)
	}
}

// note notes how saving went last. When trouble begins or ends all ScaledJobs are to tell.
func (r *Recorder) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	turned := (err == nil) != (r.failure == nil)
	r.failure = err
	if !turned {
		return
	}
	all := map[types.NamespacedName]bool{}
	for _, e := range r.entries {
		all[types.NamespacedName{Namespace: e.record.Namespace, Name: e.record.ScaledJob}] = true
	}
	for scaledJob := range all {
		r.Wake(scaledJob)
	}
}

// relax ends trouble where nothing is left to be saved.
func (r *Recorder) relax() {
	r.mu.Lock()
	idle := len(r.dirty) == 0
	r.mu.Unlock()
	if idle {
		r.note(nil)
	}
}

// ask has the store tell what it holds of Jobs that were there before this manager watched.
func (r *Recorder) ask(ctx context.Context) error {
	for {
		uids := r.unknown()
		if len(uids) == 0 {
			return nil
		}
		known, err := r.Store.Known(ctx, uids)
		if err != nil {
			return err
		}
		r.learn(uids, known)
	}
}

func (r *Recorder) unknown() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var uids []string
	for uid, e := range r.dirty {
		if !e.asked {
			if uids = append(uids, string(uid)); len(uids) == batch {
				break
			}
		}
	}
	return uids
}

// learn puts together what the store knows of Jobs and what they show: the one knows pods that are gone, the other the rest.
func (r *Recorder) learn(uids []string, known []history.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, uid := range uids {
		if e, ok := r.entries[types.UID(uid)]; ok {
			e.asked = true
		}
	}
	for _, stored := range known {
		e, ok := r.entries[types.UID(stored.UID)]
		if !ok {
			continue
		}
		e.record = e.record.Merge(stored, r.Clock.Now())
		if e.job != nil {
			e.record = e.record.Follow(e.job, nil, r.Clock.Now())
		}
		if stored.Ended() && e.record.Ended() && worth(stored) >= worth(e.record) {
			e.saved = e.version // all of it is there
			delete(r.dirty, types.UID(stored.UID))
		}
		if e.gone {
			r.shed(types.UID(stored.UID), e)
		} else if e.stored() {
			r.Wake(types.NamespacedName{Namespace: stored.Namespace, Name: stored.ScaledJob})
		}
	}
}
