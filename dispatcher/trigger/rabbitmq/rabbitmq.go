// Package rabbitmq is the trigger that reads RabbitMQ queues.
//
// Waiting is what the broker calls ready: messages that no consumer was given. It is read over AMQP, by declaring a queue
// passively: that asks for the queue's count and changes nothing. The count is live for classic and quorum queues. One
// connection serves all queues of a virtual host that are read with the same credentials.
//
// A quorum queue whose leader is absent, or does not answer within 250 ms, is said to have no messages and no consumers,
// and no error (rabbit_quorum_queue:stat). A declare that says so is doubtful, whatever the queue: AMQP does not tell its
// type.
//
// Held is what the broker calls unacknowledged: given to a consumer, and not yet acknowledged. AMQP does not tell it; the
// management API does. Its list of a virtual host's queues, asked without statistics and with totals, asks each classic
// queue itself, so that waiting and held are live and of one instant. A quorum queue's are up to one tick old, 5 s by
// default: its held is shown to people and nothing is decided on it, and its waiting is still read over AMQP. (The request
// for a single queue shows statistics that are seconds old for every queue, and is not used.)
package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/access"
)

const (
	// heartbeat is how often broker and client ask each other for a sign of life. A broker that has gone without a word is
	// noticed sooner by the reading that it does not answer; this is for connections that lie idle.
	heartbeat = 10 * time.Second
	// queuesPerLane and maxLanes say over how many channels the declares are spread: one waits for its answer before the
	// next is sent, so with many queues a single channel would mostly wait.
	queuesPerLane = 32
	maxLanes      = 8
	// closing is how long a broker may take to confirm that a connection ends.
	closing = time.Second
	// longestName is how many bytes AMQP has room for in a name. The library closes the connection over a longer one, and with
	// it what all others read over it.
	longestName = 255
)

// Source turns a trigger's settings into what the meter reads. An error names the field at fault and the remedy, and never
// shows a URI that comes from a Secret.
func Source(spec *v1alpha1.RabbitMQTrigger, secrets trigger.Secrets) (trigger.Source, error) {
	settings := access.New(secrets)
	b, err := brokerOf(spec, settings)
	if err != nil {
		return trigger.Source{}, err
	}
	settings.Add(b.vhost)
	return trigger.Source{
		Endpoint: "rabbitmq " + b.String() + " " + settings.Digest(),
		Queue:    trigger.Queue{Name: spec.Queue},
		Open:     b.open,
	}, nil
}

func brokerOf(spec *v1alpha1.RabbitMQTrigger, settings *access.Settings) (*broker, error) {
	b := &broker{}
	var err error
	if b.uri, err = settings.URI("rabbitmq.uri", &spec.URI, "amqp://rabbitmq:5672/videos", "amqp", "amqps"); err != nil {
		return nil, err
	}
	parsed, err := amqp.ParseURI(b.uri.String())
	if err != nil {
		// What the parser says is left out: it may quote the URI.
		return nil, errors.New("rabbitmq.uri has a port or a parameter that is not a number: " +
			"write it as amqp://rabbitmq:5672/videos")
	}
	vhostField := "the virtual host in rabbitmq.uri"
	if b.vhost = parsed.Vhost; spec.VHost != "" {
		b.vhost, vhostField = spec.VHost, "rabbitmq.vhost"
	}
	for _, name := range []struct{ field, value string }{{"rabbitmq.queue", spec.Queue}, {vhostField, b.vhost}} {
		if len(name.value) > longestName {
			return nil, fmt.Errorf("%s has %d bytes, and RabbitMQ has no names of more than %d: correct it",
				name.field, len(name.value), longestName)
		}
	}
	if b.tls, err = settings.TLS("rabbitmq.tls", spec.TLS); err != nil {
		return nil, err
	}
	encrypted := b.uri.Scheme == "amqps"
	if spec.ManagementURI != nil {
		b.management, err = settings.URI("rabbitmq.managementURI", spec.ManagementURI, "http://rabbitmq:15672", "http", "https")
		if err != nil {
			return nil, err
		}
		if b.management.User == nil {
			b.management.User = url.UserPassword(parsed.Username, parsed.Password)
		}
		encrypted = encrypted || b.management.Scheme == "https"
	}
	if spec.TLS != nil && !encrypted {
		return nil, errors.New("rabbitmq.tls is set, but neither rabbitmq.uri begins with amqps:// nor " +
			"rabbitmq.managementURI with https://, so that nothing would be encrypted: change a URI or remove tls")
	}
	return b, nil
}

// broker is one virtual host of a broker, and how to reach it.
type broker struct {
	uri   *url.URL
	vhost string
	tls   *tls.Config
	// management is the management API's URI, with the user; nil without one.
	management *url.URL
}

// String names the broker without credentials.
func (b *broker) String() string {
	s := b.uri.Scheme + "://" + b.uri.Host + "/" + url.PathEscape(b.vhost)
	if b.management != nil {
		s += " " + b.management.Scheme + "://" + b.management.Host
	}
	return s
}

// open connects over AMQP. The management API is connected to when it is first asked.
func (b *broker) open(ctx context.Context) (trigger.Reader, error) {
	r := &reader{broker: b}
	stop := func() bool { return true }
	conn, err := amqp.DialConfig(b.uri.String(), amqp.Config{
		Vhost:           b.vhost,
		Heartbeat:       heartbeat,
		TLSClientConfig: b.tls.Clone(),
		Properties:      amqp.Table{"product": "longhaul", "connection_name": "longhaul"},
		Dial: func(network, address string) (net.Conn, error) {
			socket, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err == nil {
				r.socket = socket
				// The library knows no contexts: closing the socket under it ends whatever waits.
				stop = context.AfterFunc(ctx, func() { _ = socket.Close() })
			}
			return socket, err
		},
	})
	if !stop() && err == nil {
		// The context ended at the last moment: its socket is closed.
		err = ctx.Err()
	}
	if err != nil {
		if r.socket != nil {
			// The library leaves it open where broker and client cannot agree on how to log in.
			_ = r.socket.Close()
		}
		return nil, fmt.Errorf("connecting to %s: %w", b, explained(ctx, err))
	}
	r.conn = conn
	if b.management != nil {
		r.management = newManagement(b)
	}
	return r, nil
}

// explained is why a request failed: the context's end, where that closed the socket under it.
func explained(ctx context.Context, err error) error {
	var refused *amqp.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	case errors.As(err, &refused) && refused.Code == amqp.NotAllowed && strings.Contains(refused.Reason, "not found"):
		return fmt.Errorf("%w: %w", trigger.ErrNotFound, err)
	default:
		return err
	}
}

// reader is a connection to one virtual host.
type reader struct {
	broker     *broker
	socket     net.Conn
	conn       *amqp.Connection
	lanes      []*lane
	management *management
}

// Read implements trigger.Reader.
func (r *reader) Read(ctx context.Context, queues []trigger.Queue) ([]trigger.Result, error) {
	results := make([]trigger.Result, len(queues))
	undeclared := make([]int, 0, len(queues))
	if r.management == nil {
		for i := range queues {
			undeclared = append(undeclared, i)
		}
	} else {
		totals, err := r.management.totals(ctx)
		if err != nil {
			return nil, err
		}
		for i, q := range queues {
			total := totals[q.Name] // zero for what is not listed: a declare says why, or that it is there after all
			if total.Type == "stream" {
				results[i].Err = fmt.Errorf("queue %q in virtual host %q is a stream, which keeps its messages: "+
					"use a classic or a quorum queue", q.Name, r.broker.vhost)
				continue
			}
			results[i].Backlog = total.backlog()
			if !results[i].Backlog.HeldLive {
				undeclared = append(undeclared, i)
			}
		}
	}
	if err := r.declare(ctx, queues, results, undeclared); err != nil {
		return nil, fmt.Errorf("reading queues of %s: %w", r.broker, explained(ctx, err))
	}
	return results, nil
}

// declare asks for what waits in the queues with the given indices. An error means that the connection is of no more use.
func (r *reader) declare(ctx context.Context, queues []trigger.Queue, results []trigger.Result, indices []int) error {
	if r.conn.IsClosed() {
		return amqp.ErrClosed
	}
	stop := context.AfterFunc(ctx, func() { _ = r.socket.Close() })
	defer stop()
	wanted := min(maxLanes, (len(indices)+queuesPerLane-1)/queuesPerLane)
	for len(r.lanes) < wanted {
		r.lanes = append(r.lanes, &lane{conn: r.conn})
	}
	failures := make([]error, wanted)
	var running sync.WaitGroup
	for l := range wanted {
		running.Go(func() {
			for k := l; k < len(indices) && failures[l] == nil; k += wanted {
				i := indices[k]
				failures[l] = r.waiting(r.lanes[l], queues[i].Name, &results[i])
			}
		})
	}
	running.Wait()
	return errors.Join(failures...)
}

// waiting reads what waits in one queue. What the broker says against the queue goes into the result.
func (r *reader) waiting(l *lane, queue string, result *trigger.Result) error {
	declared, err := l.declare(queue)
	var refused *amqp.Error
	switch {
	case err == nil:
		result.Backlog.Waiting = int64(declared.Messages)
		result.Backlog.Doubtful = declared.Messages == 0 && declared.Consumers == 0
	case !errors.As(err, &refused) || r.conn.IsClosed():
		return err
	case refused.Code == amqp.NotFound:
		// It may be there, on a node that is not.
		result.Err = fmt.Errorf("queue %q in virtual host %q: %w: the broker says %q: create it if it does not exist, or correct "+
			"rabbitmq.queue or the virtual host", queue, r.broker.vhost, trigger.ErrNotFound, refused.Reason)
	default:
		result.Err = fmt.Errorf("queue %q in virtual host %q: %w", queue, r.broker.vhost, err)
	}
	return nil
}

// Close implements trigger.Reader.
func (r *reader) Close() error {
	if r.management != nil {
		r.management.close()
	}
	//nolint:forbidigo // a socket's deadline: no rule of ours sees this time
	if err := r.conn.CloseDeadline(time.Now().Add(closing)); err != nil && !errors.Is(err, amqp.ErrClosed) {
		return fmt.Errorf("closing the connection to %s: %w", r.broker, err)
	}
	return nil
}

// lane is one channel of a connection.
type lane struct {
	conn *amqp.Connection
	// channel is nil before its first use, and after the broker closed it.
	channel *amqp.Channel
}

// declare declares a queue passively and returns what it has: messages that wait, and consumers. The broker answers by
// closing the channel if it has something against that: the next declare opens another.
func (l *lane) declare(queue string) (amqp.Queue, error) {
	if l.channel == nil {
		channel, err := l.conn.Channel()
		if err != nil {
			return amqp.Queue{}, fmt.Errorf("opening a channel: %w", err)
		}
		l.channel = channel
	}
	declared, err := l.channel.QueueDeclarePassive(queue, false, false, false, false, nil)
	if err != nil {
		l.channel = nil
	}
	return declared, err
}
