package rabbitmq_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger/rabbitmq"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

// client connects from an address of its own, and gives its connection a name where it has one.
func client(t *testing.T, uri, address, name string) *amqp.Channel {
	t.Helper()
	properties := amqp.NewConnectionProperties()
	if name != "" {
		properties.SetClientConnectionName(name)
	}
	conn, err := amqp.DialConfig(uri, amqp.Config{
		Properties: properties,
		Dial: func(network, to string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext(t.Context(), network, to)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := channel.Qos(1, 0, false); err != nil {
		t.Fatal(err)
	}
	return channel
}

func TestWhoHoldsMessagesIsKnownByAddressAndByName(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	uri := rabbit.VhostURI(vhost)
	busy, idle := client(t, uri, "127.0.9.1", "encoder-7d9f-x7k2p"), client(t, uri, "127.0.9.2", "")
	queue, err := busy.QueueDeclare("videos", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := busy.PublishWithContext(t.Context(), "", queue.Name, false, false, amqp.Publishing{Body: []byte("8141")}); err != nil {
			t.Fatal(err)
		}
	}
	deliveries, err := busy.ConsumeWithContext(t.Context(), queue.Name, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := <-deliveries // and the other waits
	if _, err := idle.ConsumeWithContext(t.Context(), "amq.rabbitmq.reply-to", "", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}

	s := settingsFor(t, rabbit, vhost, true)
	consumers, err := rabbitmq.NewConsumers(&s.spec, s.secrets.read)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(consumers.Close)
	type told struct {
		Messages int64
		Known    bool
	}
	until := func(what string, want map[string]told) {
		t.Helper()
		var got map[string]told
		for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(200 * time.Millisecond) { // statistics are 5 s old
			held, err := consumers.Held(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got = map[string]told{}
			for who := range want {
				address, name, _ := strings.Cut(who, " ")
				n, known := held(address, name)
				got[who] = told{n, known}
			}
			if cmp.Equal(want, got) {
				return
			}
		}
		t.Fatalf("%s, the management API does not tell (-want +got):\n%s", what, cmp.Diff(want, got))
	}
	until("with a message each way", map[string]told{
		"127.0.9.1 -": {1, true}, "10.9.9.9 encoder-7d9f-x7k2p": {1, true}, "127.0.9.2 -": {0, true}, "127.0.9.3 -": {0, false},
	})
	for d := first; ; d = <-deliveries {
		if err := d.Ack(false); err != nil {
			t.Fatal(err)
		}
		if d.DeliveryTag == 2 {
			break
		}
	}
	until("with nothing left", map[string]told{"127.0.9.1 encoder-7d9f-x7k2p": {0, true}})
}

func TestWithoutAManagementAPINobodyKnowsWhoHoldsMessages(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	s := settingsFor(t, rabbit, vhost, false)
	if _, err := rabbitmq.NewConsumers(&s.spec, s.secrets.read); err == nil || !strings.Contains(err.Error(), "rabbitmq.managementURI is not set") {
		t.Errorf("the error is %v", err)
	}
	s = settingsFor(t, rabbit, vhost, true)
	s = s.with("management", "http://nobody:s3cret@"+host(t, rabbit.ManagementURI()))
	consumers, err := rabbitmq.NewConsumers(&s.spec, s.secrets.read)
	if err != nil {
		t.Fatal(err)
	}
	defer consumers.Close()
	if _, err := consumers.Held(t.Context()); err == nil || !strings.Contains(err.Error(), "refuses the credentials (401)") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error is %v", err)
	}
}
