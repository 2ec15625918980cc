package inbox_test

import (
	"errors"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/inbox"
)

func TestAPendingEntryThatWasDeletedIsPassedOver(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	passesOverDeleted(t, redisDesks(t, "redis://"+server.Addr())["a Redis stream"], client)
}

func passesOverDeleted(t *testing.T, d desk, client *redis.Client) {
	t.Helper()
	before := d.counts(t)
	d.send(t, "one")
	take(t, d.open(t, "ann"), "one")
	entries, err := client.XRevRangeN(t.Context(), "stream", "+", "-", 1).Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.XDel(t.Context(), "stream", entries[0].ID).Err(); err != nil {
		t.Fatal(err)
	}
	d.send(t, "two")
	settle(t, take(t, d.open(t, "ann"), "two"), inbox.Done)
	d.shows(t, counts{Failed: before.Failed})
}

func TestATakerThatHoldsSeveralEntriesGetsThemOneByOne(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	d := redisDesks(t, "redis://"+server.Addr())["a Redis stream"]
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	d.send(t, "one")
	d.send(t, "two")
	all := &redis.XReadGroupArgs{Group: "group", Consumer: "ann", Streams: []string{"stream", ">"}}
	if err := client.XReadGroup(t.Context(), all).Err(); err != nil {
		t.Fatal(err)
	}
	d.shows(t, counts{Held: 2})
	for _, body := range []string{"one", "two"} {
		settle(t, take(t, d.open(t, "ann"), body), inbox.Done)
	}
	d.shows(t, counts{})
}

func TestAStreamForgetsTakersThatHoldNothing(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	d := redisDesks(t, "redis://"+server.Addr())["a Redis stream"]
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	d.send(t, "one")
	d.send(t, "two")
	settle(t, take(t, d.open(t, "ann"), "one"), inbox.Done)
	take(t, d.open(t, "bob"), "two")
	if _, err := d.open(t, "cem").Take(t.Context(), 0); !errors.Is(err, inbox.ErrEmpty) {
		t.Fatal(err)
	}
	consumers, err := client.XInfoConsumers(t.Context(), "stream", "group").Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(consumers) != 1 || consumers[0].Name != "bob" {
		t.Errorf("consumers %+v, want bob alone", consumers)
	}
}

func TestAnEntryMayHaveAnyFieldIfItHasOne(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	d := redisDesks(t, "redis://"+server.Addr())["a Redis stream"]
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	for _, fields := range [][]string{{"payload", "one"}, {"a", "x", "b", "y"}} {
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: "stream", Values: fields}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, take(t, d.open(t, "ann"), "one"), inbox.Done)
	settle(t, take(t, d.open(t, "ann"), ""), inbox.Rejected)
	failed, err := client.XRange(t.Context(), "stream:failed", "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]any{"a": "x", "b": "y"}; len(failed) != 1 || cmp.Diff(want, failed[0].Values) != "" {
		t.Errorf("failed %v, want the entry as it was, %v", failed, want)
	}
}
