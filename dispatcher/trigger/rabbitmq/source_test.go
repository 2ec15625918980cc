package rabbitmq_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/rabbitmq"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

func TestSettingsThatCannotBeUsedSayWhichFieldAndWhatToDo(t *testing.T) {
	t.Parallel()
	in := secrets{
		"uri": "amqp://worker:s3cret@rabbitmq/videos", "uri-tls": "amqps://worker:s3cret@rabbitmq/videos",
		"uri-heartbeat": "amqp://worker:s3cret@rabbitmq/videos?heartbeat=often", "uri-http": "http://worker:s3cret@rabbitmq",
		"management": "http://worker:s3cret@rabbitmq:15672", "management-tls": "https://worker:s3cret@rabbitmq:15672",
		"none":    "s3cret",
		"uri-255": "amqp://worker:s3cret@rabbitmq/" + strings.Repeat("v", 255),
		"uri-256": "amqp://worker:s3cret@rabbitmq/" + strings.Repeat("%C3%A9", 128),
	}
	const tlsForNothing = "rabbitmq.tls is set, but neither rabbitmq.uri begins with amqps:// nor rabbitmq.managementURI with " +
		"https://, so that nothing would be encrypted: change a URI or remove tls"
	type spec = v1alpha1.RabbitMQTrigger
	for name, c := range map[string]struct {
		spec spec
		want string
	}{
		"a URI":           {spec{URI: in.at("uri")}, ""},
		"a plain URI":     {spec{URI: v1alpha1.URISource{Value: "amqp://worker@rabbitmq"}}, ""},
		"with management": {spec{URI: in.at("uri"), ManagementURI: new(in.at("management"))}, ""},
		"another scheme": {
			spec{URI: in.at("uri-http")},
			`rabbitmq.uri: what key "uri-http" of Secret "broker" holds is not usable: ` +
				"it must begin with amqp:// or amqps:// and name a host, such as amqp://rabbitmq:5672/videos",
		},
		"a plain URI without a scheme": {
			spec{URI: v1alpha1.URISource{Value: "rabbitmq:5672"}},
			`rabbitmq.uri.value "rabbitmq:5672" is not usable: ` +
				"it must begin with amqp:// or amqps:// and name a host, such as amqp://rabbitmq:5672/videos",
		},
		"a parameter that is no number": {
			spec{URI: in.at("uri-heartbeat")},
			"rabbitmq.uri has a port or a parameter that is not a number: write it as amqp://rabbitmq:5672/videos",
		},
		"an AMQP URI for the management API": {
			spec{URI: in.at("uri"), ManagementURI: new(in.at("uri"))},
			`rabbitmq.managementURI: what key "uri" of Secret "broker" holds is not usable: ` +
				"it must begin with http:// or https:// and name a host, such as http://rabbitmq:15672",
		},
		"no URI for the management API": {
			spec{URI: in.at("uri"), ManagementURI: new(in.at("none"))},
			`rabbitmq.managementURI: what key "none" of Secret "broker" holds is not usable: ` +
				"it must begin with http:// or https:// and name a host, such as http://rabbitmq:15672",
		},
		"a missing key": {
			spec{URI: in.at("missing")},
			`rabbitmq.uri.secretKeyRef: key "missing" of Secret "broker" does not exist`,
		},
		"a missing key for the management API": {
			spec{URI: in.at("uri"), ManagementURI: new(in.at("missing"))},
			`rabbitmq.managementURI.secretKeyRef: key "missing" of Secret "broker" does not exist`,
		},
		"a CA that is none": {
			spec{URI: in.at("uri-tls"), TLS: &v1alpha1.TLS{CA: ref("none")}},
			`rabbitmq.tls.ca: key "none" of Secret "broker" holds no certificate: put certificates in PEM there`,
		},
		"TLS that encrypts nothing": {spec{URI: in.at("uri"), TLS: &v1alpha1.TLS{}}, tlsForNothing},
		"TLS that encrypts nothing of two": {
			spec{URI: in.at("uri"), ManagementURI: new(in.at("management")), TLS: &v1alpha1.TLS{}}, tlsForNothing,
		},
		"the longest names": {spec{Queue: strings.Repeat("q", 255), URI: in.at("uri-255")}, ""},
		"a queue's name of too many bytes": {
			spec{Queue: strings.Repeat("é", 128), URI: in.at("uri")},
			"rabbitmq.queue has 256 bytes, and RabbitMQ has no names of more than 255: correct it",
		},
		"a virtual host of too many bytes": {
			spec{URI: in.at("uri"), VHost: strings.Repeat("é", 128)},
			"rabbitmq.vhost has 256 bytes, and RabbitMQ has no names of more than 255: correct it",
		},
		"a virtual host of too many bytes in the URI": {
			spec{URI: in.at("uri-256")},
			"the virtual host in rabbitmq.uri has 256 bytes, and RabbitMQ has no names of more than 255: correct it",
		},
		"a virtual host in place of one of too many bytes": {spec{URI: in.at("uri-256"), VHost: "videos"}, ""},
		"TLS for AMQP":               {spec{URI: in.at("uri-tls"), TLS: &v1alpha1.TLS{}}, ""},
		"TLS for the management API": {spec{URI: in.at("uri"), ManagementURI: new(in.at("management-tls")), TLS: &v1alpha1.TLS{}}, ""},
		"TLS with the system's CAs":  {spec{URI: in.at("uri-tls")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := rabbitmq.Source(&c.spec, in.read)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("the error (-want +got):\n%s", diff)
			}
			if strings.Contains(got, "s3cret") {
				t.Errorf("the error shows a password: %s", got)
			}
		})
	}
}

func (s secrets) at(key string) v1alpha1.URISource { return v1alpha1.URISource{SecretKeyRef: ref(key)} }

func TestTheEndpointNamesTheBrokerAndTheVirtualHost(t *testing.T) {
	t.Parallel()
	const management = "http://boss:t0psecret@rabbitmq:15672/behind/a/proxy"
	for _, c := range []struct{ uri, vhost, management, want string }{
		{"amqp://rabbitmq", "", "", "rabbitmq amqp://rabbitmq/%2F"},
		{"amqp://rabbitmq/", "", "", "rabbitmq amqp://rabbitmq/%2F"},
		{"amqp://worker:s3cret@rabbitmq:5672/videos", "", "", "rabbitmq amqp://rabbitmq:5672/videos"},
		{"amqps://worker:s3cret@rabbitmq/videos%2Flong", "", "", "rabbitmq amqps://rabbitmq/videos%2Flong"},
		{"amqp://worker:s3cret@rabbitmq/videos", "others", "", "rabbitmq amqp://rabbitmq/others"},
		{"amqp://worker:s3cret@rabbitmq/videos", "a/b", "", "rabbitmq amqp://rabbitmq/a%2Fb"},
		{"amqp://worker:s3cret@rabbitmq/videos", "", management, "rabbitmq amqp://rabbitmq/videos http://rabbitmq:15672"},
		{"amqp://rabbitmq/videos?heartbeat=5", "", "", "rabbitmq amqp://rabbitmq/videos"},
	} {
		s := settings{
			spec:    v1alpha1.RabbitMQTrigger{URI: v1alpha1.URISource{SecretKeyRef: ref("uri")}, VHost: c.vhost},
			secrets: secrets{"uri": c.uri, "management": c.management},
		}
		if c.management != "" {
			s.spec.ManagementURI = &v1alpha1.URISource{SecretKeyRef: ref("management")}
		}
		endpoint := s.source(t, "videos").Endpoint
		if name, _, _ := strings.Cut(endpoint, " sha256:"); name != c.want {
			t.Errorf("%s has the endpoint %q, want %q and a digest", c.uri, endpoint, c.want)
		}
		for _, secret := range []string{"worker", "s3cret", "boss", "t0psecret"} {
			if strings.Contains(endpoint, secret) {
				t.Errorf("the endpoint shows %q: %s", secret, endpoint)
			}
		}
	}
}

func TestTriggersShareAConnectionIfAllThatItDependsOnIsTheSame(t *testing.T) {
	t.Parallel()
	certificates, others := brokertest.Certificates(t), brokertest.Certificates(t)
	base := settings{
		spec: v1alpha1.RabbitMQTrigger{
			URI:           v1alpha1.URISource{SecretKeyRef: ref("uri")},
			ManagementURI: &v1alpha1.URISource{SecretKeyRef: ref("management")},
			TLS:           &v1alpha1.TLS{CA: ref("ca.crt"), Certificate: ref("tls.crt"), Key: ref("tls.key"), ServerName: "rabbitmq"},
		},
		secrets: secrets{
			"uri": "amqps://worker:s3cret@10.0.0.1/videos", "management": "https://boss:t0psecret@10.0.0.1",
			"ca.crt":  content(t, certificates.CA),
			"tls.crt": content(t, certificates.ClientCert), "tls.key": content(t, certificates.ClientKey),
		},
	}
	one, other := base.source(t, "videos"), base.source(t, "photos")
	if one.Endpoint != other.Endpoint {
		t.Errorf("two queues of one broker have the endpoints %q and %q", one.Endpoint, other.Endpoint)
	}
	if diff := cmp.Diff([]trigger.Queue{{Name: "videos"}, {Name: "photos"}}, []trigger.Queue{one.Queue, other.Queue}); diff != "" {
		t.Errorf("the queues (-want +got):\n%s", diff)
	}

	changed := map[string]settings{
		"the AMQP password":        base.with("uri", "amqps://worker:changed@10.0.0.1/videos"),
		"the AMQP user":            base.with("uri", "amqps://other:s3cret@10.0.0.1/videos"),
		"the broker":               base.with("uri", "amqps://worker:s3cret@10.0.0.2/videos"),
		"the virtual host":         base.with("uri", "amqps://worker:s3cret@10.0.0.1/photos"),
		"a parameter of the URI":   base.with("uri", "amqps://worker:s3cret@10.0.0.1/videos?auth_mechanism=external"),
		"the management password":  base.with("management", "https://boss:changed@10.0.0.1"),
		"the management API":       base.with("management", "https://boss:t0psecret@10.0.0.2"),
		"the management path":      base.with("management", "https://boss:t0psecret@10.0.0.1/rabbit"),
		"the CA":                   base.with("ca.crt", content(t, others.CA)),
		"the client's certificate": base.with("tls.crt", content(t, others.ClientCert)).with("tls.key", content(t, others.ClientKey)),
	}
	s := base
	s.spec.VHost = "others"
	changed["the virtual host beside the URI"] = s
	s = base
	s.spec.ManagementURI = nil
	changed["no management API"] = s
	s = base
	s.spec.TLS = &v1alpha1.TLS{CA: ref("ca.crt"), Certificate: ref("tls.crt"), Key: ref("tls.key"), ServerName: "other"}
	changed["the server's name"] = s
	s.spec.TLS = &v1alpha1.TLS{CA: ref("ca.crt"), ServerName: "rabbitmq"}
	changed["no client certificate"] = s
	s.spec.TLS = &v1alpha1.TLS{Certificate: ref("tls.crt"), Key: ref("tls.key"), ServerName: "rabbitmq"}
	changed["no CA"] = s

	seen := map[string]string{one.Endpoint: "nothing changed"}
	for what, s := range changed {
		endpoint := s.source(t, "videos").Endpoint
		if before, ok := seen[endpoint]; ok {
			t.Errorf("%s: the same endpoint as with %s: %s", what, before, endpoint)
		}
		seen[endpoint] = what
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
