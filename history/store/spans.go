package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/longhaul-dev/longhaul/history"
)

// Span is when a Job existed.
type Span struct {
	Sequence int64
	// Seen and Started and Finished are zero where they are not known.
	Seen, Created, Started, Finished time.Time
	Outcome                          history.Outcome
	Category                         history.Category
}

// MaxSpans is how many spans one call may ask for.
const MaxSpans = 100_000

// Spans are the Jobs of a ScaledJob whose messages waited, or that existed, at some moment from one time on and before
// another, the newest limit of them, newest first. Times are exact to the millisecond.
func (s *Store) Spans(ctx context.Context, namespace, scaledJob string, from, to time.Time, limit int) ([]Span, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("reading spans: %w", err)
	}
	if limit < 1 || limit > MaxSpans {
		return nil, fmt.Errorf("%w: %d spans are not between 1 and %d", ErrBadQuery, limit, MaxSpans)
	}
	kinds, err := s.kinds(ctx, s.read)
	if err != nil {
		return nil, fmt.Errorf("reading spans: %w", err)
	}
	byID := make(map[int64]kind, len(kinds))
	for _, k := range kinds {
		byID[k.id] = k
	}
	ids, err := s.scaledJobs(ctx, s.read, []string{namespace}, scaledJob)
	if err != nil || len(ids) != 1 {
		return nil, err
	}
	var spans []Span
	read := func(scan func(...any) error) error {
		var id, kindID int64
		var finished, wait, startUp *int64
		var span Span
		if err := scan(&id, &span.Sequence, &kindID, &finished, &wait, &startUp); err != nil {
			return err
		}
		span.Created = time.UnixMilli(id >> idBits).UTC()
		if wait != nil {
			span.Seen = span.Created.Add(-time.Duration(*wait) * time.Microsecond)
		}
		if startUp != nil {
			span.Started = span.Created.Add(time.Duration(*startUp) * time.Microsecond)
		}
		if finished != nil {
			span.Finished = time.UnixMicro(*finished).UTC()
		}
		span.Outcome, span.Category = byID[kindID].outcome, byID[kindID].category
		spans = append(spans, span)
		return nil
	}
	// There is an index for either.
	const columns = "SELECT id, sequence, kind, finished_us, wait_us, startup_us FROM record WHERE scaled_job = $1 AND id < $3 "
	err = s.each(ctx, s.read, columns+"AND finished_us >= $2 ORDER BY id DESC LIMIT $4",
		[]any{ids[0], from.UnixMicro(), firstID(milliseconds(to)), limit}, read)
	if err == nil {
		active := idsOf(kinds, func(k kind) bool { return k.outcome == "" })
		err = s.each(ctx, s.read, columns+"AND kind IN (SELECT value FROM numbers($2) AS n) ORDER BY id DESC LIMIT $4",
			[]any{ids[0], active, firstID(milliseconds(to)), limit}, read)
	}
	if err != nil {
		return nil, fmt.Errorf("reading spans: %w", err)
	}
	slices.SortStableFunc(spans, func(a, b Span) int { return b.Created.Compare(a.Created) })
	return spans[:min(len(spans), limit)], nil
}
