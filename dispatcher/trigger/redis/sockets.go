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
	encrypted := tls.Client(own, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		own.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return encrypted, nil
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
	// In one layer more, which changes no text: the library takes one off where a connection was new.
	return fmt.Errorf("%w", failed)
}

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
