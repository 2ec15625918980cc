package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// sockets are those of one client. The library heeds a context's deadline, and mostly not its cancelling; closing the
// sockets under it ends whatever waits.
type sockets struct {
	tls *tls.Config

	mu     sync.Mutex
	closed bool
	open   map[*socket]struct{}
}

// dial is the library's dialer.
func (s *sockets) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	own := &socket{Conn: conn, sockets: s}
	s.mu.Lock()
	if s.open == nil {
		s.open = map[*socket]struct{}{}
	}
	s.open[own] = struct{}{}
	closed := s.closed
	s.mu.Unlock()
	if closed {
		own.Close()
		return nil, net.ErrClosed
	}
	if s.tls == nil {
		return own, nil
	}
	config := s.tls.Clone()
	if config.ServerName == "" {
		if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
			own.Close()
			return nil, err
		}
	}
	client := tls.Client(own, config)
	if err := client.HandshakeContext(ctx); err != nil {
		own.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return encrypted{client}, nil
}

// close closes all, and what is opened later. Nothing more can be asked for.
func (s *sockets) close() {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for socket := range open {
		socket.Conn.Close()
	}
}

// socket is an open one.
type socket struct {
	net.Conn
	sockets *sockets
}

// encrypted is a socket that speaks TLS.
type encrypted struct{ *tls.Conn }

// Write implements net.Conn. A server that misses a certificate says so when the handshake is over, and hangs up: where that
// comes first, what it said is still there to be read.
func (e encrypted) Write(b []byte) (int, error) {
	n, err := e.Conn.Write(b)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		_, said := e.Read(make([]byte, 1))
		if alert, ok := errors.AsType[*net.OpError](said); ok && alert.Op == "remote error" {
			err = said
		}
	}
	return n, err
}

// Read implements net.Conn.
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	return n, withoutPort(err)
}

// Write implements net.Conn.
func (s *socket) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	return n, withoutPort(err)
}

// withoutPort leaves this end of the connection out of an error: its port is another one each time, and an error of another
// text is news to whoever waits for some.
func withoutPort(err error) error {
	failed, ok := errors.AsType[*net.OpError](err)
	if !ok {
		return err
	}
	failed.Source = nil
	return wrapped{failed}
}

// wrapped is the same error in one layer more: the library takes one off where a connection was new. It is a net.Error like
// the other: TLS takes a timeout that is none for the end of a connection.
type wrapped struct{ *net.OpError }

func (w wrapped) Unwrap() error { return w.OpError }

// Close implements net.Conn.
func (s *socket) Close() error {
	s.sockets.mu.Lock()
	delete(s.sockets.open, s)
	s.sockets.mu.Unlock()
	return s.Conn.Close()
}

// SyscallConn lets the library see, before it uses a connection that lay idle, whether the server closed it.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	return s.Conn.(syscall.Conn).SyscallConn() //nolint:forcetypeassert // TCP connections are
}
