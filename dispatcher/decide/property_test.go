package decide_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/longhaul-dev/longhaul/dispatcher/decide"
)

// draws reads numbers off fuzzed bytes.
type draws struct{ raw []byte }

// upTo draws a number from 0 to n.
func (d *draws) upTo(n int64) int64 {
	var b [4]byte
	d.raw = d.raw[copy(b[:], d.raw):]
	return int64(binary.LittleEndian.Uint32(b[:])) % (n + 1)
}

// world is a drawn input, with the counts from which Starting follows kept so that dispatching can be played.
func world(raw []byte) decide.Input {
	d := &draws{raw}
	in := decide.Input{
		MaxParallelism:    int(1 + d.upTo(200)),
		Combine:           decide.Combine(d.upTo(3)),
		Strategy:          decide.Strategy(d.upTo(4)),
		Deduction:         d.upTo(20),
		RunningPercentage: d.upTo(100),
	}
	in.MinParallelism = int(d.upTo(int64(in.MaxParallelism)))
	if d.upTo(2) > 0 {
		in.MinParallelism = 0
	}
	for i := range 1 + d.upTo(3) {
		t := decide.Trigger{
			Name:                string(rune('a' + i)),
			Known:               d.upTo(9) > 0,
			Waiting:             d.upTo(300),
			Held:                d.upTo(300),
			MessagesPerJob:      1 + d.upTo(4),
			ActivationThreshold: max(0, d.upTo(20)-10),
			NotRunning:          int(d.upTo(40)),
			Running:             int(d.upTo(40)),
		}
		t.Scheduled = in.Combine == decide.Sum && d.upTo(3) == 0
		if t.Scheduled {
			t.MessagesPerJob = 1
		}
		t.Pending = t.NotRunning + int(d.upTo(int64(t.Running)))
		if d.upTo(1) > 0 {
			t.Starting = d.upTo(int64(t.NotRunning+t.Running) * t.MessagesPerJob) // a ledger's
		} else {
			t.Starting = decide.StartingHeld(t.NotRunning, t.Running, int(d.upTo(int64(t.Running))), t.Held, t.MessagesPerJob)
		}
		in.Triggers = append(in.Triggers, t)
	}
	for _, t := range in.Triggers {
		if in.Combine == decide.Sum {
			in.Active += t.NotRunning + t.Running
		} else {
			in.Active = max(in.Active, t.NotRunning+t.Running)
		}
	}
	in.Active += int(d.upTo(5)) // of a trigger that was removed
	return in
}

// after is the world once a decision has been carried out and nothing else has happened.
func after(in decide.Input, d decide.Decision) decide.Input {
	in.Triggers = append([]decide.Trigger(nil), in.Triggers...)
	for _, s := range d.Create {
		in.Active += s.Jobs
		for i := range in.Triggers {
			t := &in.Triggers[i]
			if s.Trigger == t.Name || s.Trigger == "" {
				t.NotRunning += s.Jobs
				t.Pending += s.Jobs
				t.Starting += int64(s.Jobs) * t.MessagesPerJob
				if t.Scheduled {
					t.Waiting = max(0, t.Waiting-int64(s.Jobs))
				}
			}
		}
	}
	return in
}

// A test draws some thousand worlds; fuzzing goes on from there.
func FuzzDecide(f *testing.F) {
	f.Add([]byte("seed"))
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		raw := make([]byte, 4*60)
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		f.Add(raw)
	}
	f.Add([]byte{120, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 96})
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := world(raw)
		d := decide.Decide(in)

		total := d.Total()
		if total > max(0, in.MaxParallelism-in.Active) {
			t.Errorf("%d Jobs with %d of %d slots busy: above the cap\n%+v", total, in.Active, in.MaxParallelism, in)
		}
		var waits int64
		for _, tr := range in.Triggers {
			if tr.Known && tr.Waiting > tr.ActivationThreshold {
				waits += (tr.Waiting + tr.MessagesPerJob - 1) / tr.MessagesPerJob
			}
		}
		missing := max(0, in.MinParallelism-in.Active)
		if total > max(int(waits), missing) {
			t.Errorf("%d Jobs for %d waiting, %d missing from the minimum\n%+v", total, waits, missing, in)
		}
		if needed(in) && total == 0 {
			t.Errorf("no Job, though a message waits that none is about to take, and a slot is free\n%+v", in)
		}
		if again := decide.Decide(after(in, d)).Total(); again != 0 {
			t.Errorf("deciding again after dispatching %d dispatches %d\n%+v", total, again, in)
		}
		for i := range in.Triggers {
			more := in
			more.Triggers = append([]decide.Trigger(nil), in.Triggers...)
			more.Triggers[i].Waiting += 1 + int64(len(raw))%7
			if n := decide.Decide(more).Total(); n < total {
				t.Errorf("one more message waits at %s, and %d Jobs become %d\n%+v", in.Triggers[i].Name, total, n, in)
			}
		}
		in.Suspended = true
		if n := decide.Decide(in).Total(); n != 0 {
			t.Errorf("%d Jobs while suspended", n)
		}
	})
}

// needed says whether a message waits, at a trigger that has Jobs of its own, that none of them is about to take.
func needed(in decide.Input) bool {
	if in.Combine != decide.Sum || in.Strategy != decide.Auto || in.Active >= in.MaxParallelism {
		return false
	}
	return slices.ContainsFunc(in.Triggers, func(t decide.Trigger) bool {
		coming := max(t.Starting, int64(t.NotRunning)*t.MessagesPerJob)
		return t.Known && t.Waiting > t.ActivationThreshold && (t.Scheduled || t.Waiting > coming)
	})
}

// FuzzForeignHeldMessages has someone else hold messages of the queue: however many, passes that follow each other
// without anything else happening dispatch as many Jobs in all as wait, and no more.
func FuzzForeignHeldMessages(f *testing.F) {
	f.Add(uint16(3), uint16(96), uint16(48), uint16(0))
	f.Add(uint16(1), uint16(1), uint16(0), uint16(1))
	f.Fuzz(func(t *testing.T, waiting, foreign, notRunning, running uint16) {
		in := decide.Input{MaxParallelism: 1 << 20}
		tr := decide.Trigger{
			Name: "q", Known: true, Waiting: int64(waiting), Held: int64(foreign),
			NotRunning: int(notRunning), Running: int(running),
		}
		total := 0
		for range 5 {
			tr.Starting = decide.StartingHeld(tr.NotRunning, tr.Running, 0, tr.Held, 1)
			in.Triggers, in.Active = []decide.Trigger{tr}, tr.NotRunning+tr.Running
			n := decide.Decide(in).Total()
			total += n
			tr.NotRunning += n
		}
		if want := max(0, int(waiting)-int(notRunning)); total > want {
			t.Errorf("%d Jobs for %d waiting messages that %d starting Jobs are about to take, with %d held by others", total, waiting, notRunning, foreign)
		}
	})
}
