package redis_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/redis"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

func TestSettingsThatCannotBeUsedSayWhichFieldAndWhatToDo(t *testing.T) {
	t.Parallel()
	in := secrets{"username": "worker", "password": "s3cret", "empty": "", "none": "s3cret"}
	type connection = v1alpha1.RedisConnection
	one, two := []string{"redis:6379"}, []string{"redis-0:6379", "redis-1:6379"}
	const database = "FIELD.database is 3, and a Redis cluster, which FIELD.addresses with more than one are taken for, " +
		"has database 0 only: remove database, or name one address or a sentinelMaster"
	for name, c := range map[string]struct {
		connection connection
		want       string
	}{
		"a server":                 {connection{Addresses: one}, ""},
		"a database":               {connection{Addresses: one, Database: new(int32(3))}, ""},
		"a password":               {connection{Addresses: one, Password: ref("password")}, ""},
		"a user":                   {connection{Addresses: one, Username: ref("username"), Password: ref("password")}, ""},
		"TLS":                      {connection{Addresses: one, TLS: &v1alpha1.TLS{}}, ""},
		"a cluster":                {connection{Addresses: two}, ""},
		"a cluster's database":     {connection{Addresses: two, Database: new(int32(3))}, database},
		"the database of sentinel": {connection{Addresses: two, Database: new(int32(3)), SentinelMaster: "main"}, ""},
		"a user without a password": {
			connection{Addresses: one, Username: ref("username")},
			"FIELD.username is set without FIELD.password: set both, or remove username",
		},
		"a user with an empty password": {
			connection{Addresses: one, Username: ref("username"), Password: ref("empty")},
			"FIELD.username is set without FIELD.password: set both, or remove username",
		},
		"a Sentinels' password": {connection{Addresses: two, SentinelMaster: "main", SentinelPassword: ref("password")}, ""},
		"a Sentinels' user": {
			connection{
				Addresses: two, SentinelMaster: "main", SentinelUsername: ref("username"), SentinelPassword: ref("password"),
			}, "",
		},
		"a Sentinels' user without a password of theirs": {
			connection{Addresses: two, SentinelMaster: "main", Password: ref("password"), SentinelUsername: ref("username")},
			"FIELD.sentinelUsername is set without FIELD.sentinelPassword: set both, or remove sentinelUsername",
		},
		"a missing user of the Sentinels": {
			connection{
				Addresses: two, SentinelMaster: "main", SentinelUsername: ref("missing"), SentinelPassword: ref("password"),
			},
			`FIELD.sentinelUsername: key "missing" of Secret "broker" does not exist`,
		},
		"a missing password of the Sentinels": {
			connection{Addresses: two, SentinelMaster: "main", SentinelPassword: ref("missing")},
			`FIELD.sentinelPassword: key "missing" of Secret "broker" does not exist`,
		},
		"a missing user": {
			connection{Addresses: one, Username: ref("missing"), Password: ref("password")},
			`FIELD.username: key "missing" of Secret "broker" does not exist`,
		},
		"a missing password": {
			connection{Addresses: one, Password: ref("missing")},
			`FIELD.password: key "missing" of Secret "broker" does not exist`,
		},
		"a CA that is none": {
			connection{Addresses: one, TLS: &v1alpha1.TLS{CA: ref("none")}},
			`FIELD.tls.ca: key "none" of Secret "broker" holds no certificate: put certificates in PEM there`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, ofList := redis.ListSource(&v1alpha1.RedisListTrigger{RedisConnection: c.connection, List: "videos"}, in.read)
			_, ofStream := redis.StreamSource(&v1alpha1.RedisStreamTrigger{RedisConnection: c.connection, Stream: "videos"}, in.read)
			for field, err := range map[string]error{"redisList": ofList, "redisStream": ofStream} {
				got := ""
				if err != nil {
					got = err.Error()
				}
				if diff := cmp.Diff(strings.ReplaceAll(c.want, "FIELD", field), got); diff != "" {
					t.Errorf("the error (-want +got):\n%s", diff)
				}
				if strings.Contains(got, "s3cret") {
					t.Errorf("the error shows a password: %s", got)
				}
			}
		})
	}
}

func TestTheEndpointNamesWhatIsReached(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		connection v1alpha1.RedisConnection
		want       string
	}{
		{v1alpha1.RedisConnection{Addresses: []string{"redis:6379"}}, "redis://redis:6379/0"},
		{v1alpha1.RedisConnection{Addresses: []string{"redis:6379"}, Database: new(int32(3))}, "redis://redis:6379/3"},
		{v1alpha1.RedisConnection{Addresses: []string{"redis:6379"}, TLS: &v1alpha1.TLS{}}, "rediss://redis:6379/0"},
		{v1alpha1.RedisConnection{Addresses: []string{"a:1", "b:2"}}, "redis://a:1,b:2 (cluster)"},
		{v1alpha1.RedisConnection{Addresses: []string{"a:1"}, Cluster: new(true)}, "redis://a:1 (cluster)"},
		{
			v1alpha1.RedisConnection{Addresses: []string{"a:1", "b:2"}, SentinelMaster: "main", Database: new(int32(2))},
			"redis://a:1,b:2/2 (Sentinel master main)",
		},
	} {
		s := settings{connection: c.connection}.withPassword("worker", "s3cret").withSentinelPassword("worker", "s3cret")
		endpoint := s.source(t, kind{}, "videos").Endpoint
		if name, _, _ := strings.Cut(endpoint, " sha256:"); name != c.want {
			t.Errorf("the endpoint is %q, want %q and a digest", endpoint, c.want)
		}
		if strings.Contains(endpoint, "worker") || strings.Contains(endpoint, "s3cret") {
			t.Errorf("the endpoint shows credentials: %s", endpoint)
		}
	}
}

func TestTriggersShareAConnectionIfAllThatItDependsOnIsTheSame(t *testing.T) {
	t.Parallel()
	certificates, others := brokertest.Certificates(t), brokertest.Certificates(t)
	base := settingsFor("10.0.0.1:6379").withPassword("worker", "s3cret").
		withSentinelPassword("sentinel's worker", "sentinel's s3cret").withCertificates(t, certificates)
	full := *base.connection.TLS
	full.ServerName = "redis"
	base.connection.TLS = &full

	list := base.source(t, kind{processing: true}, "videos")
	for _, other := range []trigger.Source{
		base.source(t, kind{}, "videos"), base.source(t, kind{}, "photos"), base.source(t, kind{stream: true}, "videos"),
	} {
		if other.Endpoint != list.Endpoint {
			t.Errorf("%+v has the endpoint %q, and another of the same server %q", other.Queue, other.Endpoint, list.Endpoint)
		}
		if other.Queue == list.Queue {
			t.Errorf("%+v stands for two", other.Queue)
		}
	}

	changed := map[string]settings{
		"the server":              base.at("10.0.0.2:6379"),
		"the user":                base.with("username", "other"),
		"the password":            base.with("password", "changed"),
		"the Sentinels' user":     base.with("sentinel username", "other"),
		"the Sentinels' password": base.with("sentinel password", "changed"),
		"the CA":                  base.with("ca.crt", content(t, others.CA)),
		"the client's certificate": base.with("tls.crt", content(t, others.ClientCert)).
			with("tls.key", content(t, others.ClientKey)),
	}
	for what, change := range map[string]func(c *v1alpha1.RedisConnection){
		"the database":          func(c *v1alpha1.RedisConnection) { c.Database = new(int32(1)) },
		"a cluster":             func(c *v1alpha1.RedisConnection) { c.Cluster = new(true) },
		"a Sentinel":            func(c *v1alpha1.RedisConnection) { c.SentinelMaster = "main" },
		"no TLS":                func(c *v1alpha1.RedisConnection) { c.TLS = nil },
		"the system's CAs":      func(c *v1alpha1.RedisConnection) { c.TLS = &v1alpha1.TLS{} },
		"the server's name":     func(c *v1alpha1.RedisConnection) { c.TLS.ServerName = "other" },
		"no client certificate": func(c *v1alpha1.RedisConnection) { c.TLS.Certificate, c.TLS.Key = nil, nil },
		"no user":               func(c *v1alpha1.RedisConnection) { c.Username = nil },
		"no password at all":    func(c *v1alpha1.RedisConnection) { c.Username, c.Password = nil, nil },
		"no user of Sentinels":  func(c *v1alpha1.RedisConnection) { c.SentinelUsername = nil },
		"none of Sentinels":     func(c *v1alpha1.RedisConnection) { c.SentinelUsername, c.SentinelPassword = nil, nil },
	} {
		s := base
		s.connection.TLS = new(full)
		change(&s.connection)
		changed[what] = s
	}
	seen := map[string]string{list.Endpoint: "nothing changed"}
	for what, s := range changed {
		endpoint := s.source(t, kind{}, "videos").Endpoint
		if before, ok := seen[endpoint]; ok {
			t.Errorf("%s: the same endpoint as with %s: %s", what, before, endpoint)
		}
		seen[endpoint] = what
	}
}
