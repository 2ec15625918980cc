package web

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
)

// parameter is one of a query.
type parameter struct {
	name, meaning string
	// kind is string, integer or boolean.
	kind string
	// repeated says that it may be given several times.
	repeated bool
}

func windowParameters(length string) []parameter {
	return []parameter{
		{"since", "the time begins then: RFC 3339, or how long ago, such as 90m, 24h or 7d; " + length, "string", false},
		{"until", "the time ends then, likewise; now", "string", false},
	}
}

func recordParameters() []parameter {
	return []parameter{
		{"since", "created then or later: RFC 3339, or how long ago, such as 90m, 24h or 7d", "string", false},
		{"until", "created before then, likewise", "string", false},
		{"outcome", "succeeded, failed, cancelled, or active for those that have not ended", "string", false},
		{"category", "why it ended so, such as OutOfMemory", "string", false},
		{"messageID", "what the worker said its message is", "string", false},
		{"search", "words, or beginnings of words, all of which are in the record", "string", false},
		{"trigger", "the trigger's name", "string", false},
		{"limit", "how many on a page, 1 to 1000; 50", "integer", false},
		{"cursor", "next of the page before", "string", false},
	}
}

// checkParameters refuses what is not known: it would be taken for something that it is not.
func checkParameters(given url.Values, known []parameter) error {
	for name, values := range given {
		i := slices.IndexFunc(known, func(p parameter) bool { return p.name == name })
		if i < 0 {
			names := make([]string, len(known))
			for k, p := range known {
				names[k] = p.name
			}
			if len(names) == 0 {
				return bad("parameter %q: there is none here; leave it out", name)
			}
			return bad("parameter %q is not known here; there are %s", name, strings.Join(names, ", "))
		}
		if len(values) > 1 && !known[i].repeated {
			return bad("parameter %s is given %d times: give it once", name, len(values))
		}
	}
	return nil
}

// window is a time.
type window struct{ from, to time.Time }

func windowOf(q url.Values, now time.Time, length time.Duration) (window, error) {
	w := window{now.Add(-length), now}
	var err error
	if text := q.Get("until"); text != "" {
		if w.to, err = moment("until", text, now); err != nil {
			return window{}, err
		}
		w.from = w.to.Add(-length)
	}
	if text := q.Get("since"); text != "" {
		if w.from, err = moment("since", text, now); err != nil {
			return window{}, err
		}
	}
	if !w.from.Before(w.to) {
		return window{}, bad("since %s is not before until %s", w.from.Format(time.RFC3339), w.to.Format(time.RFC3339))
	}
	return w, nil
}

// moment reads a time, or how long ago it is.
func moment(name, text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at, nil
	}
	if ago, err := duration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, bad("%s=%q is no time: give one such as 2026-03-02T09:00:00Z, or how long ago, such as 90m, 24h or 7d", name, text)
}

// duration reads one as Go does, and days besides.
func duration(text string) (time.Duration, error) {
	days := regexp.MustCompile(`^(\d{1,5})d`).FindStringSubmatch(text)
	if days == nil {
		return time.ParseDuration(text)
	}
	n, err := strconv.Atoi(days[1])
	if err != nil {
		return 0, err
	}
	rest := strings.TrimPrefix(text, days[0])
	if rest == "" {
		rest = "0s"
	}
	d, err := time.ParseDuration(rest)
	return time.Duration(n)*24*time.Hour + d, err
}

// number reads a number, and gives another where there is none.
func number(q url.Values, name string, least, most, otherwise int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, bad("%s=%q: give a number from %d to %d", name, text, least, most)
	}
	return n, nil
}

func boolean(q url.Values, name string) (bool, error) {
	text := q.Get(name)
	if text == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, bad("%s=%q: give true or false", name, text)
	}
	return b, nil
}

// queryOf is what the store is asked for. Cursors are checked by the store.
func queryOf(q url.Values, now time.Time) (store.Query, error) {
	query := store.Query{MessageID: q.Get("messageID"), Search: q.Get("search"), Trigger: q.Get("trigger"), Cursor: q.Get("cursor")}
	var err error
	if query.Limit, err = number(q, "limit", 1, store.MaxBatch, store.DefaultLimit); err != nil {
		return query, err
	}
	if text := q.Get("since"); text != "" {
		if query.Since, err = moment("since", text, now); err != nil {
			return query, err
		}
	}
	if text := q.Get("until"); text != "" {
		if query.Until, err = moment("until", text, now); err != nil {
			return query, err
		}
	}
	outcomes := []history.Outcome{history.Succeeded, history.Failed, history.Cancelled, store.Active}
	if query.Outcome, err = oneOf(q, "outcome", outcomes); err != nil {
		return query, err
	}
	query.Category, err = oneOf(q, "category", history.Categories())
	return query, err
}

// oneOf reads a word, in any case.
func oneOf[T ~string](q url.Values, name string, words []T) (T, error) {
	text := q.Get(name)
	if text == "" {
		return "", nil
	}
	i := slices.IndexFunc(words, func(w T) bool { return strings.EqualFold(string(w), text) })
	if i < 0 {
		return "", bad("%s=%q: give one of %s", name, text, strings.Trim(fmt.Sprint(words), "[]"))
	}
	return words[i], nil
}
