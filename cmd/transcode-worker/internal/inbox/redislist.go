package inbox

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// takersSuffix makes the name of the hash that tells, of the messages in a processing list, who took which.
const takersSuffix = ":takers"

// takeScript takes for a taker, in one go, the message that it holds already, from an earlier life, or else the next of
// the list, which it moves to the processing list. LMOVE alone would do but for that: it does not tell whose a message
// in the processing list is.
const takeScript = `
local list, processing, takers = KEYS[1], KEYS[2], KEYS[3]
local taker = ARGV[1]
local mine = redis.call('HGET', takers, taker)
if mine and redis.call('LPOS', processing, mine) then
  return mine
end
local message = redis.call('LMOVE', list, processing, 'LEFT', 'RIGHT')
if message then
  redis.call('HSET', takers, taker, message)
end
return message`

// settleScript takes a taker's message out of the processing list and puts it where it belongs, if anywhere. It does
// nothing where the taker holds none, so it may be run again.
const settleScript = `
local processing, takers, target = KEYS[1], KEYS[2], KEYS[3]
local taker, message, push = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HDEL', takers, taker) == 0 then
  return 0
end
redis.call('LREM', processing, 1, message)
if push ~= '' then
  redis.call(push, target, message)
end
return 1`

// redisList is a list with a processing list. Senders push to the right.
type redisList struct {
	client   *redis.Client
	settings Settings
}

func (l redisList) take(ctx context.Context) (*held, error) {
	s := l.settings
	keys := []string{s.Queue, s.ProcessingList, s.ProcessingList + takersSuffix}
	body, err := l.client.Eval(ctx, takeScript, keys, s.Taker).Text()
	if err != nil {
		return nil, err
	}
	return &held{body: []byte(body)}, nil
}

func (l redisList) settle(ctx context.Context, taken *held, outcome Outcome) error {
	s := l.settings
	push, target := destination(s, outcome)
	keys := []string{s.ProcessingList, s.ProcessingList + takersSuffix, target}
	return l.client.Eval(ctx, settleScript, keys, s.Taker, taken.body, push).Err()
}

// destination is where a list's message goes, and by which command; none where it is done with.
func destination(s Settings, outcome Outcome) (push, target string) {
	switch {
	case outcome == GivenBack, outcome == Rejected && s.Requeue:
		return "LPUSH", s.Queue // it was the next, and is again
	case outcome == Rejected:
		return "RPUSH", s.Queue + failedSuffix
	default:
		return "", s.Queue
	}
}

// plainList is a list without a processing list: what is taken is gone, so a message is acknowledged by being taken.
type plainList struct {
	client   *redis.Client
	settings Settings
}

func (l plainList) take(ctx context.Context) (*held, error) {
	body, err := l.client.LPop(ctx, l.settings.Queue).Bytes()
	if err != nil {
		return nil, err
	}
	return &held{body: body}, nil
}

// settle may put a message back twice, if the first answer was lost: rather twice than not at all.
func (l plainList) settle(ctx context.Context, taken *held, outcome Outcome) error {
	push, target := destination(l.settings, outcome)
	if push == "" {
		return nil
	}
	return l.client.Do(ctx, push, target, taken.body).Err()
}
