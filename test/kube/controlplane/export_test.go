package controlplane

// ReservePort is reservePort for the tests beside it.
func ReservePort(port int) (socket, reserved int, err error) { return reservePort(port) }
