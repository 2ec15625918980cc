package inbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"
)

// bodyField is the field of an entry that holds the message, where an entry has several.
const bodyField = "message"

// settleEntryScript acknowledges an entry and adds it again where it belongs, if anywhere. It does nothing where the entry
// is not pending, so it may be run again. A stream has no way to give an entry back but to add it anew.
const settleEntryScript = `
local stream, target = KEYS[1], KEYS[2]
local group, id, command = ARGV[1], ARGV[2], ARGV[3]
if redis.call('XACK', stream, group, id) == 0 then
  return 0
end
if command ~= '' then
  redis.call(command, target, '*', unpack(ARGV, 4))
end
return 1`

// redisStream is a stream, read through a consumer group. The taker is a consumer of the group.
type redisStream struct {
	client   *redis.Client
	settings Settings
}

// take takes the entry that the taker holds already, from an earlier life, or else the next.
func (r redisStream) take(ctx context.Context) (*held, error) {
	for _, from := range []string{"0", ">"} {
		entry, err := r.read(ctx, from)
		for err == nil && len(entry.Values) == 0 {
			// Somebody has deleted the entry; all that is left of it is that it is pending.
			if err = r.client.XAck(ctx, r.settings.Stream, r.settings.ConsumerGroup, entry.ID).Err(); err == nil {
				entry, err = r.read(ctx, from)
			}
		}
		if err == nil {
			return newHeld(entry), nil
		}
		if !errors.Is(err, redis.Nil) {
			return nil, err
		}
	}
	if err := r.leave(ctx); err != nil {
		return nil, err
	}
	return nil, ErrEmpty
}

// read reads one entry: of the taker's pending ones from 0, of the others from >. Where there is none, it returns
// redis.Nil.
func (r redisStream) read(ctx context.Context, from string) (redis.XMessage, error) {
	s := r.settings
	streams, err := r.client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: s.ConsumerGroup, Consumer: s.Taker, Streams: []string{s.Stream, from}, Count: 1, Block: -1,
	}).Result()
	if err != nil {
		return redis.XMessage{}, err
	}
	if len(streams) == 0 || len(streams[0].Messages) == 0 {
		return redis.XMessage{}, redis.Nil
	}
	return streams[0].Messages[0], nil
}

// newHeld takes the message out of its field, or out of the only field. An entry that has neither is a message without a
// body.
func newHeld(entry redis.XMessage) *held {
	h := &held{id: entry.ID}
	for _, name := range slices.Sorted(maps.Keys(entry.Values)) {
		value := fmt.Sprint(entry.Values[name])
		h.fields = append(h.fields, name, value)
		if name == bodyField || len(entry.Values) == 1 {
			h.body = []byte(value)
		}
	}
	return h
}

func (r redisStream) settle(ctx context.Context, taken *held, outcome Outcome) error {
	s := r.settings
	target := s.Stream
	if outcome == Rejected && !s.Requeue {
		target += failedSuffix
	}
	args := []any{s.ConsumerGroup, taken.id, "XADD"}
	if outcome == Done {
		args[2] = ""
	}
	for _, field := range taken.fields {
		args = append(args, field)
	}
	if err := r.client.Eval(ctx, settleEntryScript, []string{s.Stream, target}, args...).Err(); err != nil {
		return err
	}
	return r.leave(ctx)
}

// leave makes the group forget the taker, unless it holds something: each Job is another taker, and they would pile up.
func (r redisStream) leave(ctx context.Context) error {
	s := r.settings
	pending, err := r.client.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: s.Stream, Group: s.ConsumerGroup, Consumer: s.Taker, Start: "-", End: "+", Count: 1,
	}).Result()
	if err != nil || len(pending) > 0 {
		return err
	}
	return r.client.XGroupDelConsumer(ctx, s.Stream, s.ConsumerGroup, s.Taker).Err()
}
