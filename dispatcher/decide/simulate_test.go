package decide_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/longhaul-dev/longhaul/dispatcher/decide"
)

// tick is the simulation's unit of time: 10 ms.
type tick int

const second tick = 100

// mixture is one drawn way for messages, workers and a manager to behave.
type mixture struct {
	seed                         uint64
	messages, cap                int
	poll, lag                    tick
	arrive, start, take, work    tick // each happens within so long, drawn anew each time
	settling                     tick
	heldLive                     bool
	giveBack                     float64 // of takes, how many end with the message given back and the pod tried again
	restarts, gaps               int
	retryAfter, gapLength, bound tick
}

func (m mixture) String() string {
	return fmt.Sprintf("seed %d: cap %d, poll %d, lag %d, arrive %d, start %d, take %d, work %d, held live %v, given back %.2f, restarts %d, gaps %d",
		m.seed, m.cap, m.poll, m.lag, m.arrive, m.start, m.take, m.work, m.heldLive, m.giveBack, m.restarts, m.gaps)
}

// drawn is a mixture as wide as real life: caps 3 to 200, polls 0.1 to 3 s, pods that start within 4 s and take their
// message up to 6 s later, work of 10 ms to 20 s, a cache up to 0.6 s behind.
func drawn(seed uint64) mixture {
	r := rand.New(rand.NewPCG(seed, 1))
	return mixture{
		seed: seed, messages: 120, cap: 3 + r.IntN(198), poll: 10 + tick(r.IntN(290)), lag: tick(r.IntN(60)),
		arrive: tick(r.IntN(3000)), start: 1 + tick(r.IntN(400)), take: 1 + tick(r.IntN(600)), work: 1 + tick(r.IntN(2000)),
		settling: 10 * second, heldLive: r.IntN(2) == 0, retryAfter: second, gapLength: 5 * second, bound: 4 * 3600 * second,
	}
}

type simJob struct {
	created, runs, takes, ends tick // of the present attempt; ends is 0 until the message is taken
	holding, gaveBack          bool
	done                       tick // 0 while the Job is active
	failures                   []tick
}

// outcome is what a simulation came to.
type outcome struct {
	jobs, empty, most, left int
}

// simulation plays one queue, its workers, and a manager that sees its Jobs late and the queue live.
type simulation struct {
	mixture
	r        *rand.Rand
	now      tick
	waiting  int
	fallen   int64
	arrivals map[tick]int
	jobs     []*simJob
	outcome

	// the manager's memory
	ledger     decide.Ledger
	known      bool
	lastRead   int
	dispatched int64
	failures   int
	shownAll   tick
}

func simulate(m mixture) outcome {
	s := &simulation{mixture: m, r: rand.New(rand.NewPCG(m.seed, 2)), arrivals: map[tick]int{}}
	for range m.messages {
		s.arrivals[tick(s.r.IntN(int(m.arrive)+1))]++
	}
	restartAt, gapAt := s.moments(m.restarts), s.moments(m.gaps)
	gapUntil, nextPass := tick(0), tick(0)
	for ; s.now < m.bound; s.now++ {
		s.waiting += s.arrivals[s.now]
		moved := s.work()
		if restartAt[s.now] {
			s.ledger, s.known, s.dispatched, s.failures, s.fallen = decide.Ledger{}, false, 0, 0, 0
			s.shownAll = s.now // a new cache is filled from the API server, but may lag as before
		}
		if gapAt[s.now] {
			gapUntil = s.now + m.gapLength
		}
		// A pass follows a poll, and each change of a Job once the cache shows it.
		if (s.now >= nextPass || moved) && s.now >= gapUntil {
			s.pass()
			nextPass = s.now + m.poll
		}
		if s.over() {
			break
		}
	}
	s.left = s.waiting
	return s.outcome
}

func (s *simulation) moments(n int) map[tick]bool {
	at := map[tick]bool{}
	for range n {
		at[tick(s.r.IntN(int(s.arrive)+3000))] = true
	}
	return at
}

// work moves the workers on, and says whether the cache now shows something that it did not show a tick ago.
func (s *simulation) work() bool {
	moved, seen := false, s.now-s.lag
	// Of what ended before, the cache shows that.
	s.jobs = slices.DeleteFunc(s.jobs, func(j *simJob) bool { return j.done > 0 && j.done < seen })
	for _, j := range s.jobs {
		moved = moved || j.created == seen || j.runs == seen || (j.done > 0 && j.done == seen)
		if j.done > 0 {
			continue
		}
		switch {
		case !j.holding && s.now == j.takes:
			if s.waiting == 0 {
				s.empty++
				j.done = s.now
				continue
			}
			s.waiting--
			j.holding, j.ends = true, s.now+1+tick(s.r.IntN(int(s.mixture.work)))
		case j.holding && s.now == j.ends && !j.gaveBack && s.r.Float64() < s.giveBack:
			j.holding, j.gaveBack = false, true
			s.waiting++
			j.failures = append(j.failures, s.now)
			j.runs = s.now + s.retryAfter + tick(s.r.IntN(int(s.start)))
			j.takes, j.ends = j.runs+tick(s.r.IntN(int(s.take))), 0
		case j.holding && s.now == j.ends:
			j.holding, j.done = false, s.now
		}
	}
	return moved
}

// pass is one pass of a manager: Jobs from the cache first, then the queue, live.
func (s *simulation) pass() {
	view := s.now - s.lag
	if view < s.shownAll {
		return // the cache does not show yet what was dispatched
	}
	var active, notRunning, running, unsettled, failures int
	for _, j := range s.jobs {
		if j.created > view || (j.done > 0 && j.done <= view) {
			continue
		}
		active++
		for _, f := range j.failures {
			if f <= view {
				failures++
			}
		}
		switch {
		case j.runs > view:
			notRunning++
			unsettled++
		default:
			running++
			if s.now < j.runs+s.settling {
				unsettled++
			}
		}
	}
	held := 0
	for _, j := range s.jobs {
		if j.holding {
			held++
		}
	}
	if s.known {
		s.fallen += int64(max(0, s.lastRead-s.waiting))
	}
	s.lastRead, s.known = s.waiting, true
	s.ledger = s.ledger.Post(decide.Entry{
		Fallen: s.fallen, Dispatched: s.dispatched, Retried: int64(max(0, failures-s.failures)), Unsettled: int64(unsettled),
	})
	s.dispatched, s.failures = 0, max(s.failures, failures)
	starting := s.ledger.Owed()
	if s.heldLive {
		starting = decide.StartingHeld(notRunning, running, 0, int64(held), 1)
	}
	d := decide.Decide(decide.Input{MaxParallelism: s.cap, Active: active, Triggers: []decide.Trigger{{
		Name: "q", Known: true, Waiting: int64(s.waiting), Starting: starting, NotRunning: notRunning, Running: running,
	}}})
	for range d.Total() {
		runs := s.now + 1 + tick(s.r.IntN(int(s.start)))
		s.jobs = append(s.jobs, &simJob{created: s.now, runs: runs, takes: runs + tick(s.r.IntN(int(s.take)))})
	}
	if d.Total() > 0 {
		s.shownAll = s.now
	}
	s.dispatched = int64(d.Total())
	s.outcome.jobs += d.Total()
	really := 0
	for _, j := range s.jobs {
		if j.done == 0 {
			really++
		}
	}
	s.most = max(s.most, really)
}

// over says whether every message has arrived and been worked on.
func (s *simulation) over() bool {
	if s.now <= s.arrive || s.waiting > 0 {
		return false
	}
	for _, j := range s.jobs {
		if j.done == 0 {
			return false
		}
	}
	return true
}

const mixtures = 400

func TestEveryMessageGetsExactlyOneJob(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*mixture){
		"in the ordinary run of things":           func(*mixture) {},
		"with the manager restarted on the way":   func(m *mixture) { m.restarts = 5 },
		"with the broker out of reach on the way": func(m *mixture) { m.gaps = 3 },
		"with both":                                             func(m *mixture) { m.restarts, m.gaps = 3, 3 },
		"with a cache that is hardly behind":                    func(m *mixture) { m.lag = 0 },
		"with a burst and a small cap":                          func(m *mixture) { m.arrive, m.cap = 0, 3 },
		"with work so short that Jobs end before they are seen": func(m *mixture) { m.work, m.start, m.take = 1, 1, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(mixtures) {
				m := drawn(seed)
				change(&m)
				if o := simulate(m); o.jobs != m.messages || o.empty > 0 || o.most > m.cap || o.left > 0 {
					t.Fatalf("%v\n%d Jobs for %d messages, %d found the queue empty, at most %d at once, %d messages left", m, o.jobs, m.messages, o.empty, o.most, o.left)
				}
			}
		})
	}
}

// TestMessagesGivenBack has one in ten workers give its message back and fail. With held messages live no Job is made for
// it but its own; where only waiting is, the message may be seen before the failed pod, and then gets a second Job: that
// is documented, and bounded here.
func TestMessagesGivenBack(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		live bool
		most float64
	}{
		"held live":         {live: true, most: 0.02},
		"only waiting live": {live: false, most: 0.02},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			jobs, messages := 0, 0
			for seed := range uint64(mixtures) {
				m := drawn(seed)
				m.heldLive, m.giveBack = tc.live, 0.1
				o := simulate(m)
				if o.left > 0 || o.most > m.cap {
					t.Fatalf("%v\n%d messages left, at most %d at once", m, o.left, o.most)
				}
				jobs, messages = jobs+o.jobs, messages+m.messages
			}
			surplus := float64(jobs-messages) / float64(messages)
			t.Logf("%d Jobs for %d messages: %.2f %% surplus", jobs, messages, 100*surplus)
			if surplus > tc.most {
				t.Errorf("%.2f %% surplus Jobs, more than the %.2f %% that the docs own up to", 100*surplus, 100*tc.most)
			}
		})
	}
}
