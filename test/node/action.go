package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/longhaul-dev/longhaul/test/node/internal/environment"
	"github.com/longhaul-dev/longhaul/test/node/internal/process"
)

// action is what a hook or a probe does.
type action corev1.LifecycleHandler

func probeAction(probe *corev1.Probe) action {
	return action{Exec: probe.Exec, HTTPGet: probe.HTTPGet, TCPSocket: probe.TCPSocket}
}

// perform does what a hook or probe of the container says. It is an error if that does not succeed before ctx ends.
func (c *container) perform(ctx context.Context, plan *plan, a action) error {
	switch {
	case a.Exec != nil:
		return c.execute(ctx, plan, a.Exec.Command)
	case a.HTTPGet != nil:
		return c.get(ctx, a.HTTPGet)
	case a.TCPSocket != nil:
		return c.connect(ctx, a.TCPSocket)
	case a.Sleep != nil:
		if !pause(time.Duration(a.Sleep.Seconds)*time.Second, ctx.Done()) {
			return fmt.Errorf("sleeping: %w", ctx.Err())
		}
	}
	return nil
}

// execute runs a command beside the container's process, with its variables and in its folder.
func (c *container) execute(ctx context.Context, plan *plan, command []string) error {
	var args []string
	for _, arg := range command {
		args = append(args, plan.mounts.Translate(arg))
	}
	if len(args) == 0 {
		return errors.New("there is no command")
	}
	program, err := environment.FindProgram(args[0], plan.variables.Get("PATH"), plan.folder)
	if err != nil {
		return err
	}
	running, err := c.pod.node.spawner.Start(process.Launch{
		Path: program, Args: args, Env: plan.variables.List(), Dir: plan.folder,
	})
	if err != nil {
		return err
	}
	select {
	case <-running.Ended():
	case <-ctx.Done():
		running.Kill()
		<-running.Ended()
		return fmt.Errorf("running %s: %w", command[0], ctx.Err())
	}
	if code := running.Exit().Code; code != 0 {
		return fmt.Errorf("running %s: exit code %d", command[0], code)
	}
	return nil
}

// get succeeds if the answer's status is from 200 to 399. It follows redirects on the same host; one that leads elsewhere
// is good enough.
func (c *container) get(ctx context.Context, get *corev1.HTTPGetAction) error {
	target, err := c.target(get)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("building the request: %w", err)
	}
	request.Header.Set("User-Agent", "kube-probe/process-node")
	request.Header.Set("Accept", "*/*")
	for _, header := range get.HTTPHeaders {
		if http.CanonicalHeaderKey(header.Name) == "Host" {
			request.Host = header.Value
		} else {
			request.Header.Add(header.Name, header.Value)
		}
	}
	response, err := c.pod.node.http.Do(request)
	if err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	defer response.Body.Close()
	// What follows the first part of the answer does not matter: the connection is not used again.
	_, _ = io.CopyN(io.Discard, response.Body, 10<<10)
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return nil
}

// target is the URL of a request, by default to the pod's own address.
func (c *container) target(get *corev1.HTTPGetAction) (string, error) {
	address, err := c.endpoint(get.Host, get.Port)
	if err != nil {
		return "", err
	}
	target, err := url.Parse(get.Path)
	if err != nil {
		return "", fmt.Errorf("reading the path: %w", err)
	}
	target.Scheme, target.Host = "http", address
	if get.Scheme == corev1.URISchemeHTTPS {
		target.Scheme = "https"
	}
	return target.String(), nil
}

func (c *container) connect(ctx context.Context, socket *corev1.TCPSocketAction) error {
	address, err := c.endpoint(socket.Host, socket.Port)
	if err != nil {
		return err
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	return connection.Close()
}

// endpoint is host and port, where a port may be named in the container.
func (c *container) endpoint(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = c.pod.address.String()
	}
	if port.Type == intstr.Int {
		return net.JoinHostPort(host, port.String()), nil
	}
	for _, named := range c.spec.Ports {
		if named.Name == port.StrVal {
			return net.JoinHostPort(host, strconv.Itoa(int(named.ContainerPort))), nil
		}
	}
	if _, err := strconv.Atoi(port.StrVal); err != nil {
		return "", fmt.Errorf("the container has no port named %q", port.StrVal)
	}
	return net.JoinHostPort(host, port.StrVal), nil
}

// newProbeClient returns a client that takes no proxy, trusts anybody, as a kubelet does, and keeps no connection.
func newProbeClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			//nolint:gosec // a probe asks whether something answers, not who
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			DisableKeepAlives: true, DisableCompression: true,
		},
		CheckRedirect: func(request *http.Request, before []*http.Request) error {
			switch {
			case request.URL.Hostname() != before[0].URL.Hostname():
				return http.ErrUseLastResponse
			case len(before) >= 10:
				return errors.New("stopped after 10 redirects")
			}
			return nil
		},
	}
}
