package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// probe asks components whether they are ready.
type probe struct {
	client *http.Client
	token  string
}

func newProbe(c credentials) (probe, error) {
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(c.caCertificate) {
		return probe{}, errors.New("the certificate authority's file holds no certificate")
	}
	return probe{token: c.adminToken, client: &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities}},
	}}, nil
}

func (p probe) close() { p.client.CloseIdleConnections() }

// get returns nil if the URL answers 200, and else what it answered.
func (p probe) get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	if request.URL.Scheme == "https" { // etcd asks for none
		request.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking whether it is ready: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", url, response.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// wait asks the URL until it answers 200. It gives up when the context ends, with the last answer, and when a process
// does, with that process's failure.
func (p probe) wait(ctx context.Context, url string, running processes) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := p.get(ctx, url)
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (at last: %w)", url, context.Cause(ctx), last)
		case <-tick.C:
		}
		if ended := running.ended(); ended != nil {
			return ended.failure()
		}
	}
}
