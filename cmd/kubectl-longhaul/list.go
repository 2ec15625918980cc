package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/client"
	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/view"
	"github.com/longhaul-dev/longhaul/history"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// asked are the flags by which records are chosen.
type asked struct {
	since, until, outcome, category, message, trigger, search string
	limit                                                     int
	everywhere, follow                                        bool
}

func (a *asked) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.since, "since", "", "created then or later: a time, or how long ago, such as 90m, 24h or 7d")
	f.StringVar(&a.until, "until", "", "created before then, likewise")
	f.StringVar(&a.outcome, "outcome", "", "succeeded, failed, cancelled or active")
	f.StringVar(&a.category, "category", "", "why it ended so, such as OutOfMemory")
	f.StringVar(&a.message, "message-id", "", "what the worker said its message is")
	f.StringVar(&a.trigger, "trigger", "", "the trigger's name")
	f.StringVar(&a.search, "search", "", "words, or beginnings of words, that are in the record")
	f.IntVar(&a.limit, "limit", 50, "how many at most; 0 for all")
	f.BoolVarP(&a.everywhere, "all-namespaces", "A", false, "of all namespaces that you may see")
	f.BoolVarP(&a.follow, "follow", "f", false, "print further ones as their Jobs end")
	outcomes := []string{string(history.Succeeded), string(history.Failed), string(history.Cancelled), "active"}
	_ = c.RegisterFlagCompletionFunc("outcome", cobra.FixedCompletions(outcomes, cobra.ShellCompDirectiveNoFileComp)) // there is such a flag
	var categories []string
	for _, category := range history.Categories() {
		categories = append(categories, string(category))
	}
	_ = c.RegisterFlagCompletionFunc("category", cobra.FixedCompletions(categories, cobra.ShellCompDirectiveNoFileComp)) // likewise
}

func (a *asked) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"since": a.since, "until": a.until, "outcome": a.outcome, "category": a.category, "messageID": a.message, "trigger": a.trigger, "search": a.search,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

func (p *plugin) history() *cobra.Command {
	var (
		o output
		a asked
	)
	c := &cobra.Command{
		Use: "history [NAME]", Short: "List what became of Jobs, newest first", Args: cobra.MaximumNArgs(1),
		Example: "  kubectl longhaul history transcode --since 24h --outcome failed\n" +
			"  kubectl longhaul history -A --category OutOfMemory -o wide\n" +
			"  kubectl longhaul history transcode --search 'macroblock lost' --limit 10\n" +
			"  kubectl longhaul history transcode --since 7d --limit 0 -o csv > week.csv\n" +
			"  kubectl longhaul history transcode --follow",
		RunE: func(c *cobra.Command, args []string) error {
			if a.limit < 0 {
				return fmt.Errorf("--limit is %d: give 1 or more, or 0 for all", a.limit)
			}
			if a.follow && a.search != "" {
				return errors.New("--follow cannot tell which of the Jobs that end have the words of --search: leave out one of them")
			}
			l, err := p.lister(args, &a, o.format)
			if err != nil {
				return err
			}
			return l.run(c.Context())
		},
		ValidArgsFunction: p.completeNames(1),
	}
	a.add(c)
	o.add(c, "wide", "json", "yaml", "csv", "name")
	return c
}

// lister lists records.
type lister struct {
	*plugin
	*client.Client
	*asked

	path  string
	query url.Values
	// events are what to follow.
	events url.Values
	format string
	style  view.Style
	rows   [][]string
	all    []v1.Record
	// printed are the records that were printed, by UID, so that none is twice.
	printed map[string]bool
}

func (p *plugin) lister(args []string, a *asked, format string) (*lister, error) {
	asking, err := p.client()
	if err != nil {
		return nil, err
	}
	l := &lister{plugin: p, Client: asking, asked: a, path: "/api/v1/records", query: a.query(), events: url.Values{}, format: format, printed: map[string]bool{}}
	l.style = p.style(format == "wide", a.everywhere || len(args) == 0)
	if !a.everywhere {
		namespace, err := p.namespace()
		if err != nil {
			return nil, err
		}
		l.query.Set("namespace", namespace)
		l.events.Set("namespace", namespace)
	}
	if len(args) > 0 {
		l.query.Set("scaledJob", nameOf(args[0]))
		l.events.Set("scaledJob", nameOf(args[0]))
		if !a.everywhere {
			l.path = client.OfScaledJob(l.query.Get("namespace"), nameOf(args[0]), "/records")
			l.query.Del("namespace")
			l.query.Del("scaledJob")
		}
	}
	return l, nil
}

func (l *lister) run(ctx context.Context) error {
	if l.follow {
		return l.runOn(ctx)
	}
	if err := l.pages(ctx, func(r *v1.Record) error { l.print(r); return nil }); err != nil {
		return err
	}
	return l.end()
}

// pageSize is how many records are asked for at a time.
const pageSize = 500

// pages calls back for each record that is asked for, newest first.
func (l *lister) pages(ctx context.Context, each func(*v1.Record) error) error {
	for left := l.limit; ; {
		size := pageSize
		if l.limit > 0 {
			size = min(size, left)
		}
		l.query.Set("limit", strconv.Itoa(size))
		var page v1.RecordList
		if err := l.Get(ctx, l.path, l.query, &page); err != nil {
			return err
		}
		for i := range page.Items {
			if err := each(&page.Items[i]); err != nil {
				return err
			}
		}
		left -= len(page.Items)
		if page.Next == "" || (l.limit > 0 && left <= 0) {
			l.query.Del("cursor")
			return nil
		}
		l.query.Set("cursor", page.Next)
	}
}

// print writes a record, or keeps it until all are there, as its columns need to fit.
func (l *lister) print(r *v1.Record) {
	if l.printed[r.UID] {
		return
	}
	l.printed[r.UID] = true
	switch l.format {
	case "json", "yaml":
		l.all = append(l.all, *r)
	case "csv":
		l.rows = append(l.rows, csvOf(r))
	case "name":
		fmt.Fprintln(l.out, r.Job)
	default:
		l.rows = append(l.rows, l.style.Record(r))
	}
}

// end writes what was kept.
func (l *lister) end() error {
	if done, err := (&output{l.format}).structured(l.out, v1.RecordList{Items: append([]v1.Record{}, l.all...)}); done {
		return err
	}
	switch {
	case l.format == "csv":
		w := csv.NewWriter(l.out)
		rows := l.rows
		if !l.noHeaders {
			rows = append([][]string{csvHeaders()}, rows...)
		}
		if err := w.WriteAll(rows); err != nil {
			return fmt.Errorf("writing CSV: %w", err)
		}
	case l.format == "name":
	case len(l.rows) == 0 && !l.follow:
		fmt.Fprintln(l.errOut, "No records found.")
	default:
		l.style.Table(l.out, l.style.RecordHeaders(), l.rows)
	}
	l.rows, l.all = nil, nil
	return nil
}

func csvHeaders() []string {
	return []string{
		"namespace", "scaledJob", "sequence", "job", "trigger", "messageID", "outcome", "category", "reason", "seen", "created", "scheduled", "started",
		"finished", "waitSeconds", "startUpSeconds", "runSeconds", "attempts", "exitCode", "node", "cpuSeconds", "memoryByteSeconds",
	}
}

func csvOf(r *v1.Record) []string {
	at := func(t *time.Time) string {
		if t == nil || t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	number := func(n *float64) string {
		if n == nil {
			return ""
		}
		return strconv.FormatFloat(*n, 'f', -1, 64)
	}
	node, exit := "", ""
	if n := len(r.Attempts); n > 0 {
		node = r.Attempts[n-1].Node
		if code := r.Attempts[n-1].ExitCode; code != nil {
			exit = fmt.Sprint(*code)
		}
	}
	return []string{
		r.Namespace, r.ScaledJob, fmt.Sprint(r.Sequence), r.Job, r.Trigger, harmless(r.MessageID), string(r.Outcome), string(r.Category), harmless(r.Reason),
		at(&r.Seen), at(&r.Created), at(r.Scheduled), at(r.Started), at(r.Finished), number(r.WaitSeconds), number(r.StartUpSeconds), number(r.RunSeconds),
		fmt.Sprint(len(r.Attempts)), exit, node, number(&r.CPUSeconds), number(&r.MemoryByteSeconds),
	}
}

// harmless is a text that no spreadsheet takes for a formula.
func harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

const (
	// firstPause and lastPause are how long it waits before it follows again, longer each time.
	firstPause, lastPause = time.Second, 30 * time.Second
)

// runOn prints records as their Jobs end. What ended while a stream was broken is asked for when the next is open.
func (l *lister) runOn(ctx context.Context) error {
	if l.format == "json" || l.format == "yaml" {
		return fmt.Errorf("--follow has no end, and so no %s: leave out --output, or give table, wide, csv or name", l.format)
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := l.Events(ctx, l.events, func() error { pause = firstPause; return l.missed(ctx) }, l.happened)
		if refused, ok := errors.AsType[*client.RefusedError](err); ctx.Err() != nil || ok && refused.Status < 500 {
			return cmp.Or(ctx.Err(), err)
		}
		if !errors.Is(err, io.EOF) {
			fmt.Fprintf(l.errOut, "%v; trying again in %s\n", err, pause)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.clock.After(pause):
		}
	}
}

// missed prints what has ended before there was a stream, the oldest first, so that what is to come goes on below.
func (l *lister) missed(ctx context.Context) error {
	var late []*v1.Record
	if err := l.pages(ctx, func(r *v1.Record) error { late = append(late, r); return nil }); err != nil {
		return err
	}
	for _, r := range slices.Backward(late) {
		if r.Ended() {
			l.print(r)
		}
	}
	defer func() { l.noHeaders, l.style.NoHeaders = true, true }()
	return l.end()
}

// happened prints a record that is told of, if it is asked for.
func (l *lister) happened(_ string, e v1.Event) error {
	if e.Record == nil || !l.wants(e.Record) {
		return nil
	}
	l.print(e.Record)
	return l.end()
}

// wants says whether a record that ended just now is one that is asked for.
func (l *lister) wants(r *v1.Record) bool {
	return (l.outcome == "" || strings.EqualFold(l.outcome, string(r.Outcome))) &&
		(l.category == "" || strings.EqualFold(l.category, string(r.Category))) &&
		(l.message == "" || l.message == r.MessageID) &&
		(l.trigger == "" || l.trigger == r.Trigger)
}
