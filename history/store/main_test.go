package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
	"github.com/longhaul-dev/longhaul/test/fixture/postgres/postgrestest"
)

var shared postgrestest.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// place is where a store can be opened.
type place struct {
	store.Options
	// sqlite is false for PostgreSQL.
	sqlite bool
}

// everywhere runs a test on an empty store of each database.
func everywhere(t *testing.T, test func(t *testing.T, s *store.Store, at place)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		at := place{store.Options{SQLite: filepath.Join(t.TempDir(), "history.db")}, true}
		test(t, open(t, at), at)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		at := place{store.Options{PostgreSQL: postgrestest.Schema(t, shared.Server(t))}, false}
		test(t, open(t, at), at)
	})
}

func open(t *testing.T, at place) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), at.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// noon is a moment at which tests begin.
var noon = time.Date(2026, 5, 17, 12, 0, 0, 0, time.UTC)

// active is the record of a Job that was just created.
func active(scaledJob string, sequence int64, created time.Time) history.Record {
	return history.Record{
		UID: fmt.Sprintf("uid-%s-%d-%d", scaledJob, sequence, created.UnixMilli()), Namespace: "media", ScaledJob: scaledJob,
		Sequence: sequence, Job: fmt.Sprintf("%s-%d", scaledJob, sequence), Created: created, Seen: created.Add(-3 * time.Second),
	}
}

// ended is a record as its Job has ended: after a start-up of 2 s and a run of a minute on two cores and a gibibyte.
func ended(r history.Record, outcome history.Outcome, category history.Category) history.Record {
	started, finished := r.Created.Add(2*time.Second), r.Created.Add(62*time.Second)
	r.Outcome, r.Category, r.Scheduled, r.Started, r.Finished = outcome, category, &r.Created, &started, &finished
	r.Attempts = []history.Attempt{{
		Pod: r.Job + "-x7k2p", UID: "pod-" + r.UID, Node: "node-1", Created: r.Created, Started: &started, Finished: &finished,
		Succeeded: outcome == history.Succeeded, CPU: 2, Memory: 1 << 30,
	}}
	return r
}

func succeeded(r history.Record) history.Record {
	return ended(r, history.Succeeded, history.CategorySucceeded)
}

func failed(r history.Record, category history.Category) history.Record {
	return ended(r, history.Failed, category)
}

func save(t *testing.T, s *store.Store, records ...history.Record) {
	t.Helper()
	for len(records) > 0 {
		n := min(len(records), store.MaxBatch)
		if err := s.Save(t.Context(), records[:n]); err != nil {
			t.Fatal(err)
		}
		records = records[n:]
	}
}

func list(t *testing.T, s *store.Store, query store.Query) []history.Record {
	t.Helper()
	page, err := s.List(t.Context(), query)
	if err != nil {
		t.Fatalf("%+v: %v", query, err)
	}
	return page.Records
}

// all are the records of all pages.
func all(t *testing.T, s *store.Store, query store.Query) []history.Record {
	t.Helper()
	var records []history.Record
	for {
		page, err := s.List(t.Context(), query)
		if err != nil {
			t.Fatalf("%+v: %v", query, err)
		}
		records = append(records, page.Records...)
		if query.Cursor = page.Next; page.Next == "" {
			return records
		}
	}
}

func stats(t *testing.T, s *store.Store, query store.StatsQuery) store.Stats {
	t.Helper()
	if query.Namespace == "" {
		query.Namespace = "media"
	}
	found, err := s.Stats(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// jobs are the names of the records' Jobs.
func jobs(records []history.Record) []string {
	var names []string
	for _, r := range records {
		names = append(names, r.Job)
	}
	return names
}

func expectJobs(t *testing.T, got []history.Record, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, jobs(got), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func expectRecords(t *testing.T, want, got []history.Record) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func none(string) bool { return false }
