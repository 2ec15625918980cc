package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/longhaul-dev/longhaul/history"
)

// Active is what Query takes for the outcome of records that have not ended.
const Active history.Outcome = "active"

// DefaultLimit is how many records a page has unless the query says otherwise.
const DefaultLimit = 50

// Query asks for records: for all that are as each of its fields says. Its zero value asks for all.
type Query struct {
	// Namespaces are those to look in: all for nil, none for an empty slice.
	Namespaces []string
	ScaledJob  string
	// Outcome is one of history's, or Active.
	Outcome   history.Outcome
	Category  history.Category
	MessageID string
	// Trigger is a trigger's name.
	Trigger string
	// Search is words, as the package comment says. A text without any word, but for blanks, is found nowhere.
	Search string
	// Since and Until bound the time of creation, to the millisecond: it is not before Since and before Until.
	Since, Until time.Time
	// Cursor is Page.Next of the page before; empty for the first page.
	Cursor string
	// Limit is how many records a page has at most, 1 to 1000; DefaultLimit for 0.
	Limit int
}

// Page is a part of what a query asks for, newest first.
type Page struct {
	Records []history.Record
	// Next is the cursor for the page that follows; empty where none does. It stays good whatever is saved or pruned.
	Next string
}

// List is a page of records. A query that cannot be is an ErrBadQuery.
func (s *Store) List(ctx context.Context, query Query) (Page, error) {
	if err := s.ready(ctx); err != nil {
		return Page{}, fmt.Errorf("listing records: %w", err)
	}
	w, err := windowOf(query)
	if err != nil {
		return Page{}, err
	}
	ids, err := s.find(ctx, query, w)
	if err != nil {
		return Page{}, fmt.Errorf("listing records: %w", err)
	}
	var page Page
	if len(ids) > w.limit {
		ids = ids[:w.limit]
		page.Next = formatCursor(ids[w.limit-1])
	}
	if page.Records, err = s.withIDs(ctx, ids); err != nil {
		return Page{}, fmt.Errorf("listing records: %w", err)
	}
	return page, nil
}

// window is which ids a page is of: those above after and below before, limit at most.
type window struct {
	after, before int64
	limit         int
}

func windowOf(query Query) (window, error) {
	w := window{before: noID, limit: query.Limit}
	if w.limit == 0 {
		w.limit = DefaultLimit
	}
	if w.limit < 1 || w.limit > MaxBatch {
		return window{}, fmt.Errorf("%w: the limit %d is not between 1 and %d", ErrBadQuery, query.Limit, MaxBatch)
	}
	if !query.Since.IsZero() {
		w.after = firstID(milliseconds(query.Since)) - 1
	}
	if !query.Until.IsZero() {
		w.before = firstID(milliseconds(query.Until))
	}
	if query.Cursor != "" {
		last, err := parseCursor(query.Cursor)
		if err != nil {
			return window{}, err
		}
		w.before = min(w.before, last)
	}
	return w, nil
}

// A cursor is the id of the last record of a page, and a letter for its format.
const cursorFormat, cursorBase = "a", 36

func formatCursor(last int64) string { return cursorFormat + strconv.FormatInt(last, cursorBase) }

func parseCursor(cursor string) (int64, error) {
	text, ok := strings.CutPrefix(cursor, cursorFormat)
	last, err := strconv.ParseInt(text, cursorBase, 64)
	if !ok || err != nil || last < 1 || formatCursor(last) != cursor {
		return 0, fmt.Errorf("%w: the cursor %.40q is not one that came with a page", ErrBadQuery, cursor)
	}
	return last, nil
}

// filter is a query in numbers; nil is for all.
type filter struct {
	scaledJobs, kinds []int64
}

// find is the ids of a page, and one more where there is one, newest first.
func (s *Store) find(ctx context.Context, query Query, w window) ([]int64, error) {
	terms, searching := termsOf(query.Search + " " + query.Trigger)
	if searching && len(terms) == 0 || w.after+1 >= w.before {
		return nil, nil
	}
	f, nothing, err := s.filterOf(ctx, query)
	if err != nil || nothing {
		return nil, err
	}
	if searching {
		return s.search(ctx, query, f, w, terms)
	}
	return s.filtered(ctx, query, f, w)
}

// filtered is find without a search.
func (s *Store) filtered(ctx context.Context, query Query, f filter, w window) ([]int64, error) {
	more := w.limit + 1
	switch {
	case query.MessageID != "":
		return s.ofMessage(ctx, query.MessageID, f, w)
	case f.scaledJobs == nil && f.kinds == nil:
		return column[int64](ctx, s, s.read, "SELECT id FROM record WHERE id > $1 AND id < $2 ORDER BY id DESC LIMIT $3",
			w.after, w.before, more)
	case f.scaledJobs == nil:
		return s.ofKinds(ctx, f.kinds, w)
	default:
		if f.kinds == nil {
			kinds, err := s.kinds(ctx, s.read)
			if err != nil {
				return nil, err
			}
			f.kinds = idsOf(kinds, func(kind) bool { return true })
		}
		return column[int64](ctx, s, s.read, s.newest, f.scaledJobs, f.kinds, w.after, w.before, more)
	}
}

// filterOf is the filter of a query. Nothing says that no record can be as it asks.
func (s *Store) filterOf(ctx context.Context, query Query) (f filter, nothing bool, err error) {
	if query.Namespaces != nil || query.ScaledJob != "" {
		if f.scaledJobs, err = s.scaledJobs(ctx, s.read, query.Namespaces, query.ScaledJob); err != nil {
			return filter{}, false, fmt.Errorf("looking up ScaledJobs: %w", err)
		}
		nothing = len(f.scaledJobs) == 0
	}
	if query.Outcome != "" || query.Category != "" {
		kinds, err := s.kinds(ctx, s.read)
		if err != nil {
			return filter{}, false, err
		}
		f.kinds = idsOf(kinds, query.wants)
		nothing = nothing || len(f.kinds) == 0
	}
	return f, nothing, nil
}

func (q *Query) wants(k kind) bool {
	switch q.Outcome {
	case "", k.outcome:
	case Active:
		if k.outcome != "" {
			return false
		}
	default:
		return false
	}
	return q.Category == "" || q.Category == k.category
}

// termsOf are what a search text asks for; false for one that asks for nothing.
func termsOf(search string) ([]term, bool) {
	if strings.TrimSpace(search) == "" {
		return nil, false
	}
	var terms []term
	for _, word := range queryWords(search) {
		terms = append(terms, term{tokens: []string{word}, prefix: true})
	}
	return terms, true
}

// terms are what the filter asks for of the search index.
func (f *filter) terms() []term {
	var terms []term
	for _, of := range []struct {
		ids   []int64
		token func(int64) string
	}{{f.scaledJobs, scaledJobToken}, {f.kinds, kindToken}} {
		if of.ids == nil {
			continue
		}
		var t term
		for _, id := range of.ids {
			t.tokens = append(t.tokens, of.token(id))
		}
		terms = append(terms, t)
	}
	return terms
}

func (s *Store) ofMessage(ctx context.Context, message string, f filter, w window) ([]int64, error) {
	if f.scaledJobs == nil {
		var err error
		if f.scaledJobs, err = s.scaledJobs(ctx, s.read, nil, ""); err != nil {
			return nil, fmt.Errorf("looking up ScaledJobs: %w", err)
		}
	}
	var kinds any
	if f.kinds != nil {
		kinds = f.kinds
	}
	return column[int64](ctx, s, s.read, s.messages, f.scaledJobs, key(message), w.after, w.before, w.limit+1, kinds)
}

// ofKinds asks for each kind on its own: there are few, and for each an index has the ids in order.
func (s *Store) ofKinds(ctx context.Context, kinds []int64, w window) ([]int64, error) {
	var all []int64
	for _, k := range kinds {
		ids, err := column[int64](ctx, s, s.read, "SELECT id FROM record WHERE kind = $1 AND id > $2 AND id < $3 ORDER BY id DESC LIMIT $4",
			k, w.after, w.before, w.limit+1)
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all[:min(len(all), w.limit+1)], nil
}
