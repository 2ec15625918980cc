package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/longhaul-dev/longhaul/history"
)

const (
	hoursPerDay  = 24
	microsPerDay = int64(hoursPerDay * time.Hour / time.Microsecond)
)

// ending is what statistics know of a Job that ended.
type ending struct {
	outcome            history.Outcome
	category           history.Category
	finished           int64  // microseconds since 1970
	wait, startUp, run *int64 // microseconds
	cpuSeconds         float64
	memoryByteSeconds  float64
}

func (r *row) ending() ending {
	return ending{
		outcome: history.Outcome(r.outcome), category: history.Category(r.category), finished: *r.finished,
		wait: r.wait, startUp: r.startUp, run: r.run, cpuSeconds: r.cpuSeconds, memoryByteSeconds: r.memoryByteSeconds,
	}
}

// totals are sums over Jobs that ended. Their JSON is a roll-up's document.
type totals struct {
	Outcomes          map[history.Outcome]int64  `json:"outcomes"`
	Categories        map[history.Category]int64 `json:"categories"`
	Wait              history.Distribution       `json:"wait"`
	StartUp           history.Distribution       `json:"startUp"`
	Run               history.Distribution       `json:"run"`
	CPUSeconds        float64                    `json:"cpuSeconds"`
	MemoryByteSeconds float64                    `json:"memoryByteSeconds"`
}

func (t *totals) add(e ending) {
	t.count(e.outcome, 1, e.category, 1)
	for _, of := range []struct {
		to *history.Distribution
		v  *int64
	}{{&t.Wait, e.wait}, {&t.StartUp, e.startUp}, {&t.Run, e.run}} {
		if of.v != nil {
			of.to.Add(time.Duration(*of.v) * time.Microsecond)
		}
	}
	t.CPUSeconds += e.cpuSeconds
	t.MemoryByteSeconds += e.memoryByteSeconds
}

func (t *totals) merge(other *totals) {
	for o, n := range other.Outcomes {
		t.count(o, n, "", 0)
	}
	for c, n := range other.Categories {
		t.count("", 0, c, n)
	}
	t.Wait.Merge(other.Wait)
	t.StartUp.Merge(other.StartUp)
	t.Run.Merge(other.Run)
	t.CPUSeconds += other.CPUSeconds
	t.MemoryByteSeconds += other.MemoryByteSeconds
}

func (t *totals) count(o history.Outcome, ofOutcome int64, c history.Category, ofCategory int64) {
	if t.Outcomes == nil {
		t.Outcomes, t.Categories = map[history.Outcome]int64{}, map[history.Category]int64{}
	}
	if ofOutcome != 0 {
		t.Outcomes[o] += ofOutcome
	}
	if ofCategory != 0 {
		t.Categories[c] += ofCategory
	}
}

// rollup is what finished on a day.
type rollup struct {
	totals
	// Succeeded and Failed are the counts of each hour.
	Succeeded [hoursPerDay]int64 `json:"succeeded"`
	Failed    [hoursPerDay]int64 `json:"failed"`
}

func (r *rollup) add(e ending) {
	r.totals.add(e)
	hour := floorMod(e.finished, microsPerDay) * hoursPerDay / microsPerDay
	switch e.outcome {
	case history.Succeeded:
		r.Succeeded[hour]++
	case history.Failed:
		r.Failed[hour]++
	case history.Cancelled: // left out
	}
}

// dayOf is the day of a moment, in days since 1970, UTC.
func dayOf(micros int64) int64 { return (micros - floorMod(micros, microsPerDay)) / microsPerDay }

// floorMod is the rest of a division, not negative for what was before 1970.
func floorMod(a, b int64) int64 { return ((a % b) + b) % b }

// rollUp counts the rows that have ended just now.
func (s *Store) rollUp(ctx context.Context, tx *sql.Tx, rows []row) error {
	type of struct{ scaledJob, day int64 }
	ended := map[of][]ending{}
	for i := range rows {
		if r := &rows[i]; r.outcome != "" && !r.endedBefore {
			at := of{r.scaledJob, dayOf(*r.finished)}
			ended[at] = append(ended[at], r.ending())
		}
	}
	for at, endings := range ended {
		var document []byte
		var sum rollup
		err := tx.QueryRowContext(ctx, "SELECT document FROM rollup WHERE scaled_job = $1 AND day = $2", at.scaledJob, at.day).Scan(&document)
		switch {
		case isNone(err):
		case err != nil:
			return fmt.Errorf("reading a roll-up: %w", err)
		default:
			if err := json.Unmarshal(document, &sum); err != nil {
				return fmt.Errorf("decoding a roll-up: %w", err)
			}
		}
		for _, e := range endings {
			sum.add(e)
		}
		if document, err = json.Marshal(sum); err != nil {
			return fmt.Errorf("encoding a roll-up: %w", err)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO rollup (scaled_job, day, finished, document) VALUES ($1, $2, $3, $4)
			ON CONFLICT (scaled_job, day) DO UPDATE SET finished = rollup.finished + excluded.finished, document = excluded.document`,
			at.scaledJob, at.day, len(endings), string(document))
		if err != nil {
			return fmt.Errorf("writing a roll-up: %w", err)
		}
	}
	return nil
}
