package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/history/store"
)

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	stopTimeout   = 3 * time.Second
	maxHeader     = 64 << 10
)

// LogReader returns the end of a container's log; of the pod's only one where container is empty.
type LogReader func(ctx context.Context, namespace, pod, container string) (string, error)

// Options are what a Server works with.
type Options struct {
	// Store keeps the records; nil where no history is kept.
	Store *store.Store
	// Cache reads the ScaledJobs, Jobs and pods that are watched. Jobs and pods are indexed by their controller's UID as
	// Index. Informers are the cache's.
	Cache     client.Reader
	Informers cache.Informers
	Index     string
	// Keeps says which namespaces are this manager's to show: that of namespaces that are gone, of which there is a history, too.
	Keeps func(ctx context.Context, namespace string) (bool, error)
	// Access says who may see what.
	Access Access
	// Logs reads logs, for how far workers are; nil leaves that out.
	Logs LogReader
	// Version is the manager's.
	Version string
	Log     logr.Logger
	// Clock tells the time.
	Clock clock.WithTicker
	// Listener is where it listens, and TLS how; nil for plain HTTP.
	Listener net.Listener
	TLS      *tls.Config
}

// Server serves the API and the page.
type Server struct {
	Options

	waits    *waits
	paces    *paces
	progress *progress
	hub      *hub
	handler  http.Handler
}

// New returns a Server. Start has it serve.
func New(o Options) (*Server, error) {
	s := &Server{Options: o, waits: newWaits(), hub: newHub()}
	s.paces, s.progress = newPaces(s), newProgress(s)
	mux := http.NewServeMux()
	routes := s.routes()
	document, err := describe(routes, o.Version)
	if err != nil {
		return nil, fmt.Errorf("describing the API: %w", err)
	}
	for i := range routes {
		mux.Handle("GET "+routes[i].pattern, s.answer(&routes[i]))
	}
	mux.HandleFunc("GET /api/v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, document) })
	mux.HandleFunc("GET /api/v1/events", s.events)
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, notFound("there is nothing at %s: see /api/v1/openapi.json", r.URL.Path))
	})
	s.pages(mux)
	s.handler = secured(o.Access, mux)
	return s, nil
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// NeedLeaderElection says that every replica serves.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until the context ends.
func (s *Server) Start(ctx context.Context) error {
	if err := s.watch(ctx); err != nil {
		return fmt.Errorf("watching ScaledJobs and Jobs to show them: %w", err)
	}
	go s.follow(ctx)
	server := &http.Server{
		Handler: s, TLSConfig: s.TLS, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx }, // ends the streams of events
	}
	ended := make(chan error, 1)
	go func() {
		if s.TLS != nil {
			ended <- server.ServeTLS(s.Listener, "", "")
		} else {
			ended <- server.Serve(s.Listener)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serving the dashboard: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		return errors.Join(server.Close(), err)
	}
	return nil
}

// secured adds to all answers what keeps browsers from doing harm.
func secured(access Access, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "+
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if err := access.Admit(r); err != nil {
			fail(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}
