package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/longhaul-dev/longhaul/history"
)

// StatsQuery asks for statistics of one ScaledJob, of what finished from From on and before To.
type StatsQuery struct {
	Namespace, ScaledJob string
	From, To             time.Time
	// Buckets is into how many equal parts the time is cut for the series, 0 to 1000; 0 for no series.
	Buckets int
}

// Stats are statistics of Jobs that finished.
type Stats struct {
	// Active is how many have not finished, at this moment.
	Active int64 `json:"active"`
	// Outcomes and Categories are counts; those of none are absent.
	Outcomes   map[history.Outcome]int64  `json:"outcomes"`
	Categories map[history.Category]int64 `json:"categories"`
	// Wait is of all whose messages are known since when they waited, StartUp of all that started, Run of all that ran and
	// finished, whatever their outcome.
	Wait    history.Distribution `json:"wait"`
	StartUp history.Distribution `json:"startUp"`
	Run     history.Distribution `json:"run"`
	// CPUSeconds and MemoryByteSeconds are what the Jobs requested, in core-seconds and byte-seconds.
	CPUSeconds        float64 `json:"cpuSeconds"`
	MemoryByteSeconds float64 `json:"memoryByteSeconds"`
	// Series is as long as the query asks.
	Series []Finished `json:"series,omitempty"`
}

// Finished is how many Jobs finished in one part of the time, those that were cancelled left out.
type Finished struct {
	Start     time.Time `json:"start"`
	Succeeded int64     `json:"succeeded"`
	Failed    int64     `json:"failed"`
}

// Stats are statistics of a ScaledJob; zero for one that there is no record of.
//
// What whole UTC days count comes from their roll-ups, that of the days at both ends from records. Where records of such a
// day are gone, it counts whole if its noon is within the time, and else not at all. In the series, parts of an hour or
// longer take each hour of a roll-up as one, by its middle; so do shorter ones where records are gone.
func (s *Store) Stats(ctx context.Context, query StatsQuery) (Stats, error) {
	if err := s.ready(ctx); err != nil {
		return Stats{}, fmt.Errorf("reading statistics: %w", err)
	}
	if !query.From.Before(query.To) || query.Buckets < 0 || query.Buckets > MaxBatch {
		return Stats{}, fmt.Errorf("%w: statistics need a time that begins before it ends, and 0 to %d parts", ErrBadQuery, MaxBatch)
	}
	tx, err := s.read.BeginTx(ctx, s.snapshot)
	if err != nil {
		return Stats{}, fmt.Errorf("reading statistics: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	t := tally{Store: s, tx: tx, from: query.From.UnixMicro(), to: query.To.UnixMicro(), series: newSeries(query)}
	if err := t.count(ctx, query); err != nil {
		return Stats{}, fmt.Errorf("reading statistics: %w", err)
	}
	return Stats{
		Active: t.active, Outcomes: t.sum.Outcomes, Categories: t.sum.Categories,
		Wait: t.sum.Wait, StartUp: t.sum.StartUp, Run: t.sum.Run,
		CPUSeconds: t.sum.CPUSeconds, MemoryByteSeconds: t.sum.MemoryByteSeconds, Series: t.series.parts,
	}, nil
}

// tally is statistics in the making, of what finished from the microsecond from on and before to.
type tally struct {
	*Store
	tx        *sql.Tx
	scaledJob int64
	kinds     map[int64]kind
	from, to  int64
	active    int64
	sum       totals
	series    series
}

func (t *tally) count(ctx context.Context, query StatsQuery) error {
	ids, err := t.scaledJobs(ctx, t.tx, []string{query.Namespace}, query.ScaledJob)
	if err != nil || len(ids) != 1 || query.ScaledJob == "" {
		return err
	}
	t.scaledJob = ids[0]
	kinds, err := t.Store.kinds(ctx, t.tx)
	if err != nil {
		return err
	}
	t.kinds = make(map[int64]kind, len(kinds))
	for _, k := range kinds {
		t.kinds[k.id] = k
	}
	active := idsOf(kinds, func(k kind) bool { return k.outcome == "" })
	if t.active, err = t.number(ctx, "scaled_job = $1 AND kind IN (SELECT value FROM numbers($2) AS n)", t.scaledJob, active); err != nil {
		return err
	}
	type day struct {
		day, finished int64
		rollup        rollup
	}
	var days []day
	err = t.each(ctx, t.tx, "SELECT day, finished, document FROM rollup WHERE scaled_job = $1 AND day >= $2 AND day <= $3 ORDER BY day",
		[]any{t.scaledJob, dayOf(t.from), dayOf(t.to - 1)}, func(scan func(...any) error) error {
			var d day
			var document sql.RawBytes
			if err := scan(&d.day, &d.finished, &document); err != nil {
				return err
			}
			if err := json.Unmarshal(document, &d.rollup); err != nil {
				return fmt.Errorf("decoding a roll-up: %w", err)
			}
			days = append(days, d)
			return nil
		})
	if err != nil {
		return fmt.Errorf("reading roll-ups: %w", err)
	}
	for i := range days {
		if err := t.day(ctx, days[i].day*microsPerDay, days[i].finished, &days[i].rollup); err != nil {
			return err
		}
	}
	return nil
}

// number is how many records there are for which a condition is true.
func (t *tally) number(ctx context.Context, condition string, args ...any) (int64, error) {
	n, err := column[int64](ctx, t.Store, t.tx, "SELECT count(*) FROM record WHERE "+condition, args...)
	if err != nil {
		return 0, fmt.Errorf("counting records: %w", err)
	}
	return n[0], nil
}

const finishedBetween = "scaled_job = $1 AND finished_us >= $2 AND finished_us < $3"

// day counts what of a day is within the time, given when it begins and its roll-up.
func (t *tally) day(ctx context.Context, begin, finished int64, r *rollup) error {
	end := begin + microsPerDay
	from, to := max(begin, t.from), min(end, t.to)
	whole := from == begin && to == end
	if whole && !t.series.fine {
		t.rollUp(begin, r)
		return nil
	}
	inDay, err := t.number(ctx, finishedBetween, t.scaledJob, begin, end)
	if err != nil {
		return err
	}
	within := inDay
	if !whole {
		if within, err = t.number(ctx, finishedBetween, t.scaledJob, from, to); err != nil {
			return err
		}
	}
	noon := begin + microsPerDay/2
	switch {
	case within == finished && !t.series.fine:
		t.rollUp(begin, r)
	case inDay == finished:
		return t.records(ctx, from, to)
	case t.from <= noon && noon < t.to:
		t.rollUp(begin, r)
	}
	return nil
}

// rollUp counts a roll-up.
func (t *tally) rollUp(begin int64, r *rollup) {
	t.sum.merge(&r.totals)
	for hour := range r.Succeeded {
		middle := begin + (2*int64(hour)+1)*microsPerDay/hoursPerDay/2
		t.series.add(middle, r.Succeeded[hour], r.Failed[hour])
	}
}

// records counts what finished from a microsecond on and before another.
func (t *tally) records(ctx context.Context, from, to int64) error {
	err := t.each(ctx, t.tx, `SELECT kind, finished_us, wait_us, startup_us, run_us, cpu_seconds, memory_byte_seconds
		FROM record WHERE `+finishedBetween, []any{t.scaledJob, from, to}, func(scan func(...any) error) error {
		var e ending
		var id int64
		if err := scan(&id, &e.finished, &e.wait, &e.startUp, &e.run, &e.cpuSeconds, &e.memoryByteSeconds); err != nil {
			return err
		}
		e.outcome, e.category = t.kinds[id].outcome, t.kinds[id].category
		t.sum.add(e)
		switch e.outcome {
		case history.Succeeded:
			t.series.add(e.finished, 1, 0)
		case history.Failed:
			t.series.add(e.finished, 0, 1)
		case history.Cancelled: // left out
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading what finished: %w", err)
	}
	return nil
}

// series is counts in equal parts of a time.
type series struct {
	parts []Finished
	from  int64
	width float64 // microseconds
	// fine says that a part is shorter than an hour.
	fine bool
}

func newSeries(query StatsQuery) series {
	s := series{from: query.From.UnixMicro()}
	if query.Buckets == 0 {
		return s
	}
	s.width = float64(query.To.UnixMicro()-s.from) / float64(query.Buckets)
	s.fine = s.width < float64(time.Hour/time.Microsecond)
	s.parts = make([]Finished, query.Buckets)
	for i := range s.parts {
		s.parts[i].Start = time.UnixMicro(s.from + int64(math.Round(s.width*float64(i)))).UTC()
	}
	return s
}

// add counts at a moment; one that is not within the time, as the middle of an hour may not be, in the nearest part.
func (s *series) add(at, succeeded, failed int64) {
	if len(s.parts) == 0 {
		return
	}
	i := min(max(0, int(float64(at-s.from)/s.width)), len(s.parts)-1)
	s.parts[i].Succeeded += succeeded
	s.parts[i].Failed += failed
}
