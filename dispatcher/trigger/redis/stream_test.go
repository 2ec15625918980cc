package redis_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

// theStream is a stream of a test's own, its source, and a reader of it.
func theStream(t *testing.T) (*stream, trigger.Source, trigger.Reader) {
	t.Helper()
	server := shared.Redis(t)
	client := server.Client()
	t.Cleanup(func() { client.Close() })
	s := &stream{client: client, name: brokertest.Unique("stream")}
	t.Cleanup(func() { client.Del(t.Context(), s.name) })
	source := settingsFor(server.Address()).source(t, kind{stream: true}, s.name)
	return s, source, open(t, source)
}

// live is a backlog of which all is known live.
func live(waiting, held int64) trigger.Result {
	return trigger.Result{Backlog: trigger.Backlog{Waiting: waiting, Held: held, HeldKnown: true, HeldLive: true}}
}

func TestEntriesAreCountedWhereTheServerDoesNotKnowHowManyWait(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		does func(t *testing.T, s *stream, ids []string)
		want trigger.Result
	}{
		"an entry deleted before it was taken": {func(t *testing.T, s *stream, ids []string) {
			t.Helper()
			must(t, s.Create(t.Context()))
			must(t, s.Take(t.Context()))
			must(t, s.client.XDel(t.Context(), s.name, ids[4], ids[6]).Err())
		}, live(7, 1)},
		"a group made at an entry in the middle": {func(t *testing.T, s *stream, ids []string) {
			t.Helper()
			must(t, s.client.XGroupCreate(t.Context(), s.name, group, ids[3]).Err())
		}, live(6, 0)},
		"a group made at an ID between two entries": {func(t *testing.T, s *stream, _ []string) {
			t.Helper()
			must(t, s.client.XGroupCreate(t.Context(), s.name, group, "450").Err())
		}, live(6, 0)},
		"a group made beyond the end": {func(t *testing.T, s *stream, _ []string) {
			t.Helper()
			must(t, s.client.XGroupCreate(t.Context(), s.name, group, "4500").Err())
		}, live(0, 0)},
		"a group made at the end": {func(t *testing.T, s *stream, _ []string) {
			t.Helper()
			must(t, s.client.XGroupCreate(t.Context(), s.name, group, "$").Err())
		}, live(0, 0)},
		"a group set back": {func(t *testing.T, s *stream, ids []string) {
			t.Helper()
			must(t, s.client.XGroupCreate(t.Context(), s.name, group, "$").Err())
			must(t, s.client.XGroupSetID(t.Context(), s.name, group, ids[7]).Err())
		}, live(2, 0)},
		"a group made with a wrong number of entries read": {func(t *testing.T, s *stream, ids []string) {
			t.Helper()
			// Something is removed, so that the server's count is not taken for granted.
			must(t, s.client.XDel(t.Context(), s.name, ids[0]).Err())
			must(t, s.client.Do(t.Context(), "xgroup", "create", s.name, group, ids[8], "entriesread", 2).Err())
		}, live(1, 0)},
		"a group set with more entries read than there were": {func(t *testing.T, s *stream, ids []string) {
			t.Helper()
			must(t, s.Create(t.Context()))
			must(t, s.client.Do(t.Context(), "xgroup", "setid", s.name, group, ids[3], "entriesread", 100).Err())
		}, live(6, 0)},
		"a group set with more entries read than there were, and an entry deleted": {func(t *testing.T, s *stream, ids []string) {
			t.Helper()
			must(t, s.Create(t.Context()))
			must(t, s.client.XDel(t.Context(), s.name, ids[0]).Err())
			must(t, s.client.Do(t.Context(), "xgroup", "setid", s.name, group, ids[3], "entriesread", 100).Err())
		}, live(6, 0)},
		"a group set with all entries read": {func(t *testing.T, s *stream, ids []string) {
			t.Helper()
			must(t, s.Create(t.Context()))
			must(t, s.client.Do(t.Context(), "xgroup", "setid", s.name, group, ids[3], "entriesread", 10).Err())
		}, live(6, 0)},
		"a group set with all entries read, and an entry deleted": {func(t *testing.T, s *stream, ids []string) {
			t.Helper()
			must(t, s.Create(t.Context()))
			must(t, s.client.XDel(t.Context(), s.name, ids[0]).Err())
			must(t, s.client.Do(t.Context(), "xgroup", "setid", s.name, group, ids[3], "entriesread", 10).Err())
		}, live(6, 0)},
		"entries trimmed away before they were taken": {func(t *testing.T, s *stream, _ []string) {
			t.Helper()
			must(t, s.Create(t.Context()))
			must(t, s.Take(t.Context()))
			must(t, s.client.XTrimMaxLen(t.Context(), s.name, 4).Err())
			must(t, s.Take(t.Context()))
		}, live(3, 2)},
		"more than nine entries of one millisecond": {func(t *testing.T, s *stream, _ []string) {
			t.Helper()
			for number := range 12 {
				must(t, s.client.XAdd(t.Context(), &goredis.XAddArgs{
					Stream: s.name, ID: fmt.Sprintf("1000-%d", number+1), Values: []string{"message", "work"},
				}).Err())
			}
			must(t, s.client.XGroupCreate(t.Context(), s.name, group, "1000-9").Err())
		}, live(3, 0)},
		"all trimmed away": {func(t *testing.T, s *stream, _ []string) {
			t.Helper()
			must(t, s.Create(t.Context()))
			must(t, s.Take(t.Context()))
			must(t, s.client.XTrimMaxLen(t.Context(), s.name, 0).Err())
		}, live(0, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, source, reader := theStream(t)
			var ids []string // 100, 200 and so on to 1000
			for i := range 10 {
				ids = append(ids, fmt.Sprint(100*(i+1)))
				must(t, s.client.XAdd(t.Context(), &goredis.XAddArgs{
					Stream: s.name, ID: ids[i] + "-0", Values: []string{"message", "work"},
				}).Err())
			}
			c.does(t, s, ids)
			if diff := cmp.Diff(c.want, read(t, reader, source)[0]); diff != "" {
				t.Errorf("the reading (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAStreamIsReadAsItIsWhateverWasDoneToIt compares with the entries themselves.
func TestAStreamIsReadAsItIsWhateverWasDoneToIt(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s, source, reader := theStream(t)
			must(t, s.Create(t.Context()))
			random := rand.New(rand.NewPCG(seed, seed))
			var done []string
			for range 300 {
				done = append(done, s.anything(t, random))
				want := s.shown(t)
				if diff := cmp.Diff(want, read(t, reader, source)[0]); diff != "" {
					t.Fatalf("after %v, the reading (-want +got):\n%s", done[max(0, len(done)-40):], diff)
				}
			}
		})
	}
}

// anything does something to a stream, and says what.
func (s *stream) anything(t *testing.T, random *rand.Rand) string {
	t.Helper()
	ctx := t.Context()
	entries, err := s.client.XRange(ctx, s.name, "-", "+").Result()
	must(t, err)
	die := random.IntN(40)
	switch {
	case len(entries) > 0 && die < 1:
		id := entries[random.IntN(len(entries))].ID
		must(t, s.client.XDel(ctx, s.name, id).Err())
		return "delete " + id
	case die < 4:
		keep := random.IntN(len(entries) + 1)
		must(t, s.client.XTrimMaxLen(ctx, s.name, int64(keep)).Err())
		return fmt.Sprintf("trim to %d", keep)
	case len(entries) > 0 && die < 5:
		id := entries[random.IntN(len(entries))].ID
		must(t, s.client.XGroupSetID(ctx, s.name, group, id).Err())
		return "set the group to " + id
	case die < 6:
		must(t, s.client.XGroupSetID(ctx, s.name, group, "0").Err())
		return "set the group to the beginning"
	case len(s.held) > 0 && die < 12:
		message := s.oldest()
		must(t, s.client.XAck(ctx, s.name, group, message.ID).Err())
		return "acknowledge " + message.ID
	case die < 24:
		most := 1
		if die < 17 {
			most = random.IntN(200) + 1
		}
		if err := s.take(ctx, most); !errors.Is(err, goredis.Nil) {
			must(t, err)
			return fmt.Sprintf("take %d, to %s", most, s.held[len(s.held)-1].ID)
		}
	case len(entries) < 700 && die < 29: // no more than are counted
		messages := random.IntN(200) + 1
		must(t, s.put(ctx, messages))
		return fmt.Sprintf("put %d", messages)
	}
	must(t, s.Put(ctx))
	return "put"
}

// shown is what a reading must show: the entries after the last that the group was given, and those that it has not
// acknowledged.
func (s *stream) shown(t *testing.T) trigger.Result {
	t.Helper()
	groups, err := s.client.XInfoGroups(t.Context(), s.name).Result()
	must(t, err)
	entries, err := s.client.XRange(t.Context(), s.name, "("+groups[0].LastDeliveredID, "+").Result()
	must(t, err)
	return live(int64(len(entries)), groups[0].Pending)
}

func TestALongStreamIsCountedUpToABoundWhereTheServerDoesNotKnow(t *testing.T) {
	t.Parallel()
	s, source, reader := theStream(t)
	must(t, s.Create(t.Context()))
	must(t, s.put(t.Context(), 1500))
	must(t, s.Take(t.Context()))
	if diff := cmp.Diff(live(1499, 1), read(t, reader, source)[0]); diff != "" {
		t.Errorf("the reading (-want +got):\n%s", diff)
	}
	entries, err := s.client.XRevRangeN(t.Context(), s.name, "+", "-", 2).Result()
	must(t, err)
	must(t, s.client.XDel(t.Context(), s.name, entries[1].ID).Err())
	if diff := cmp.Diff(live(1000, 1), read(t, reader, source)[0]); diff != "" {
		t.Errorf("with a deletion near its end, the reading (-want +got):\n%s", diff)
	}
}

// TestALongStreamThatIsTrimmedIsReadAsItIs: Redis 7.0 goes on to count what was trimmed away, for as long as the stream lives.
func TestALongStreamThatIsTrimmedIsReadAsItIs(t *testing.T) {
	t.Parallel()
	s, source, reader := theStream(t)
	must(t, s.Create(t.Context()))
	must(t, s.put(t.Context(), 5000))
	taking := func(messages int) func() error {
		return func() error { return s.take(t.Context(), messages) }
	}
	for _, step := range []struct {
		name string
		does func() error
		want trigger.Result
	}{
		{"with one taken", taking(1), live(4999, 1)},
		{"trimmed", func() error { return s.client.XTrimMaxLen(t.Context(), s.name, 1000).Err() }, live(1000, 1)},
		{"with half of the rest taken", taking(500), live(500, 501)},
		{"with all taken", taking(500), live(0, 1001)},
		{"with one put", func() error { return s.Put(t.Context()) }, live(1, 1001)},
		{"with that taken", taking(1), live(0, 1002)},
	} {
		must(t, step.does())
		if diff := cmp.Diff(step.want, read(t, reader, source)[0]); diff != "" {
			t.Errorf("%s, the reading (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestAServerThatTellsNoLagIsCounted(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr()})
	t.Cleanup(func() { client.Close() })
	s := &stream{client: client, name: "videos"}
	must(t, s.Create(t.Context()))
	source := settingsFor(server.Addr()).source(t, kind{stream: true}, s.name)
	reader := open(t, source)
	for range 5 {
		must(t, s.Put(t.Context()))
	}
	must(t, s.Take(t.Context()))
	if diff := cmp.Diff(live(4, 1), read(t, reader, source)[0]); diff != "" {
		t.Errorf("the reading (-want +got):\n%s", diff)
	}
}

// TestWhatAServerDoesNotTellIsNotZero: some speak the protocol, and are not Redis.
func TestWhatAServerDoesNotTellIsNotZero(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		group, stream []any
		untold        string
	}{
		"all is told": {
			[]any{"name", group, "pending", 1, "last-delivered-id", "5-0", "lag", 3}, []any{"length", 8, "entries-added", 8}, "",
		},
		"no length":                    {[]any{"name", group, "pending", 1, "last-delivered-id", "5-0"}, nil, "length"},
		"a length that is no number":   {[]any{"name", group, "pending", 1, "last-delivered-id", "5-0"}, []any{"length", "8"}, "length"},
		"a length below zero":          {[]any{"name", group, "pending", 1, "last-delivered-id", "5-0"}, []any{"length", -8}, "length"},
		"nothing of what is pending":   {[]any{"name", group, "last-delivered-id", "5-0"}, []any{"length", 8}, "pending"},
		"less than nothing pending":    {[]any{"name", group, "pending", -1, "last-delivered-id", "5-0"}, []any{"length", 8}, "pending"},
		"not what the group was given": {[]any{"name", group, "pending", 1}, []any{"length", 8}, "last-delivered-id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := miniredis.RunT(t)
			fake.Server().SetPreHook(func(p *server.Peer, command string, args ...string) bool {
				switch {
				case command != "XINFO":
					return false
				case args[0] == "groups":
					p.WriteLen(1)
					tell(p, c.group)
				default:
					tell(p, c.stream)
				}
				return true
			})
			source := settingsFor(fake.Addr()).source(t, kind{stream: true}, "videos")
			result := read(t, open(t, source), source)[0]
			if c.untold == "" {
				if diff := cmp.Diff(live(3, 1), result); diff != "" {
					t.Errorf("the reading (-want +got):\n%s", diff)
				}
				return
			}
			want := fmt.Sprintf("consumer group %q of stream %q: the server does not tell %s", group, "videos", c.untold)
			if result.Err == nil || result.Err.Error() != want {
				t.Errorf("the reading shows %+v, want the error %q", result, want)
			}
		})
	}
}

// tell answers with texts and numbers.
func tell(p *server.Peer, values []any) {
	p.WriteLen(len(values))
	for _, value := range values {
		switch v := value.(type) {
		case int:
			p.WriteInt(v)
		case string:
			p.WriteBulk(v)
		}
	}
}

func TestWhatIsMissingOrOfAnotherKindIsNamedWithTheRemedy(t *testing.T) {
	t.Parallel()
	server := shared.Redis(t)
	client := server.Client()
	t.Cleanup(func() { client.Close() })
	prefix := brokertest.Unique("keys") + ":"
	name := func(s string) string { return prefix + s }
	must(t, client.RPush(t.Context(), name("list"), "message").Err())
	must(t, client.XGroupCreateMkStream(t.Context(), name("stream"), "others", "0").Err())
	must(t, client.Set(t.Context(), processingList(name("list")), "text", 0).Err())
	t.Cleanup(func() { client.Del(t.Context(), name("list"), name("stream"), processingList(name("list"))) })

	s := settingsFor(server.Address())
	const wrongType = "WRONGTYPE Operation against a key holding the wrong kind of value"
	cases := []struct {
		source   trigger.Source
		want     string
		notFound bool
	}{
		{s.source(t, kind{}, name("list")), "", false},
		{s.source(t, kind{}, name("stream")), fmt.Sprintf("list %q: %s", name("stream"), wrongType), false},
		{
			s.source(t, kind{processing: true}, name("list")),
			fmt.Sprintf("processing list %q: %s", processingList(name("list")), wrongType), false,
		},
		{s.source(t, kind{stream: true}, name("list")), fmt.Sprintf("stream %q: %s", name("list"), wrongType), false},
		{
			s.source(t, kind{stream: true}, name("missing")),
			fmt.Sprintf("stream %q: not found: it appears with its first entry, or with XGROUP CREATE %s %s 0 MKSTREAM",
				name("missing"), name("missing"), group), true,
		},
		{
			s.source(t, kind{stream: true}, name("stream")),
			fmt.Sprintf("consumer group %q of stream %q: not found: create it with XGROUP CREATE %s %s 0, or correct consumerGroup",
				group, name("stream"), name("stream"), group), true,
		},
	}
	var sources []trigger.Source
	for _, c := range cases {
		sources = append(sources, c.source)
	}
	reader := open(t, sources[0])
	for i, result := range read(t, reader, sources...) {
		got := ""
		if result.Err != nil {
			got = result.Err.Error()
		}
		if diff := cmp.Diff(cases[i].want, got); diff != "" {
			t.Errorf("the error (-want +got):\n%s", diff)
		}
		if errors.Is(result.Err, trigger.ErrNotFound) != cases[i].notFound {
			t.Errorf("%v is ErrNotFound: %v, want %v", result.Err, !cases[i].notFound, cases[i].notFound)
		}
	}
	if got := read(t, reader, sources[0])[0]; got.Backlog.Waiting != 1 {
		t.Errorf("the list beside them: %+v, want 1 waiting", got)
	}

	must(t, client.XGroupCreate(t.Context(), name("stream"), group, "0").Err())
	if diff := cmp.Diff(live(0, 0), read(t, reader, sources[5])[0]); diff != "" {
		t.Errorf("with the group made, the reading (-want +got):\n%s", diff)
	}
	// Though none of the queues can be read, the connection is good: it is no reason to open another.
	if results := read(t, reader, sources[1:5]...); results[0].Err == nil {
		t.Errorf("the reading shows %+v, want an error", results[0])
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
