package rabbitmq

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// management asks the management API of one broker about one virtual host.
type management struct {
	client *http.Client
	base   *url.URL
	user   *url.Userinfo
	vhost  string
}

func newManagement(b *broker) *management {
	base := b.management.JoinPath("api")
	base.User = nil // so that no error of the client can quote it
	return &management{
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: b.tls.Clone(), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1}},
		base:   base,
		user:   b.management.User,
		vhost:  b.vhost,
	}
}

// total is what the list says of one queue.
type total struct {
	Name string `json:"name"`
	// Type is classic, quorum or stream.
	Type string `json:"type"`
	// Ready and Unacknowledged are nil where the queue could not be asked, such as when its node is down.
	Ready          *int64 `json:"messages_ready"`
	Unacknowledged *int64 `json:"messages_unacknowledged"`
}

// backlog is live for classic queues only: of others, held may be seconds old.
func (t total) backlog() trigger.Backlog {
	if t.Ready == nil || t.Unacknowledged == nil {
		return trigger.Backlog{}
	}
	return trigger.Backlog{Waiting: *t.Ready, Held: *t.Unacknowledged, HeldKnown: true, HeldLive: t.Type == "classic"}
}

// totals asks for all queues of the virtual host, by name.
func (m *management) totals(ctx context.Context) (map[string]total, error) {
	var listed []total
	list := m.base.JoinPath("queues", url.PathEscape(m.vhost))
	list.RawQuery = url.Values{"disable_stats": {"true"}, "enable_queue_totals": {"true"}}.Encode()
	if err := m.get(ctx, list, &listed); err != nil {
		return nil, err
	}
	totals := make(map[string]total, len(listed))
	for _, t := range listed {
		totals[t.Name] = t
	}
	return totals, nil
}

// get asks for something of the virtual host.
func (m *management) get(ctx context.Context, from *url.URL, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), http.NoBody)
	if err != nil {
		return fmt.Errorf("asking the management API: %w", err)
	}
	password, _ := m.user.Password()
	request.SetBasicAuth(m.user.Username(), password)
	response, err := m.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the management API: %w", err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return fmt.Errorf("the management API at %s refuses the credentials (401): correct rabbitmq.managementURI, "+
			"and give its user the tag management", m.base.Host)
	case http.StatusNotFound:
		return fmt.Errorf("virtual host %q: %w by the management API at %s: create it, or correct rabbitmq.vhost",
			m.vhost, trigger.ErrNotFound, m.base.Host)
	default:
		return fmt.Errorf("the management API at %s answers %s", m.base.Host, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("reading the answer of the management API at %s: %w", m.base.Host, err)
	}
	return nil
}

func (m *management) close() { m.client.CloseIdleConnections() }
