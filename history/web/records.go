package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

const (
	// statsLength is over how long statistics are, activityLength activity and the timeline, unless the caller says otherwise.
	statsLength, activityLength = 24 * time.Hour, time.Hour
	defaultPoints, maxPoints    = 200, 1000
	defaultBars, maxBars        = 500, 2000
)

// withHistory refuses callers where there is none.
func (s *Server) withHistory() error {
	if s.Store == nil {
		return &failure{http.StatusNotFound, "this manager keeps no history: run it with --history=sqlite or --history=postgres"}
	}
	return nil
}

// history has all of a caller's requests about the history of one ScaledJob checked.
func (s *Server) mayRead(c *call) (namespace, name string, err error) {
	namespace, name = c.PathValue("namespace"), c.PathValue("name")
	if err := s.mayGet(c.Context(), c.caller, scaledJobs, namespace, name); err != nil {
		return "", "", err
	}
	return namespace, name, s.withHistory()
}

// records answers with a page of one ScaledJob's.
func (s *Server) records(c *call) (any, error) {
	namespace, name, err := s.mayRead(c)
	if err != nil {
		return nil, err
	}
	query, err := queryOf(c.URL.Query(), s.Clock.Now())
	if err != nil {
		return nil, err
	}
	query.Namespaces, query.ScaledJob = []string{namespace}, name
	return s.page(c, query)
}

// allRecords answers with a page of all that the caller sees.
func (s *Server) allRecords(c *call) (any, error) {
	if err := s.withHistory(); err != nil {
		return nil, err
	}
	q := c.URL.Query()
	query, err := queryOf(q, s.Clock.Now())
	if err != nil {
		return nil, err
	}
	sc, err := s.scopeOf(c.Context(), c.caller, scaledJobs)
	if err != nil {
		return nil, err
	}
	if err := sc.mayList(c.Context(), q["namespace"]); err != nil {
		return nil, err
	}
	kept, err := s.Store.ScaledJobs(c.Context())
	if err != nil {
		return nil, err
	}
	query.ScaledJob, query.Namespaces = q.Get("scaledJob"), []string{}
	for _, k := range kept {
		if slices.Contains(query.Namespaces, k.Namespace) || (len(q["namespace"]) > 0 && !slices.Contains(q["namespace"], k.Namespace)) {
			continue
		}
		if sees, err := sc.sees(c.Context(), k.Namespace); err != nil {
			return nil, err
		} else if sees {
			query.Namespaces = append(query.Namespaces, k.Namespace)
		}
	}
	return s.page(c, query)
}

func (s *Server) page(c *call, query store.Query) (any, error) {
	page, err := s.Store.List(c.Context(), query)
	if err != nil {
		return nil, isBadQuery(err)
	}
	list := v1.RecordList{Items: []v1.Record{}, Next: page.Next}
	for i := range page.Records {
		list.Items = append(list.Items, showRecord(page.Records[i]))
	}
	return list, nil
}

// record answers with one.
func (s *Server) record(c *call) (any, error) {
	namespace, name, err := s.mayRead(c)
	if err != nil {
		return nil, err
	}
	var sequence int64
	if _, err := fmt.Sscanf(c.PathValue("sequence"), "%d", &sequence); err != nil || sequence < 1 {
		return nil, bad("the sequence %q is no number above 0: it is the number in the Job's name, 42 for %s-000042", c.PathValue("sequence"), name)
	}
	r, err := s.Store.Get(c.Context(), namespace, name, sequence)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound("there is no record %d of ScaledJob %q in namespace %q: it was never dispatched, or is older than historyRetention keeps it",
			sequence, name, namespace)
	}
	if err != nil {
		return nil, err
	}
	return showRecord(r), nil
}

// showRecord is a record, and what follows from it.
func showRecord(r history.Record) v1.Record {
	one := v1.Record{Record: r}
	if !r.Seen.IsZero() {
		one.WaitSeconds = ptr.To(r.Wait().Seconds())
	}
	if d, ok := r.StartUp(); ok {
		one.StartUpSeconds = ptr.To(d.Seconds())
	}
	if d, ok := r.Run(); ok {
		one.RunSeconds = ptr.To(d.Seconds())
	}
	one.CPUSeconds, one.MemoryByteSeconds = r.Requested()
	return one
}

// stats answers with statistics.
func (s *Server) stats(c *call) (any, error) {
	namespace, name, err := s.mayRead(c)
	if err != nil {
		return nil, err
	}
	q := c.URL.Query()
	w, err := windowOf(q, s.Clock.Now(), statsLength)
	if err != nil {
		return nil, err
	}
	buckets, err := number(q, "buckets", 0, maxPoints, 0)
	if err != nil {
		return nil, err
	}
	histogram, err := boolean(q, "histogram")
	if err != nil {
		return nil, err
	}
	found, err := s.Store.Stats(c.Context(), store.StatsQuery{Namespace: namespace, ScaledJob: name, From: w.from, To: w.to, Buckets: buckets})
	if err != nil {
		return nil, isBadQuery(err)
	}
	answer := v1.Stats{
		From: w.from.UTC(), To: w.to.UTC(), Active: found.Active, Outcomes: found.Outcomes, Categories: found.Categories,
		Wait: durations(found.Wait, histogram), StartUp: durations(found.StartUp, histogram), Run: durations(found.Run, histogram),
		CPUSeconds: found.CPUSeconds, MemoryByteSeconds: found.MemoryByteSeconds,
	}
	if answer.Outcomes == nil {
		answer.Outcomes, answer.Categories = map[history.Outcome]int64{}, map[history.Category]int64{}
	}
	for _, f := range found.Series {
		answer.Series = append(answer.Series, v1.Finished{Start: f.Start, Succeeded: f.Succeeded, Failed: f.Failed})
	}
	return answer, nil
}

func durations(d history.Distribution, histogram bool) v1.Durations {
	answer := v1.Durations{Count: d.Count()}
	for _, p := range []struct {
		of float64
		to **float64
	}{{0.5, &answer.P50}, {0.95, &answer.P95}, {0.99, &answer.P99}} {
		if v, ok := d.Quantile(p.of); ok {
			*p.to = ptr.To(v.Seconds())
		}
	}
	if histogram {
		for _, b := range d.Buckets() {
			answer.Histogram = append(answer.Histogram, v1.Bucket{From: b.From.Seconds(), To: b.To.Seconds(), Count: b.Count})
		}
	}
	return answer
}

// timeline answers with Jobs as bars.
func (s *Server) timeline(c *call) (any, error) {
	limit, err := number(c.URL.Query(), "limit", 1, maxBars, defaultBars)
	if err != nil {
		return nil, err
	}
	_, spans, err := s.spans(c, limit+1)
	if err != nil {
		return nil, err
	}
	answer := v1.Timeline{Items: []v1.Bar{}}
	if answer.More = len(spans) > limit; answer.More {
		spans = spans[:limit]
	}
	for _, span := range spans {
		answer.Items = append(answer.Items, v1.Bar{
			Sequence: span.Sequence, Seen: known(span.Seen), Created: span.Created, Started: known(span.Started),
			Finished: known(span.Finished), Outcome: span.Outcome, Category: span.Category,
		})
	}
	return answer, nil
}

// known is a time; nil where it is zero.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// user answers with who asks.
func (s *Server) user(c *call) (any, error) {
	return v1.User{Name: c.caller.Name, Anonymous: c.caller.Anyone, History: s.Store != nil, Version: s.Version}, nil
}
