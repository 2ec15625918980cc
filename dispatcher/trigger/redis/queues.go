package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// countAtMost bounds how many entries of a stream are counted one by one, where nothing else tells how many wait: counting
// means to be sent them.
const countAtMost = 1000

// errUntold is in the error of a queue of which a server does not tell what it must.
var errUntold = errors.New("the server does not tell")

// answer is what was asked of a server about one queue.
type answer struct {
	list, processing *redis.IntCmd
	groups, stream   *redis.SliceCmd
	// uncounted is where a stream's waiting entries are to be counted one by one.
	uncounted *uncounted
	counted   *redis.XMessageSliceCmd
}

// uncounted says which entries of a stream to count: those after an ID, up to a number.
type uncounted struct {
	after string
	most  int64
}

// ask puts into a pipeline what tells of a queue: a list's held before its waiting, for a message that is taken between the
// two.
func ask(ctx context.Context, p redis.Pipeliner, q trigger.Queue) answer {
	var a answer
	switch {
	case q.Kind == kindStream:
		a.groups = xinfo(ctx, p, "groups", q.Name)
		a.stream = xinfo(ctx, p, "stream", q.Name)
	case q.Beside != "":
		a.processing = p.LLen(ctx, q.Beside)
		a.list = p.LLen(ctx, q.Name)
	default:
		a.list = p.LLen(ctx, q.Name)
	}
	return a
}

// xinfo asks with names and values for an answer: the library's own function refuses names that it does not know.
func xinfo(ctx context.Context, p redis.Pipeliner, what, stream string) *redis.SliceCmd {
	c := redis.NewSliceCmd(ctx, "xinfo", what, stream)
	c.SetFirstKeyPos(2) // where a cluster finds the key
	_ = p.Process(ctx, c)
	return c
}

// backlog is what the answer tells. It leaves a stream's waiting entries to be counted where they have to be.
func (a *answer) backlog(q trigger.Queue) (b trigger.Backlog, err error) {
	if a.groups != nil {
		return a.ofGroup(q)
	}
	if b.Waiting, err = a.list.Result(); err != nil {
		return b, fmt.Errorf("list %q: %w", q.Name, err)
	}
	if a.processing != nil {
		if b.Held, err = a.processing.Result(); err != nil {
			return b, fmt.Errorf("processing list %q: %w", q.Beside, err)
		}
		b.HeldKnown, b.HeldLive = true, true
	}
	return b, nil
}

func (a *answer) ofGroup(q trigger.Queue) (b trigger.Backlog, err error) {
	groups, err := a.groups.Result()
	if err != nil {
		if redis.HasErrorPrefix(err, "no such key") || strings.Contains(err.Error(), "no such key") {
			err = fmt.Errorf("%w: it appears with its first entry, or with XGROUP CREATE %s %s 0 MKSTREAM",
				trigger.ErrNotFound, q.Name, q.Beside)
		}
		return b, fmt.Errorf("stream %q: %w", q.Name, err)
	}
	for _, g := range groups {
		group := fields(g)
		if name, _ := group["name"].(string); name != q.Beside {
			continue
		}
		stream, err := a.stream.Result()
		if err != nil {
			return b, fmt.Errorf("stream %q: %w", q.Name, err)
		}
		b.HeldKnown, b.HeldLive = true, true
		if b.Held, err = number(group, "pending"); err == nil {
			b.Waiting, a.uncounted, err = waiting(group, fields(stream))
		}
		if err != nil {
			return b, fmt.Errorf("consumer group %q of stream %q: %w", q.Beside, q.Name, err)
		}
		return b, nil
	}
	return b, fmt.Errorf("consumer group %q of stream %q: %w: create it with XGROUP CREATE %s %s 0, or correct consumerGroup",
		q.Beside, q.Name, trigger.ErrNotFound, q.Name, q.Beside)
}

// waiting is how many entries a group was not given yet, or where to count them.
//
// Servers before Redis 7 tell no lag, others do not know it after some deletions, and many, 7.0 among them, are wrong for
// ever once entries are trimmed away that the group was not given: they go on to count them. Nor can it be true of a group
// that was made with more entries read than there were. So it is taken where nothing was ever removed and it is possible,
// and the stream's ends where they settle it.
func waiting(group, stream map[string]any) (int64, *uncounted, error) {
	length, err := number(stream, "length")
	if err != nil {
		return 0, nil, err
	}
	last, ok := group["last-delivered-id"].(string)
	if !ok {
		return 0, nil, fmt.Errorf("%w last-delivered-id", errUntold)
	}
	// Not every server tells these. Zero settles nothing, for a stream that is not empty.
	lag, known := group["lag"].(int64)
	added, _ := stream["entries-added"].(int64)
	newest, _ := stream["last-generated-id"].(string)
	var oldest string
	if first, ok := stream["first-entry"].([]any); ok && len(first) > 0 {
		oldest, _ = first[0].(string)
	}
	switch {
	case length == 0 || newest != "" && !before(last, newest):
		return 0, nil, nil
	case oldest != "" && before(last, oldest):
		return length, nil, nil
	case known && added == length && 0 < lag && lag <= length:
		return lag, nil, nil
	case known && 0 < lag && lag < countAtMost:
		return 0, &uncounted{after: last, most: lag}, nil
	default:
		return 0, &uncounted{after: last, most: countAtMost}, nil
	}
}

// number is a figure that the server must tell: one that is missing is not zero.
func number(of map[string]any, name string) (int64, error) {
	n, ok := of[name].(int64)
	if !ok || n < 0 {
		return 0, fmt.Errorf("%w %s", errUntold, name)
	}
	return n, nil
}

// before says whether one entry's ID, such as 1526919030474-55, is less than another's.
func before(a, b string) bool {
	aTime, aNumber, _ := strings.Cut(a, "-")
	bTime, bNumber, _ := strings.Cut(b, "-")
	// Decimal numbers without leading zeros: the longer is the greater.
	return cmp.Or(
		cmp.Compare(len(aTime), len(bTime)), cmp.Compare(aTime, bTime),
		cmp.Compare(len(aNumber), len(bNumber)), cmp.Compare(aNumber, bNumber),
	) < 0
}

// fields makes a map of the names and values that the server lists in turn.
func fields(list any) map[string]any {
	values, _ := list.([]any)
	m := make(map[string]any, len(values)/2)
	for i := 0; i+1 < len(values); i += 2 {
		if name, ok := values[i].(string); ok {
			m[name] = values[i+1]
		}
	}
	return m
}

// count puts into a pipeline what counts a stream's waiting entries, where they have to be counted. Beyond the most to count
// they err towards too few, until the group has come closer to the stream's end.
func (a *answer) count(ctx context.Context, p redis.Pipeliner, q trigger.Queue) {
	if u := a.uncounted; u != nil {
		// The bracket leaves out the entry itself.
		a.counted = p.XRangeN(ctx, q.Name, "("+u.after, "+", u.most)
	}
}
