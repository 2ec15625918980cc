package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// openPostgreSQL opens a pool of connections. None is made before one is needed.
func openPostgreSQL(ctx context.Context, connection string) (*Store, error) {
	config, err := pgxpool.ParseConfig(connection)
	if err != nil {
		// What the parser says has parts of what it could not read, and so perhaps of a password.
		return nil, errors.New("the connection string for PostgreSQL is neither a good URI nor good keyword=value pairs, " +
			"or names files that cannot be read; what it says is not shown, as it may hold a password")
	}
	if config.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		// Which index is best for a query depends on the words it has, which the plan of a prepared statement does not know.
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	config.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		// Compiling takes longer than any of these queries.
		_, err := c.Exec(ctx, "SET jit = off")
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("preparing to connect to PostgreSQL: %w", err)
	}
	db := stdlib.OpenDBFromPool(pool)
	return &Store{
		dialect: postgreSQL(), write: db, read: db,
		close: func() error {
			err := db.Close()
			pool.Close()
			return err
		},
	}, nil
}

func postgreSQL() dialect {
	numbers, texts := regexp.MustCompile(`numbers\((\$\d)\) AS (\w+)`), regexp.MustCompile(`texts\((\$\d)\) AS (\w+)`)
	each := `SELECT found.id FROM unnest($1::bigint[]) AS s (value), unnest($2::bigint[]) AS k (value), LATERAL (
		SELECT id FROM record WHERE scaled_job = s.value AND kind = k.value AND id > $3 AND id < $4
		ORDER BY id %[1]s LIMIT $5) AS found ORDER BY found.id %[1]s LIMIT $5`
	return dialect{
		name: "postgres",
		// What does not connect today may tomorrow: it is not there yet, its name is not known, a password is to be changed.
		away: func(err error) bool {
			var said *pgconn.ConnectError
			return errors.As(err, &said)
		},
		// 5068 is "LH" in ASCII's upside. A lock is for all of a database, and each schema may have a store.
		exclusive: "SELECT pg_advisory_xact_lock(5068, hashtext(current_schema()))",
		statement: func(text string) string {
			text = numbers.ReplaceAllString(text, "unnest($1::bigint[]) AS $2 (value)")
			return texts.ReplaceAllString(text, "unnest($1::text[]) AS $2 (value)")
		},
		list:     func(list any) (any, error) { return list, nil },
		snapshot: &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
		save:     savePostgreSQL,
		newest:   fmt.Sprintf(each, "DESC"),
		oldest:   fmt.Sprintf(each, "ASC"),
		messages: `SELECT found.id FROM unnest($1::bigint[]) AS s (value), LATERAL (
			SELECT id FROM record WHERE message_id = $2 AND message_id <> '' AND scaled_job = s.value AND id > $3 AND id < $4
			AND ($6::bigint[] IS NULL OR kind = ANY ($6::bigint[])) ORDER BY id DESC LIMIT $5) AS found
			ORDER BY found.id DESC LIMIT $5`,
		matches: `SELECT id FROM record WHERE words @@ $1::tsquery AND id > $2 AND id < $3 AND ($5 = '' OR message_id = $5)
			ORDER BY id DESC LIMIT $4`,
		match: matchPostgreSQL,
	}
}

// savePostgreSQL puts all rows in with one statement: each would be a way there and back.
func savePostgreSQL(ctx context.Context, tx *sql.Tx, rows []row) error {
	n := len(rows)
	ids, scaledJobs, kinds, sequences := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	uids, messages, documents, words := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	finished, waits, startUps, runs := make([]*int64, n), make([]*int64, n), make([]*int64, n), make([]*int64, n)
	cpu, memory := make([]float64, n), make([]float64, n)
	for i := range rows {
		r := &rows[i]
		ids[i], scaledJobs[i], kinds[i], sequences[i] = r.id, r.scaledJob, r.kind, r.sequence
		uids[i], messages[i], documents[i], words[i] = r.uid, r.message, r.document, strings.Join(r.tokens(), " ")
		finished[i], waits[i], startUps[i], runs[i] = r.finished, r.wait, r.startUp, r.run
		cpu[i], memory[i] = r.cpuSeconds, r.memoryByteSeconds
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO record
		SELECT id, uid, scaled_job, kind, sequence, message_id, finished_us, wait_us, startup_us, run_us, cpu_seconds,
			memory_byte_seconds, document, array_to_tsvector(string_to_array(words, ' '))
		FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[],
			$9::bigint[], $10::bigint[], $11::float8[], $12::float8[], $13::text[], $14::text[])
			AS new (id, uid, scaled_job, kind, sequence, message_id, finished_us, wait_us, startup_us, run_us, cpu_seconds,
				memory_byte_seconds, document, words)
		ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, sequence = excluded.sequence, message_id = excluded.message_id,
			finished_us = excluded.finished_us, wait_us = excluded.wait_us, startup_us = excluded.startup_us,
			run_us = excluded.run_us, cpu_seconds = excluded.cpu_seconds, memory_byte_seconds = excluded.memory_byte_seconds,
			document = excluded.document, words = excluded.words`,
		ids, uids, scaledJobs, kinds, sequences, messages, finished, waits, startUps, runs, cpu, memory, documents, words)
	if err != nil {
		return fmt.Errorf("putting records in: %w", err)
	}
	return nil
}

// matchPostgreSQL writes terms as a tsquery is read. Tokens have no quotes and no backslashes.
func matchPostgreSQL(terms []term) string {
	var all []string
	for _, t := range terms {
		var either []string
		for _, token := range t.tokens {
			token = "'" + token + "'"
			if t.prefix {
				token += ":*"
			}
			either = append(either, token)
		}
		all = append(all, "("+strings.Join(either, " | ")+")")
	}
	return strings.Join(all, " & ")
}
