package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/longhaul-dev/longhaul/history"
)

// Save keeps records, 1 to 1000 of them, all or none. One that is there already is replaced, unless it has ended and the new
// one has not. One that ends is counted in its day's roll-up, once, as it is saved first.
//
// Of a record that is saved again the creation time that counts for its place among others is the first that was saved. A
// record that ended, was pruned and is saved again is counted again: Prune keeps those whose Jobs exist for that reason.
//
// It may be repeated after any error, also where that leaves open whether records were saved. Other writers are waited for,
// on SQLite for some seconds.
func (s *Store) Save(ctx context.Context, records []history.Record) error {
	if err := s.ready(ctx); err != nil {
		return fmt.Errorf("saving %d records: %w", len(records), err)
	}
	if len(records) == 0 {
		return nil
	}
	if len(records) > MaxBatch {
		return fmt.Errorf("saving records: %d at once are more than %d", len(records), MaxBatch)
	}
	rows, err := rowsOf(records)
	if err != nil {
		return fmt.Errorf("saving records: %w", err)
	}
	err = s.exclusively(ctx, func(tx *sql.Tx) error {
		// Others may have tried before with the same rows.
		rows, err := s.place(ctx, tx, rows)
		if err != nil {
			return err
		}
		if err := s.save(ctx, tx, rows); err != nil {
			return err
		}
		return s.rollUp(ctx, tx, rows)
	})
	if err != nil {
		return fmt.Errorf("saving %d records: %w", len(records), err)
	}
	return nil
}

// rowsOf are the rows of records, one for each UID: the last, but none that has not ended after one that has.
func rowsOf(records []history.Record) ([]row, error) {
	rows := make([]row, 0, len(records))
	at := make(map[string]int, len(records))
	for i := range records {
		r, err := rowOf(&records[i])
		if err != nil {
			return nil, err
		}
		j, double := at[r.uid]
		switch {
		case !double:
			at[r.uid] = len(rows)
			rows = append(rows, r)
		case r.outcome != "" || rows[j].outcome == "":
			rows[j] = r
		}
	}
	return rows, nil
}

// place gives rows their numbers, and leaves out those that would replace an ended record by an active one.
func (s *Store) place(ctx context.Context, tx *sql.Tx, rows []row) ([]row, error) {
	known, err := s.known(ctx, tx, rows)
	if err != nil {
		return nil, fmt.Errorf("looking for what is known: %w", err)
	}
	placed := make([]row, 0, len(rows))
	for _, r := range rows {
		k, ok := known[r.uid]
		if ok && k.ended && r.outcome == "" {
			continue
		}
		r.id, r.isKnown, r.endedBefore = k.id, ok, k.ended
		placed = append(placed, r)
	}
	if err := s.number(ctx, tx, placed); err != nil {
		return nil, fmt.Errorf("numbering records: %w", err)
	}
	if err := s.intern(ctx, tx, placed); err != nil {
		return nil, err
	}
	return placed, nil
}

type knownRow struct {
	id    int64
	ended bool
}

func (s *Store) known(ctx context.Context, tx *sql.Tx, rows []row) (map[string]knownRow, error) {
	uids := make([]string, len(rows))
	for i := range rows {
		uids[i] = rows[i].uid
	}
	known := make(map[string]knownRow, len(rows))
	err := s.each(ctx, tx, `SELECT r.uid, r.id, k.outcome <> '' FROM record r JOIN kind k ON k.id = r.kind
		WHERE r.uid IN (SELECT value FROM texts($1) AS t)`, []any{uids}, func(scan func(...any) error) error {
		var uid string
		var k knownRow
		err := scan(&uid, &k.id, &k.ended)
		known[uid] = k
		return err
	})
	return known, err
}

// number gives new rows the next free ids of the millisecond of their creation.
func (s *Store) number(ctx context.Context, tx *sql.Tx, rows []row) error {
	next := map[int64]int64{}
	var times []int64
	for i := range rows {
		if ms := rows[i].createdMilliseconds; !rows[i].isKnown && next[ms] == 0 {
			next[ms] = firstID(ms) + 1 // not 0, even in 1970
			times = append(times, ms)
		}
	}
	if len(times) == 0 {
		return nil
	}
	err := s.each(ctx, tx, fmt.Sprintf(`SELECT n.value, coalesce((SELECT max(id) FROM record
		WHERE id >= n.value << %[1]d AND id < (n.value + 1) << %[1]d), 0) FROM numbers($1) AS n`, idBits), []any{times},
		func(scan func(...any) error) error {
			var ms, last int64
			if err := scan(&ms, &last); err != nil {
				return err
			}
			next[ms] = max(next[ms], last+1)
			return nil
		})
	if err != nil {
		return err
	}
	for i := range rows {
		if r := &rows[i]; !r.isKnown {
			r.id = next[r.createdMilliseconds]
			next[r.createdMilliseconds]++
		}
	}
	return nil
}

// intern gives rows the numbers of their ScaledJobs and kinds.
func (s *Store) intern(ctx context.Context, tx *sql.Tx, rows []row) error {
	scaledJobs, kinds := map[[2]string]int64{}, map[[2]string]int64{}
	for i := range rows {
		r := &rows[i]
		var err error
		if r.scaledJob, err = numberOf(ctx, tx, scaledJobs, "scaled_job", "namespace", "name", [2]string{r.namespace, r.name}); err != nil {
			return err
		}
		if r.kind, err = numberOf(ctx, tx, kinds, "kind", "outcome", "category", [2]string{r.outcome, r.category}); err != nil {
			return err
		}
	}
	return nil
}

// numberOf is the number of a pair of texts in a table of such pairs. It is added where it is missing.
func numberOf(ctx context.Context, tx *sql.Tx, known map[[2]string]int64, table, a, b string, pair [2]string) (int64, error) {
	if id, ok := known[pair]; ok {
		return id, nil
	}
	//nolint:gosec // the names are constants of this package
	find := fmt.Sprintf("SELECT id FROM %s WHERE %s = $1 AND %s = $2", table, a, b)
	var id int64
	err := tx.QueryRowContext(ctx, find, pair[0], pair[1]).Scan(&id)
	if isNone(err) {
		//nolint:gosec // see above
		add := fmt.Sprintf("INSERT INTO %[1]s (id, %[2]s, %[3]s) SELECT coalesce(max(id), 0) + 1, $1, $2 FROM %[1]s RETURNING id", table, a, b)
		err = tx.QueryRowContext(ctx, add, pair[0], pair[1]).Scan(&id)
	}
	if err != nil {
		return 0, fmt.Errorf("looking up a %s: %w", table, err)
	}
	known[pair] = id
	return id, nil
}
