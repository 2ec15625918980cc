package rabbitmq_test

import (
	"testing"

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
		triggertest.Silent(t, host(t, rabbit.URI()), func(t *testing.T, address string) trigger.Source {
			t.Helper()
			return s.with("uri", atHost(t, s.secrets["uri"], address)).source(t, "videos")
		})
	})
	t.Run("management API", func(t *testing.T) {
		t.Parallel()
		s := settingsFor(t, rabbit, vhost, true)
		triggertest.Silent(t, host(t, rabbit.ManagementURI()), func(t *testing.T, address string) trigger.Source {
			t.Helper()
			return s.with("management", atHost(t, s.secrets["management"], address)).source(t, "videos")
		})
	})
}
