package redis

import "github.com/longhaul-dev/longhaul/dispatcher/trigger"

// OpenSockets is how many sockets a reader holds.
func OpenSockets(r trigger.Reader) int {
	s := r.(*reader).sockets
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}
