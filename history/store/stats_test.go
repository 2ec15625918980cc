package store_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
)

// expectSame compares statistics by their JSON, sums of fractions but for rounding.
func expectSame(t *testing.T, want, got store.Stats) {
	t.Helper()
	plain := func(s store.Stats) map[string]any {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if diff := cmp.Diff(plain(want), plain(got), cmpopts.EquateApprox(1e-9, 0)); diff != "" {
		t.Error(diff)
	}
}

// tallied is what statistics are by definition.
func tallied(q store.StatsQuery, records []history.Record) store.Stats {
	s := store.Stats{}
	for i := range q.Buckets {
		s.Series = append(s.Series, store.Finished{Start: q.From.Add(time.Duration(i) * q.To.Sub(q.From) / time.Duration(q.Buckets))})
	}
	for i := range records {
		r := &records[i]
		if r.ScaledJob != q.ScaledJob {
			continue
		}
		if !r.Ended() {
			s.Active++
			continue
		}
		if r.Finished.Before(q.From) || !r.Finished.Before(q.To) {
			continue
		}
		if s.Outcomes == nil {
			s.Outcomes, s.Categories = map[history.Outcome]int64{}, map[history.Category]int64{}
		}
		s.Outcomes[r.Outcome]++
		s.Categories[r.Category]++
		s.Wait.Add(r.Wait())
		if v, ok := r.StartUp(); ok {
			s.StartUp.Add(v)
		}
		if v, ok := r.Run(); ok {
			s.Run.Add(v)
		}
		cpu, memory := r.Requested()
		s.CPUSeconds += cpu
		s.MemoryByteSeconds += memory
		if q.Buckets > 0 {
			part := &s.Series[int64(r.Finished.Sub(q.From))*int64(q.Buckets)/int64(q.To.Sub(q.From))]
			switch r.Outcome {
			case history.Succeeded:
				part.Succeeded++
			case history.Failed:
				part.Failed++
			case history.Cancelled: // left out
			}
		}
	}
	return s
}

func someEnded(n int) []history.Record {
	random := rand.New(rand.NewPCG(5, 6))
	var records []history.Record
	for i := range int64(n) {
		r := active([]string{"transcode", "audio"}[i%2], i, noon.Add(time.Duration(random.Int64N(int64(5*24*time.Hour)))).Truncate(time.Second))
		r.Seen = r.Created.Add(-time.Duration(random.Int64N(int64(time.Hour)))).Truncate(time.Microsecond)
		switch i % 7 {
		case 0:
		case 1:
			r = failed(r, history.CategoryOutOfMemory)
		case 2:
			r = ended(r, history.Cancelled, history.CategoryReplaced)
			r.Started, r.Attempts = nil, nil
		default:
			r = succeeded(r)
		}
		if r.Finished != nil {
			r.Finished = new(r.Finished.Add(time.Duration(random.Int64N(int64(2 * time.Hour)))).Truncate(time.Microsecond))
		}
		records = append(records, r)
	}
	return records
}

func TestStatisticsCountWhatFinishedInTheTime(t *testing.T) {
	t.Parallel()
	day := noon.Add(-12 * time.Hour)
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		records := someEnded(600)
		save(t, s, records...)
		for _, q := range []store.StatsQuery{
			{From: day, To: day.Add(7 * 24 * time.Hour), Buckets: 7},
			{From: day, To: day.Add(24 * time.Hour), Buckets: 24},
			{From: noon, To: noon.Add(5 * 24 * time.Hour)},
			{From: noon, To: noon.Add(3 * time.Hour), Buckets: 60},
			{From: noon.Add(time.Hour), To: noon.Add(49 * time.Hour), Buckets: 96},
			{From: noon.Add(77777 * time.Second), To: noon.Add(299999 * time.Second)},
			{From: day.Add(24 * time.Hour), To: day.Add(72 * time.Hour), Buckets: 480},
			{From: noon.Add(-1000 * time.Hour), To: noon.Add(-900 * time.Hour), Buckets: 3},
			{From: noon.Add(-24 * 40 * time.Hour), To: noon.Add(24 * 40 * time.Hour), Buckets: 40},
		} {
			q.ScaledJob = "transcode"
			t.Run(fmt.Sprintf("%s and %s in %d", q.From.Format("02T15:04:05"), q.To.Sub(q.From), q.Buckets), func(t *testing.T) {
				expectSame(t, tallied(q, records), stats(t, s, q))
			})
		}
		for _, q := range []store.StatsQuery{{ScaledJob: "none"}, {ScaledJob: ""}, {Namespace: "other", ScaledJob: "transcode"}} {
			q.From, q.To, q.Buckets = noon, noon.Add(time.Hour), 1
			expectSame(t, store.Stats{Series: []store.Finished{{Start: noon}}}, stats(t, s, q))
		}
	})
}

func TestStatisticsStayWhenRecordsGo(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		records := someEnded(600)
		save(t, s, records...)
		whole := store.StatsQuery{ScaledJob: "transcode", From: noon.Add(-12 * time.Hour), To: noon.Add(156 * time.Hour), Buckets: 7 * 24}
		want := stats(t, s, whole)
		expectSame(t, tallied(whole, records), want)
		// A part of the time: from 06:00 of the second day, whose noon is within, until 06:00 of the fifth, whose is not.
		part := store.StatsQuery{ScaledJob: "transcode", From: noon.Add(18 * time.Hour), To: noon.Add(90 * time.Hour)}
		nearest := part
		nearest.From, nearest.To = noon.Add(12*time.Hour), noon.Add(84*time.Hour)
		expectSame(t, tallied(part, records), stats(t, s, part))
		prune(t, s, store.Retention{Succeeded: store.Limit{MaxRecords: 1}, Failed: store.Limit{MaxRecords: 1}}, noon, none)
		expectSame(t, want, stats(t, s, whole))
		expectSame(t, tallied(nearest, records), stats(t, s, part))
		// Parts shorter than an hour have whole hours, and lose nothing.
		fine := whole
		fine.Buckets = 1000
		var succeeded int64
		for _, p := range stats(t, s, fine).Series {
			succeeded += p.Succeeded
		}
		if succeeded != want.Outcomes[history.Succeeded] {
			t.Errorf("the series has %d of %d", succeeded, want.Outcomes[history.Succeeded])
		}
	})
}

func TestQuantilesOfStatisticsAreWithinOnePercent(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		save(t, s, succeeded(active("transcode", 1, noon)))
		got := stats(t, s, store.StatsQuery{ScaledJob: "transcode", From: noon, To: noon.Add(time.Hour)})
		for name, c := range map[string]struct {
			of   history.Distribution
			want time.Duration
		}{"wait": {got.Wait, 3 * time.Second}, "start-up": {got.StartUp, 2 * time.Second}, "run": {got.Run, time.Minute}} {
			v, ok := c.of.Quantile(0.95)
			if !ok || math.Abs(float64(v-c.want)) > 0.0101*float64(c.want) {
				t.Errorf("%s: %s, want %s", name, v, c.want)
			}
		}
		if got.CPUSeconds != 120 || got.MemoryByteSeconds != 60<<30 {
			t.Errorf("%v core-seconds and %v byte-seconds", got.CPUSeconds, got.MemoryByteSeconds)
		}
	})
}
