package redis_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/triggertest"
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

func TestSentinelsThatAskForAPasswordSayWhichFieldToSet(t *testing.T) {
	t.Parallel()
	const password, ofSentinels, wrong = "s3cret", "th31rs", "wr0ng"
	sentinels := brokertest.StartSentinels(t, broker.RedisOptions{Password: password, SentinelPassword: ofSentinels})
	s := settingsFor(sentinels.Addresses()...).withPassword("", password)
	s.connection.SentinelMaster = sentinels.MasterName
	for name, settings := range map[string]settings{
		"a password":            s.withSentinelPassword("", ofSentinels),
		"a user and a password": s.withSentinelPassword("default", ofSentinels),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := settings.source(t, kind{}, "videos")
			if result := read(t, open(t, source), source)[0]; result.Err != nil {
				t.Error(result.Err)
			}
		})
	}

	const (
		none  = "they ask for a password: set sentinelPassword: NOAUTH"
		other = "they do not take the password: correct sentinelPassword or sentinelUsername: WRONGPASS"
	)
	another := s.withSentinelPassword("", ofSentinels)
	another.connection.SentinelMaster = "another"
	for name, c := range map[string]struct {
		settings settings
		words    string
	}{
		"without a password":            {s, none},
		"with a wrong one":              {s.withSentinelPassword("", wrong), other},
		"with the master's":             {s.withSentinelPassword("", password), other},
		"as nobody":                     {s.withSentinelPassword("nobody", ofSentinels), other},
		"with a master's wrong one":     {s.withPassword("", wrong).withSentinelPassword("", ofSentinels), "longhaul): WRONGPASS"},
		"to a master that is not known": {another, "they know no master of this name: correct sentinelMaster"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			triggertest.Refused(t, c.settings.source(t, kind{}, "videos"), c.words, password, ofSentinels, wrong)
		})
	}
}

func TestSentinelsThatAreDownAreReportedInTheSameWordsEachTime(t *testing.T) {
	t.Parallel()
	s := settingsFor("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
	s.connection.SentinelMaster = "main"
	source := s.source(t, kind{}, "videos")
	const want = "connecting to redis://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/0 (Sentinel master main): " +
		"no Sentinel tells which server is the master: dial tcp 127.0.0.1:1: connect: connection refused; " +
		"dial tcp 127.0.0.1:2: connect: connection refused; dial tcp 127.0.0.1:3: connect: connection refused"
	for range 20 {
		if _, err := source.Open(t.Context()); err == nil || err.Error() != want {
			t.Fatalf("it says %q, want %q", err, want)
		}
	}
}

func TestOneSentinelThatHangsHidesNothing(t *testing.T) {
	t.Parallel()
	sentinels := brokertest.StartSentinels(t, broker.RedisOptions{})
	s := settingsFor(silent(t), sentinels.Addresses()[0])
	s.connection.SentinelMaster = sentinels.MasterName
	source := s.source(t, kind{}, "videos")
	read(t, open(t, source), source)
}

func TestOneServerOfAClusterThatIsDownHidesOnlyItsOwnKeys(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		down func(*broker.Redis) error
		up   func(context.Context, *broker.Redis) error
	}{
		"when it crashes": {(*broker.Redis).Kill, func(ctx context.Context, r *broker.Redis) error { return r.Start(ctx) }},
		"when it hangs":   {(*broker.Redis).Pause, func(_ context.Context, r *broker.Redis) error { return r.Resume() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := brokertest.StartRedisCluster(t, broker.RedisOptions{Args: []string{"--cluster-require-full-coverage", "no"}})
			sources, servers := listsOf(t, cluster)
			reader := open(t, sources[0])
			read(t, reader, sources...)

			down := cluster.Nodes[2]
			must(t, c.down(down))
			t.Cleanup(func() { _ = down.Resume() })
			said := map[string]bool{}
			for i := range 3 {
				if i == 2 {
					reader = open(t, sources[0])
				}
				begun := time.Now()
				results := read(t, reader, sources...)
				if took := time.Since(begun); took > attempt-3*time.Second {
					t.Errorf("reading takes %s, which leaves no time to connect before", took)
				}
				for j, result := range results {
					name := fmt.Sprintf("list %q", sources[j].Queue.Name)
					switch {
					case servers[j] != down.Address() && (result.Err != nil || result.Backlog.Waiting != 1):
						t.Errorf("%s, whose server is up: %+v, want 1 waiting", name, result)
					case servers[j] == down.Address() && (result.Err == nil || !strings.Contains(result.Err.Error(), name)):
						t.Errorf("%s, whose server is down: %+v, want an error that names it", name, result)
					case servers[j] == down.Address():
						said[strings.ReplaceAll(result.Err.Error(), name, "list")] = true
					}
				}
			}
			if len(said) != 1 {
				t.Errorf("of the server that is down it says %v, want the same each time", said)
			}

			must(t, c.up(t.Context(), down))
			eventually(t, func() error {
				var failed []error
				for _, result := range read(t, reader, sources...) {
					failed = append(failed, result.Err)
				}
				return errors.Join(failed...)
			})
		})
	}
}

func TestAClusterIsReadAsLongAsAnyServerAnswers(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartRedisCluster(t, broker.RedisOptions{Args: []string{
		"--cluster-require-full-coverage", "no", "--cluster-allow-reads-when-down", "yes",
	}})
	sources, servers := listsOf(t, cluster)
	for _, up := range cluster.Nodes {
		for _, node := range cluster.Nodes {
			if node != up {
				must(t, node.Kill())
			}
		}
		for i, result := range read(t, open(t, sources[0]), sources...) {
			if servers[i] == up.Address() && (result.Err != nil || result.Backlog.Waiting != 1) {
				t.Errorf("list %d, whose server is up: %+v, want 1 waiting", i, result)
			}
		}
		must(t, cluster.Start(t.Context()))
	}
}

// listsOf makes lists on all servers of a cluster, with a message in each, and says on which server each is.
func listsOf(t *testing.T, cluster *broker.RedisCluster) (sources []trigger.Source, servers []string) {
	t.Helper()
	client := cluster.Client()
	t.Cleanup(func() { client.Close() })
	s := settingsFor(cluster.Addresses()...)
	for i := range 12 {
		name := fmt.Sprintf("videos-%d", i)
		must(t, client.RPush(t.Context(), name, "message").Err())
		sources = append(sources, s.source(t, kind{}, name))
		master, err := client.MasterForKey(t.Context(), name)
		must(t, err)
		servers = append(servers, master.Options().Addr)
	}
	for _, node := range cluster.Nodes {
		if !slices.Contains(servers, node.Address()) {
			t.Fatalf("the lists are on %v, want all three servers", servers)
		}
	}
	return sources, servers
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
