package node_test

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// wire is a way to the API server that can be cut.
type wire struct {
	config   *rest.Config // reaches the server through the wire
	target   string
	listener net.Listener

	mu          sync.Mutex
	isCut       bool
	connections map[net.Conn]bool
}

func newWire(t *testing.T) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	w := &wire{config: rest.CopyConfig(server), listener: listener, connections: map[net.Conn]bool{}}
	w.target = w.config.Host
	if parsed, err := url.Parse(w.target); err == nil && parsed.Host != "" {
		w.target = parsed.Host
	}
	w.config.Host = strings.Replace(w.config.Host, w.target, listener.Addr().String(), 1)
	go w.serve()
	return w
}

func (w *wire) serve() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.target)
		if err != nil || !w.keep(near, far) {
			near.Close()
			continue
		}
		for from, to := range map[net.Conn]net.Conn{near: far, far: near} {
			go func() {
				_, _ = io.Copy(to, from)
				near.Close()
				far.Close()
			}()
		}
	}
}

// keep takes note of connections, or closes them if the wire is cut.
func (w *wire) keep(connections ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range connections {
		if w.isCut {
			c.Close()
		}
		w.connections[c] = true
	}
	return !w.isCut
}

// cut ends every connection and lets no new one through.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for c := range w.connections {
		c.Close()
	}
	clear(w.connections)
}

// mend lets connections through again.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = false
}
