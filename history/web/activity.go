package web

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/history/store"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// activity answers with how much waited and ran over time.
func (s *Server) activity(c *call) (any, error) {
	points, err := number(c.URL.Query(), "points", 2, maxPoints, defaultPoints)
	if err != nil {
		return nil, err
	}
	w, spans, err := s.spans(c, store.MaxSpans)
	if err != nil {
		return nil, err
	}
	answer := v1.Activity{Points: drawn(spans, w, points)}
	counted := s.waits.of(types.NamespacedName{Namespace: c.PathValue("namespace"), Name: c.PathValue("name")})
	for i := range answer.Points {
		if n, ok := counted.at(answer.Points[i].Time); ok {
			answer.Points[i].Waiting = n
		}
	}
	return answer, nil
}

// spans are when the Jobs of the ScaledJob that is asked about existed, so many at most, in the time that is asked about.
func (s *Server) spans(c *call, most int) (window, []store.Span, error) {
	namespace, name, err := s.mayRead(c)
	if err != nil {
		return window{}, nil, err
	}
	w, err := windowOf(c.URL.Query(), s.Clock.Now(), activityLength)
	if err != nil {
		return window{}, nil, err
	}
	spans, err := s.Store.Spans(c.Context(), namespace, name, w.from, w.to, most)
	return w, spans, err
}

// drawn counts what waited, started and ran at equally distant moments of a time, the last of which is its end.
func drawn(spans []store.Span, w window, n int) []v1.ActivityPoint {
	points := make([]v1.ActivityPoint, n)
	step := w.to.Sub(w.from) / time.Duration(n-1)
	for i := range points {
		points[i].Time = w.from.Add(time.Duration(i) * step).UTC()
	}
	points[n-1].Time = w.to.UTC()
	// What changes at a moment shows from the first point on that is not before it.
	first := func(at time.Time) int {
		i, _ := slices.BinarySearchFunc(points, at, func(p v1.ActivityPoint, t time.Time) int { return p.Time.Compare(t) })
		return i
	}
	changes := make([]v1.ActivityPoint, n+1)
	for _, span := range spans {
		end := span.Finished
		if end.IsZero() {
			end = w.to.Add(step + 1)
		}
		started := span.Started
		if started.IsZero() {
			started = end
		}
		if !span.Seen.IsZero() {
			changes[first(span.Seen)].Waiting++
			changes[first(span.Created)].Waiting--
		}
		changes[first(span.Created)].Starting++
		changes[first(started)].Starting--
		changes[first(started)].Running++
		changes[first(end)].Running--
	}
	var sum v1.ActivityPoint
	for i := range points {
		sum.Waiting += changes[i].Waiting
		sum.Starting += changes[i].Starting
		sum.Running += changes[i].Running
		points[i].Waiting, points[i].Starting, points[i].Running = sum.Waiting, sum.Starting, sum.Running
	}
	return points
}

// waits remembers how many messages waited at each ScaledJob since this manager has watched.
type waits struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*course
}

func newWaits() *waits { return &waits{all: map[types.NamespacedName]*course{}} }

func (w *waits) note(name types.NamespacedName, at time.Time, waiting int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.all[name]
	if !ok {
		c = &course{}
		w.all[name] = c
	}
	c.note(at, waiting)
}

func (w *waits) forget(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, name)
}

// of is a copy of what is remembered of a ScaledJob.
func (w *waits) of(name types.NamespacedName) *course {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.all[name]
	if c == nil {
		return &course{}
	}
	return &course{moments: slices.Clone(c.moments), least: c.least}
}

const (
	// maxMoments is how many changes a course tells apart.
	maxMoments = 512
	// firstLeast is how far apart they are at least while there are few.
	firstLeast = time.Second
)

// course is how a number changed over time. Where it changes too often to remember each change, those that follow another
// soon are dropped, and soon is twice as long each time that there are too many.
type course struct {
	moments []changed // in order of time
	least   time.Duration
}

type changed struct {
	at time.Time
	to int64
}

func (c *course) note(at time.Time, to int64) {
	c.least = max(c.least, firstLeast)
	if n := len(c.moments); n > 0 {
		last := &c.moments[n-1]
		if last.to == to {
			return
		}
		if at.Sub(last.at) < c.least {
			last.to = to
			return
		}
	}
	c.moments = append(c.moments, changed{at, to})
	if len(c.moments) <= maxMoments {
		return
	}
	c.least *= 2
	kept := c.moments[:1]
	for _, m := range c.moments[1:] {
		if last := &kept[len(kept)-1]; m.at.Sub(last.at) < c.least {
			last.to = m.to
		} else {
			kept = append(kept, m)
		}
	}
	c.moments = kept
}

// at is the number at a moment; false before the first.
func (c *course) at(moment time.Time) (int64, bool) {
	i, found := slices.BinarySearchFunc(c.moments, moment, func(m changed, t time.Time) int { return m.at.Compare(t) })
	if found {
		return c.moments[i].to, true
	}
	if i == 0 {
		return 0, false
	}
	return c.moments[i-1].to, true
}
