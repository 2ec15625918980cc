package store

import (
	"context"
	"database/sql"
	"fmt"
)

// QueryWords are the words of a query.
func QueryWords(query string) []string { return queryWords(query) }

// ParseCursor reads a cursor, FormatCursor writes one.
func ParseCursor(cursor string) (int64, error) { return parseCursor(cursor) }

// FormatCursor writes a cursor.
func FormatCursor(id int64) string { return formatCursor(id) }

// Versions is how many versions of the schema there are.
func (s *Store) Versions() (int, error) {
	scripts, err := s.scripts()
	return len(scripts), err
}

// BackTo has the database as an empty one of an earlier version is.
func (s *Store) BackTo(ctx context.Context, version int) error {
	scripts, err := s.scripts()
	if err != nil {
		return err
	}
	return s.exclusively(ctx, func(tx *sql.Tx) error {
		statements := []string{"DROP TABLE record", "DROP TABLE kind", "DROP TABLE scaled_job", "DROP TABLE rollup", "DELETE FROM schema_version"}
		if s.isFile {
			statements = append(statements, "DROP TABLE search")
		}
		statements = append(statements, scripts[:version]...)
		if version > 0 {
			statements = append(statements, fmt.Sprintf("INSERT INTO schema_version VALUES (%d)", version))
		}
		for _, statement := range statements {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return nil
	})
}

// Execute runs a statement as it is.
func (s *Store) Execute(ctx context.Context, statement string) error {
	_, err := s.write.ExecContext(ctx, statement)
	return err
}

// Begin begins a transaction that keeps other writers out.
func (s *Store) Begin(ctx context.Context) (*sql.Tx, error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err == nil && s.exclusive != "" {
		_, err = tx.ExecContext(ctx, s.exclusive)
	}
	return tx, err
}

// Writing says whether a transaction that writes is open, or waits to be.
func (s *Store) Writing() bool { return s.write.Stats().InUse > 0 }

// Ask is the number that a statement returns.
func (s *Store) Ask(ctx context.Context, statement string) (n int64, err error) {
	err = s.read.QueryRowContext(ctx, statement).Scan(&n)
	return n, err
}
