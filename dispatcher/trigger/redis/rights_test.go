package redis_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/test/fixture/broker"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

// What the documents say that the manager needs. AUTH and HELLO are anybody's.
const (
	rightsForLists     = "+ping +client|setname +llen"
	rightsForStreams   = "+ping +client|setname +xinfo +xrange"
	rightsForDatabases = "+select"
	rightsForClusters  = "+cluster|slots +asking"
	rightsForSentinels = "&+switch-master &+replica-reconf-done +ping +client|setname +subscribe " +
		"+sentinel|get-master-addr-by-name +sentinel|sentinels"
)

func TestTheDocumentsSayWhichRightsAreNeeded(t *testing.T) {
	t.Parallel()
	for document, rights := range map[string]string{
		"redis-list.md": rightsForLists, "redis-stream.md": rightsForStreams,
	} {
		text := content(t, "../../../docs/triggers/"+document)
		for _, r := range []string{rights, rightsForDatabases, rightsForClusters, rightsForSentinels} {
			if !strings.Contains(text, r) {
				t.Errorf("%s does not say %s", document, r)
			}
		}
	}
}

func TestNoMoreRightsAreNeededThanTheDocumentsSay(t *testing.T) {
	t.Parallel()
	users := func(more string) []string {
		return []string{
			"lists on >hers ~videos* resetchannels -@all " + rightsForLists + more,
			"streams on >hers ~films resetchannels -@all " + rightsForStreams + more,
		}
	}
	t.Run("of a server", func(t *testing.T) {
		t.Parallel()
		server := brokertest.StartRedis(t, broker.RedisOptions{Password: "s3cret", Users: users("")})
		client := server.Client()
		t.Cleanup(func() { client.Close() })
		canReadWith(t, client, settingsFor(server.Address()))
		refusedNothing(t, client)
	})
	t.Run("of another database", func(t *testing.T) {
		t.Parallel()
		server := brokertest.StartRedis(t, broker.RedisOptions{Password: "s3cret", Users: users(" " + rightsForDatabases)})
		client := goredis.NewClient(&goredis.Options{Addr: server.Address(), Password: "s3cret", DB: 3})
		t.Cleanup(func() { client.Close() })
		s := settingsFor(server.Address())
		s.connection.Database = new(int32(3))
		canReadWith(t, client, s)
		refusedNothing(t, client)
	})
	t.Run("of a cluster", func(t *testing.T) {
		t.Parallel()
		cluster := brokertest.StartRedisCluster(t, broker.RedisOptions{Password: "s3cret", Users: users(" " + rightsForClusters)})
		client := cluster.Client()
		t.Cleanup(func() { client.Close() })
		var nodes []*goredis.Client
		for _, node := range cluster.Nodes {
			client := node.Client()
			t.Cleanup(func() { client.Close() })
			nodes = append(nodes, client)
		}
		canReadWith(t, client, settingsFor(cluster.Addresses()...))
		refusedNothing(t, nodes...)
	})
	t.Run("of Sentinels", func(t *testing.T) {
		t.Parallel()
		sentinels := brokertest.StartSentinels(t, broker.RedisOptions{Password: "s3cret", SentinelPassword: "th31rs", Users: users("")})
		master, sentinel := sentinels.Nodes[0].Client(), sentinels.Sentinel.Client()
		t.Cleanup(func() { master.Close(); sentinel.Close() })
		user := []any{"acl", "setuser", "watcher", "on", ">hers", "resetchannels", "-@all"}
		for right := range strings.FieldsSeq(rightsForSentinels) {
			user = append(user, right)
		}
		must(t, sentinel.Do(t.Context(), user...).Err())
		s := settingsFor(sentinels.Addresses()...).withSentinelPassword("watcher", "hers")
		s.connection.SentinelMaster = sentinels.MasterName
		canReadWith(t, master, s)
		eventually(t, func() error { // it subscribes beside the reading
			clients, err := sentinel.ClientList(t.Context()).Result()
			if err == nil && strings.Count(clients, " sub=2 ") != 2 {
				err = fmt.Errorf("not both readers subscribe to the Sentinel:\n%s", clients)
			}
			return err
		})
		refusedNothing(t, master, sentinel)
	})
}

// canReadWith checks that lists and streams are read as the users of these names.
func canReadWith(t *testing.T, client goredis.UniversalClient, s settings) {
	t.Helper()
	films := stream{client: client, name: "films"}
	must(t, films.Create(t.Context()))
	must(t, films.put(t.Context(), 5))
	must(t, films.Take(t.Context()))
	must(t, client.XTrimMaxLen(t.Context(), films.name, 4).Err())
	must(t, films.Take(t.Context())) // now they have to be counted
	must(t, client.RPush(t.Context(), "videos", "message").Err())
	must(t, client.RPush(t.Context(), processingList("videos"), "message").Err())

	for user, c := range map[string]struct {
		kind  kind
		queue string
		want  trigger.Result
	}{
		"lists":   {kind{processing: true}, "videos", live(1, 1)},
		"streams": {kind{stream: true}, "films", live(3, 2)},
	} {
		source := s.withPassword(user, "hers").source(t, c.kind, c.queue)
		if diff := cmp.Diff(c.want, read(t, open(t, source), source)[0]); diff != "" {
			t.Errorf("as the user %s, the reading (-want +got):\n%s", user, diff)
		}
	}
}

// refusedNothing checks that no server refused anybody anything.
func refusedNothing(t *testing.T, servers ...*goredis.Client) {
	t.Helper()
	for _, server := range servers {
		refused, err := server.ACLLog(t.Context(), 10).Result()
		must(t, err)
		for _, entry := range refused {
			t.Errorf("%s refuses %s to %s", server.Options().Addr, entry.Object, entry.Username)
		}
	}
}
