package rabbitmq_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

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
	for how, end := range map[string]func(context.Context, *broker.RabbitMQ) error{
		"from a stop": func(_ context.Context, rabbit *broker.RabbitMQ) error { return rabbit.Stop() },
		"from a crash": func(ctx context.Context, rabbit *broker.RabbitMQ) error {
			// RabbitMQ notes on disk within half a second that a queue is new: one that is newer does not survive.
			if _, err := rabbit.Ctl(ctx, "eval", "[dets:sync(Table) || Table <- dets:all()], ok = mnesia:sync_log()."); err != nil {
				return err
			}
			return rabbit.Kill()
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			rabbit := brokertest.StartRabbitMQ(t, broker.RabbitMQOptions{})
			dialects := map[string]triggertest.Dialect{}
			for name, v := range variants {
				dialects[name] = dialect(rabbit, "/", v.queueType, settingsFor(t, rabbit, "/", v.management))
			}
			triggertest.Outage(t, dialects, func() error { return end(t.Context(), rabbit) }, rabbit.Start)
		})
	}
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
	want := []trigger.Result{{Backlog: trigger.Backlog{Doubtful: true}}, {Backlog: trigger.Backlog{Waiting: 1}}}
	if diff := cmp.Diff(want, results[:2]); diff != "" {
		t.Errorf("the queues beside it (-want +got):\n%s", diff)
	}
}

// TestAQuorumQueueThatCannotAnswerIsInDoubt is about what RabbitMQ says then: no messages, and no error.
func TestAQuorumQueueThatCannotAnswerIsInDoubt(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	if rabbit.External() {
		t.Skip("only a RabbitMQ of our own lets its queues be suspended")
	}
	vhost := brokertest.Vhost(t, rabbit)
	q := queue{name: "videos", queueType: "quorum", channel: dial(t, rabbit, vhost)}
	for _, do := range []func(context.Context) error{q.Create, q.Put} {
		if err := do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	leader := func(do string) {
		const eval = `{ok, Q} = rabbit_amqqueue:lookup({resource, <<"%s">>, queue, <<"%s">>}), {Name, _} = amqqueue:get_pid(Q), sys:%s(Name).`
		if _, err := rabbit.Ctl(context.WithoutCancel(t.Context()), "eval", fmt.Sprintf(eval, vhost, q.name, do)); err != nil {
			t.Fatal(err)
		}
	}
	resume := sync.OnceFunc(func() { leader("resume") })
	var sources []trigger.Source
	var readers []trigger.Reader
	for _, management := range []bool{false, true} {
		source := settingsFor(t, rabbit, vhost, management).source(t, q.name)
		sources, readers = append(sources, source), append(readers, open(t, source))
	}

	leader("suspend")
	t.Cleanup(resume)
	for i, reader := range readers {
		result := read(t, reader, sources[i:i+1])[0]
		if result.Err != nil || result.Backlog.Waiting != 0 || !result.Backlog.Doubtful {
			t.Errorf("%s: while the queue cannot answer it shows %+v, want a doubtful 0", sources[i].Endpoint, result)
		}
	}
	resume()
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Second) // it may have much to catch up with
	defer cancel()
	for i, reader := range readers {
		result := read(t, reader, sources[i:i+1])[0]
		for result.Backlog.Doubtful && soon.Err() == nil {
			result = read(t, reader, sources[i:i+1])[0]
		}
		if result.Err != nil || result.Backlog.Waiting != 1 || result.Backlog.Doubtful {
			t.Errorf("%s: when the queue answers it shows %+v, want 1 waiting, beyond doubt", sources[i].Endpoint, result)
		}
	}
}

func TestAnEmptyQueueIsInDoubtUnlessSomeoneConsumesFromIt(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	type doubt struct{ empty, held, consumed bool }
	for name, want := range map[string]doubt{
		"a classic queue over AMQP":               {empty: true, held: true},
		"a classic queue with its management API": {},
		// What was got of a quorum queue counts as a consumer until it is acknowledged.
		"a quorum queue over AMQP":               {empty: true},
		"a quorum queue with its management API": {empty: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vhost := brokertest.Vhost(t, rabbit)
			v := variants[name]
			q := queue{name: "videos", queueType: v.queueType, channel: dial(t, rabbit, vhost)}
			if err := q.Create(t.Context()); err != nil {
				t.Fatal(err)
			}
			source := settingsFor(t, rabbit, vhost, v.management).source(t, q.name)
			reader := open(t, source)
			doubtful := func() bool {
				t.Helper()
				result := read(t, reader, []trigger.Source{source})[0]
				if result.Err != nil || result.Backlog.Waiting != 0 {
					t.Errorf("the queue shows %+v, want 0 waiting", result)
				}
				return result.Backlog.Doubtful
			}
			got := doubt{empty: doubtful()}
			for _, do := range []func(context.Context) error{q.Put, q.Take} {
				if err := do(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			got.held = doubtful()
			if _, err := q.channel.Consume(q.name, "", false, false, false, false, nil); err != nil {
				t.Fatal(err)
			}
			got.consumed = doubtful()
			if got != want {
				t.Errorf("in doubt: %+v, want %+v", got, want)
			}
		})
	}
}
