package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
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

func TestAReadingOfAHundredQueuesIsOneRequestToTheManagementAPI(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := difficultVhost(t, rabbit)
	target, err := url.Parse("http://" + host(t, rabbit.ManagementURI()))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked []string
	forward := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.StripPrefix("/rabbit", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method+" "+r.URL.EscapedPath())
		forward.ServeHTTP(w, r)
	})))
	t.Cleanup(proxy.Close)

	s := settingsFor(t, rabbit, vhost, true)
	// Without a user: that of the AMQP URI is taken.
	s.spec.ManagementURI = &v1alpha1.URISource{Value: proxy.URL + "/rabbit/"}
	sources := declare(t, dial(t, rabbit, vhost), s, 100)
	reader := open(t, sources[0])
	for range 2 {
		for i, result := range read(t, reader, sources) {
			if result.Err != nil || result.Backlog.Waiting != int64(i%3) {
				t.Errorf("queue %d: %+v, want %d waiting", i, result, i%3)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	request := "GET /api/queues/" + url.PathEscape(vhost)
	if diff := cmp.Diff([]string{request, request}, asked); diff != "" {
		t.Errorf("two readings ask for (-want +got):\n%s", diff)
	}
}

func TestAHundredQueuesAreReadOverOneConnection(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	s := settingsFor(t, rabbit, vhost, false)
	channel := dial(t, rabbit, vhost)
	sources := declare(t, channel, s, 100)
	// One for the reader, and that which the queues were made over: the broker refuses a third.
	limits := "/api/vhost-limits/" + url.PathEscape(vhost) + "/max-connections"
	if err := rabbit.Manage(t.Context(), http.MethodPut, limits, map[string]int{"value": 2}, nil); err != nil {
		t.Fatal(err)
	}
	reader := open(t, sources[0])
	for range 2 {
		for i, result := range read(t, reader, sources) {
			if result.Err != nil || result.Backlog.Waiting != int64(i%3) {
				t.Errorf("queue %d: %+v, want %d waiting", i, result, i%3)
			}
		}
	}
	if third, err := sources[1].Open(t.Context()); err == nil {
		third.Close()
		t.Error("the broker lets in one connection more: the test shows nothing")
	}
}

func TestWhatTheManagementAPIAnswersIsSaid(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	for name, c := range map[string]struct {
		status   int
		body     string
		want     string
		notFound bool
	}{
		"401": {
			status: http.StatusUnauthorized, body: `{"error":"not_authorised","reason":"Not management user"}`,
			want: "the management API at HOST refuses the credentials (401): correct rabbitmq.managementURI, " +
				"and give its user the tag management",
		},
		"404": {
			status: http.StatusNotFound, body: `{"error":"Object Not Found","reason":"Not Found"}`, notFound: true,
			want: fmt.Sprintf("virtual host %q: not found by the management API at HOST: create it, or correct rabbitmq.vhost", vhost),
		},
		"503":        {status: http.StatusServiceUnavailable, want: "the management API at HOST answers 503 Service Unavailable"},
		"a web page": {status: http.StatusOK, body: "<html>", want: "reading the answer of the management API at HOST: invalid character '<' looking for beginning of value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}))
			t.Cleanup(server.Close)
			address := host(t, server.URL)
			source := settingsFor(t, rabbit, vhost, true).with("management", "http://boss:t0psecret@"+address).source(t, "videos")
			reader := open(t, source)
			_, err := reader.Read(t.Context(), []trigger.Queue{source.Queue})
			if err == nil || err.Error() != strings.ReplaceAll(c.want, "HOST", address) {
				t.Errorf("the error is %v, want %s", err, c.want)
			}
			if errors.Is(err, trigger.ErrNotFound) != c.notFound {
				t.Errorf("%v is ErrNotFound: %v, want %v", err, !c.notFound, c.notFound)
			}
		})
	}
}

func TestAMissingQueueIsNamedInTheBrokersWords(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	want := fmt.Sprintf(`queue "videos" in virtual host %q: not found: the broker says "NOT_FOUND - no queue 'videos' in vhost '%s'": `+
		"create it if it does not exist, or correct rabbitmq.queue or the virtual host", vhost, vhost)
	for _, management := range []bool{false, true} {
		source := settingsFor(t, rabbit, vhost, management).source(t, "videos")
		result := read(t, open(t, source), []trigger.Source{source})[0]
		if result.Err == nil || result.Err.Error() != want || !errors.Is(result.Err, trigger.ErrNotFound) {
			t.Errorf("with the management API: %t: %v, want ErrNotFound: %s", management, result.Err, want)
		}
	}
}

func TestAQueueThatTheManagementAPIDoesNotListIsReadAllTheSame(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "[]") }))
	t.Cleanup(server.Close)
	s := settingsFor(t, rabbit, vhost, true).with("management", server.URL)
	sources := declare(t, dial(t, rabbit, vhost), s, 3)
	result := read(t, open(t, sources[2]), sources[2:])[0]
	if diff := cmp.Diff(trigger.Result{Backlog: trigger.Backlog{Waiting: 2}}, result); diff != "" {
		t.Errorf("the reading (-want +got):\n%s", diff)
	}
}

func TestAVirtualHostThatGoesIsNamed(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	for _, management := range []bool{false, true} {
		vhost := brokertest.Unique("videos")
		if err := rabbit.AddVhost(t.Context(), vhost); err != nil {
			t.Fatal(err)
		}
		source := settingsFor(t, rabbit, vhost, management).source(t, "videos")
		reader := open(t, source)
		if err := rabbit.DeleteVhost(t.Context(), vhost); err != nil {
			t.Fatal(err)
		}
		if _, err := reader.Read(t.Context(), []trigger.Queue{source.Queue}); err == nil {
			t.Error("a virtual host that is gone is read")
		}
		reader, err := source.Open(t.Context())
		if err == nil {
			reader.Close()
		}
		if !errors.Is(err, trigger.ErrNotFound) || !strings.Contains(err.Error(), vhost) {
			t.Errorf("opening a virtual host that is gone: %v, want ErrNotFound that names %s", err, vhost)
		}
	}
}

// TestThoseWhoAreNotLetInAreToldWhy is about passwords and rights.
func TestThoseWhoAreNotLetInAreToldWhy(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	const password, wrong = "s3cret/100%", "wr0ng@/%:"
	user := addUser(t, rabbit, vhost, password)
	right, bad := url.UserPassword(user, password), url.UserPassword(user, wrong)
	s := settingsFor(t, rabbit, vhost, true).as(t, right)
	secrets := []string{password, wrong, right.String(), bad.String(), url.QueryEscape(wrong), user}

	t.Run("over AMQP", func(t *testing.T) {
		t.Parallel()
		source := s.with("uri", as(t, s.secrets["uri"], bad)).source(t, "videos")
		triggertest.Refused(t, source, "username or password not allowed", secrets...)
	})
	t.Run("by the management API", func(t *testing.T) {
		t.Parallel()
		source := s.with("management", as(t, s.secrets["management"], bad)).source(t, "videos")
		triggertest.Refused(t, source, "refuses the credentials (401)", secrets...)
	})
	t.Run("into another virtual host", func(t *testing.T) {
		t.Parallel()
		other := brokertest.Vhost(t, rabbit)
		source := s.with("uri", as(t, rabbit.VhostURI(other), right)).source(t, "videos")
		triggertest.Refused(t, source, fmt.Sprintf("access to vhost '%s' refused", other), password, right.String())
	})
	t.Run("into a virtual host that does not exist", func(t *testing.T) {
		t.Parallel()
		source := s.with("uri", as(t, rabbit.VhostURI("missing"), right)).source(t, "videos")
		triggertest.Refused(t, source, "vhost missing not found", password, right.String())
	})
	t.Run("where nobody listens", func(t *testing.T) {
		t.Parallel()
		source := s.with("uri", as(t, "amqp://127.0.0.1:1/videos", right)).source(t, "videos")
		triggertest.Refused(t, source, "connection refused", secrets...)
		source = s.with("management", as(t, "http://127.0.0.1:1", right)).source(t, "videos")
		triggertest.Refused(t, source, "connection refused", secrets...)
	})
	t.Run("at a host that does not exist", func(t *testing.T) {
		t.Parallel()
		source := s.with("uri", as(t, "amqp://rabbitmq.invalid/videos", right)).source(t, "videos")
		triggertest.Refused(t, source, "lookup rabbitmq.invalid", secrets...)
	})
}

func TestWhoCannotAgreeWithTheBrokerOnHowToLogInHangsUp(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	left := make(chan error, 1)
	go func() { left <- untilLeft(listener, host(t, rabbit.URI())) }()

	s := settingsFor(t, rabbit, "/", false)
	s = s.with("uri", atHost(t, s.secrets["uri"], listener.Addr().String())+"?auth_mechanism=external")
	triggertest.Refused(t, s.source(t, "videos"), "SASL could not negotiate a shared mechanism")
	if err := <-left; err != nil {
		t.Errorf("the connection stays open: %v", err)
	}
}

// untilLeft passes a client on to a broker, and returns when the client has hung up; an error when it does not.
func untilLeft(listener net.Listener, broker string) error {
	client, err := listener.Accept()
	if err != nil {
		return err
	}
	defer client.Close()
	server, err := net.Dial("tcp4", broker)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := client.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(client, server) }()
	_, err = io.Copy(server, client)
	return err
}

// TestAVirtualHostIsReadWithoutRightsToItsQueues says the least that a user must be given: to be let into the virtual host,
// and the tag management.
func TestAVirtualHostIsReadWithoutRightsToItsQueues(t *testing.T) {
	t.Parallel()
	rabbit := shared.RabbitMQ(t)
	vhost := brokertest.Vhost(t, rabbit)
	channel := dial(t, rabbit, vhost)
	user := url.UserPassword(addUser(t, rabbit, vhost, "s3cret"), "s3cret")
	for _, management := range []bool{false, true} {
		s := settingsFor(t, rabbit, vhost, management).as(t, user)
		sources := declare(t, channel, s, 3)
		for i, result := range read(t, open(t, sources[0]), sources) {
			if result.Err != nil || result.Backlog.Waiting != int64(i) || result.Backlog.HeldLive != management {
				t.Errorf("queue %d: %+v, want %d waiting", i, result, i)
			}
		}
		for _, source := range sources {
			if _, err := channel.QueueDelete(source.Queue.Name, false, false, false); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// addUser makes a user for this test who is let into a vhost, and may neither configure, nor write nor read in it.
func addUser(t *testing.T, rabbit *broker.RabbitMQ, vhost, password string) string {
	t.Helper()
	user := brokertest.Unique("worker")
	if err := rabbit.AddUser(t.Context(), vhost, user, password, "^$"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rabbit.DeleteUser(context.WithoutCancel(t.Context()), user); err != nil {
			t.Error(err)
		}
	})
	return user
}

// as is a URI with another user.
func as(t *testing.T, uri string, user *url.Userinfo) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	u.User = user
	return u.String()
}

// as are the same settings for another user.
func (s settings) as(t *testing.T, user *url.Userinfo) settings {
	t.Helper()
	s = s.with("uri", as(t, s.secrets["uri"], user))
	if s.spec.ManagementURI != nil {
		s = s.with("management", as(t, s.secrets["management"], user))
	}
	return s
}
