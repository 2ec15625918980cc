package inbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// dialTimeout bounds connecting to RabbitMQ, up to the end of its greeting.
	dialTimeout = 10 * time.Second
	// deniedForGood is how many times in a row a broker must turn a login down before that is believed. The client library
	// takes any end of the connection at that point for a wrong password or virtual host, also that of a broker that stops.
	deniedForGood = 3
)

// rabbitMQ is a RabbitMQ queue. A message is held by the channel it was got from, so there is one connection, open from
// taking the message to settling it, and losing it is losing the message.
type rabbitMQ struct {
	settings Settings
	conn     *amqp.Connection
	channel  *amqp.Channel
	denied   int // logins in a row
}

func openRabbitMQ(s Settings) (Inbox, error) {
	if _, err := amqp.ParseURI(s.URI); err != nil { // err may quote the URI
		return nil, badURI("RabbitMQ's client cannot read it")
	}
	if s.Queue == "" {
		return nil, fmt.Errorf("%w: QUEUE is not set: set it to the name of the RabbitMQ queue", ErrSettings)
	}
	strange := map[string]string{"PROCESSING_LIST": s.ProcessingList, "STREAM": s.Stream, "CONSUMER_GROUP": s.ConsumerGroup}
	if err := belong("a RabbitMQ queue", strange); err != nil {
		return nil, err
	}
	return &rabbitMQ{settings: s}, nil
}

// Take implements Inbox.
func (r *rabbitMQ) Take(ctx context.Context, wait time.Duration) (*Message, error) {
	return takeWithin(ctx, wait, func(ctx context.Context) (message *Message, err error) {
		err = persist(ctx, r.settings.Patience, func(context.Context) error {
			message, err = r.get()
			if !errors.Is(err, amqp.ErrCredentials) && !errors.Is(err, amqp.ErrVhost) {
				r.denied = 0
				return rabbitError("taking a message", err)
			}
			if r.denied++; r.denied < deniedForGood {
				return fmt.Errorf("logging in: %w: %w", ErrUnreachable, err)
			}
			return fmt.Errorf("logging in: %w: %w", ErrRefused, err)
		})
		return message, err
	})
}

// get gets one message; ErrEmpty where there is none.
func (r *rabbitMQ) get() (*Message, error) {
	if r.channel == nil || r.channel.IsClosed() {
		if err := r.connect(); err != nil {
			return nil, err
		}
	}
	delivery, ok, err := r.channel.Get(r.settings.Queue, false)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrEmpty
	}
	return &Message{
		Body: delivery.Body,
		Lost: r.lost(),
		settle: func(_ context.Context, outcome Outcome) error {
			return rabbitError("settling the message", r.settle(delivery, outcome))
		},
	}, nil
}

// connect opens a connection, after what is left of the one before.
func (r *rabbitMQ) connect() error {
	if err := r.Close(); err != nil && !errors.Is(err, amqp.ErrClosed) {
		return err
	}
	s := r.settings
	config := amqp.Config{Dial: amqp.DefaultDial(dialTimeout), Properties: amqp.Table{"connection_name": s.Taker}}
	if s.Username != "" || s.Password != "" {
		uri, err := amqp.ParseURI(s.URI)
		if err != nil {
			return badURI("RabbitMQ's client cannot read it")
		}
		plain := uri.PlainAuth()
		if s.Username != "" {
			plain.Username = s.Username
		}
		if s.Password != "" {
			plain.Password = s.Password
		}
		config.SASL = []amqp.Authentication{plain}
	}
	conn, err := amqp.DialConfig(s.URI, config)
	if err != nil {
		return err
	}
	channel, err := conn.Channel()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	r.conn, r.channel = conn, channel
	return nil
}

// lost receives an error when the channel, or its connection, is closed. When the inbox itself closes it, nobody listens
// any more.
func (r *rabbitMQ) lost() <-chan error {
	closed := r.channel.NotifyClose(make(chan *amqp.Error, 1))
	lost := make(chan error, 1)
	go func() {
		why := <-closed
		if why == nil {
			why = amqp.ErrClosed
		}
		lost <- fmt.Errorf("%w: the connection was lost while the message was worked on: %w", ErrUnreachable, why)
	}()
	return lost
}

// settle does not try again: without the channel that held it, the message is no longer held.
func (r *rabbitMQ) settle(delivery amqp.Delivery, outcome Outcome) error {
	var err error
	switch outcome {
	case Done:
		err = delivery.Ack(false)
	case Rejected:
		err = delivery.Reject(r.settings.Requeue)
	case GivenBack:
		err = delivery.Nack(false, true)
	}
	if err != nil {
		return err
	}
	// The broker does not answer that. It does what a channel asks for in order, so the answer to something else will do.
	return r.channel.Qos(1, 0, false)
}

// Close implements Inbox.
func (r *rabbitMQ) Close() error {
	if r.conn == nil {
		return nil
	}
	conn := r.conn
	r.conn, r.channel = nil, nil
	return conn.CloseDeadline(time.Now().Add(attemptTimeout))
}

// rabbitError says whether trying again may help: it may, unless the broker understood and said no.
func rabbitError(doing string, err error) error {
	var answer *amqp.Error
	switch {
	case err == nil, errors.Is(err, ErrEmpty):
		return err
	case errors.As(err, &answer) && answer.Server && !passes(answer):
		return fmt.Errorf("%s: %w: %w", doing, ErrRefused, err)
	case errors.Is(err, amqp.ErrSASL):
		return fmt.Errorf("%s: %w: %w", doing, ErrRefused, err)
	default:
		return fmt.Errorf("%s: %w: %w", doing, ErrUnreachable, err)
	}
}

// passes says whether what the broker answers with is of a state that passes: that it stops, is broken, or has the queue
// on a node that is down.
func passes(answer *amqp.Error) bool {
	switch answer.Code {
	case amqp.AccessRefused, amqp.NotAllowed:
		return false
	case amqp.NotFound:
		return strings.Contains(answer.Reason, "down or inaccessible")
	default:
		return true
	}
}
