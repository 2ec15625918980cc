// Package client asks a manager's API, through the API server or straight.
//
// Through the API server a request goes to the Service of the dashboard by the API server's proxy, so the rights of the
// kubeconfig's user decide who reaches it. The proxy takes the user's token out of requests; so the token goes along in a
// header of Longhaul's as well, and the manager asks the cluster whose it is.
package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

const (
	// header is that of the token which the API server's proxy leaves in.
	header = "Longhaul-Authorization"
	// service is the Service, and its port, that leads to managers.
	service = "https:longhaul-dashboard:https"
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 256 << 20
)

// Options say how to reach a manager.
type Options struct {
	// Config is how to reach the API server, and who the user is; nil where there is no kubeconfig, which needs a Server.
	Config *rest.Config
	// Namespace is where the manager runs.
	Namespace string
	// Server is a manager's URL; empty to go through the API server.
	Server string
	// Token is the user's; by default the kubeconfig's.
	Token string
	// CAFile is a file with the authorities that a Server's certificate is verified by, and Insecure leaves that out.
	CAFile   string
	Insecure bool
}

// Client asks a manager.
type Client struct {
	http    *http.Client
	base    string
	options Options
}

// New returns a Client. It asks nothing yet.
func New(o Options) (*Client, error) {
	if o.Server == "" {
		return throughAPIServer(o)
	}
	return straight(o)
}

func throughAPIServer(o Options) (*Client, error) {
	if o.Config == nil {
		return nil, errors.New("there is no kubeconfig: give --kubeconfig or set KUBECONFIG, or go straight to a manager with --server")
	}
	config := rest.CopyConfig(o.Config)
	config.Timeout = 0 // streams have no end
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return alongside{next, o.Token} })
	web, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing to reach the API server: %w", err)
	}
	root, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's address: %w", err)
	}
	base := strings.TrimSuffix(root.String(), "/") + "/api/v1/namespaces/" + url.PathEscape(o.Namespace) + "/services/" + service + "/proxy"
	return &Client{http: web, base: base, options: o}, nil
}

func straight(o Options) (*Client, error) {
	server, err := url.Parse(o.Server)
	if err != nil || server.Host == "" || (server.Scheme != "http" && server.Scheme != "https") {
		return nil, fmt.Errorf("--server %q: give a URL such as https://longhaul.example.com:8443", o.Server)
	}
	ip := net.ParseIP(server.Hostname())
	if server.Scheme == "http" && server.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("--server %q would send your token over the network as it is: use https", o.Server)
	}
	config := &rest.Config{}
	if o.Config != nil {
		config = rest.CopyConfig(o.Config)                                                  // who the user is
		config.CertData, config.KeyData, config.CertFile, config.KeyFile = nil, nil, "", "" // for the API server alone
	}
	config.Host, config.APIPath, config.Timeout = o.Server, "", 0
	config.CAData, config.CAFile, config.ServerName, config.Insecure = nil, o.CAFile, "", o.Insecure
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return alongside{next, o.Token} })
	web, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing to reach %s: %w", o.Server, err)
	}
	return &Client{http: web, base: strings.TrimSuffix(o.Server, "/"), options: o}, nil
}

// alongside puts the token into a header that proxies leave in.
type alongside struct {
	next  http.RoundTripper
	token string
}

// RoundTrip sends a request.
func (a alongside) RoundTrip(r *http.Request) (*http.Response, error) {
	value := r.Header.Get("Authorization")
	if a.token != "" {
		value = "Bearer " + a.token
	}
	if value != "" {
		r = r.Clone(r.Context())
		r.Header.Set(header, value)
	}
	return a.next.RoundTrip(r)
}

// Get asks for a path such as /api/v1/scaledjobs and decodes the answer.
func (c *Client) Get(ctx context.Context, path string, q url.Values, into any) error {
	response, err := c.send(ctx, path, q, "application/json")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("reading the manager's answer: %w", err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, path string, q url.Values, accept string) (*http.Response, error) {
	target := c.base + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("asking the manager: %w", err)
	}
	request.Header.Set("Accept", accept)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the manager's answer: %w", err)
	}
	return nil, c.refused(response, text)
}

// unreachable says what to do about a manager or an API server that does not answer.
func (c *Client) unreachable(err error) error {
	remedy := "is the cluster up? kubectl cluster-info tells"
	if c.options.Server != "" {
		remedy = "is a manager there, and its certificate known? See --server, --certificate-authority and --insecure-skip-tls-verify"
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return fmt.Errorf("the manager could not be asked: %w; %s", err, remedy)
}

// RefusedError is an answer that is not what was asked for.
type RefusedError struct {
	// Status is that of HTTP.
	Status  int
	message string
}

// Error says what is wrong and what to do.
func (r *RefusedError) Error() string { return r.message }

// refused says why a request was not answered: by the API server, or by the manager behind it.
func (c *Client) refused(response *http.Response, text []byte) error {
	r := &RefusedError{Status: response.StatusCode}
	var status metav1.Status
	if json.Unmarshal(text, &status) == nil && status.Kind == "Status" {
		r.message = c.byAPIServer(&status)
		return r
	}
	var said v1.Error
	if json.Unmarshal(text, &said) != nil || said.Message == "" {
		said.Message = fmt.Sprintf("the manager answered %s", response.Status)
		if c.options.Server != "" {
			said.Message += ": is " + c.options.Server + " a manager's address?"
		}
	}
	r.message = said.Message
	if response.StatusCode == http.StatusUnauthorized {
		r.message += "\nYour kubeconfig may know you by a certificate, which the API server does not pass on: then give --token, " +
			"such as --token=\"$(kubectl create token SERVICEACCOUNT)\""
	}
	return r
}

func (c *Client) byAPIServer(status *metav1.Status) string {
	switch status.Code {
	case http.StatusUnauthorized:
		return "the API server does not know you: " + status.Message
	case http.StatusForbidden:
		return fmt.Sprintf("you may not reach the manager through the API server: ask for the right to get services/proxy %q in namespace %s, "+
			"which the role longhaul-user there gives (%s)", service, c.options.Namespace, status.Message)
	case http.StatusNotFound:
		return fmt.Sprintf("there is no Service longhaul-dashboard in namespace %s: if Longhaul is installed elsewhere, give --manager-namespace; "+
			"if it runs outside the cluster, give --server (%s)", c.options.Namespace, status.Message)
	case http.StatusServiceUnavailable:
		return fmt.Sprintf("no manager answers behind the Service longhaul-dashboard in namespace %s: look at `kubectl -n %[1]s get pods`; "+
			"if Longhaul is installed elsewhere, give --manager-namespace; if it runs outside the cluster, give --server (%s)", c.options.Namespace, status.Message)
	default:
		return status.Message
	}
}

// Events calls back for each thing that happens from now on, until the context or the stream ends. ready is called when the
// stream is open.
func (c *Client) Events(ctx context.Context, q url.Values, ready func() error, happened func(kind string, e v1.Event) error) error {
	response, err := c.send(ctx, "/api/v1/events", q, "text/event-stream")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := ready(); err != nil {
		return err
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 16<<20)
	kind := ""
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kind = text
		}
		if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var e v1.Event
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				return fmt.Errorf("reading what happened: %w", err)
			}
			if err := happened(kind, e); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("following what happens: %w", err)
	}
	return io.EOF
}

// Proxied is a request as it is to be sent to the manager: its path is taken for one of the manager's.
func (c *Client) Proxied(r *http.Request) (*http.Request, error) {
	target, err := url.Parse(c.base + r.URL.EscapedPath())
	if err != nil {
		return nil, fmt.Errorf("asking the manager: %w", err)
	}
	target.RawQuery = r.URL.RawQuery
	out := r.Clone(r.Context())
	out.URL, out.Host, out.RequestURI = target, "", ""
	out.Header.Del("Cookie")
	out.Header.Del("Authorization")
	return out, nil
}

// Transport sends requests made by Proxied.
func (c *Client) Transport() http.RoundTripper { return c.http.Transport }

// OfScaledJob is the path of what is of one ScaledJob.
func OfScaledJob(namespace, name, rest string) string {
	return "/api/v1/namespaces/" + url.PathEscape(namespace) + "/scaledjobs/" + url.PathEscape(name) + rest
}

// OfScaledDeployment is the path of a ScaledDeployment.
func OfScaledDeployment(namespace, name string) string {
	return "/api/v1/namespaces/" + url.PathEscape(namespace) + "/scaleddeployments/" + url.PathEscape(name)
}
