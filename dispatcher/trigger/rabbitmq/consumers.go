package rabbitmq

import (
	"context"
	"errors"
	"net/url"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/access"
)

// Consumers tells who holds messages of a virtual host, from the management API. What it tells of a channel is as old as the
// broker's statistics: 5 s by default (collect_statistics_interval).
type Consumers struct{ management *management }

// NewConsumers returns the Consumers of a trigger's virtual host. Settings that cannot be used are an error that names the
// field and the remedy, and shows no secret.
func NewConsumers(spec *v1alpha1.RabbitMQTrigger, secrets trigger.Secrets) (*Consumers, error) {
	if spec.ManagementURI == nil {
		return nil, errors.New("rabbitmq.managementURI is not set, and the management API alone tells which consumers hold messages: set it")
	}
	b, err := brokerOf(spec, access.New(secrets))
	if err != nil {
		return nil, err
	}
	return &Consumers{newManagement(b)}, nil
}

// channel is what the management API says of one.
type channel struct {
	Unacknowledged int64 `json:"messages_unacknowledged"`
	Connection     struct {
		Name string `json:"name"`
		Peer string `json:"peer_host"`
	} `json:"connection_details"`
}

// connection likewise.
type connection struct {
	// Name is the broker's, Given the client's.
	Name  string `json:"name"`
	Given string `json:"user_provided_name"`
}

// Held asks for all channels and connections of the virtual host. What it returns tells how many messages were delivered to
// the client at an IP address, or over connections that clients gave a name, and are not acknowledged; false where there is no
// channel of either.
func (c *Consumers) Held(ctx context.Context) (func(address, name string) (messages int64, known bool), error) {
	vhost := c.management.base.JoinPath("vhosts", url.PathEscape(c.management.vhost))
	list := func(what, columns string, into any) error {
		from := vhost.JoinPath(what)
		from.RawQuery = url.Values{"columns": {columns}}.Encode()
		return c.management.get(ctx, from, into)
	}
	var channels []channel
	var connections []connection
	if err := errors.Join(list("channels", "messages_unacknowledged,connection_details", &channels), list("connections", "name,user_provided_name", &connections)); err != nil {
		return nil, err
	}
	given := map[string]string{}
	for _, k := range connections {
		given[k.Name] = k.Given
	}
	byAddress, byName := map[string]int64{}, map[string]int64{}
	for _, k := range channels {
		byAddress[k.Connection.Peer] += k.Unacknowledged
		if name := given[k.Connection.Name]; name != "" {
			byName[name] += k.Unacknowledged
		}
	}
	return func(address, name string) (int64, bool) {
		atAddress, isAddress := byAddress[address]
		underName, isName := byName[name]
		return max(atAddress, underName), isAddress || isName
	}, nil
}

// Close ends what connections there are.
func (c *Consumers) Close() { c.management.close() }
