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
	list   *url.URL
	user   *url.Userinfo
	vhost  string
}

func newManagement(b *broker) *management {
	list := b.management.JoinPath("api", "queues", url.PathEscape(b.vhost))
	list.User = nil // so that no error of the client can quote it
	list.RawQuery = url.Values{"disable_stats": {"true"}, "enable_queue_totals": {"true"}}.Encode()
	return &management{
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: b.tls.Clone(), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1}},
		list:   list,
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
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.list.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("asking the management API: %w", err)
	}
	password, _ := m.user.Password()
	request.SetBasicAuth(m.user.Username(), password)
	response, err := m.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the management API: %w", err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return nil, fmt.Errorf("the management API at %s refuses the credentials (401): correct rabbitmq.managementURI, "+
			"and give its user the tag management", m.list.Host)
	case http.StatusNotFound:
		return nil, fmt.Errorf("virtual host %q: %w by the management API at %s: create it, or correct rabbitmq.vhost",
			m.vhost, trigger.ErrNotFound, m.list.Host)
	default:
		return nil, fmt.Errorf("the management API at %s answers %s", m.list.Host, response.Status)
	}
	var listed []total
	if err := json.NewDecoder(response.Body).Decode(&listed); err != nil {
		return nil, fmt.Errorf("reading the answer of the management API at %s: %w", m.list.Host, err)
	}
	totals := make(map[string]total, len(listed))
	for _, t := range listed {
		totals[t.Name] = t
	}
	return totals, nil
}

func (m *management) close() { m.client.CloseIdleConnections() }
