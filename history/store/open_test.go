package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
	"github.com/longhaul-dev/longhaul/test/fixture/postgres"
	"github.com/longhaul-dev/longhaul/test/fixture/postgres/postgrestest"
)

func TestEachEarlierVersionIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, at place) {
		t.Helper()
		versions, err := s.Versions()
		if err != nil || versions < 1 {
			t.Fatal(versions, err)
		}
		for version := range versions {
			if err := s.BackTo(t.Context(), version); err != nil {
				t.Fatal(err)
			}
			again := open(t, at)
			save(t, again, full())
			expectRecords(t, []history.Record{full()}, list(t, again, store.Query{Search: "transcode"}))
		}
	})
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, at place) {
		t.Helper()
		save(t, s, full())
		if err := s.Execute(t.Context(), "INSERT INTO schema_version VALUES (99)"); err != nil {
			t.Fatal(err)
		}
		_, err := store.Open(t.Context(), at.Options)
		if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "version 99") {
			t.Error(err)
		}
		expectJobs(t, list(t, s, store.Query{}), full().Job)
	})
}

func TestManyMayOpenAnEmptyDatabaseAtOnce(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, at place) {
		t.Helper()
		if err := s.BackTo(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				s, err := store.Open(t.Context(), at.Options)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Save(t.Context(), []history.Record{full()}); err != nil {
					t.Error(err)
				}
				s.Close()
			})
		}
		group.Wait()
		expectJobs(t, list(t, s, store.Query{}), full().Job)
	})
}

func TestJustOneDatabaseIsNamed(t *testing.T) {
	t.Parallel()
	for _, o := range []store.Options{{}, {SQLite: "a", PostgreSQL: "b"}} {
		if _, err := store.Open(t.Context(), o); err == nil {
			t.Errorf("%+v is opened", o)
		}
	}
}

func TestNoErrorHasThePassword(t *testing.T) {
	t.Parallel()
	for _, connection := range []string{
		"postgres://user:hunter2@127.0.0.1:1/db?connect_timeout=1",
		"postgres://user:hunter2/x@127.0.0.1:1/db",
		"postgres://user:hun%zzter2hunter2@127.0.0.1:1/db",
		"postgres://user:hunter2@127.0.0.1:notaport/db",
		"postgres://user:hunter2@127.0.0.1:1/db?sslmode=odd",
		"postgres://user:hunter2@[bad/db",
		"host=127.0.0.1 port=1 user=u password=hunter2 connect_timeout=1",
		"host=127.0.0.1 port=x user=u password='hunter2",
		"host=127.0.0.1 password=hunter2 = =",
		"hunter2",
	} {
		s, err := store.Open(t.Context(), store.Options{PostgreSQL: connection})
		if err == nil { // the server may be there later
			_, err = s.List(t.Context(), store.Query{})
			s.Close()
		}
		if err == nil {
			t.Errorf("%s is read", connection)
		} else if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2") {
			t.Errorf("%s: %v", connection, err)
		}
	}
	server := shared.Server(t)
	user, rest, _ := strings.Cut(server.URI(), "@")
	s, err := store.Open(t.Context(), store.Options{PostgreSQL: user + "hunter2@" + rest})
	if err == nil {
		_, err = s.List(t.Context(), store.Query{})
		s.Close()
	}
	if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), strings.Split(user, ":")[2]) {
		t.Error(err)
	}
}

func TestAFileIsOursAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new folder?#%41", "deeper")
	path := filepath.Join(dir, "history &=;'.db")
	s := open(t, place{store.Options{SQLite: path}, true})
	save(t, s, full())
	for name, mode := range map[string]fs.FileMode{dir: 0o700 | fs.ModeDir, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
		info, err := os.Stat(name)
		if err != nil {
			t.Error(err)
		} else if info.Mode() != mode {
			t.Errorf("%s has the mode %s", name, info.Mode())
		}
	}
}

func TestAFileThatCannotBeIsToldClearly(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("this is no database, whatever it is, and long enough to look like one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(file, "history.db"): "not a directory",
		filepath.Dir(file):                "is a directory",
		"/proc/history.db":                "no such file",
		file:                              "not a database",
	} {
		_, err := store.Open(t.Context(), store.Options{SQLite: path})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestAFileThatAnotherLocksForAWhileIsWaitedFor(t *testing.T) {
	t.Parallel()
	at := place{store.Options{SQLite: filepath.Join(t.TempDir(), "history.db")}, true}
	s, other := open(t, at), open(t, at)
	tx, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	saved := make(chan error, 1)
	go func() { saved <- s.Save(t.Context(), []history.Record{full()}) }()
	for !s.Writing() {
		runtime.Gosched()
	}
	expectJobs(t, list(t, s, store.Query{})) // readers do not wait
	select {
	case err := <-saved:
		t.Fatalf("it does not wait: %v", err)
	default:
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-saved; err != nil {
		t.Error(err)
	}
	expectJobs(t, list(t, s, store.Query{}), full().Job)
}

func TestAFullDiskLosesNothingThatWasSaved(t *testing.T) {
	t.Parallel()
	s := open(t, place{store.Options{SQLite: filepath.Join(t.TempDir(), "history.db")}, true})
	save(t, s, full())
	if err := s.Execute(t.Context(), "PRAGMA max_page_count = 200"); err != nil {
		t.Fatal(err)
	}
	var more []history.Record
	for i := range int64(1000) {
		more = append(more, succeeded(active("transcode", i, noon.Add(time.Hour))))
	}
	if err := s.Save(t.Context(), more); err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatal(err)
	}
	expectJobs(t, all(t, s, store.Query{}), full().Job)
	if err := s.Execute(t.Context(), "PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	save(t, s, more...)
	got := stats(t, s, store.StatsQuery{ScaledJob: "transcode", From: noon.Add(-12 * time.Hour), To: noon.Add(12 * time.Hour)})
	if len(all(t, s, store.Query{})) != 1001 || got.Outcomes[history.Succeeded] != 1000 {
		t.Errorf("%+v", got.Outcomes)
	}
}

func TestADatabaseThatGoesAwayAndComesBackIsUsedAgain(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, postgres.Options{})
	s := open(t, place{store.Options{PostgreSQL: server.URI()}, false})
	for i, end := range []func() error{server.Stop, server.Kill} {
		r := succeeded(active("transcode", int64(i), noon))
		var group sync.WaitGroup
		for range 5 { // so that several connections break
			group.Go(func() { _, _ = s.List(t.Context(), store.Query{}) })
		}
		group.Wait()
		if err := end(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		t.Cleanup(cancel)
		if err := s.Save(ctx, []history.Record{r}); err == nil {
			t.Error("it saves while the database is away")
		}
		if _, err := s.List(ctx, store.Query{}); err == nil {
			t.Error("it lists while the database is away")
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for tries := 1; ; tries++ {
			err := s.Save(t.Context(), []history.Record{r})
			if err == nil {
				break
			}
			if tries == 20 {
				t.Fatal(err)
			}
		}
		if n := len(list(t, s, store.Query{})); n != i+1 {
			t.Errorf("%d records", n)
		}
	}
}

func TestADatabaseThatIsNotThereYetIsUsedWhenItIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]func(t *testing.T) (at place, back func() error){
		"a file that another has locked": func(t *testing.T) (place, func() error) {
			t.Helper()
			at := place{store.Options{SQLite: filepath.Join(t.TempDir(), "history.db")}, true}
			other := open(t, at)
			if err := other.BackTo(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			tx, err := other.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return at, tx.Rollback
		},
		"a server that does not run": func(t *testing.T) (place, func() error) {
			t.Helper()
			server := postgrestest.Start(t, postgres.Options{})
			if err := server.Stop(); err != nil {
				t.Fatal(err)
			}
			return place{store.Options{PostgreSQL: server.URI()}, false}, func() error { return server.Start(t.Context()) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, back := c(t)
			s := open(t, at)
			if err := s.Save(t.Context(), []history.Record{full()}); err == nil {
				t.Error("it saves")
			}
			if _, err := s.List(t.Context(), store.Query{}); err == nil {
				t.Error("what cannot be read reads as nothing")
			}
			if err := back(); err != nil {
				t.Fatal(err)
			}
			save(t, s, full())
			expectJobs(t, list(t, s, store.Query{}), full().Job)
		})
	}
}

func TestAnotherStoreInTheProcessKeepsItsLocks(t *testing.T) {
	t.Parallel()
	at := place{store.Options{SQLite: filepath.Join(t.TempDir(), "history.db")}, true}
	s := open(t, at)
	save(t, s, succeeded(active("transcode", 1, noon)))
	second := open(t, at)
	// Another process that closes the file takes away its log, unless it sees that this one has it open.
	reader := exec.Command("go", "run", "./testdata/touch", at.SQLite)
	if output, err := reader.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	save(t, s, succeeded(active("transcode", 2, noon.Add(time.Second))))
	save(t, second, succeeded(active("transcode", 3, noon.Add(2*time.Second))))
	expectJobs(t, list(t, open(t, at), store.Query{}), "transcode-3", "transcode-2", "transcode-1")
}
