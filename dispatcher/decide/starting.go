package decide

// StartingHeld is how many messages the starting Jobs are about to take, where what is held is seen live: all those of
// Jobs whose pod does not run, and as many of those that run as is not held. It needs no memory.
//
// A Job for several messages may have found fewer, and then holds less than it might for as long as it works. So of those
// that run only the unsettled ones, that began to run less than the settling time ago, are about to take any.
//
// Held messages are not set against Jobs whose pod does not run. Such a Job holds nothing; messages that others hold (a
// consumer of someone else's, a worker that died) would otherwise make for more Jobs on every pass.
func StartingHeld(notRunning, running, unsettled int, held, messagesPerJob int64) int64 {
	per := max(1, messagesPerJob)
	free := max(0, int64(running)*per-held)
	if per > 1 {
		free = min(free, int64(unsettled)*per)
	}
	return int64(notRunning)*per + free
}

// Ledger keeps account, for one trigger, of how many messages the starting Jobs are still owed, where only what waits is
// seen live. What waits is conserved: when it falls by k, k messages were taken, by starting Jobs as far as they go.
// Takes and arrivals between two observations hide each other; that errs towards too few Jobs, and only until the Jobs
// have settled.
//
// The zero Ledger knows nothing, as after a restart: every unsettled Job counts as owed its messages.
type Ledger struct {
	posted bool
	owed   int64
	fallen int64
}

// Entry is what happened to a trigger between two postings, in messages.
type Entry struct {
	// Fallen is by how much what waits has fallen in all, ever, as a total that only grows.
	Fallen int64
	// Dispatched is for how many messages Jobs were created since the last posting.
	Dispatched int64
	// Retried is for how many messages a pod has failed since whose Job will run again: they wait again.
	Retried int64
	// Unsettled is how many messages the Jobs may yet take that do not run, or began to less than the settling time ago.
	Unsettled int64
}

// Post returns the ledger after an entry: what was owed, and is now owed anew, less what was taken, and never more than
// the unsettled Jobs can take. Jobs that ended are not subtracted: the same take would count twice.
func (l Ledger) Post(e Entry) Ledger {
	owed := e.Unsettled
	if l.posted {
		taken := max(0, e.Fallen-l.fallen)
		owed = min(max(0, l.owed+e.Dispatched+e.Retried-taken), e.Unsettled)
	}
	return Ledger{posted: true, owed: owed, fallen: e.Fallen}
}

// Owed is how many messages the starting Jobs are about to take.
func (l Ledger) Owed() int64 { return l.owed }
