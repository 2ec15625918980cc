package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/test/fixture/broker"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

func TestReadingFollowsTheMaster(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(context.Context, *broker.Sentinels) error{
		"when it crashes": func(_ context.Context, s *broker.Sentinels) error { return s.Nodes[0].Kill() },
		"when another is made master, and it lives on": func(ctx context.Context, s *broker.Sentinels) error {
			sentinel := s.SentinelClient()
			defer sentinel.Close()
			return sentinel.Failover(ctx, s.MasterName).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sentinels := brokertest.StartSentinels(t, broker.RedisOptions{})
			s := settingsFor(sentinels.Addresses()...)
			s.connection.SentinelMaster = sentinels.MasterName
			source := s.source(t, kind{}, "videos")
			first, second := sentinels.Nodes[0].Client(), sentinels.Nodes[1].Client()
			t.Cleanup(func() { first.Close(); second.Close() })
			must(t, first.RPush(t.Context(), "videos", "message").Err())
			if copies, err := first.Wait(t.Context(), 1, 10*time.Second).Result(); err != nil || copies != 1 {
				t.Fatalf("the replica has no copy of the message: %d, %v", copies, err)
			}
			r := &reopened{source: source}
			t.Cleanup(r.close)
			eventually(t, func() error { return r.shows(t.Context(), 1) })

			must(t, change(t.Context(), sentinels))
			eventually(t, func() error {
				master, err := sentinels.Master(t.Context())
				if err == nil && master != sentinels.Nodes[1] {
					err = errors.New("the master is the first")
				}
				return err
			})
			eventually(t, func() error {
				if err := r.shows(t.Context(), 1); err != nil {
					return err
				}
				clients, err := second.ClientList(t.Context()).Result()
				if err == nil && !strings.Contains(clients, " name=longhaul ") {
					err = errors.New("it is not the second that is read")
				}
				return err
			})
			must(t, second.RPush(t.Context(), "videos", "message").Err())
			must(t, r.shows(t.Context(), 2))
		})
	}
}

func TestOneServerOfAClusterThatIsDownHidesOnlyItsOwnKeys(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartRedisCluster(t, broker.RedisOptions{Args: []string{"--cluster-require-full-coverage", "no"}})
	client := cluster.Client()
	t.Cleanup(func() { client.Close() })
	s := settingsFor(cluster.Addresses()...)
	var sources []trigger.Source
	on := map[string][]int{} // the lists of each server
	for i := range 12 {
		name := fmt.Sprintf("videos-%d", i)
		must(t, client.RPush(t.Context(), name, "message").Err())
		sources = append(sources, s.source(t, kind{}, name))
		master, err := client.MasterForKey(t.Context(), name)
		must(t, err)
		on[master.Options().Addr] = append(on[master.Options().Addr], i)
	}
	if len(on) != 3 {
		t.Fatalf("the lists are on %v, want all three servers", on)
	}
	reader := open(t, sources[0])
	read(t, reader, sources...)

	down := cluster.Nodes[2]
	must(t, down.Kill())
	results := read(t, reader, sources...)
	for address, lists := range on {
		for _, i := range lists {
			err := results[i].Err
			switch {
			case address != down.Address() && (err != nil || results[i].Backlog.Waiting != 1):
				t.Errorf("list %d, whose server is up: %+v, want 1 waiting", i, results[i])
			case address == down.Address() && (err == nil || !strings.Contains(err.Error(), sources[i].Queue.Name)):
				t.Errorf("list %d, whose server is down: %+v, want an error that names it", i, results[i])
			}
		}
	}
	must(t, down.Start(t.Context()))
	eventually(t, func() error {
		var failed []error
		for _, result := range read(t, reader, sources...) {
			failed = append(failed, result.Err)
		}
		return errors.Join(failed...)
	})
}

// reopened is a reader that is opened again when a reading fails, as the meter does it.
type reopened struct {
	source trigger.Source
	reader trigger.Reader
}

func (r *reopened) shows(ctx context.Context, waiting int64) (err error) {
	if r.reader == nil {
		if r.reader, err = r.source.Open(ctx); err != nil {
			return err
		}
	}
	results, err := r.reader.Read(ctx, []trigger.Queue{r.source.Queue})
	if err != nil {
		r.close()
		return err
	}
	if results[0].Err == nil && results[0].Backlog.Waiting != waiting {
		return fmt.Errorf("%d wait, want %d", results[0].Backlog.Waiting, waiting)
	}
	return results[0].Err
}

func (r *reopened) close() {
	if r.reader != nil {
		_ = r.reader.Close()
		r.reader = nil
	}
}

// eventually waits for what comes to be.
func eventually(t *testing.T, is func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for err := is(); err != nil; err = is() {
		if time.Now().After(deadline) {
			t.Fatalf("after 30 s: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
