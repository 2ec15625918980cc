package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// apiServerName is the name in the certificate by which an API server makes itself known to kubelets: kubeadm's, and
// test/kube's.
const apiServerName = "kube-apiserver-kubelet-client"

// farewell is how long the clients of a node that ends have to take the rest of what they asked for.
const farewell = time.Second

// endpoint is where the API server asks for the logs of containers.
type endpoint struct {
	node      *node
	pods      *podStore      // those that are bound to the node
	authority *x509.CertPool // has signed the API server's certificate
	server    *http.Server
	port      int
}

// newEndpoint serves an endpoint on a free port of the node's address until it is closed.
func newEndpoint(ctx context.Context, n *node, pods *podStore) (*endpoint, error) {
	authority, err := authorities(n.Config)
	if err != nil {
		return nil, err
	}
	certificate, err := newServingCertificate(time.Now())
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(hostAddress, "0"))
	if err != nil {
		return nil, fmt.Errorf("listening for the API server: %w", err)
	}
	e := &endpoint{node: n, pods: pods, authority: authority}
	if address, ok := listener.Addr().(*net.TCPAddr); ok {
		e.port = address.Port
	}
	requests := http.NewServeMux()
	requests.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", e.logs)
	requests.HandleFunc("/", refuse)
	e.server = &http.Server{
		Handler:           e.admit(requests),
		ReadHeaderTimeout: requestTimeout,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		// The certificate is asked for here and looked at in admit, whose answer says what is wrong with it.
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12,
		},
		Protocols: new(http.Protocols),
	}
	e.server.Protocols.SetHTTP1(true) // a connection of HTTP/2 would stay open for a second after the last answer
	go func() {
		if err := e.server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			n.log.Error("logs are not served any more", "error", err)
		}
	}()
	return e, nil
}

// close ends the endpoint when what was asked for has been sent, or after a moment.
func (e *endpoint) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if e.server.Shutdown(ctx) != nil {
		e.server.Close()
	}
}

// admit answers the API server, and nobody else: 401 to who has no certificate of the cluster's authority, 403 to who has
// one with another name.
func (e *endpoint) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			answer(w, http.StatusUnauthorized, "Unauthorized: there is no client certificate")
			return
		}
		certificate := r.TLS.PeerCertificates[0]
		_, err := certificate.Verify(x509.VerifyOptions{
			Roots: e.authority, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		switch name := certificate.Subject.CommonName; {
		case err != nil:
			answer(w, http.StatusUnauthorized, "Unauthorized: "+err.Error())
		case name != apiServerName:
			answer(w, http.StatusForbidden, fmt.Sprintf("Forbidden: the client is %q, not %q", name, apiServerName))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// refuse answers all that is asked of a kubelet and not of the process node.
func refuse(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusNotImplemented, fmt.Sprintf(
		"the process node serves the logs of containers and nothing else, such as exec, attach or port-forward: %s %s",
		r.Method, r.URL.Path))
}

// answer writes a text. The API server makes it part of a message of its own.
func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	//nolint:gosec // it is no page, and no browser has the certificate
	_, _ = io.WriteString(w, text) // a client that has gone misses nothing
}

// authorities are those that sign the certificates of the cluster: the ones by which the API server is known to the node.
// If it knows of none, nobody has a certificate that is good enough.
func authorities(config *rest.Config) (*x509.CertPool, error) {
	config = rest.CopyConfig(config)
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, fmt.Errorf("reading the certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(config.CAData)
	return pool, nil
}

// newServingCertificate returns a certificate that nobody vouches for. Unless it is told otherwise, an API server does not
// ask who answers at a node's address.
func newServingCertificate(now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("generating a key: %w", err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "process-node"},
		NotBefore:   now.Add(-time.Hour), // clocks differ
		NotAfter:    now.AddDate(10, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.ParseIP(hostAddress)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("signing the node's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
