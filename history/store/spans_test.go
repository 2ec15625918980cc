package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
)

func TestSpansAreOfTheJobsThatExistedWithinATime(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *store.Store, _ place) {
		t.Helper()
		at := func(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }
		before, within := succeeded(active("transcode", 1, at(0))), failed(active("transcode", 2, at(2)), history.CategoryOutOfMemory)
		runs, later := active("transcode", 3, at(3)), succeeded(active("transcode", 4, at(10)))
		save(t, s, before, within, runs, later, succeeded(active("audio", 1, at(2))))

		got, err := s.Spans(t.Context(), "media", "transcode", at(2), at(10), 10)
		if err != nil {
			t.Fatal(err)
		}
		want := []store.Span{
			{Sequence: 3, Seen: runs.Seen, Created: runs.Created},
			{
				Sequence: 2, Seen: within.Seen, Created: within.Created, Started: *within.Started, Finished: *within.Finished,
				Outcome: history.Failed, Category: history.CategoryOutOfMemory,
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from the second minute to the tenth (-want +got):\n%s", diff)
		}
		if got, err := s.Spans(t.Context(), "media", "transcode", at(0), at(20), 1); err != nil || len(got) != 1 || got[0].Sequence != 4 {
			t.Errorf("the newest is %+v (%v)", got, err)
		}
		if got, err := s.Spans(t.Context(), "media", "nobody", at(0), at(20), 1); err != nil || len(got) != 0 {
			t.Errorf("of a ScaledJob without records: %+v (%v)", got, err)
		}
		if _, err := s.Spans(t.Context(), "media", "transcode", at(0), at(20), 0); !errors.Is(err, store.ErrBadQuery) {
			t.Errorf("none at all: %v", err)
		}
	})
}
