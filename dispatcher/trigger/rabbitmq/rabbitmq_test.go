package rabbitmq_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/triggertest"
	"github.com/longhaul-dev/longhaul/test/fixture/broker"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

// variants are the ways in which a queue may be read.
var variants = map[string]struct {
	queueType  string
	management bool
}{
	"a classic queue over AMQP":               {"classic", false},
	"a classic queue with its management API": {"classic", true},
	"a quorum queue over AMQP":                {"quorum", false},
	"a quorum queue with its management API":  {"quorum", true},
}

func TestQueuesOfEachTypeAreReadAsTheyAre(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vhost := difficultVhost(t, rabbit)
			triggertest.Run(t, dialect(rabbit, vhost, v.queueType, settingsFor(t, rabbit, vhost, v.management)))
		})
	}
}

func TestReadingGoesOnWhenTheBrokerIsBack(t *testing.T) {
	t.Parallel()
	rabbit := brokertest.StartRabbitMQ(t, broker.RabbitMQOptions{})
	dialects := map[string]triggertest.Dialect{}
	for name, v := range variants {
		dialects[name] = dialect(rabbit, "/", v.queueType, settingsFor(t, rabbit, "/", v.management))
	}
	triggertest.Outage(t, dialects, rabbit.Stop, rabbit.Start)
}

func TestASilentBrokerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	t.Run("AMQP", func(t *testing.T) {
		t.Parallel()
		s := settingsFor(t, rabbit, vhost, false)
		source := func(t *testing.T, address string) trigger.Source {
			t.Helper()
			return s.with("uri", atHost(t, s.secrets["uri"], address)).source(t, "videos")
		}
		triggertest.Silent(t, source)
		triggertest.FallsSilent(t, host(t, rabbit.URI()), source)
	})
	t.Run("management API", func(t *testing.T) {
		t.Parallel()
		s := settingsFor(t, rabbit, vhost, true)
		source := func(t *testing.T, address string) trigger.Source {
			t.Helper()
			return s.with("management", atHost(t, s.secrets["management"], address)).source(t, "videos")
		}
		triggertest.Silent(t, source)
		triggertest.FallsSilent(t, host(t, rabbit.ManagementURI()), source)
	})
}

func TestWhoIsKnownByCertificatesIsReadOverTLS(t *testing.T) {
	t.Parallel()
	certificates := brokertest.Certificates(t)
	rabbit := brokertest.StartRabbitMQ(t, broker.RabbitMQOptions{TLS: certificates, RequireClientCertificate: true})
	s := settingsFor(t, rabbit, "/", true).with("ca.crt", content(t, certificates.CA)).
		with("tls.crt", content(t, certificates.ClientCert)).with("tls.key", content(t, certificates.ClientKey))
	s.spec.TLS = &v1alpha1.TLS{CA: ref("ca.crt"), Certificate: ref("tls.crt"), Key: ref("tls.key")}
	triggertest.Run(t, dialect(rabbit, "/", "classic", s))

	amqpOnly := s
	amqpOnly.spec.ManagementURI = nil
	for name, c := range map[string]struct {
		tls   *v1alpha1.TLS
		words string
	}{
		"without the CA":           {&v1alpha1.TLS{Certificate: ref("tls.crt"), Key: ref("tls.key")}, "x509: certificate signed by unknown authority"},
		"without TLS settings":     {nil, "x509: certificate signed by unknown authority"},
		"without a certificate":    {&v1alpha1.TLS{CA: ref("ca.crt")}, ""}, /* how it is told depends on who is quicker */
		"for a server with a name": {&v1alpha1.TLS{CA: ref("ca.crt"), Certificate: ref("tls.crt"), Key: ref("tls.key"), ServerName: "rabbitmq.invalid"}, "x509: certificate is valid for localhost, not rabbitmq.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused := amqpOnly
			refused.spec.TLS = c.tls
			triggertest.Refused(t, refused.source(t, "videos"), c.words, broker.RabbitMQPassword+"@")
		})
	}
	silent := func(t *testing.T, address string) trigger.Source {
		t.Helper()
		return amqpOnly.with("uri", atHost(t, s.secrets["uri"], address)).source(t, "videos")
	}
	triggertest.Silent(t, silent)
	triggertest.FallsSilent(t, host(t, rabbit.URI()), silent)
}

// TestAStreamIsRefused needs the management API: over AMQP alone a stream looks like any queue.
func TestAStreamIsRefused(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	stream := queue{name: "films", queueType: "stream", channel: dial(t, rabbit, vhost)}
	if err := stream.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	source := settingsFor(t, rabbit, vhost, true).source(t, stream.name)
	result := read(t, open(t, source), []trigger.Source{source})[0]
	want := fmt.Sprintf("queue %q in virtual host %q is a stream, which keeps its messages: use a classic or a quorum queue",
		stream.name, vhost)
	if result.Err == nil || result.Err.Error() != want {
		t.Errorf("the reading shows %+v, want the error %s", result, want)
	}
}

func TestAQueueThatIsAnotherConnectionsAloneIsNamed(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	channel := dial(t, rabbit, vhost)
	if _, err := channel.QueueDeclare("private", false, false, true, false, nil); err != nil {
		t.Fatal(err)
	}
	s := settingsFor(t, rabbit, vhost, false)
	sources := append(declare(t, channel, s, 2), s.source(t, "private"))
	results := read(t, open(t, sources[0]), sources)
	err, where := results[2].Err, fmt.Sprintf("queue %q in virtual host %q: ", "private", vhost)
	if err == nil || !strings.HasPrefix(err.Error(), where) || !strings.Contains(err.Error(), "RESOURCE_LOCKED") {
		t.Errorf("the reading shows %+v, want an error that begins with %s and has RESOURCE_LOCKED", results[2], where)
	}
	if diff := cmp.Diff([]trigger.Result{{}, {Backlog: trigger.Backlog{Waiting: 1}}}, results[:2]); diff != "" {
		t.Errorf("the queues beside it (-want +got):\n%s", diff)
	}
}
