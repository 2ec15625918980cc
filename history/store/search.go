package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/longhaul-dev/longhaul/history"
)

const (
	// glance is how many records a search looks at one by one, and look how many at a time.
	glance, look = 2000, 500
	// commonShare is which share of the records looked at has a common word: one in so many.
	commonShare = 20
)

// search looks for terms. An index of words is quick where a word is rare, and slow where it is in a million records, of which
// it has to sort through all; looking at one record after the other is quick where a page is soon full. So the newest
// records are looked at first, and the index is asked for what is older by those terms alone that were rare among them; what it
// finds is looked at too.
func (s *Store) search(ctx context.Context, query Query, f filter, w window, terms []term) ([]int64, error) {
	l := looking{Store: s, query: query, terms: terms, has: make([]int, len(terms)), more: w.limit + 1}
	for l.seen < glance {
		part := w
		part.limit = look - 1
		ids, err := s.filtered(ctx, query, f, part)
		if err != nil {
			return nil, err
		}
		if err := l.at(ctx, ids); err != nil {
			return nil, err
		}
		if len(ids) < look || len(l.found) >= l.more {
			return l.page(), nil
		}
		w.before = ids[len(ids)-1]
	}
	match := s.match(append(l.rare(), f.terms()...))
	for {
		ids, err := column[int64](ctx, s, s.read, s.matches, match, w.after, w.before, look, key(query.MessageID))
		if err != nil {
			return nil, err
		}
		if err := l.at(ctx, ids); err != nil {
			return nil, err
		}
		if len(ids) < look || len(l.found) >= l.more {
			return l.page(), nil
		}
		w.before = ids[len(ids)-1]
	}
}

// looking is a search under way.
type looking struct {
	*Store

	query Query
	terms []term
	// has counts the records with each term, among those seen; more is how many are to be found.
	has        []int
	seen, more int
	found      []int64
}

func (l *looking) page() []int64 { return l.found[:min(len(l.found), l.more)] }

// at looks at records, given newest first.
func (l *looking) at(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	return l.each(ctx, l.read, "SELECT id, document FROM record WHERE id IN (SELECT value FROM numbers($1) AS n) ORDER BY id DESC",
		[]any{ids}, func(scan func(...any) error) error {
			var id int64
			var document sql.RawBytes
			if err := scan(&id, &document); err != nil {
				return err
			}
			var r history.Record
			if err := json.Unmarshal(document, &r); err != nil {
				return fmt.Errorf("decoding a record: %w", err)
			}
			if l.wants(&r) {
				l.found = append(l.found, id)
			}
			return nil
		})
}

// wants says whether a record has all that is looked for, and counts what it has.
func (l *looking) wants(r *history.Record) bool {
	l.seen++
	words, all := wordsOf(r), true
	for i, t := range l.terms {
		if t.in(words) {
			l.has[i]++
		} else {
			all = false
		}
	}
	return all && (l.query.Trigger == "" || l.query.Trigger == r.Trigger)
}

// in says whether one of the words is the term's.
func (t term) in(words []string) bool {
	for _, word := range words {
		for _, token := range t.tokens {
			if word == token || (t.prefix && strings.HasPrefix(word, token)) {
				return true
			}
		}
	}
	return false
}

// rare are the terms that few records have, or the rarest where all have many.
func (l *looking) rare() []term {
	var rare []term
	least := 0
	for i, t := range l.terms {
		if l.has[i]*commonShare < l.seen {
			rare = append(rare, t)
		}
		if l.has[i] < l.has[least] {
			least = i
		}
	}
	if len(rare) == 0 {
		rare = append(rare, l.terms[least])
	}
	return rare
}
