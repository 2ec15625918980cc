package bench_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
	"github.com/longhaul-dev/longhaul/test/fixture/postgres"
	"github.com/longhaul-dev/longhaul/test/fixture/postgres/postgrestest"
)

const (
	// recordsVariable says how many records there are to search.
	recordsVariable = "LONGHAUL_BENCH_RECORDS"
	// storeVariable says where they are: sqlite, or postgres for a private one.
	storeVariable = "LONGHAUL_BENCH_STORE"
	// batch is how many records are saved at a time.
	batch = 500
	// days is over how long the Jobs finished.
	days = 90
)

// end is when the last of the Jobs finished.
var end = time.Date(2026, time.March, 31, 12, 0, 0, 0, time.UTC)

// records makes the records of Jobs that ended: of 30 ScaledJobs in 5 namespaces, over 90 days, of which 3 % failed and
// have the end of a log.
type records struct {
	random *rand.Rand
	next   int
	of     int
}

func newRecords(of int) *records { return &records{random: rand.New(rand.NewPCG(1, 2)), of: of} }

func (r *records) batch(n int) []history.Record {
	var all []history.Record
	for range n {
		all = append(all, r.record())
	}
	return all
}

func (r *records) record() history.Record {
	n := r.next
	r.next++
	sj := n % 30
	created := end.Add(-days * 24 * time.Hour).Add(time.Duration(float64(days*24*time.Hour) * float64(n) / float64(r.of)))
	started := created.Add(time.Second + time.Duration(r.random.ExpFloat64()*float64(3*time.Second)))
	finished := started.Add(time.Duration(r.random.ExpFloat64() * float64(10*time.Minute)))
	record := history.Record{
		UID: fmt.Sprintf("%08x-1c1e-4b8e-9a51-%012x", n, r.random.Uint64()>>16), Namespace: fmt.Sprintf("team-%d", sj%5),
		ScaledJob: fmt.Sprintf("transcode-%02d", sj), Trigger: "videos", Sequence: int64(n/30) + 1,
		Job: fmt.Sprintf("transcode-%02d-%06d", sj, n/30+1), Revision: "0123456789abcdef",
		Outcome: history.Succeeded, Category: history.CategorySucceeded, MessageID: fmt.Sprintf("video-%d", n),
		Result: json.RawMessage(`{"bytes":77316,"frames":90}`),
		Seen:   created.Add(-time.Duration(r.random.ExpFloat64() * float64(time.Minute))), Created: created,
		Scheduled: &created, Started: &started, Finished: &finished,
	}
	attempt := history.Attempt{
		Pod: record.Job + "-x7k2p", UID: "pod-" + record.UID, Node: fmt.Sprintf("node-%d", r.random.IntN(40)), Image: "registry.example.com/worker:1.2",
		Created: created, Scheduled: &created, Started: &started, Finished: &finished, Succeeded: true, ExitCode: new(int32),
		CPU: 2, Memory: 4 << 30,
	}
	if r.random.IntN(100) < 3 {
		record.Outcome, record.Category, record.Reason = history.Failed, history.CategoryFailed, "BackoffLimitExceeded"
		if r.random.IntN(4) == 0 {
			record.Category = history.CategoryOutOfMemory
		}
		attempt.Succeeded, *attempt.ExitCode, attempt.Reason = false, 1, "Error"
		var log strings.Builder
		for log.Len() < history.LogTail-100 {
			fmt.Fprintf(&log, "frame %d: decoder error %x in slice %d, macroblock lost\n", r.random.IntN(9000), r.random.Uint32(), r.random.IntN(90))
		}
		attempt.LogTail = log.String()
	}
	record.Attempts = []history.Attempt{attempt}
	return record
}

// openStore opens an empty store: in a file, or in a PostgreSQL of its own where the variable asks for that.
func openStore(b *testing.B, file string) *store.Store {
	b.Helper()
	o := store.Options{SQLite: file}
	switch kind := os.Getenv(storeVariable); kind {
	case "", "sqlite":
	case "postgres":
		o = store.Options{PostgreSQL: postgrestest.Start(b, postgres.Options{}).URI()}
	default:
		b.Fatalf("%s=%q: give sqlite or postgres", storeVariable, kind)
	}
	s, err := store.Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// BenchmarkHistoryWrites is how long a batch of 500 records takes to be saved into a history that grows. The limit is
// writing as many bytes into a file, and having them on disk.
func BenchmarkHistoryWrites(b *testing.B) {
	const batches = 20
	dir := b.TempDir()
	s := openStore(b, filepath.Join(dir, "history.db"))
	file, err := os.Create(filepath.Join(dir, "plain"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	r := newRecords(batches * batch * 100)
	var measured, limit []time.Duration
	for b.Loop() {
		for range batches {
			records := r.batch(batch)
			began := time.Now()
			if err := s.Save(b.Context(), records); err != nil {
				b.Fatal(err)
			}
			measured = append(measured, time.Since(began))
			text, err := json.Marshal(records)
			if err != nil {
				b.Fatal(err)
			}
			began = time.Now()
			if _, err := file.Write(text); err != nil {
				b.Fatal(err)
			}
			if err := file.Sync(); err != nil {
				b.Fatal(err)
			}
			limit = append(limit, time.Since(began))
		}
	}
	report(b, "saving 500 records", measured, limit)
}

// BenchmarkHistoryReads is how long pages take of a history of 50,000 records, or as many as LONGHAUL_BENCH_RECORDS says: for
// each question the median, against that of the newest page of all, which nothing can be quicker than, and the time that 95
// of 100 take at most.
func BenchmarkHistoryReads(b *testing.B) {
	n := recordsAsked(b)
	dir := b.TempDir()
	empty := openStore(b, filepath.Join(dir, "empty.db"))
	none := heap(b, empty, questions(n))
	s := openStore(b, filepath.Join(dir, "history.db"))
	fill(b, s, n)
	var limit []time.Duration
	for b.Loop() {
		limit = ask(b, s, func(*rand.Rand) store.Query { return store.Query{} })
		for _, q := range questions(n) {
			told(b, fmt.Sprintf("%s, of %d records", q.name, n), ask(b, s, q.query), limit)
		}
		for _, length := range []int{7, days} {
			var measured []time.Duration
			for i := range 30 {
				began := time.Now()
				_, err := s.Stats(b.Context(), store.StatsQuery{
					Namespace: "team-2", ScaledJob: "transcode-07", Buckets: 60,
					From: end.AddDate(0, 0, -length).Add(time.Duration(i) * time.Minute), To: end,
				})
				if err != nil {
					b.Fatal(err)
				}
				measured = append(measured, time.Since(began))
			}
			told(b, fmt.Sprintf("statistics of %d days, of %d records", length, n), measured, limit)
		}
	}
	full := heap(b, s, questions(n))
	text, err := json.Marshal(map[string]any{
		"name": fmt.Sprintf("heap with %d records", n), "bytes": full, "limitBytes": none, "ratio": float64(full) / float64(none),
	})
	if err != nil {
		b.Fatal(err)
	}
	fmt.Println(string(text))
	b.ReportMetric(0, "ns/op")
}

// recordsAsked is how many records there are to be.
func recordsAsked(b *testing.B) int {
	b.Helper()
	text := os.Getenv(recordsVariable)
	if text == "" {
		return 50_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1000 {
		b.Fatalf("%s=%q: give a number of records, 1000 or more", recordsVariable, text)
	}
	return n
}

// fill saves so many records.
func fill(b *testing.B, s *store.Store, n int) {
	b.Helper()
	for r := newRecords(n); r.next < n; {
		if err := s.Save(b.Context(), r.batch(min(batch, n-r.next))); err != nil {
			b.Fatal(err)
		}
	}
}

// question is a kind of query.
type question struct {
	name  string
	query func(*rand.Rand) store.Query
}

func questions(n int) []question {
	scaledJob := func(r *rand.Rand) store.Query {
		sj := r.IntN(30)
		return store.Query{Namespaces: []string{fmt.Sprintf("team-%d", sj%5)}, ScaledJob: fmt.Sprintf("transcode-%02d", sj)}
	}
	return []question{
		{"the records of a ScaledJob", scaledJob},
		{"what failed of a ScaledJob", func(r *rand.Rand) store.Query {
			q := scaledJob(r)
			q.Outcome = history.Failed
			return q
		}},
		{"what ran out of memory", func(*rand.Rand) store.Query { return store.Query{Category: history.CategoryOutOfMemory} }},
		{"the records of three namespaces", func(*rand.Rand) store.Query {
			return store.Query{Namespaces: []string{"team-0", "team-2", "team-4"}}
		}},
		{"a day long ago", func(r *rand.Rand) store.Query {
			q := scaledJob(r)
			q.Until = end.AddDate(0, 0, -r.IntN(days-1))
			q.Since = q.Until.AddDate(0, 0, -1)
			return q
		}},
		{"a message", func(r *rand.Rand) store.Query { return store.Query{MessageID: fmt.Sprintf("video-%d", r.IntN(n))} }},
		{"a search for a rare word", func(r *rand.Rand) store.Query { return store.Query{Search: fmt.Sprintf("video-%d", r.IntN(n))} }},
		{"a search for a common word", func(*rand.Rand) store.Query { return store.Query{Search: "transcode"} }},
		{"a search for two words in logs", func(r *rand.Rand) store.Query {
			q := scaledJob(r)
			q.Search, q.Outcome = "decoder macroblock", history.Failed
			return q
		}},
		{"a search for a word that begins many", func(*rand.Rand) store.Query { return store.Query{Search: "v"} }},
		{"a search for what there is not", func(*rand.Rand) store.Query { return store.Query{Search: "transcode nothing"} }},
	}
}

// ask asks 100 times.
func ask(b *testing.B, s *store.Store, query func(*rand.Rand) store.Query) []time.Duration {
	b.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	var measured []time.Duration
	for range 100 {
		q := query(random)
		began := time.Now()
		if _, err := s.List(b.Context(), q); err != nil {
			b.Fatal(err)
		}
		measured = append(measured, time.Since(began))
	}
	return measured
}

// told prints the median, the limit and the 95th percentile.
func told(b *testing.B, name string, measured, limit []time.Duration) {
	b.Helper()
	r := result{Name: name, Milliseconds: median(measured), Limit: median(limit), Of: len(measured)}
	r.Ratio, r.P95 = r.Milliseconds/r.Limit, float64(slices.Sorted(slices.Values(measured))[len(measured)*95/100].Microseconds())/1000
	text, err := json.Marshal(r)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Println(string(text))
}

// heap is how many bytes are in use when all questions have been asked.
func heap(b *testing.B, s *store.Store, questions []question) uint64 {
	b.Helper()
	for _, q := range questions {
		ask(b, s, q.query)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
