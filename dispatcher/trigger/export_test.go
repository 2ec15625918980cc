package trigger

import "time"

// Asking returns the second half of Observe, which has a trigger read once it was found: its owner may leave between the
// two.
func (m *Meter) Asking(owner Owner, trigger string, since time.Time) func() {
	e, q := m.find(owner, trigger)
	return func() { e.ask(watcher{owner, trigger}, q, since) }
}
