package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
)

var (
	// ErrNotFound is what Get returns where there is no such record.
	ErrNotFound = errors.New("no such record")
	// ErrBadQuery is in the error of a query that asks for what cannot be: whoever asked made a mistake, not the store.
	ErrBadQuery = errors.New("bad query")
	// ErrNewer is in the error of Open where a newer version of the program has changed the database.
	ErrNewer = errors.New("the database was made by a newer version of this program")
)

// MaxBatch is how many records one call may save, know or list.
const MaxBatch = 1000

// Options say where records are kept. Just one of them is given.
type Options struct {
	// SQLite is the path of a file, made if it is missing, as is its folder.
	SQLite string
	// PostgreSQL is a connection string, a URI or keyword=value pairs. It may hold a password: no error has it.
	PostgreSQL string
}

// Store keeps records. Its methods may be called at the same time, and several stores, in this process or others, may use the
// same database.
type Store struct {
	dialect
	write, read *sql.DB
	close       func() error

	mu       sync.Mutex
	migrated bool
}

// Open opens a store and brings its database up to date. The context limits how long that takes, not how long it is open.
// Where the database is merely away, which may end, the store is open all the same: its methods fail until it is back.
func Open(ctx context.Context, options Options) (*Store, error) {
	if (options.SQLite == "") == (options.PostgreSQL == "") {
		return nil, errors.New("opening the store: either a file for SQLite or a connection string for PostgreSQL is needed")
	}
	open, where, told := openSQLite, options.SQLite, options.SQLite
	if options.PostgreSQL != "" {
		open, where, told = openPostgreSQL, options.PostgreSQL, "in PostgreSQL" // not where: there may be a password in it
	}
	s, err := open(ctx, where)
	if err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", told, err)
	}
	if err := s.ready(ctx); err != nil && !s.away(err) {
		return nil, fmt.Errorf("opening the store %s: %w", told, errors.Join(err, s.Close()))
	}
	return s, nil
}

// ready brings the database up to date, once it can.
func (s *Store) ready(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.migrated {
		return nil
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	s.migrated = true
	return nil
}

// Close lets the database go. Calls that are under way may fail.
func (s *Store) Close() error {
	if err := s.close(); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// dialect is what the databases do each in its own way.
type dialect struct {
	// name is that of the folder of its migrations.
	name string
	// isFile says that the database is a file, whose size may be bounded.
	isFile bool
	// away says of an error that the database is there no longer, or not yet.
	away func(error) bool
	// exclusive keeps other writers out until the transaction is over; empty where beginning one does that.
	exclusive string
	// statement is a statement in words of the database. As written it may use numbers($1) AS n and texts($1) AS t, tables
	// with the one column "value" that hold the elements of a parameter made by list.
	statement func(string) string
	list      func(any) (any, error)
	// snapshot has all statements of a transaction see the same state.
	snapshot *sql.TxOptions

	// save puts rows in, in place of those with the same id.
	save func(ctx context.Context, tx *sql.Tx, rows []row) error
	// newest and oldest are the ids of records of scaled jobs $1 and kinds $2, those above $3 and below $4, $5 at most.
	newest, oldest string
	// messages are likewise those of scaled jobs $1 with the message $2, of kinds $6 unless that is null.
	messages string
	// matches are the ids of records with the words $1, above $2 and below $3, $4 at most, with the message $5 unless that is
	// empty.
	matches string
	// match is the parameter for words.
	match func(terms []term) string
	// forget removes from the search index the records with the ids $1; empty where that goes with the record.
	forget string
}

//go:embed migrations
var migrations embed.FS

// scripts are the migrations of a database, in order. The first brings an empty one to version 1.
func (d *dialect) scripts() ([]string, error) {
	names, err := fs.Glob(migrations, "migrations/"+d.name+"/*.sql")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, name := range names { // in order
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, err
		}
		all = append(all, string(text))
	}
	return all, nil
}

// migrate brings the database up to date, in one transaction. Others that do the same wait and then find it done.
func (s *Store) migrate(ctx context.Context) error {
	scripts, err := s.scripts()
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	return s.exclusively(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"); err != nil {
			return fmt.Errorf("reading the version of the database: %w", err)
		}
		var version int
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version); err != nil {
			return fmt.Errorf("reading the version of the database: %w", err)
		}
		if version > len(scripts) {
			return fmt.Errorf("%w: it has version %d, and this program knows versions up to %d: run the newer program, or "+
				"give this one another database", ErrNewer, version, len(scripts))
		}
		for i, script := range scripts[version:] {
			if _, err := tx.ExecContext(ctx, script); err != nil {
				return fmt.Errorf("migrating the database to version %d: %w", version+i+1, err)
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO schema_version (version) VALUES ($1)", version+i+1); err != nil {
				return fmt.Errorf("migrating the database to version %d: %w", version+i+1, err)
			}
		}
		return nil
	})
}

// exclusively runs a transaction while no other writes. It is undone where do fails.
func (s *Store) exclusively(ctx context.Context, do func(*sql.Tx) error) (err error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // what failed says more
		}
	}()
	if s.exclusive != "" {
		if _, err := tx.ExecContext(ctx, s.exclusive); err != nil {
			return fmt.Errorf("waiting for other writers: %w", err)
		}
	}
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// each runs a statement and hands on each row that it returns. Parameters that are slices are lists.
func (s *Store) each(ctx context.Context, q querier, statement string, args []any, do func(scan func(...any) error) error) (err error) {
	for i, a := range args {
		switch a.(type) {
		case []int64, []string:
			if args[i], err = s.list(a); err != nil {
				return err
			}
		}
	}
	rows, err := q.QueryContext(ctx, s.statement(statement), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// column is the one column that a statement returns.
func column[T any](ctx context.Context, s *Store, q querier, statement string, args ...any) ([]T, error) {
	var all []T
	err := s.each(ctx, q, statement, args, func(scan func(...any) error) error {
		var v T
		err := scan(&v)
		all = append(all, v)
		return err
	})
	return all, err
}
