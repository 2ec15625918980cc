package store

import (
	"context"
	"fmt"
)

// vacuumPages is how many pages are given back at a time. Writers wait for as long as that takes.
const vacuumPages = 2000

// Shrink bounds SQLite's file: while it uses more than so many bytes, the oldest ended records go, of any ScaledJob, but none
// whose Job exists. Then what is free goes back to the file system. It returns how many records it deleted, on an error too.
// Where nothing more may go the file stays larger. PostgreSQL's size is not bounded here: there it does nothing.
func (s *Store) Shrink(ctx context.Context, maxBytes int64, exists func(uid string) bool) (int, error) {
	if err := s.ready(ctx); err != nil {
		return 0, fmt.Errorf("shrinking the store to %d bytes: %w", maxBytes, err)
	}
	if !s.isFile {
		return 0, nil
	}
	deleted, err := s.deleteDownTo(ctx, maxBytes, exists)
	if err == nil {
		err = s.giveBack(ctx)
	}
	if err != nil {
		return deleted, fmt.Errorf("shrinking the store to %d bytes: %w", maxBytes, err)
	}
	return deleted, nil
}

func (s *Store) deleteDownTo(ctx context.Context, maxBytes int64, exists func(string) bool) (deleted int, err error) {
	for after := int64(-1); ; {
		used, err := s.pragma(ctx, "(SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)")
		if err != nil {
			return deleted, err
		}
		size, err := s.pragma(ctx, "(SELECT page_size FROM pragma_page_size)")
		if err != nil || used*size <= maxBytes {
			return deleted, err
		}
		ids, err := column[int64](ctx, s, s.read, `SELECT id FROM record WHERE id > $1
			AND kind NOT IN (SELECT id FROM kind WHERE outcome = '') ORDER BY id LIMIT $2`, after, chunk)
		if err != nil {
			return deleted, fmt.Errorf("looking for old records: %w", err)
		}
		if len(ids) == 0 {
			return deleted, nil
		}
		after = ids[len(ids)-1]
		n, err := s.delete(ctx, ids, func(c candidate) bool { return !exists(c.uid) })
		if deleted += n; err != nil {
			return deleted, err
		}
	}
}

// giveBack cuts free pages off the file.
func (s *Store) giveBack(ctx context.Context) error {
	for {
		free, err := s.pragma(ctx, "(SELECT freelist_count FROM pragma_freelist_count)")
		if err != nil {
			return err
		}
		if free == 0 {
			break
		}
		if _, err := s.write.ExecContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPages)); err != nil {
			return fmt.Errorf("giving pages back: %w", err)
		}
	}
	// The file gets shorter as the log is written into it. Where readers are in the way that comes later.
	if _, err := s.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return fmt.Errorf("writing the log into the file: %w", err)
	}
	return nil
}

func (s *Store) pragma(ctx context.Context, expression string) (int64, error) {
	var n int64
	if err := s.write.QueryRowContext(ctx, "SELECT "+expression).Scan(&n); err != nil {
		return 0, fmt.Errorf("asking for the file's size: %w", err)
	}
	return n, nil
}
