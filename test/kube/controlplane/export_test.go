package controlplane

import "time"

// ReservePort is reservePort for the tests beside it.
func ReservePort(port int) (socket, reserved int, err error) { return reservePort(port) }

// MakeCredentials makes what there is in the folder's pki directory unless it is there, for the tests beside it.
func MakeCredentials(dir string) error {
	_, err := folder(dir).credentials(time.Now())
	return err
}
