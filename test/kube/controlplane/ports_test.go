package controlplane_test

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/longhaul-dev/longhaul/test/kube/controlplane"
)

func TestReservedPortIsRefusedToOthersAndOpenToComponents(t *testing.T) {
	t.Parallel()
	socket, port, err := controlplane.ReservePort(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(socket) })
	address := fmt.Sprintf("127.0.0.1:%d", port)

	if listener, err := listen(t.Context(), address, false); err == nil {
		_ = listener.Close()
		t.Errorf("somebody else listens on the reserved address %s", address)
	}
	component, err := listen(t.Context(), address, true)
	if err != nil {
		t.Fatalf("a component cannot listen on the port that is reserved for it: %v", err)
	}
	// Connections go to who listens, never to who reserves.
	for range 20 {
		connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatalf("connecting to the component: %v", err)
		}
		_ = connection.Close()
	}
	_ = component.Close()
	if listener, err := listen(t.Context(), address, false); err == nil {
		_ = listener.Close()
		t.Errorf("the reservation of %s ended with the component", address)
	}
}

func TestReservingAPortThatIsTakenFails(t *testing.T) {
	t.Parallel()
	taken, err := listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	address, ok := taken.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("a TCP listener has the address %T", taken.Addr())
	}
	if socket, _, err := controlplane.ReservePort(address.Port); err == nil {
		_ = unix.Close(socket)
		t.Errorf("reserved port %d, on which somebody listens", address.Port)
	}
}

// listen listens as every Go program does, sharing the port if asked to, as the components are.
func listen(ctx context.Context, address string, share bool) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		if !share {
			return nil
		}
		var err error
		if controlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); controlErr != nil {
			return controlErr
		}
		return err
	}}
	return config.Listen(ctx, "tcp", address)
}
