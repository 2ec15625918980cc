package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"time"

	"github.com/spf13/cobra"

	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/client"
)

func (p *plugin) dashboard() *cobra.Command {
	var port int
	c := &cobra.Command{
		Use: "dashboard", Short: "Serve the dashboard on this machine, for you alone", Args: cobra.NoArgs,
		Long: "Serves the manager's dashboard at a loopback address of this machine, and sends your token along. The address that it prints has a " +
			"secret in it, so that no other user of this machine sees what you see.",
		Example: "  kubectl longhaul dashboard\n  kubectl longhaul dashboard --port 8080",
		RunE: func(c *cobra.Command, _ []string) error {
			asked, err := p.client()
			if err != nil {
				return err
			}
			// Better an error here than a page that has nothing to show.
			var user struct{}
			if err := asked.Get(c.Context(), "/api/v1/user", nil, &user); err != nil {
				return err
			}
			listener, err := (&net.ListenConfig{}).Listen(c.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return fmt.Errorf("listening at --port: %w", err)
			}
			secret := rand.Text()
			fmt.Fprintf(p.out, "http://%s/?secret=%s\n", listener.Addr(), secret)
			fmt.Fprintln(p.errOut, "Open it in a browser; Ctrl-C ends it.")
			return serve(c.Context(), listener, proxy(asked, secret))
		},
	}
	c.Flags().IntVar(&port, "port", 0, "port on this machine; 0 for any that is free")
	return c
}

func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving the dashboard: %w", err)
	case <-ctx.Done():
		return errors.Join(ctx.Err(), server.Close())
	}
}

// cookie is that of who has come with the secret.
const cookie = "longhaul-secret"

// proxy sends requests on to the manager, of who knows the secret.
func proxy(to *client.Client, secret string) http.Handler {
	known := func(text string) bool { return subtle.ConstantTimeCompare([]byte(text), []byte(secret)) == 1 }
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			out, err := to.Proxied(r.In)
			if err != nil {
				out = r.Out.Clone(r.Out.Context())
				out.URL.Scheme = "" // so that it fails, and says so
			}
			*r.Out = *out
		},
		Transport: to.Transport(), FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "the manager could not be asked: "+err.Error(), http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A page of another site that leads here under a name of its own is not answered.
		host, _, err := net.SplitHostPort(r.Host)
		if ip := net.ParseIP(host); err != nil || (host != "localhost" && (ip == nil || !ip.IsLoopback())) {
			http.Error(w, "this answers at a loopback address only", http.StatusForbidden)
			return
		}
		if given := r.URL.Query().Get("secret"); given != "" && known(given) {
			//nolint:gosec // without TLS, from this machine to itself
			http.SetCookie(w, &http.Cookie{Name: cookie, Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		if c, err := r.Cookie(cookie); err != nil || !known(c.Value) {
			http.Error(w, "open the address that kubectl longhaul dashboard printed: it has a secret in it", http.StatusForbidden)
			return
		}
		forward.ServeHTTP(w, r)
	})
}
