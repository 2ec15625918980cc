package inbox_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/inbox"
)

// counts is what a queue shows.
type counts struct{ Waiting, Held, Failed int64 }

// desk is a queue to exercise inboxes on.
type desk struct {
	settings inbox.Settings
	send     func(t *testing.T, body string)
	counts   func(t *testing.T) counts
	// forgets says that the broker does not know what is held.
	forgets bool
	// eventual says that counts take a moment to be right.
	eventual bool
	// byName says that the broker holds a message for a taker's name.
	byName bool
}

func (d desk) open(t *testing.T, taker string) inbox.Inbox {
	t.Helper()
	s := d.settings
	s.Taker = taker
	return openWith(t, s)
}

func openWith(t *testing.T, s inbox.Settings) inbox.Inbox {
	t.Helper()
	box, err := inbox.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close() })
	return box
}

func take(t *testing.T, box inbox.Inbox, want string) *inbox.Message {
	t.Helper()
	message, err := box.Take(t.Context(), 0)
	if err != nil {
		t.Fatalf("taking: %v", err)
	}
	if string(message.Body) != want {
		t.Fatalf("took %q, want %q", message.Body, want)
	}
	return message
}

func settle(t *testing.T, message *inbox.Message, outcome inbox.Outcome) {
	t.Helper()
	if err := message.Settle(t.Context(), outcome); err != nil {
		t.Fatalf("settling: %v", err)
	}
}

func (d desk) shows(t *testing.T, want counts) {
	t.Helper()
	if d.forgets {
		want.Held = 0
	}
	diff := cmp.Diff(want, d.counts(t))
	for deadline := time.Now().Add(5 * time.Second); d.eventual && diff != "" && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
		diff = cmp.Diff(want, d.counts(t))
	}
	if diff != "" {
		t.Fatalf("the queue (-want +got):\n%s", diff)
	}
}

// desks are the kinds of Redis queue, on an embedded server.
func desks(t *testing.T) map[string]desk {
	t.Helper()
	server := miniredis.RunT(t)
	return redisDesks(t, "redis://"+server.Addr())
}

func redisDesks(t *testing.T, uri string) map[string]desk {
	t.Helper()
	options, err := redis.ParseURL(uri)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	length := func(t *testing.T, list string) int64 {
		t.Helper()
		n, err := client.LLen(t.Context(), list).Result()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	list := func(name, processing string) desk {
		return desk{
			settings: inbox.Settings{URI: uri, Queue: name, ProcessingList: processing, Patience: time.Second},
			send: func(t *testing.T, body string) {
				t.Helper()
				if err := client.RPush(t.Context(), name, body).Err(); err != nil {
					t.Fatal(err)
				}
			},
			counts: func(t *testing.T) counts {
				t.Helper()
				return counts{length(t, name), length(t, processing), length(t, name+":failed")}
			},
			forgets: processing == "",
			byName:  processing != "",
		}
	}
	if err := client.XGroupCreateMkStream(t.Context(), "stream", "group", "0").Err(); err != nil {
		t.Fatal(err)
	}
	return map[string]desk{
		"a Redis list with a processing list": list("list", "list:processing"),
		"a plain Redis list":                  list("plain", ""),
		"a Redis stream": {
			settings: inbox.Settings{URI: uri, Stream: "stream", ConsumerGroup: "group", Patience: time.Second},
			send: func(t *testing.T, body string) {
				t.Helper()
				if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: "stream", Values: []string{"message", body, "from", "a test"}}).Err(); err != nil {
					t.Fatal(err)
				}
			},
			counts: func(t *testing.T) counts {
				t.Helper()
				return streamCounts(t, client)
			},
			byName: true,
		},
	}
}

// streamCounts counts what no consumer was given by looking at what follows the last that one was.
func streamCounts(t *testing.T, client *redis.Client) counts {
	t.Helper()
	groups, err := client.XInfoGroups(t.Context(), "stream").Result()
	if err != nil {
		t.Fatal(err)
	}
	later, err := client.XRange(t.Context(), "stream", "("+groups[0].LastDeliveredID, "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	failed, err := client.XLen(t.Context(), "stream:failed").Result()
	if err != nil {
		t.Fatal(err)
	}
	return counts{int64(len(later)), groups[0].Pending, failed}
}

func TestOneMessageFromTakenToSettled(t *testing.T) {
	t.Parallel()
	for name, d := range desks(t) {
		exercise(t, name, d)
	}
}

// exercise checks what every inbox promises. The queue must be empty, and is empty after.
func exercise(t *testing.T, name string, d desk) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		ann, bob := d.open(t, "ann"), d.open(t, "bob")
		if _, err := ann.Take(t.Context(), 0); !errors.Is(err, inbox.ErrEmpty) {
			t.Fatalf("an empty queue: %v, want ErrEmpty", err)
		}
		d.send(t, "one")
		d.send(t, "two")
		d.shows(t, counts{Waiting: 2})

		one := take(t, ann, "one")
		d.shows(t, counts{Waiting: 1, Held: 1})
		two := take(t, bob, "two")
		d.shows(t, counts{Held: 2})
		settle(t, one, inbox.Done)
		d.shows(t, counts{Held: 1})
		settle(t, two, inbox.GivenBack)
		d.shows(t, counts{Waiting: 1})

		again := take(t, ann, "two")
		settle(t, again, inbox.Rejected)
		d.shows(t, counts{Failed: 1})
		if _, err := bob.Take(t.Context(), 0); !errors.Is(err, inbox.ErrEmpty) {
			t.Fatalf("a rejected message: %v, want ErrEmpty", err)
		}
	})
	t.Run(name+": a rejected message waits again where that is asked for", func(t *testing.T) {
		s := d.settings
		s.Taker, s.Requeue = "cem", true
		box := openWith(t, s)
		before := d.counts(t)
		d.send(t, "three")
		settle(t, take(t, box, "three"), inbox.Rejected)
		d.shows(t, counts{Waiting: 1, Failed: before.Failed})
		settle(t, take(t, box, "three"), inbox.Done)
	})
	t.Run(name+": taking waits for a message", func(t *testing.T) {
		box := d.open(t, "dan")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			time.Sleep(200 * time.Millisecond) // while it waits, most likely; it holds either way
			d.send(t, "four")
		}()
		message, err := box.Take(ctx, time.Minute)
		<-sent
		if err != nil {
			t.Fatal(err)
		}
		settle(t, message, inbox.Done)
	})
	t.Run(name+": waiting ends with the context, and tells why", func(t *testing.T) {
		box := d.open(t, "eve")
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
		if _, err := box.Take(ctx, time.Minute); !errors.Is(err, why) {
			t.Fatalf("%v, want %v", err, why)
		}
	})
	if d.byName {
		exerciseNames(t, name, d)
	}
}

// exerciseNames checks what a broker promises that holds messages for a taker's name.
func exerciseNames(t *testing.T, name string, d desk) {
	t.Helper()
	t.Run(name+": a taker that died gets its own message again, and nobody else does", func(t *testing.T) {
		before := d.counts(t)
		d.send(t, "five")
		d.send(t, "six")
		dead := d.open(t, "fay")
		take(t, dead, "five")
		if err := dead.Close(); err != nil {
			t.Fatal(err)
		}
		six := take(t, d.open(t, "gil"), "six")
		if _, err := d.open(t, "hal").Take(t.Context(), 0); !errors.Is(err, inbox.ErrEmpty) {
			t.Fatalf("another's message: %v, want ErrEmpty", err)
		}
		five := take(t, d.open(t, "fay"), "five")
		d.shows(t, counts{Held: 2, Failed: before.Failed})
		settle(t, five, inbox.Done)
		settle(t, six, inbox.Done)
		d.shows(t, counts{Failed: before.Failed})
	})
	t.Run(name+": settling again, when the answer was lost, does nothing more", func(t *testing.T) {
		before := d.counts(t)
		d.send(t, "same")
		d.send(t, "same")
		ivy, jon := take(t, d.open(t, "ivy"), "same"), take(t, d.open(t, "jon"), "same")
		for range 2 {
			settle(t, ivy, inbox.GivenBack)
		}
		d.shows(t, counts{Waiting: 1, Held: 1, Failed: before.Failed})
		settle(t, take(t, d.open(t, "ivy"), "same"), inbox.Done)
		settle(t, jon, inbox.Done)
		d.shows(t, counts{Failed: before.Failed})
	})
}

func TestABrokerThatIsAwayIsWaitedForUntilPatienceEnds(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	address := server.Addr()
	d := redisDesks(t, "redis://"+address)["a Redis list with a processing list"]
	d.settings.Patience = time.Minute
	box := d.open(t, "ann")
	d.send(t, "one")
	server.SetError("LOADING Redis is loading the dataset in memory")
	time.AfterFunc(300*time.Millisecond, func() { server.SetError("") })
	message := take(t, box, "one")

	server.Close()
	time.AfterFunc(300*time.Millisecond, func() { _ = server.Restart() })
	settle(t, message, inbox.Done)
	d.shows(t, counts{})

	server.Close()
	d.settings.Patience = 300 * time.Millisecond
	if _, err := d.open(t, "ann").Take(t.Context(), 0); !errors.Is(err, inbox.ErrUnreachable) || errors.Is(err, inbox.ErrRefused) {
		t.Errorf("%v, want ErrUnreachable", err)
	}
	s := inbox.Settings{URI: "amqp://guest:guest@" + address, Queue: "q", Patience: 300 * time.Millisecond}
	if _, err := openWith(t, s).Take(t.Context(), 0); !errors.Is(err, inbox.ErrUnreachable) {
		t.Errorf("%v, want ErrUnreachable", err)
	}
}

func TestAnAttemptUnderWayIsNotBrokenOff(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	err := inbox.Persist(ctx, time.Minute, func(attempt context.Context) error {
		cancel()
		return attempt.Err()
	})
	if err != nil {
		t.Errorf("it ended with %v, and what it came to is not known", err)
	}
}
