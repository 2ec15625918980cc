package redis

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// countAtMost bounds how many entries of a stream are counted one by one: counting means to be sent them.
const countAtMost = 1000

// answer is what was asked of a server about one queue.
type answer struct {
	list, processing *redis.IntCmd
	groups           *redis.SliceCmd
}

// ask puts into a pipeline what tells of a queue: a list's held before its waiting, for a message that is taken between the
// two.
func ask(ctx context.Context, p redis.Pipeliner, q trigger.Queue) answer {
	var a answer
	switch {
	case q.Kind == kindStream:
		a.groups = redis.NewSliceCmd(ctx, "xinfo", "groups", q.Name)
		a.groups.SetFirstKeyPos(2) // where a cluster finds the key
		_ = p.Process(ctx, a.groups)
	case q.Beside != "":
		a.processing = p.LLen(ctx, q.Beside)
		a.list = p.LLen(ctx, q.Name)
	default:
		a.list = p.LLen(ctx, q.Name)
	}
	return a
}

// backlog is what the answer tells. Where the server does not know a group's lag, waiting is left to be counted: last is
// the ID of the last entry that the group was given then, and empty otherwise.
func (a answer) backlog(q trigger.Queue) (b trigger.Backlog, last string, err error) {
	if a.groups != nil {
		return a.stream(q)
	}
	if b.Waiting, err = a.list.Result(); err != nil {
		return b, "", fmt.Errorf("list %q: %w", q.Name, err)
	}
	if a.processing != nil {
		if b.Held, err = a.processing.Result(); err != nil {
			return b, "", fmt.Errorf("processing list %q: %w", q.Beside, err)
		}
		b.HeldKnown, b.HeldLive = true, true
	}
	return b, "", nil
}

func (a answer) stream(q trigger.Queue) (b trigger.Backlog, last string, err error) {
	groups, err := a.groups.Result()
	if err != nil {
		if redis.HasErrorPrefix(err, "no such key") || strings.Contains(err.Error(), "no such key") {
			err = fmt.Errorf("%w: it appears with its first entry, or with XGROUP CREATE %s %s 0 MKSTREAM",
				trigger.ErrNotFound, q.Name, q.Beside)
		}
		return b, "", fmt.Errorf("stream %q: %w", q.Name, err)
	}
	for _, g := range groups {
		group := fields(g)
		if name, _ := group["name"].(string); name != q.Beside {
			continue
		}
		held, ok := group["pending"].(int64)
		if !ok {
			return b, "", fmt.Errorf("stream %q: the server does not tell what is pending for consumer group %q", q.Name, q.Beside)
		}
		b.Held, b.HeldKnown, b.HeldLive = held, true, true
		// Absent before Redis 7, and unknown after some deletions.
		if b.Waiting, ok = group["lag"].(int64); !ok {
			last, _ = group["last-delivered-id"].(string)
			if last == "" {
				return b, "", fmt.Errorf("stream %q: the server tells neither the lag nor the last entry of consumer group %q",
					q.Name, q.Beside)
			}
		}
		return b, last, nil
	}
	return b, "", fmt.Errorf("consumer group %q of stream %q: %w: create it with XGROUP CREATE %s %s 0, or correct consumerGroup",
		q.Beside, q.Name, trigger.ErrNotFound, q.Name, q.Beside)
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

// count counts the entries after the last that a group was given, up to a bound: beyond it the count errs towards too few,
// until the group has come closer to the stream's end.
func (r *reader) count(ctx context.Context, q trigger.Queue, last string) (int64, error) {
	entries, err := r.client.XRangeN(ctx, q.Name, "("+last, "+", countAtMost).Result()
	if err != nil {
		return 0, fmt.Errorf("counting the entries of stream %q after %s: %w", q.Name, last, err)
	}
	return int64(len(entries)), nil
}
