package triggertest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// proxy passes on what is sent to it, to a broker and back, until it falls silent: then it goes on to accept connections,
// and passes nothing on.
type proxy struct {
	listener net.Listener
	broker   string

	mu    sync.Mutex
	mute  bool
	conns []net.Conn
	count int
}

func newProxy(t *testing.T, broker string) *proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, broker: broker}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.serve(t.Context(), conn, &running)
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		for _, conn := range p.conns {
			conn.Close()
		}
		p.mu.Unlock()
		running.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// accepted is how many connections were made to it.
func (p *proxy) accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

// serve passes on in both directions, without waiting for the end.
func (p *proxy) serve(ctx context.Context, client net.Conn, running *sync.WaitGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	p.conns = append(p.conns, client)
	if p.mute {
		return
	}
	broker, err := (&net.Dialer{}).DialContext(ctx, "tcp4", p.broker)
	if err != nil {
		client.Close()
		return
	}
	p.conns = append(p.conns, broker)
	running.Go(func() { p.pass(broker, client) })
	running.Go(func() { p.pass(client, broker) })
}

// pass passes on what comes until one side ends. What comes when it is silent is swallowed.
func (p *proxy) pass(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	_, _ = io.Copy(writer(func(b []byte) (int, error) {
		p.mu.Lock()
		mute := p.mute
		p.mu.Unlock()
		if mute {
			return len(b), nil
		}
		return to.Write(b)
	}), from)
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }
