package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/longhaul-dev/longhaul/history"
)

// Known are the records of Jobs with these UIDs, 1000 at most, as far as there are any, newest first.
func (s *Store) Known(ctx context.Context, uids []string) ([]history.Record, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	if len(uids) > MaxBatch {
		return nil, fmt.Errorf("reading records: %d at once are more than %d", len(uids), MaxBatch)
	}
	keys := make([]string, len(uids))
	for i, uid := range uids {
		keys[i] = key(uid)
	}
	records, err := s.records(ctx, "SELECT document FROM record WHERE uid IN (SELECT value FROM texts($1) AS t) ORDER BY id DESC", keys)
	if err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	return records, nil
}

// Unfinished are records that have not ended, oldest first, limit at most. Where there may be more, next is what the
// following call is given as after; else it is 0. The first call is given 0.
func (s *Store) Unfinished(ctx context.Context, after int64, limit int) (records []history.Record, next int64, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, 0, fmt.Errorf("reading unfinished records: %w", err)
	}
	if limit < 1 || limit > MaxBatch {
		return nil, 0, fmt.Errorf("%w: %d records are not between 1 and %d", ErrBadQuery, limit, MaxBatch)
	}
	ids, err := column[int64](ctx, s, s.read, `SELECT r.id FROM record r WHERE r.kind IN (SELECT id FROM kind WHERE outcome = '')
		AND r.id > $1 ORDER BY r.id LIMIT $2`, after, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("reading unfinished records: %w", err)
	}
	if records, err = s.withIDs(ctx, ids); err != nil {
		return nil, 0, fmt.Errorf("reading unfinished records: %w", err)
	}
	slices.Reverse(records)
	if len(ids) == limit {
		next = ids[limit-1]
	}
	return records, next, nil
}

// Get is the record of a ScaledJob with a sequence: the newest, as a ScaledJob that is created again begins anew at 1. It is
// ErrNotFound where there is none.
func (s *Store) Get(ctx context.Context, namespace, scaledJob string, sequence int64) (history.Record, error) {
	if err := s.ready(ctx); err != nil {
		return history.Record{}, fmt.Errorf("reading record %d of %s/%s: %w", sequence, namespace, scaledJob, err)
	}
	records, err := s.records(ctx, `SELECT document FROM record WHERE scaled_job = (
		SELECT id FROM scaled_job WHERE namespace = $1 AND name = $2) AND sequence = $3 ORDER BY id DESC LIMIT 1`,
		clean(namespace), clean(scaledJob), sequence)
	switch {
	case err != nil:
		return history.Record{}, fmt.Errorf("reading record %d of %s/%s: %w", sequence, namespace, scaledJob, err)
	case len(records) == 0:
		return history.Record{}, fmt.Errorf("record %d of %s/%s: %w", sequence, namespace, scaledJob, ErrNotFound)
	}
	return records[0], nil
}

// Name is that of a ScaledJob.
type Name struct {
	Namespace, Name string
}

// ScaledJobs are all that ever had a record, by namespace and name.
func (s *Store) ScaledJobs(ctx context.Context) ([]Name, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("reading the names of ScaledJobs: %w", err)
	}
	var all []Name
	err := s.each(ctx, s.read, "SELECT namespace, name FROM scaled_job", nil, func(scan func(...any) error) error {
		var n Name
		err := scan(&n.Namespace, &n.Name)
		all = append(all, n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the names of ScaledJobs: %w", err)
	}
	// Databases sort by the rules of different languages.
	slices.SortFunc(all, func(a, b Name) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// withIDs are the records with these ids, newest first.
func (s *Store) withIDs(ctx context.Context, ids []int64) ([]history.Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return s.records(ctx, "SELECT document FROM record WHERE id IN (SELECT value FROM numbers($1) AS n) ORDER BY id DESC", ids)
}

// records are those whose documents a statement returns.
func (s *Store) records(ctx context.Context, statement string, args ...any) ([]history.Record, error) {
	var all []history.Record
	err := s.each(ctx, s.read, statement, args, func(scan func(...any) error) error {
		var document sql.RawBytes
		if err := scan(&document); err != nil {
			return err
		}
		var r history.Record
		if err := json.Unmarshal(document, &r); err != nil {
			return fmt.Errorf("decoding a record: %w", err)
		}
		all = append(all, r)
		return nil
	})
	return all, err
}

// scaledJobs are the numbers of the ScaledJobs in namespaces, all for nil, and with a name unless it is empty.
func (s *Store) scaledJobs(ctx context.Context, q querier, namespaces []string, name string) ([]int64, error) {
	if namespaces == nil {
		return column[int64](ctx, s, q, "SELECT id FROM scaled_job WHERE $1 = '' OR name = $1 ORDER BY id", clean(name))
	}
	cleaned := make([]string, len(namespaces))
	for i, n := range namespaces {
		cleaned[i] = clean(n)
	}
	return column[int64](ctx, s, q, `SELECT id FROM scaled_job WHERE namespace IN (SELECT value FROM texts($1) AS t)
		AND ($2 = '' OR name = $2) ORDER BY id`, cleaned, clean(name))
}

// kind is an outcome and a category, and what is kept for both.
type kind struct {
	id       int64
	outcome  history.Outcome
	category history.Category
}

// kinds are those that there are; all have been saved.
func (s *Store) kinds(ctx context.Context, q querier) ([]kind, error) {
	var all []kind
	err := s.each(ctx, q, "SELECT id, outcome, category FROM kind ORDER BY id", nil, func(scan func(...any) error) error {
		var k kind
		err := scan(&k.id, &k.outcome, &k.category)
		all = append(all, k)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the kinds of records: %w", err)
	}
	return all, nil
}

// idsOf are the numbers of the kinds that are wanted.
func idsOf(kinds []kind, wanted func(kind) bool) []int64 {
	ids := []int64{}
	for _, k := range kinds {
		if wanted(k) {
			ids = append(ids, k.id)
		}
	}
	return ids
}

// noID is above all ids.
const noID = math.MaxInt64

func isNone(err error) bool { return errors.Is(err, sql.ErrNoRows) }
