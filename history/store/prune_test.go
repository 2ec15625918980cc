package store_test

import (
	"math"
	"os"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
)

func prune(t *testing.T, s *store.Store, keep store.Retention, now time.Time, exists func(string) bool) int {
	t.Helper()
	n, err := s.Prune(t.Context(), "media", "transcode", keep, now, exists)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestARecordsAgeCountsFromTheEndOfItsJob(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		long := succeeded(active("transcode", 1, noon))
		end := noon.Add(10 * time.Hour)
		long.Finished = &end
		save(t, s, long)
		none := func(string) bool { return false }
		keep := store.Retention{Succeeded: store.Limit{MaxAge: 4 * time.Hour}}
		if n := prune(t, s, keep, end.Add(4*time.Hour), none); n != 0 {
			t.Errorf("%d records were dropped of Jobs that ended 4 h ago, 14 h after their creation, want none", n)
		}
		if n := prune(t, s, keep, end.Add(4*time.Hour+time.Second), none); n != 1 {
			t.Errorf("%d records were dropped when the Job had ended too long ago, want 1", n)
		}
	})
}

func TestPruneKeepsWhatRetentionSays(t *testing.T) {
	t.Parallel()
	hour := func(h int) time.Time { return noon.Add(time.Duration(h) * time.Hour) }
	for _, c := range []struct {
		name   string
		keep   store.Retention
		exists string
		want   []string
	}{
		{"nothing is bounded", store.Retention{}, "", []string{"8", "7", "6", "5", "4", "3", "2", "1", "0"}},
		{
			"successes by age",
			store.Retention{Succeeded: store.Limit{MaxAge: 4 * time.Hour}},
			"",
			[]string{"8", "7", "6", "5", "4", "2", "1"},
		},
		{
			"failures by age, cancelled ones too",
			store.Retention{Failed: store.Limit{MaxAge: 5 * time.Hour}},
			"",
			[]string{"8", "7", "6", "5", "4", "3", "0"},
		},
		{"successes by number", store.Retention{Succeeded: store.Limit{MaxRecords: 1}}, "", []string{"8", "7", "6", "5", "4", "2", "1"}},
		{"failures by number", store.Retention{Failed: store.Limit{MaxRecords: 3}}, "", []string{"8", "7", "6", "5", "4", "3", "0"}},
		{
			"by both",
			store.Retention{Succeeded: store.Limit{MaxAge: 5 * time.Hour, MaxRecords: 1}, Failed: store.Limit{MaxAge: 30 * time.Hour, MaxRecords: 2}},
			"",
			[]string{"8", "6", "7", "5"}, // checked as a set
		},
		{
			"but none whose Job exists",
			store.Retention{Succeeded: store.Limit{MaxAge: time.Minute}, Failed: store.Limit{MaxRecords: 1}},
			"3",
			[]string{"8", "7", "3"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, s *store.Store, _ place) {
				t.Helper()
				for i := range 9 {
					r := active("transcode", int64(i), hour(i))
					switch {
					case i == 8: // active
					case i%3 == 0:
						r = succeeded(r)
					case i%3 == 1:
						r = failed(r, history.CategoryOutOfMemory)
					default:
						r = ended(r, history.Cancelled, history.CategoryCancelled)
					}
					save(t, s, r)
				}
				other := succeeded(active("audio", 1, hour(0)))
				save(t, s, other)
				before := stats(t, s, store.StatsQuery{ScaledJob: "transcode", From: hour(-12), To: hour(12)})
				n := prune(t, s, c.keep, hour(8), func(uid string) bool {
					return c.exists != "" && uid == active("transcode", int64(c.exists[0]-'0'), hour(int(c.exists[0]-'0'))).UID
				})
				left := map[string]bool{}
				for _, r := range list(t, s, store.Query{ScaledJob: "transcode"}) {
					left[r.Job] = true
				}
				found := list(t, s, store.Query{Search: "transcode"})
				if len(left) != len(c.want) || n != 9-len(c.want) || len(found) != len(left) {
					t.Errorf("%d are left, %d found and %d pruned: %v", len(left), len(found), n, left)
				}
				for _, w := range c.want {
					if !left["transcode-"+w] {
						t.Errorf("%s is gone", w)
					}
				}
				expectJobs(t, list(t, s, store.Query{ScaledJob: "audio"}), other.Job)
				after := stats(t, s, store.StatsQuery{ScaledJob: "transcode", From: hour(-12), To: hour(12)})
				expectSame(t, before, after)
			})
		})
	}
}

func TestPruneGoesOnBeyondWhatItMayNotDelete(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		var records []history.Record
		exists := map[string]bool{}
		for i := range int64(1300) {
			r := succeeded(active("transcode", i, noon.Add(time.Duration(i)*time.Second)))
			exists[r.UID] = i%3 == 0 || i < 600
			records = append(records, r)
		}
		save(t, s, records...)
		n := prune(t, s, store.Retention{Succeeded: store.Limit{MaxRecords: 100}}, noon, func(uid string) bool { return exists[uid] })
		if n != 400 {
			t.Errorf("%d are pruned, want two thirds of 600", n)
		}
		if n := prune(t, s, store.Retention{Succeeded: store.Limit{MaxAge: time.Second}}, noon.Add(time.Hour), none); n != 900 {
			t.Errorf("%d are pruned, want the other 900", n)
		}
	})
}

func TestPruneOfWhatIsNotThereIsNothing(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		if n := prune(t, s, store.Retention{Succeeded: store.Limit{MaxAge: 1}}, noon, none); n != 0 {
			t.Errorf("%d are pruned", n)
		}
	})
}

func TestShrinkTakesTheOldestUntilTheFileIsSmall(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, at place) {
		t.Helper()
		var records []history.Record
		for i := range int64(3000) {
			r := active("transcode", i, noon.Add(time.Duration(i)*time.Second))
			if i != 10 {
				r = failed(r, history.CategoryFailed)
				r.Message = "a message that takes up room, and has word" + r.Job
			}
			records = append(records, r)
		}
		save(t, s, records...)
		shrink := func(to int64) int {
			n, err := s.Shrink(t.Context(), to, func(uid string) bool { return uid == records[20].UID })
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := shrink(math.MaxInt64); n != 0 {
			t.Errorf("%d are deleted though there is room", n)
		}
		if !at.sqlite {
			if n := shrink(1); n != 0 || len(all(t, s, store.Query{})) != 3000 {
				t.Errorf("%d are deleted of PostgreSQL", n)
			}
			return
		}
		before := size(t, at.SQLite)
		n := shrink(before / 2)
		if n < 500 || n > 2500 || size(t, at.SQLite) > before/2 {
			t.Errorf("%d are deleted, and the file has %d bytes of %d", n, size(t, at.SQLite), before)
		}
		left := all(t, s, store.Query{})
		if len(left) != 3000-n || left[0].UID != records[2999].UID || left[len(left)-1].UID != records[10].UID || left[len(left)-2].UID != records[20].UID {
			t.Errorf("%d are left", len(left))
		}
		if n := shrink(1); n != len(left)-2 || len(list(t, s, store.Query{Search: "transcode"})) != 2 {
			t.Errorf("%d are deleted then, of %d", n, len(left))
		}
		if got := stats(t, s, store.StatsQuery{ScaledJob: "transcode", From: noon.Add(-24 * time.Hour), To: noon.Add(24 * time.Hour)}); got.Outcomes[history.Failed] != 2999 {
			t.Errorf("%d are counted", got.Outcomes[history.Failed])
		}
	})
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
