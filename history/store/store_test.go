package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
)

// full is a record with all fields set.
func full() history.Record {
	at := func(s int) *time.Time { return new(noon.Add(time.Duration(s)*time.Second + 123456789)) }
	return history.Record{
		UID: "0f2b9c1e-7d55-4a5e-9f43-2f6a1d0a8d11", Namespace: "media", ScaledJob: "transcode", Trigger: "uploads", Sequence: 8141,
		Job: "transcode-8141", Revision: "5d8f", ScheduledTime: at(-1), Outcome: history.Failed, Category: history.CategoryOutOfMemory,
		Reason: "BackoffLimitExceeded", Message: "Job has reached the specified backoff limit", MessageID: "video-8141",
		Result: json.RawMessage(`{"frames":[1,2.5,"ä"]}`), Seen: *at(-3), Created: *at(0), Scheduled: at(1), Started: at(2), Finished: at(60),
		Attempts: []history.Attempt{{
			Pod: "transcode-8141-x7k2p", UID: "9a", Node: "node-1", Image: "transcoder:4", ImageID: "sha256:ab", Created: *at(0),
			Scheduled: at(1), Started: at(2), Finished: at(60), ExitCode: new(int32(137)), Signal: 9, Restarts: 3,
			Reason: "OOMKilled", Message: "{\"messageID\":\"video-8141\"}", LogTail: "frame 1\nframe 2\n\x1b[31m終わり", CPU: 1.5, Memory: 1 << 30,
		}, {Pod: "transcode-8141-aaaaa", UID: "9b", Created: *at(9), Succeeded: true}},
	}
}

func TestEveryFieldOfARecordComesBack(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, at place) {
		t.Helper()
		want := full()
		save(t, s, want)
		again := open(t, at) // and not from memory
		known, err := again.Known(t.Context(), []string{"other", want.UID})
		if err != nil {
			t.Fatal(err)
		}
		expectRecords(t, []history.Record{want}, known)
		got, err := again.Get(t.Context(), "media", "transcode", 8141)
		if err != nil {
			t.Fatal(err)
		}
		expectRecords(t, []history.Record{want}, []history.Record{got})
		expectRecords(t, []history.Record{want}, list(t, again, store.Query{}))
	})
}

func TestTextsThatDatabasesRefuseAreMendedAndFound(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		for i, bad := range []string{"nul\x00byte", "bad\xff\xfeutf", strings.Repeat("long", 1000), "\xed\xa0\x80", "quote'\"\\"} {
			r := failed(active("transcode", int64(i), noon), history.CategoryFailed)
			r.UID, r.MessageID, r.Message, r.Trigger = "u"+bad, "m"+bad, bad, bad
			r.Attempts[0].LogTail, r.Attempts[0].Node = bad, bad
			r.Result = json.RawMessage(`"` + bad + `"`)
			save(t, s, r)
			expectJobs(t, list(t, s, store.Query{MessageID: r.MessageID}), r.Job)
			expectJobs(t, list(t, s, store.Query{MessageID: r.MessageID, Search: "node transcode"}))
			expectJobs(t, list(t, s, store.Query{MessageID: r.MessageID, Search: "TRANSCODE"}), r.Job)
			known, err := s.Known(t.Context(), []string{r.UID})
			if err != nil {
				t.Error(err)
			}
			expectJobs(t, known, r.Job)
		}
		r := active("transcode", 99, noon)
		r.Result = json.RawMessage(`{"no JSON`)
		save(t, s, r)
		expectJobs(t, list(t, s, store.Query{Search: "json"}), r.Job)
	})
}

func TestARecordThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		good := active("transcode", 1, noon)
		for _, spoil := range []func(*history.Record){
			func(r *history.Record) { r.UID = "" },
			func(r *history.Record) { r.Namespace = "" },
			func(r *history.Record) { r.ScaledJob = "" },
			func(r *history.Record) { r.Created = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		} {
			bad := good
			spoil(&bad)
			if err := s.Save(t.Context(), []history.Record{good, bad}); err == nil {
				t.Errorf("%+v is saved", bad)
			}
		}
		expectJobs(t, list(t, s, store.Query{}))
		if err := s.Save(t.Context(), make([]history.Record, store.MaxBatch+1)); err == nil {
			t.Error("1001 records are saved at once")
		}
		if err := s.Save(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

func TestTimesFarAwayAreKept(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		for i, created := range []time.Time{{}, time.Unix(0, 0).UTC(), time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
			save(t, s, succeeded(active("transcode", int64(i), created)))
			got, err := s.Get(t.Context(), "media", "transcode", int64(i))
			if err != nil || !got.Created.Equal(created) {
				t.Errorf("%s is %s: %v", created, got.Created, err)
			}
		}
		if n := len(all(t, s, store.Query{Limit: 1})); n != 4 {
			t.Errorf("%d of 4 are listed", n)
		}
	})
}

func TestAnActiveRecordNeverReplacesAnEndedOne(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		before := active("transcode", 1, noon)
		after := failed(before, history.CategoryFailed)
		late := after
		late.Attempts = slices.Clone(after.Attempts)
		late.Attempts[0].LogTail = "told late"
		for _, step := range []struct {
			saved []history.Record
			want  history.Record
		}{
			{[]history.Record{before}, before},
			{[]history.Record{after}, after},
			{[]history.Record{before}, after},
			{[]history.Record{late}, late},
			{[]history.Record{before, before}, late},
			{[]history.Record{after, before}, after},
			{[]history.Record{late, after, late, before}, late},
		} {
			save(t, s, step.saved...)
			expectRecords(t, []history.Record{step.want}, list(t, s, store.Query{}))
			expectRecords(t, []history.Record{step.want}, list(t, s, store.Query{Search: "transcode"}))
		}
		expectJobs(t, list(t, s, store.Query{Search: "told late"}), before.Job)
		expectJobs(t, list(t, s, store.Query{Outcome: store.Active}))
		expectJobs(t, list(t, s, store.Query{Outcome: history.Failed}), before.Job)
	})
}

func TestARollUpCountsARecordOnceHoweverOftenItIsSaved(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, at place) {
		t.Helper()
		other := open(t, at)
		var records []history.Record
		for i := range int64(20) {
			r := active("transcode", i, noon.Add(time.Duration(i)*time.Second))
			records = append(records, succeeded(r))
			save(t, s, r)
		}
		var group sync.WaitGroup
		for n := range 10 {
			group.Go(func() {
				for i := range 4 {
					shuffled := slices.Clone(records)
					rand.New(rand.NewPCG(uint64(n), uint64(i))).Shuffle(len(shuffled), func(i, j int) {
						shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
					})
					if err := []*store.Store{s, other}[n%2].Save(t.Context(), append(shuffled, shuffled[0])); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		whole := store.StatsQuery{ScaledJob: "transcode", From: noon.Add(-12 * time.Hour), To: noon.Add(12 * time.Hour)}
		got := stats(t, s, whole)
		if got.Outcomes[history.Succeeded] != 20 || got.Run.Count() != 20 || got.CPUSeconds != 20*60*2 || got.Active != 0 {
			t.Errorf("%+v", got)
		}
		if n := len(all(t, s, store.Query{Limit: 3})); n != 20 {
			t.Errorf("%d records", n)
		}
	})
}

func TestNewRecordsOfTwoManagersAtOnceAreAllKept(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, at place) {
		t.Helper()
		stores := []*store.Store{s, open(t, at)}
		var group sync.WaitGroup
		for n := range 8 {
			group.Go(func() {
				for i := range int64(10) {
					// All in the same second, and each by two managers.
					if err := stores[n%2].Save(t.Context(), []history.Record{active(fmt.Sprintf("sj-%d", n/2), i, noon)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		if n := len(all(t, s, store.Query{})); n != 40 {
			t.Errorf("%d records of 40", n)
		}
		names, err := s.ScaledJobs(t.Context())
		want := []store.Name{{"media", "sj-0"}, {"media", "sj-1"}, {"media", "sj-2"}, {"media", "sj-3"}}
		if diff := cmp.Diff(want, names); diff != "" || err != nil {
			t.Error(diff, err)
		}
	})
}

func TestGetIsTheNewestWithThatSequence(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		newer, older := active("transcode", 1, noon.Add(time.Hour)), active("transcode", 1, noon)
		other := active("transcode", 1, noon.Add(2*time.Hour))
		other.Namespace, other.UID = "other", "other"
		save(t, s, newer, older, other)
		got, err := s.Get(t.Context(), "media", "transcode", 1)
		if err != nil || got.UID != newer.UID {
			t.Errorf("%s, %v", got.UID, err)
		}
		for _, ask := range []func() (history.Record, error){
			func() (history.Record, error) { return s.Get(t.Context(), "media", "transcode", 2) },
			func() (history.Record, error) { return s.Get(t.Context(), "media", "none", 1) },
			func() (history.Record, error) { return s.Get(t.Context(), "none", "transcode", 1) },
		} {
			if _, err := ask(); !errors.Is(err, store.ErrNotFound) {
				t.Error(err)
			}
		}
	})
}

func TestUnfinishedRecordsCanBeReadInPages(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		var want []string
		for i := range int64(25) {
			r := active("transcode", i, noon.Add(time.Duration(i/2)*time.Second))
			if i%5 == 0 {
				r = succeeded(r)
			} else {
				want = append(want, r.Job)
			}
			save(t, s, r)
		}
		var got []string
		for after := int64(0); ; {
			records, next, err := s.Unfinished(t.Context(), after, 5)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, jobs(records)...)
			if after = next; next == 0 {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if _, _, err := s.Unfinished(t.Context(), 0, 0); !errors.Is(err, store.ErrBadQuery) {
			t.Error(err)
		}
	})
}

func TestACallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, at place) {
		t.Helper()
		over, cancel := context.WithCancel(t.Context())
		cancel()
		calls := map[string]func(context.Context) error{
			"save": func(ctx context.Context) error { return s.Save(ctx, []history.Record{full()}) },
			"list": func(ctx context.Context) error { _, err := s.List(ctx, store.Query{}); return err },
			"know": func(ctx context.Context) error { _, err := s.Known(ctx, []string{"a"}); return err },
			"get":  func(ctx context.Context) error { _, err := s.Get(ctx, "a", "b", 1); return err },
			"stats": func(ctx context.Context) error {
				_, err := s.Stats(ctx, store.StatsQuery{From: noon, To: noon.Add(time.Hour)})
				return err
			},
			"names": func(ctx context.Context) error { _, err := s.ScaledJobs(ctx); return err },
			"prune": func(ctx context.Context) error {
				_, err := s.Prune(ctx, "media", "transcode", store.Retention{}, noon, none)
				return err
			},
		}
		for name, call := range calls {
			if err := call(over); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// Also while it waits for another writer.
		other := open(t, at)
		tx, err := other.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		soon, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		began := time.Now()
		if err := calls["save"](soon); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 4*time.Second {
			t.Errorf("it took %s: %v", time.Since(began), err)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		save(t, s, full())
		expectJobs(t, list(t, s, store.Query{}), full().Job)
	})
}
