package redis_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/redis"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/triggertest"
	"github.com/longhaul-dev/longhaul/test/fixture/broker"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

func TestEachKindIsReadAsItIs(t *testing.T) {
	t.Parallel()
	server := shared.Redis(t)
	client := server.Client()
	t.Cleanup(func() { client.Close() })
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			triggertest.Run(t, dialect(client, k, settingsFor(server.Address())))
		})
	}
}

func TestReadingGoesOnWhenTheServerIsBack(t *testing.T) {
	t.Parallel()
	server := brokertest.StartRedis(t, broker.RedisOptions{})
	client := server.Client()
	t.Cleanup(func() { client.Close() })
	dialects := map[string]triggertest.Dialect{}
	for name, k := range kinds {
		dialects[name] = dialect(client, k, settingsFor(server.Address()))
	}
	triggertest.Outage(t, dialects, server.Stop, server.Start)
}

func TestAnEmbeddedServerIsReadAsAnyOther(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr()})
	t.Cleanup(func() { client.Close() })
	for _, name := range []string{"a list", "a list with a processing list"} {
		d := dialect(client, kinds[name], settingsFor(server.Addr()))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			triggertest.Run(t, d)
		})
	}
	t.Run("outage", func(t *testing.T) {
		t.Parallel()
		server := miniredis.RunT(t)
		client := goredis.NewClient(&goredis.Options{Addr: server.Addr()})
		t.Cleanup(func() { client.Close() })
		triggertest.Outage(t,
			map[string]triggertest.Dialect{"a list": dialect(client, kind{}, settingsFor(server.Addr()))},
			func() error { server.Close(); return nil },
			func(context.Context) error { return server.Restart() })
	})
}

func TestAClusterIsReadWhereverItsKeysAre(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartRedisCluster(t, broker.RedisOptions{Password: "s3cret"})
	client := cluster.Client()
	t.Cleanup(func() { client.Close() })
	s := settingsFor(cluster.Addresses()[0]).withPassword("", "s3cret")
	s.connection.Cluster = new(true)
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			triggertest.Run(t, dialect(client, k, s))
		})
	}
	triggertest.Silent(t, func(t *testing.T, address string) trigger.Source {
		t.Helper()
		return s.at(address).source(t, kind{}, "videos")
	})
}

func TestSentinelsAreAskedForTheMaster(t *testing.T) {
	t.Parallel()
	sentinels := brokertest.StartSentinels(t, broker.RedisOptions{Password: "s3cret"})
	s := settingsFor(sentinels.Addresses()...).withPassword("", "s3cret")
	s.connection.SentinelMaster = sentinels.MasterName
	client := goredis.NewFailoverClient(&goredis.FailoverOptions{
		MasterName: sentinels.MasterName, SentinelAddrs: sentinels.Addresses(), Password: "s3cret",
	})
	t.Cleanup(func() { client.Close() })
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			triggertest.Run(t, dialect(client, k, s))
		})
	}
	triggertest.Silent(t, func(t *testing.T, address string) trigger.Source {
		t.Helper()
		return s.at(address).source(t, kind{}, "videos")
	})
}

func TestWhoIsKnownByCertificatesAndAPasswordIsReadOverTLS(t *testing.T) {
	t.Parallel()
	certificates := brokertest.Certificates(t)
	server := brokertest.StartRedis(t, broker.RedisOptions{
		TLS: certificates, RequireClientCertificate: true, Password: "s3cret",
	})
	client := server.Client()
	t.Cleanup(func() { client.Close() })
	s := settingsFor(server.Address()).withPassword("", "s3cret").withCertificates(t, certificates)
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			triggertest.Run(t, dialect(client, k, s))
		})
	}
	silent := func(t *testing.T, address string) trigger.Source {
		t.Helper()
		return s.at(address).source(t, kind{}, "videos")
	}
	triggertest.Silent(t, silent)
	triggertest.FallsSilent(t, server.Address(), silent)
}

func TestClustersAndSentinelsAreReadOverTLS(t *testing.T) {
	t.Parallel()
	certificates := brokertest.Certificates(t)
	options := broker.RedisOptions{TLS: certificates, RequireClientCertificate: true}
	t.Run("a cluster", func(t *testing.T) {
		t.Parallel()
		cluster := brokertest.StartRedisCluster(t, options)
		client := cluster.Client()
		t.Cleanup(func() { client.Close() })
		s := settingsFor(cluster.Addresses()...).withCertificates(t, certificates)
		triggertest.Run(t, dialect(client, kind{processing: true}, s))
	})
	t.Run("Sentinels", func(t *testing.T) {
		t.Parallel()
		sentinels := brokertest.StartSentinels(t, options)
		client := sentinels.Nodes[0].Client()
		t.Cleanup(func() { client.Close() })
		s := settingsFor(sentinels.Addresses()...).withCertificates(t, certificates)
		s.connection.SentinelMaster = sentinels.MasterName
		triggertest.Run(t, dialect(client, kind{processing: true}, s))
		// Many at once: what is left of one's handshake must not look like the end of its connection.
		for range 100 {
			t.Run("among others", func(t *testing.T) {
				t.Parallel()
				source := s.source(t, kind{}, "videos")
				read(t, open(t, source), source)
			})
		}
	})
}

func TestASilentServerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	server := shared.Redis(t)
	source := func(t *testing.T, address string) trigger.Source {
		t.Helper()
		return settingsFor(address).source(t, kind{processing: true}, "videos")
	}
	triggertest.Silent(t, source)
	triggertest.FallsSilent(t, server.Address(), source)
}

// TestASilentServerIsReportedInTheSameWordsEachTime: other words would be news to everybody who waits for it.
func TestASilentServerIsReportedInTheSameWordsEachTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		addresses []string
		patience  []time.Duration
	}{
		// More than the library's own, and little, in which many things end at once.
		"a server": {[]string{silent(t)}, append(slices.Repeat([]time.Duration{100 * time.Millisecond}, 50), 6*time.Second)},
		"a cluster": {
			[]string{silent(t), silent(t), silent(t)}, slices.Repeat([]time.Duration{100 * time.Millisecond}, 50),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := settingsFor(c.addresses...).source(t, kind{}, "videos")
			said := make(chan string)
			for _, patience := range c.patience {
				go func() {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					_, err := source.Open(ctx)
					said <- fmt.Sprint(err)
				}()
			}
			endpoint, _, _ := strings.Cut(source.Endpoint, " sha256:")
			want := "connecting to " + endpoint + ": no answer in time: context deadline exceeded"
			for range c.patience {
				if got := <-said; got != want {
					t.Errorf("it says %q, want %q", got, want)
				}
			}
		})
	}
}

func TestAClusterThatIsDownIsReportedInTheSameWordsEachTime(t *testing.T) {
	t.Parallel()
	source := settingsFor("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3").source(t, kind{}, "videos")
	const want = "connecting to redis://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3 (cluster): dial tcp: connect: connection refused"
	for range 20 {
		if _, err := source.Open(t.Context()); err == nil || err.Error() != want {
			t.Fatalf("it says %q, want %q", err, want)
		}
	}
}

// silent is the address of a server that accepts connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

func TestThoseWhoAreNotLetInAreToldWhy(t *testing.T) {
	t.Parallel()
	const password, wrong = `s3cret/100% "`, `wr0ng@/%: "`
	server := brokertest.StartRedis(t, broker.RedisOptions{
		Password: password,
		Users:    []string{"reader on >hers ~mine* resetchannels -@all " + rightsForLists},
	})
	secrets := []string{password, wrong, url.QueryEscape(password), url.QueryEscape(wrong), "hers", "reader"}
	s := settingsFor(server.Address())
	for name, c := range map[string]struct {
		settings settings
		words    string
	}{
		"without a password":          {s, "NOAUTH"},
		"with a wrong one":            {s.withPassword("", wrong), "WRONGPASS"},
		"with a user's wrong one":     {s.withPassword("reader", wrong), "WRONGPASS"},
		"as nobody":                   {s.withPassword("nobody", wrong), "WRONGPASS"},
		"to keys of somebody else":    {s.withPassword("reader", "hers"), "NOPERM"},
		"where nobody listens":        {settingsFor("127.0.0.1:1").withPassword("", password), "connection refused"},
		"at a host that is not there": {settingsFor("redis.invalid:6379").withPassword("", password), "lookup redis.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.words == "NOPERM" {
				source := c.settings.source(t, kind{}, "others")
				if result := read(t, open(t, source), source)[0]; result.Err == nil || !strings.Contains(result.Err.Error(), c.words) {
					t.Errorf("the reading shows %+v, want an error with %s", result, c.words)
				}
				return
			}
			triggertest.Refused(t, c.settings.source(t, kind{}, "mine"), c.words, secrets...)
		})
	}
}

func TestAServerThatLetsNobodyInAnyMoreHasNoEmptyLists(t *testing.T) {
	t.Parallel()
	server := brokertest.StartRedis(t, broker.RedisOptions{Password: "s3cret"})
	client := server.Client()
	t.Cleanup(func() { client.Close() })
	s := settingsFor(server.Address()).withPassword("", "s3cret")
	source := s.source(t, kind{processing: true}, "videos")
	reader := open(t, source)
	read(t, reader, source)

	must(t, client.ConfigSet(t.Context(), "requirepass", "changed").Err())
	must(t, client.ClientKillByFilter(t.Context(), "type", "normal").Err()) // all but this one
	results, err := reader.Read(t.Context(), []trigger.Queue{source.Queue})
	if err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("the reading shows %+v, %v, want an error with WRONGPASS", results, err)
	}
}

func TestWhoCannotShowCertificatesIsRefused(t *testing.T) {
	t.Parallel()
	certificates := brokertest.Certificates(t)
	server := brokertest.StartRedis(t, broker.RedisOptions{TLS: certificates, RequireClientCertificate: true})
	s := settingsFor(server.Address()).withCertificates(t, certificates)
	otherName := *s.connection.TLS
	otherName.ServerName = "redis.invalid"
	for name, c := range map[string]struct {
		tls   *v1alpha1.TLS
		words string
	}{
		"without the CA":           {&v1alpha1.TLS{Certificate: ref("tls.crt"), Key: ref("tls.key")}, "certificate signed by unknown authority"},
		"without a certificate":    {&v1alpha1.TLS{CA: ref("ca.crt")}, "tls: certificate required"},
		"for a server with a name": {&otherName, "certificate is valid for localhost, not redis.invalid"},
		"without TLS":              {nil, "connection reset by peer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused := s
			refused.connection.TLS = c.tls
			for range 30 { // what is said must not depend on who is quicker
				triggertest.Refused(t, refused.source(t, kind{}, "videos"), c.words)
			}
		})
	}
}

func TestAHundredQueuesAreReadOverOneConnection(t *testing.T) {
	t.Parallel()
	server := brokertest.StartRedis(t, broker.RedisOptions{})
	client := server.Client()
	t.Cleanup(func() { client.Close() })
	s := settingsFor(server.Address())
	var sources []trigger.Source
	for i := range 100 {
		name := fmt.Sprintf("videos-%d", i)
		for range i % 3 {
			must(t, client.RPush(t.Context(), name, "message").Err())
		}
		sources = append(sources, s.source(t, kind{}, name))
	}
	reader := open(t, sources[0])
	for range 2 {
		for i, result := range read(t, reader, sources...) {
			if result.Err != nil || result.Backlog.Waiting != int64(i%3) {
				t.Errorf("list %d: %+v, want %d waiting", i, result, i%3)
			}
		}
	}
	clients, err := client.ClientList(t.Context()).Result()
	must(t, err)
	if connections := strings.Count(clients, " name=longhaul "); connections != 1 {
		t.Errorf("the server counts %d connections, want 1:\n%s", connections, clients)
	}
}

func TestAConnectionThatTheServerClosedWhileItLayIdleIsReplaced(t *testing.T) {
	t.Parallel()
	server := brokertest.StartRedis(t, broker.RedisOptions{})
	client := server.Client()
	t.Cleanup(func() { client.Close() })
	source := settingsFor(server.Address()).source(t, kind{}, "videos")
	reader := open(t, source)
	for range 3 {
		read(t, reader, source)
		// Of all but this one.
		if closed, err := client.ClientKillByFilter(t.Context(), "type", "normal").Result(); err != nil || closed != 1 {
			t.Fatalf("the server closes %d connections, %v, want 1", closed, err)
		}
	}
	read(t, reader, source)
	if sockets := redis.OpenSockets(reader); sockets != 1 {
		t.Errorf("it holds %d sockets, want 1", sockets)
	}
}

// TestHeldIsReadBeforeWaiting: the other way round, a message that is taken between the two would count twice.
func TestHeldIsReadBeforeWaiting(t *testing.T) {
	t.Parallel()
	server := brokertest.StartRedis(t, broker.RedisOptions{})
	client := server.Client()
	t.Cleanup(func() { client.Close() })
	must(t, client.XGroupCreateMkStream(t.Context(), "films", group, "0").Err())
	s := settingsFor(server.Address())
	list, stream := s.source(t, kind{processing: true}, "videos"), s.source(t, kind{stream: true}, "films")
	reader := open(t, list)
	must(t, client.Do(t.Context(), "config", "set", "slowlog-log-slower-than", 0).Err()) // logs every command
	read(t, reader, list, stream)
	logged, err := client.SlowLogGet(t.Context(), -1).Result()
	must(t, err)
	var asked []string
	for _, entry := range slices.Backward(logged) { // the newest is the first
		if entry.ClientName == "longhaul" {
			asked = append(asked, strings.Join(entry.Args, " "))
		}
	}
	want := []string{"llen " + processingList("videos"), "llen videos", "xinfo groups films", "xinfo stream films"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("the server is asked (-want +got):\n%s", diff)
	}
}

func TestEachDatabaseIsReadForItself(t *testing.T) {
	t.Parallel()
	server := shared.Redis(t)
	name := brokertest.Unique("list")
	for database := range int32(3) {
		client := goredis.NewClient(&goredis.Options{Addr: server.Address(), DB: int(database)})
		t.Cleanup(func() { client.Close() })
		t.Cleanup(func() { client.Del(t.Context(), name) })
		for range database + 1 {
			must(t, client.RPush(t.Context(), name, "message").Err())
		}
	}
	for database := range int32(3) {
		s := settingsFor(server.Address())
		s.connection.Database = &database
		source := s.source(t, kind{}, name)
		if got := read(t, open(t, source), source)[0]; got.Backlog.Waiting != int64(database+1) {
			t.Errorf("database %d: %+v, want %d waiting", database, got, database+1)
		}
	}
}
