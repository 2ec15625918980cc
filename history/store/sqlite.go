package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	driver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

const (
	// sqliteReaders is how many may read at a time.
	sqliteReaders = 4
	// Kibibytes of pages that the writing connection and each reading one keep.
	sqliteWriteCache, sqliteReadCache = 16 << 10, 4 << 10
)

// openSQLite opens a file for one writer, and readers beside it. SQLite has no more than one writer at a time; waiting for it
// here can be given up, within SQLite it cannot.
func openSQLite(_ context.Context, path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding the file %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of %s: %w", path, err)
	}
	if err := makeFile(path); err != nil {
		return nil, fmt.Errorf("the file and its folder must be ours to write: %w", err)
	}
	common := []string{"busy_timeout(5000)"}
	write, err := sql.Open("sqlite", sqliteURI(path, "immediate", append(common,
		// Two that only count for a file that is still empty.
		"page_size(4096)", "auto_vacuum(incremental)",
		"journal_mode(wal)", "synchronous(full)", "wal_autocheckpoint(4000)", "journal_size_limit(67108864)",
		fmt.Sprintf("cache_size(-%d)", sqliteWriteCache))...))
	if err != nil {
		return nil, err
	}
	read, err := sql.Open("sqlite", sqliteURI(path, "deferred", append(common,
		"query_only(1)", fmt.Sprintf("cache_size(-%d)", sqliteReadCache))...))
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	write.SetMaxOpenConns(1)
	read.SetMaxOpenConns(sqliteReaders)
	read.SetMaxIdleConns(sqliteReaders)
	return &Store{
		dialect: sqlite(), write: write, read: read,
		close: func() error { return errors.Join(read.Close(), write.Close()) },
	}, nil
}

// makeFile makes a file that is missing, as SQLite would let others read it. One that is there is not opened: closing it would
// give up all locks of this process on it, which another store may hold.
func makeFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // whoever runs the program names the file
	if err == nil {
		return file.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
	}
	return err
}

func sqliteURI(path, lock string, pragmas ...string) string {
	u := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": pragmas, "_txlock": {lock}, "_error_rc": {"1"}}.Encode()}
	return u.String()
}

func sqlite() dialect {
	lists := regexp.MustCompile(`(numbers|texts)\((\$\d)\)`)
	each := `SELECT found.value FROM json_each($1) AS s, json_each($2) AS k, json_each((
		SELECT json_group_array(id) FROM (SELECT id FROM record
			WHERE scaled_job = s.value AND kind = k.value AND id > $3 AND id < $4 ORDER BY id %[1]s LIMIT $5))) AS found
		ORDER BY found.value %[1]s LIMIT $5`
	return dialect{
		name:   "sqlite",
		isFile: true,
		// Somebody else has it locked for longer than is waited for.
		away: func(err error) bool {
			var said *driver.Error
			return errors.As(err, &said) && said.Code()&0xff == sqlitelib.SQLITE_BUSY
		},
		statement: func(text string) string { return lists.ReplaceAllString(text, "json_each($2)") },
		list: func(list any) (any, error) {
			text, err := json.Marshal(list)
			return string(text), err
		},
		save:   saveSQLite,
		newest: fmt.Sprintf(each, "DESC"),
		oldest: fmt.Sprintf(each, "ASC"),
		messages: `SELECT found.value FROM json_each($1) AS s, json_each((
			SELECT json_group_array(id) FROM (SELECT id FROM record
				WHERE message_id = $2 AND message_id <> '' AND scaled_job = s.value AND id > $3 AND id < $4
				AND ($6 IS NULL OR kind IN (SELECT value FROM json_each($6))) ORDER BY id DESC LIMIT $5))) AS found
			ORDER BY found.value DESC LIMIT $5`,
		matches: `SELECT rowid FROM search WHERE search MATCH $1 AND rowid > $2 AND rowid < $3
			AND ($5 = '' OR EXISTS (SELECT 1 FROM record WHERE id = search.rowid AND message_id = $5))
			ORDER BY rowid DESC LIMIT $4`,
		match:  matchSQLite,
		forget: "DELETE FROM search WHERE rowid IN (SELECT value FROM numbers($1) AS n)",
	}
}

// saveSQLite puts rows in one by one: SQLite is in this process.
func saveSQLite(ctx context.Context, tx *sql.Tx, rows []row) error {
	record, err := tx.PrepareContext(ctx, `INSERT INTO record VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (id) DO UPDATE SET kind = $4, sequence = $5, message_id = $6, finished_us = $7, wait_us = $8,
			startup_us = $9, run_us = $10, cpu_seconds = $11, memory_byte_seconds = $12, document = $13`)
	if err != nil {
		return fmt.Errorf("preparing to put records in: %w", err)
	}
	defer record.Close()
	words, err := tx.PrepareContext(ctx, "INSERT OR REPLACE INTO search (rowid, words) VALUES ($1, $2)")
	if err != nil {
		return fmt.Errorf("preparing to put words in: %w", err)
	}
	defer words.Close()
	for i := range rows {
		r := &rows[i]
		_, err := record.ExecContext(ctx, r.id, r.uid, r.scaledJob, r.kind, r.sequence, r.message, r.finished, r.wait,
			r.startUp, r.run, r.cpuSeconds, r.memoryByteSeconds, r.document)
		if err != nil {
			return fmt.Errorf("putting a record in: %w", err)
		}
		if _, err := words.ExecContext(ctx, r.id, strings.Join(r.tokens(), " ")); err != nil {
			return fmt.Errorf("putting the words of a record in: %w", err)
		}
	}
	return nil
}

// matchSQLite writes terms as FTS5 reads them. Tokens have no quotes.
func matchSQLite(terms []term) string {
	var all []string
	for _, t := range terms {
		var either []string
		for _, token := range t.tokens {
			token = `"` + token + `"`
			if t.prefix {
				token += " *"
			}
			either = append(either, token)
		}
		all = append(all, "("+strings.Join(either, " OR ")+")")
	}
	return strings.Join(all, " AND ")
}
