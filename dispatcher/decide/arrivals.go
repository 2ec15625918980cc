package decide

import "time"

// Arrivals remembers since when messages have been seen to wait that have no Job yet. Queues are taken from in order, so the
// Job dispatched next is for the message that has waited longest. The zero Arrivals has seen none.
type Arrivals struct {
	waits []arrival // in order of time
	sum   int64
}

type arrival struct {
	at time.Time
	n  int64
}

// maxArrivals bounds how many moments are told apart. Messages that come when as many are remembered count as having come
// with those before them.
const maxArrivals = 10_000

// See notes what a reading at a moment tells of the messages that have no Job yet: they are at least and at most so many. How
// many of those that wait are about to be taken is known too high at times, so the two differ. Where fewer were remembered
// than there are at least, the others have come since; where more than there can be, somebody else has taken those that
// waited longest.
func (a *Arrivals) See(least, most int64, at time.Time) {
	if more := least - a.sum; more > 0 {
		a.sum += more
		if last := len(a.waits) - 1; last >= 0 && (len(a.waits) == maxArrivals || !a.waits[last].at.Before(at)) {
			a.waits[last].n += more
		} else {
			a.waits = append(a.waits, arrival{at, more})
		}
	}
	if fewer := a.sum - max(0, most, least); fewer > 0 {
		a.Take(fewer)
	}
}

// Take removes the n messages that have waited longest, which get a Job, and says since when the first of them has; false
// where none is remembered.
func (a *Arrivals) Take(n int64) (since time.Time, known bool) {
	if len(a.waits) == 0 {
		return time.Time{}, false
	}
	since = a.waits[0].at
	for n > 0 && len(a.waits) > 0 {
		first := &a.waits[0]
		fewer := min(n, first.n)
		first.n -= fewer
		n -= fewer
		a.sum -= fewer
		if first.n == 0 {
			a.waits = a.waits[1:]
		}
	}
	return since, true
}
