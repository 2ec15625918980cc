package longpoll

import (
	"time"

	"github.com/longhaul-dev/longhaul/dispatcher/longpoll/size"
)

// Judged is what becomes of a pod that answers, one time after another: with an error, or busy or not, with a lease.
func Judged(timeout time.Duration, answers ...Answer) []size.State {
	var s sighting
	var states []size.State
	for _, a := range answers {
		s = s.judge(answer{Busy: &a.Busy, Until: a.Until}, a.Err, a.At, timeout)
		states = append(states, s.state)
	}
	return states
}

// Answer is one of a pod's.
type Answer struct {
	At    time.Time
	Busy  bool
	Until time.Time
	Err   error
}

// Printable exports printable.
func Printable(s string) string { return printable(s) }
