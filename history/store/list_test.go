package store_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
)

// mixed are records of two namespaces and three ScaledJobs, one a minute, of all kinds.
func mixed() []history.Record {
	categories := history.Categories()
	var records []history.Record
	for i := range 120 {
		r := active([]string{"audio", "transcode"}[i%2], int64(i), noon.Add(time.Duration(i)*time.Minute))
		if i%3 == 0 {
			r.Namespace = "archive"
		}
		r.MessageID = fmt.Sprintf("video-%d", i%40)
		switch {
		case i%10 == 9: // active
		case i%4 == 0:
			r = succeeded(r)
		default:
			c := categories[1+i%(len(categories)-1)]
			o := history.Failed
			if c == history.CategoryCancelled || c == history.CategoryReplaced {
				o = history.Cancelled
			}
			r = ended(r, o, c)
			r.Message = fmt.Sprintf("common words, and rare%d", i%30)
		}
		records = append(records, r)
	}
	return records
}

// matches is what a query means, said simply.
func matches(q store.Query, r *history.Record) bool {
	outcome := r.Outcome
	if outcome == "" {
		outcome = store.Active
	}
	text := strings.ToLower(strings.Join([]string{r.MessageID, r.Job, r.Message, r.Trigger}, " "))
	for _, a := range r.Attempts {
		text += " " + strings.ToLower(a.Pod+" "+a.Node)
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" -,", r) })
	for w := range strings.FieldsSeq(strings.ToLower(q.Search)) {
		if !slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, w) }) {
			return false
		}
	}
	return (q.Namespaces == nil || slices.Contains(q.Namespaces, r.Namespace)) &&
		(q.ScaledJob == "" || q.ScaledJob == r.ScaledJob) && (q.Outcome == "" || q.Outcome == outcome) &&
		(q.Category == "" || q.Category == r.Category) && (q.MessageID == "" || q.MessageID == r.MessageID) &&
		(q.Trigger == "" || q.Trigger == r.Trigger) &&
		(q.Since.IsZero() || !r.Created.Before(q.Since)) && (q.Until.IsZero() || r.Created.Before(q.Until))
}

func TestEachFilterAndAllTogetherFindJustWhatTheySay(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		records := mixed()
		save(t, s, records...)
		slices.Reverse(records)
		var queries []store.Query
		for _, namespaces := range [][]string{nil, {}, {"media"}, {"none"}, {"media", "archive", "none"}} {
			for _, scaledJob := range []string{"", "transcode", "none"} {
				for _, outcome := range []history.Outcome{"", history.Failed, history.Cancelled, history.Succeeded, store.Active, "odd"} {
					for _, more := range []store.Query{
						{},
						{Category: history.CategoryOutOfMemory},
						{MessageID: "video-7"},
						{Search: "RARE1"},
						{Search: "common rare22"},
						{Category: history.CategoryCancelled, MessageID: "video-22", Search: "video"},
						{Since: noon.Add(20 * time.Minute), Until: noon.Add(40 * time.Minute)},
						{Since: noon.Add(30 * time.Minute), Search: "node"},
						{Until: noon.Add(90 * time.Minute), Category: "Odd"},
						{Since: noon.Add(time.Hour), Until: noon},
					} {
						more.Namespaces, more.ScaledJob, more.Outcome, more.Limit = namespaces, scaledJob, outcome, 7
						queries = append(queries, more)
					}
				}
			}
		}
		found := 0
		for _, q := range queries {
			var want []string
			for i := range records {
				if matches(q, &records[i]) {
					want = append(want, records[i].Job)
				}
			}
			got := jobs(all(t, s, q))
			if !slices.Equal(want, got) {
				t.Errorf("%+v: %v, want %v", q, got, want)
			}
			found += len(got)
		}
		if found < 1000 {
			t.Errorf("the queries find %d records: they test little", found)
		}
	})
}

func TestASearchFindsWhatIsOldAsWellAsWhatIsNew(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		// More than are looked at one by one: what is older is asked of the index.
		var records []history.Record
		for i := range 4000 {
			r := active([]string{"audio", "transcode", "transcode"}[i%3], int64(i), noon.Add(time.Duration(i)*time.Second))
			r.Namespace = []string{"archive", "media", "media", "media"}[i%4]
			r.Trigger = []string{"videos", "images"}[i/2%2]
			if r = succeeded(r); i%5 == 0 {
				r = failed(r, history.CategoryOutOfMemory)
			}
			r.Message = "common words"
			if i < 900 {
				r.Message += " early"
			}
			if i%300 < 12 {
				r.Message += " seldom videos" // also where the trigger is another
			}
			if i < 60 {
				r.Message += " ancient"
			}
			records = append(records, r)
		}
		save(t, s, records...)
		slices.Reverse(records)
		found := 0
		for _, search := range []string{"anc", "early common", "seldom ancient", "common nothing", "videos"} {
			for _, q := range []store.Query{
				{},
				{ScaledJob: "transcode"},
				{Namespaces: []string{"media"}},
				{Outcome: history.Succeeded},
				{Trigger: "videos"},
				{Namespaces: []string{"media"}, ScaledJob: "audio", Category: history.CategoryOutOfMemory, Trigger: "images"},
				{Since: noon.Add(30 * time.Second), Until: noon.Add(3500 * time.Second)},
			} {
				var want []string
				q.Search = search
				for i := range records {
					if matches(q, &records[i]) {
						want = append(want, records[i].Job)
					}
				}
				q.Limit = max(7, min(len(want)-1, 600)) // two pages or more
				if got := jobs(all(t, s, q)); !slices.Equal(want, got) {
					t.Errorf("%+v finds %d records, want %d: %s", q, len(got), len(want), cmp.Diff(want, got))
				}
				found += len(want)
			}
		}
		if found < 5000 {
			t.Errorf("the searches find %d records: they test little", found)
		}
	})
}

func TestPagesHaveNoGapsAndNoDoublesWhileRecordsAreAdded(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		var want []string
		for i := range int64(100) {
			r := active("transcode", i, noon.Add(time.Duration(i/10)*time.Second)) // ten in each second
			want = append(want, r.Job)
			save(t, s, r)
		}
		slices.Reverse(want)
		for _, q := range []store.Query{{Limit: 7}, {Limit: 10, ScaledJob: "transcode"}, {Limit: 9, Outcome: store.Active}, {Limit: 8, Search: "transcode"}, {Limit: 100}, {Limit: 99}} {
			var got []string
			for n := int64(0); ; n++ {
				page, err := s.List(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, jobs(page.Records)...)
				if q.Cursor = page.Next; page.Next == "" {
					break
				}
				save(t, s, active("transcode", 1000+n, noon.Add(time.Hour+time.Duration(n)*time.Second)))
			}
			// Those that were added by queries before come first.
			if got = got[max(0, len(got)-100):]; !slices.Equal(want, got) {
				t.Errorf("%+v: %v", q, got)
			}
		}
	})
}

func TestACursorStaysGoodWhenItsRecordIsGone(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		for i := range int64(4) {
			save(t, s, succeeded(active("transcode", i, noon.Add(time.Duration(i)*time.Hour))))
		}
		page, err := s.List(t.Context(), store.Query{Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		prune(t, s, store.Retention{Succeeded: store.Limit{MaxRecords: 1}}, noon, func(uid string) bool { return uid == active("transcode", 0, noon).UID })
		expectJobs(t, list(t, s, store.Query{Limit: 3, Cursor: page.Next}), "transcode-0")
	})
}

func TestABadQueryIsToldFromABadStore(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		for _, q := range []store.Query{
			{Cursor: "x"},
			{Cursor: "a"},
			{Cursor: "a-1"},
			{Cursor: "a0"},
			{Cursor: "aZZ"},
			{Cursor: "a+5"},
			{Cursor: "a00001"},
			{Cursor: "azzzzzzzzzzzzzzzzzzz"},
			{Cursor: "'; DROP TABLE record --"},
			{Cursor: strings.Repeat("a", 1<<20)},
			{Limit: -1},
			{Limit: 1001},
		} {
			if _, err := s.List(t.Context(), q); !errors.Is(err, store.ErrBadQuery) || len(err.Error()) > 200 {
				t.Errorf("%.40s: %.300v", q.Cursor, err)
			}
		}
		for _, q := range []store.StatsQuery{{From: noon, To: noon}, {From: noon, To: noon.Add(1), Buckets: -1}, {From: noon, To: noon.Add(1), Buckets: 1001}} {
			if _, err := s.Stats(t.Context(), q); !errors.Is(err, store.ErrBadQuery) {
				t.Error(err)
			}
		}
	})
}

func TestSearchFindsWordsAndBeginningsOfWords(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		r := full()
		r.Message = `Çok güzel ÜBERSICHT Straße; can't open "s3://bucket/key_1"; OR NOT near(1) c++ -x =k1 कुछ नहीं 日本語テキスト`
		r.Attempts[0].LogTail = "panic: runtime error\n\tmain.go:42 " + strings.Repeat("x", 200) + " ends"
		other := succeeded(active("audio", 1, noon))
		save(t, s, r, other)
		for _, c := range []struct {
			found   bool
			queries []string
		}{
			{true, []string{
				"video-8141", "8141", "VIDEO", "vid", "transcode-8141-x7k2p", "uploads", "OOMKilled", "oomk", "backofflimitexceeded",
				"frames", "ä", "node-1", "runtime error", "error panic", "main.go:42", "übersicht", "ÜBER", "straße", "STRASSE straße"[8:], "çok",
				"can't", `"s3://bucket/key_1"`, "bucket", "key_1", "OR", "or not", "NEAR(1)", "c++", "-x", "कुछ", "日本", "日本語テキスト",
				`"`, `*`, "()",
				strings.Repeat("x", 200), strings.Repeat("x", 300), strings.Repeat("x", 20), "ends", "k1", "aaaaa", "sr"[:1],
			}},
			{false, []string{
				"ideo", "8142", "runtime nothing", "本語", "'; DROP TABLE record; --", `" OR "zzz`, "a OR zzz", "NOT zzz", "zzz*", "=k99", "words:zzz",
				"video NEAR zzz", "{zzz}", "^zzz", "\\", "\x00", "\xff", "' | 'zzz", "zzz:*", "!zzz", "%", "_",
			}},
		} {
			for _, query := range c.queries {
				got := list(t, s, store.Query{Search: query, ScaledJob: "transcode"})
				want := c.found && !strings.ContainsAny(query, `*"()`) || strings.Contains(query, "s3") || query == "NEAR(1)"
				if (len(got) == 1) != want {
					t.Errorf("%q finds %d", query, len(got))
				}
			}
		}
		expectJobs(t, list(t, s, store.Query{Search: " \t\n"}), "transcode-8141", "audio-1")
		if n := len(list(t, s, store.Query{})); n != 2 {
			t.Errorf("%d records are left", n)
		}
	})
}

func TestARecordWithVeryManyWordsIsKept(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		r := failed(active("transcode", 1, noon), history.CategoryFailed)
		for i := range 1000 {
			var log strings.Builder
			for n := range 500 {
				fmt.Fprintf(&log, "w%dx%d ", i, n)
			}
			r.Attempts = append(r.Attempts, history.Attempt{Pod: "p", UID: fmt.Sprint(i), Created: noon, LogTail: log.String()})
		}
		save(t, s, r)
		expectJobs(t, list(t, s, store.Query{Search: "w0x499"}), r.Job)
	})
}

func TestManyMayReadWhileOneWrites(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		var done atomic.Bool
		ended := make(chan error, 8)
		for range 8 {
			go func() {
				for !done.Load() {
					for _, q := range []store.Query{{}, {Search: "node"}, {Outcome: history.Succeeded}} {
						if _, err := s.List(t.Context(), q); err != nil {
							ended <- err
							return
						}
					}
				}
				ended <- nil
			}()
		}
		for i := range int64(50) {
			save(t, s, succeeded(active("transcode", i, noon)))
		}
		done.Store(true)
		for range 8 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzQueryWords(f *testing.F) {
	for _, seed := range []string{"a b", `"x" OR *`, "日本語", "ÀÉ", "\xff\x00", "İ", strings.Repeat("ẞ", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, word := range store.QueryWords(query) {
			if word == "" || len(word) > 64 || strings.ContainsAny(word, "'\"\\ =*&|!():\x00") {
				t.Errorf("%q has the word %q", query, word)
			}
			// What was found in a record is found by itself.
			if again := store.QueryWords(word); !slices.Equal(again, []string{word}) {
				t.Errorf("%q becomes %q", word, again)
			}
		}
	})
}

func FuzzCursor(f *testing.F) {
	for _, seed := range []int64{1, 35, 36, 1 << 60, math.MaxInt64} {
		f.Add(store.FormatCursor(seed), seed)
	}
	f.Fuzz(func(t *testing.T, cursor string, id int64) {
		if last, err := store.ParseCursor(cursor); err == nil && store.FormatCursor(last) != cursor {
			t.Errorf("%q is read as %d", cursor, last)
		}
		if last, err := store.ParseCursor(store.FormatCursor(id)); id > 0 && (err != nil || last != id) {
			t.Errorf("%d comes back as %d: %v", id, last, err)
		}
	})
}
