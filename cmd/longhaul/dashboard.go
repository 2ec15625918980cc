package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/longhaul-dev/longhaul/dispatcher"
	"github.com/longhaul-dev/longhaul/history/recorder"
	"github.com/longhaul-dev/longhaul/history/store"
	"github.com/longhaul-dev/longhaul/history/web"
)

// The values of --dashboard-auth.
const (
	authCluster = "cluster"
	authNone    = "none"
)

// progressLines and progressBytes are how much of the end of a log is looked at for how far its worker is.
const (
	progressLines = 20
	progressBytes = 64 << 10
)

// dashboardSettings are what the flags say of the dashboard.
type dashboardSettings struct {
	address string
	auth    string
	certDir string
	tls     bool
}

// off says that there is none.
func (d *dashboardSettings) off() bool { return d.address == "0" || d.address == "" }

// check refuses settings that cannot work or that let in who should not.
func (d *dashboardSettings) check() error {
	if d.off() {
		return nil
	}
	if _, _, err := net.SplitHostPort(d.address); err != nil {
		return fmt.Errorf("--dashboard-bind-address %q: give an address and a port, such as :8443, or 0 for none", d.address)
	}
	loopback := web.IsLoopback(d.address)
	switch {
	case d.auth != authCluster && d.auth != authNone:
		return fmt.Errorf("--dashboard-auth %q: give cluster or none", d.auth)
	case d.auth == authNone && !loopback:
		return fmt.Errorf("--dashboard-auth=none lets anybody in who reaches %s: give a loopback address, such as "+
			"--dashboard-bind-address=127.0.0.1:8443, or --dashboard-auth=cluster", d.address)
	case !d.tls && !loopback:
		return fmt.Errorf("--dashboard-tls=false would send tokens over the network as they are: give a loopback address, such as "+
			"--dashboard-bind-address=127.0.0.1:8443, or leave TLS on instead of %s", d.address)
	case !d.tls && d.certDir != "":
		return errors.New("--dashboard-cert-dir is of no use with --dashboard-tls=false: leave out one of them")
	}
	return nil
}

// addDashboard wires the API and the page. Every replica serves them.
func addDashboard(ctx context.Context, mgr ctrl.Manager, s settings, kept *store.Store, keeps recorder.Selects) error {
	d := &s.dashboard
	if d.off() {
		return nil
	}
	clientset, err := kubernetes.NewForConfig(mgr.GetConfig())
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	log := mgr.GetLogger().WithName("dashboard")
	o := web.Options{
		Store: kept, Cache: mgr.GetClient(), Informers: mgr.GetCache(), Index: dispatcher.IndexController, Keeps: keeps,
		Logs: logEnd(clientset, progressLines, progressBytes), Version: version, Log: log, Clock: clock.RealClock{},
	}
	if o.Access = web.NewCluster(clientset, clock.RealClock{}); d.auth == authNone {
		o.Access = web.Open{}
	}
	if d.tls {
		if o.TLS, err = d.tlsConfig(mgr); err != nil {
			return err
		}
	}
	if o.Listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", d.address); err != nil {
		return fmt.Errorf("listening at --dashboard-bind-address: %w; give another, or 0 for no dashboard", err)
	}
	server, err := web.New(o)
	if err != nil {
		return errors.Join(err, o.Listener.Close())
	}
	log.Info("serving the dashboard", "address", o.Listener.Addr().String(), "auth", d.auth, "tls", d.tls)
	return mgr.Add(server)
}

// tlsConfig has the certificate of a folder, read again when it changes, or one that is made now and that nobody knows.
func (d *dashboardSettings) tlsConfig(mgr ctrl.Manager) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if d.certDir != "" {
		watcher, err := certwatcher.New(filepath.Join(d.certDir, corev1.TLSCertKey), filepath.Join(d.certDir, corev1.TLSPrivateKeyKey))
		if err != nil {
			return nil, fmt.Errorf("reading the certificate in --dashboard-cert-dir: %w", err)
		}
		config.GetCertificate = watcher.GetCertificate
		return config, mgr.Add(watcher)
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey("longhaul-dashboard", []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"})
	if err != nil {
		return nil, fmt.Errorf("making a certificate for the dashboard: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for the dashboard: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
