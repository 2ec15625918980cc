package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/longhaul-dev/longhaul/history"
)

// chunk is how many records are deleted at a time. Writers wait for as long as that takes.
const chunk = 500

// Retention says which ended records of a ScaledJob are kept. Cancelled ones count as failed.
type Retention struct {
	Succeeded, Failed Limit
}

// Limit bounds what is kept; 0 is no bound.
type Limit struct {
	// MaxAge is since a Job finished.
	MaxAge time.Duration
	// MaxRecords is how many are kept, the newest by their Jobs' creation.
	MaxRecords int
}

// Prune deletes the ended records of a ScaledJob that are beyond a limit, and returns how many; on an error too, as those
// before it are gone. Records whose Jobs exist are kept. Roll-ups stay.
func (s *Store) Prune(ctx context.Context, namespace, scaledJob string, keep Retention, now time.Time, exists func(uid string) bool) (int, error) {
	if err := s.ready(ctx); err != nil {
		return 0, fmt.Errorf("pruning the records of %s/%s: %w", namespace, scaledJob, err)
	}
	n, err := s.prune(ctx, namespace, scaledJob, keep, now, exists)
	if err != nil {
		return n, fmt.Errorf("pruning the records of %s/%s: %w", namespace, scaledJob, err)
	}
	return n, nil
}

func (s *Store) prune(ctx context.Context, namespace, scaledJob string, keep Retention, now time.Time, exists func(string) bool) (int, error) {
	ids, err := s.scaledJobs(ctx, s.read, []string{namespace}, scaledJob)
	if err != nil || len(ids) != 1 || scaledJob == "" {
		return 0, err
	}
	kinds, err := s.kinds(ctx, s.read)
	if err != nil {
		return 0, err
	}
	pruned := 0
	for _, of := range []struct {
		limit Limit
		kinds []int64
	}{
		{keep.Succeeded, idsOf(kinds, func(k kind) bool { return k.outcome == history.Succeeded })},
		{keep.Failed, idsOf(kinds, func(k kind) bool { return k.outcome != history.Succeeded && k.outcome != "" })},
	} {
		p := pruning{Store: s, scaledJobs: ids, kinds: of.kinds, exists: exists}
		if of.limit.MaxAge > 0 {
			n, err := p.olderThan(ctx, now.Add(-of.limit.MaxAge))
			if pruned += n; err != nil {
				return pruned, err
			}
		}
		if of.limit.MaxRecords > 0 {
			n, err := p.beyond(ctx, of.limit.MaxRecords)
			if pruned += n; err != nil {
				return pruned, err
			}
		}
	}
	return pruned, nil
}

// pruning deletes records of some kinds of a ScaledJob.
type pruning struct {
	*Store
	scaledJobs, kinds []int64
	exists            func(uid string) bool
}

// olderThan deletes what finished before a moment. That was created before it too.
func (p *pruning) olderThan(ctx context.Context, moment time.Time) (int, error) {
	return p.oldest(ctx, firstID(milliseconds(moment)+1), noID, func(c candidate) bool {
		return c.finished < moment.UnixMicro()
	})
}

// beyond deletes all but the newest.
func (p *pruning) beyond(ctx context.Context, keep int) (int, error) {
	n, err := column[int](ctx, p.Store, p.read, `SELECT count(*) FROM record WHERE scaled_job IN (SELECT value FROM numbers($1) AS n)
		AND kind IN (SELECT value FROM numbers($2) AS m)`, p.scaledJobs, p.kinds)
	if err != nil {
		return 0, fmt.Errorf("counting records: %w", err)
	}
	return p.oldest(ctx, noID, int64(n[0]-keep), func(candidate) bool { return true })
}

// oldest looks at so many of the oldest records with ids below before, and deletes those that it may.
func (p *pruning) oldest(ctx context.Context, before, number int64, may func(candidate) bool) (deleted int, err error) {
	for after := int64(-1); number > 0; {
		ids, err := column[int64](ctx, p.Store, p.read, p.Store.oldest, p.scaledJobs, p.kinds, after, before, min(number, chunk))
		if err != nil {
			return deleted, fmt.Errorf("looking for old records: %w", err)
		}
		if len(ids) == 0 {
			return deleted, nil
		}
		after, number = ids[len(ids)-1], number-int64(len(ids))
		n, err := p.delete(ctx, ids, func(c candidate) bool { return may(c) && !p.exists(c.uid) })
		if deleted += n; err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// candidate is a record that may be deleted.
type candidate struct {
	id       int64
	uid      string
	finished int64 // microseconds since 1970
}

// delete deletes those of ended records that may be, in one transaction.
func (s *Store) delete(ctx context.Context, ids []int64, may func(candidate) bool) (int, error) {
	var chosen []int64
	var uids []string
	err := s.each(ctx, s.read, `SELECT id, uid, finished_us FROM record WHERE id IN (SELECT value FROM numbers($1) AS n)
		AND finished_us IS NOT NULL`, []any{ids}, func(scan func(...any) error) error {
		var c candidate
		if err := scan(&c.id, &c.uid, &c.finished); err != nil {
			return err
		}
		if may(c) {
			chosen, uids = append(chosen, c.id), append(uids, c.uid)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("looking for old records: %w", err)
	}
	if len(chosen) == 0 {
		return 0, nil
	}
	deleted := 0
	err = s.exclusively(ctx, func(tx *sql.Tx) error {
		// Another may have deleted some, and an id may be another record's by now.
		gone, err := column[int64](ctx, s, tx, `DELETE FROM record WHERE id IN (SELECT value FROM numbers($1) AS n)
			AND uid IN (SELECT value FROM texts($2) AS t) RETURNING id`, chosen, uids)
		if err != nil || s.forget == "" {
			deleted = len(gone)
			return err
		}
		list, err := s.list(gone)
		if err != nil {
			return err
		}
		deleted = len(gone)
		_, err = tx.ExecContext(ctx, s.statement(s.forget), list)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("deleting %d records: %w", len(chosen), err)
	}
	return deleted, nil
}
