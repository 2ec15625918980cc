package controlplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ports are the loopback ports of one control plane.
type ports struct {
	Etcd              int `json:"etcd"`
	EtcdPeer          int `json:"etcdPeer"`
	APIServer         int `json:"apiServer"`
	ControllerManager int `json:"controllerManager"`
}

// reservePorts finds free ports, the ones of the last time if they still are, and keeps them from every other process
// until release is called: control planes that start at the same moment cannot take each other's. Clients that were
// connected to the last one so find the next.
func (f folder) reservePorts() (reserved ports, release func(), err error) {
	content, err := os.ReadFile(f.path("ports.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ports{}, nil, fmt.Errorf("reading the ports of the last time: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(content, &reserved); err != nil {
			return ports{}, nil, fmt.Errorf("parsing %s: %w", f.path("ports.json"), err)
		}
	}
	var sockets []int
	release = func() {
		for _, socket := range sockets {
			_ = unix.Close(socket)
		}
	}
	for _, port := range []*int{&reserved.Etcd, &reserved.EtcdPeer, &reserved.APIServer, &reserved.ControllerManager} {
		socket, got, err := reservePort(*port)
		if err != nil && *port != 0 {
			socket, got, err = reservePort(0)
		}
		if err != nil {
			release()
			return ports{}, nil, fmt.Errorf("reserving a loopback port: %w", err)
		}
		*port = got
		sockets = append(sockets, socket)
	}
	content, err = json.Marshal(reserved)
	if err == nil {
		err = f.writeFile("ports.json", append(content, '\n'))
	}
	if err != nil {
		release()
		return ports{}, nil, err
	}
	return reserved, release, nil
}

// reservePort binds a loopback port, any free one for 0, without listening on it. The components share it by
// SO_REUSEPORT, as their flags tell them to; a process that does not ask for that is refused. SO_REUSEADDR must not be
// set: it would let others in for as long as nobody listens.
func reservePort(port int) (socket, reserved int, err error) {
	socket, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("opening a socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(socket)
		}
	}()
	if err = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, 0, fmt.Errorf("making the port one to share: %w", err)
	}
	if err = unix.Bind(socket, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, 0, fmt.Errorf("binding 127.0.0.1:%d: %w", port, err)
	}
	bound, err := unix.Getsockname(socket)
	if err != nil {
		return 0, 0, fmt.Errorf("asking for the port: %w", err)
	}
	address, ok := bound.(*unix.SockaddrInet4)
	if !ok {
		err = fmt.Errorf("an IPv4 socket has the address %T", bound)
		return 0, 0, err
	}
	return socket, address.Port, nil
}
