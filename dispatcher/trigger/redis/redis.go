// Package redis is the triggers that read Redis lists and streams.
//
// A list's messages wait in it; a worker takes one by removing it. Where workers move what they take to a processing list
// (LMOVE), and remove it there when they are done, that list's length is what is held.
//
// A stream's messages are read through a consumer group: waiting is the group's lag, the entries that no consumer was
// given, and held is its pending entries, given and not yet acknowledged.
//
// All that is read at one server, with one set of credentials, is read over one connection in one pipeline. The client
// library follows Sentinels and the slots of a cluster. It must be the primary that is read: the counts of a replica lag.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/access"
)

const (
	kindList   = "list"
	kindStream = "stream"
)

// oneOfMany is how long one of several servers may take to connect, or to answer: a reading, for which the meter has 10 s,
// goes on without one that is silent.
const oneOfMany = 2 * time.Second

// ListSource turns the settings of a list into what the meter reads. An error names the field at fault and the remedy.
func ListSource(spec *v1alpha1.RedisListTrigger, secrets trigger.Secrets) (trigger.Source, error) {
	return source("redisList", &spec.RedisConnection, secrets, trigger.Queue{
		Kind: kindList, Name: spec.List, Beside: spec.ProcessingList,
	})
}

// StreamSource turns the settings of a stream into what the meter reads. An error names the field at fault and the remedy.
func StreamSource(spec *v1alpha1.RedisStreamTrigger, secrets trigger.Secrets) (trigger.Source, error) {
	return source("redisStream", &spec.RedisConnection, secrets, trigger.Queue{
		Kind: kindStream, Name: spec.Stream, Beside: spec.ConsumerGroup,
	})
}

func source(field string, c *v1alpha1.RedisConnection, secrets trigger.Secrets, queue trigger.Queue) (trigger.Source, error) {
	settings := access.New(secrets)
	options := redis.UniversalOptions{
		Addrs:      c.Addresses,
		ClientName: "longhaul",
		// That will do. To tell the library's name too would take one more right.
		DisableIdentity: true,
		MasterName:      c.SentinelMaster,
		// The meter reads an endpoint with one pipeline at a time, for which the library would keep connections of its own.
		PoolSize:         1,
		PipelinePoolSize: -1,
		// The meter tries again, and it waits between attempts.
		MaxRetries:            -1,
		DialerRetries:         1,
		ContextTimeoutEnabled: true,
		// None of the library's own: what waits for an only server ends with the context.
		ReadTimeout:  -1,
		WriteTimeout: -1,
		// What XINFO answers is the same in all versions of this protocol.
		Protocol: 2,
	}
	if c.Database != nil {
		options.DB = int(*c.Database)
	}
	if c.Cluster != nil {
		options.IsClusterMode = *c.Cluster
	}
	var err error
	options.Username, options.Password, err = login(settings, field, "username", c.Username, "password", c.Password)
	if err != nil {
		return trigger.Source{}, err
	}
	options.SentinelUsername, options.SentinelPassword, err = login(settings, field,
		"sentinelUsername", c.SentinelUsername, "sentinelPassword", c.SentinelPassword)
	if err != nil {
		return trigger.Source{}, err
	}
	if c.TLS != nil {
		if options.TLSConfig, err = settings.TLS(field+".tls", c.TLS); err != nil {
			return trigger.Source{}, err
		}
	}
	if clustered(&options) && options.DB != 0 {
		return trigger.Source{}, fmt.Errorf("%s.database is %d, and a Redis cluster, which %s.addresses with more than one are "+
			"taken for, has database 0 only: remove database, or name one address or a sentinelMaster", field, options.DB, field)
	}
	switch {
	case clustered(&options):
		options.DialTimeout, options.ReadTimeout, options.WriteTimeout = oneOfMany, oneOfMany, oneOfMany
		// A node that is silent is asked again as often: once, for a key that has moved has to be asked for again too.
		options.MaxRedirects = 1
	case options.MasterName != "":
		// To connect to a master takes as long as to ask all Sentinels, and longer: the library's 5 s.
		options.ReadTimeout, options.WriteTimeout = oneOfMany, oneOfMany
	}
	name := describe(&options)
	return trigger.Source{
		Endpoint: name + " " + settings.Digest(),
		Queue:    queue,
		Open: func(ctx context.Context) (trigger.Reader, error) {
			// A copy, for the library changes what it is given.
			own := options
			own.TLSConfig = clone(options.TLSConfig)
			return open(ctx, &own, name)
		},
	}, nil
}

// login is a user's name and password, which have a field each.
func login(
	settings *access.Settings, field, nameField string, name *v1alpha1.SecretKeyRef, passwordField string, password *v1alpha1.SecretKeyRef,
) (user, secret string, err error) {
	if user, err = settings.Value(field+"."+nameField, name); err != nil {
		return "", "", err
	}
	if secret, err = settings.Value(field+"."+passwordField, password); err != nil {
		return "", "", err
	}
	if user != "" && secret == "" {
		return "", "", fmt.Errorf("%s.%s is set without %s.%s: set both, or remove %s", field, nameField, field, passwordField, nameField)
	}
	return user, secret, nil
}

func clone(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	return c.Clone()
}

// clustered says what the library makes of the options.
func clustered(o *redis.UniversalOptions) bool {
	return o.MasterName == "" && (o.IsClusterMode || len(o.Addrs) > 1)
}

// describe names a server, Sentinel group or cluster without credentials.
func describe(o *redis.UniversalOptions) string {
	scheme, addresses := "redis", strings.Join(o.Addrs, ",")
	if o.TLSConfig != nil {
		scheme = "rediss"
	}
	switch {
	case o.MasterName != "":
		return fmt.Sprintf("%s://%s/%d (Sentinel master %s)", scheme, addresses, o.DB, o.MasterName)
	case clustered(o):
		return fmt.Sprintf("%s://%s (cluster)", scheme, addresses)
	default:
		return fmt.Sprintf("%s://%s/%d", scheme, addresses, o.DB)
	}
}

// open connects. The options are its own to change.
func open(ctx context.Context, options *redis.UniversalOptions, name string) (trigger.Reader, error) {
	sockets := &sockets{tls: options.TLSConfig}
	options.Dialer = sockets.dial
	r := &reader{client: redis.NewUniversalClient(options), sockets: sockets, name: name}
	err := r.until(ctx, r.reach)
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("connecting to %s: %w", name, err)
	}
	return r, nil
}

// reach says whether the server answers or, of a cluster, any node.
func (r *reader) reach(ctx context.Context) error {
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return masterless(r.client.Ping(ctx).Err())
	}
	// Which node has a key is what any of them tells. That one may be down.
	_, err := cluster.MasterForKey(ctx, "any")
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		// Nodes are tried in an order drawn by lot: the first that fails is another one each time.
		anonymous := *failed
		anonymous.Addr = nil
		return &anonymous
	}
	return err
}

// until does something that ends with the context, at the latest.
func (r *reader) until(ctx context.Context, do func(context.Context) error) error {
	// The library is not told when. Of what ends at that moment it would say one thing or another, whichever timer is first.
	undated, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	stop := context.AfterFunc(ctx, func() {
		end()
		r.sockets.close()
	})
	err := do(undated)
	if !stop() || ctx.Err() != nil {
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	return err
}

// reader is a connection to one server, Sentinel group or cluster.
type reader struct {
	client  redis.UniversalClient
	sockets *sockets
	name    string
}

// Read implements trigger.Reader.
func (r *reader) Read(ctx context.Context, queues []trigger.Queue) ([]trigger.Result, error) {
	var results []trigger.Result
	err := r.until(ctx, func(ctx context.Context) (err error) {
		results, err = r.read(ctx, queues)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading from %s: %w", r.name, err)
	}
	return results, nil
}

func (r *reader) read(ctx context.Context, queues []trigger.Queue) ([]trigger.Result, error) {
	pipeline := r.client.Pipeline()
	answers := make([]answer, len(queues))
	for i, q := range queues {
		answers[i] = ask(ctx, pipeline, q)
	}
	if err := execute(ctx, pipeline); err != nil {
		return nil, err
	}
	results := make([]trigger.Result, len(queues))
	for i, q := range queues {
		results[i].Backlog, results[i].Err = answers[i].backlog(q)
		answers[i].count(ctx, pipeline, q)
	}
	if err := execute(ctx, pipeline); err != nil {
		return nil, err
	}
	unanswered := 0
	for i, q := range queues {
		if counted := answers[i].counted; counted != nil {
			entries, err := counted.Result()
			if err != nil {
				results[i].Err = fmt.Errorf("counting what waits in stream %q: %w", q.Name, err)
			}
			results[i].Backlog.Waiting = int64(len(entries))
		}
		if err := results[i].Err; err != nil && !answered(err) {
			unanswered++
		}
	}
	// In a cluster one server may be down and the others not.
	if len(queues) > 0 && unanswered == len(queues) {
		return nil, results[0].Err
	}
	return results, nil
}

// execute sends what is in a pipeline, and fails where none of it could be asked. The errors of commands are with them.
//
// The library leaves commands without an error, as if the answer to each were zero, where it was a server that refused a new
// connection.
func execute(ctx context.Context, p redis.Pipeliner) error {
	commands, err := p.Exec(ctx)
	if slices.ContainsFunc(commands, func(c redis.Cmder) bool { return c.Err() != nil }) {
		return nil
	}
	return err
}

// answered says whether an error is a server's answer, or our reading of it, rather than the lack of one.
func answered(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) || errors.Is(err, trigger.ErrNotFound) || errors.Is(err, errUntold)
}

// masterless makes what Sentinels said instead of telling of the master an error with the remedy. The library says that all
// are unreachable, whatever they said, in the order in which they did, which is another one each time.
func masterless(err error) error {
	// Of the errors that the library joins, this is the only one.
	joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err)
	if !ok {
		return err
	}
	said := joined.Unwrap()
	texts := make([]string, len(said))
	for i, err := range said {
		texts[i] = err.Error()
		switch {
		case errors.Is(err, redis.Nil):
			texts[i] = "they know no master of this name: correct sentinelMaster"
		case strings.Contains(texts[i], "NOAUTH"):
			texts[i] = "they ask for a password: set sentinelPassword: " + texts[i]
		case strings.Contains(texts[i], "WRONGPASS"):
			texts[i] = "they do not take the password: correct sentinelPassword or sentinelUsername: " + texts[i]
		}
	}
	slices.Sort(texts)
	return fmt.Errorf("no Sentinel tells which server is the master: %s", strings.Join(slices.Compact(texts), "; "))
}

// Close implements trigger.Reader.
func (r *reader) Close() error {
	r.sockets.close()
	if err := r.client.Close(); err != nil {
		return fmt.Errorf("closing the connection to %s: %w", r.name, err)
	}
	return nil
}
