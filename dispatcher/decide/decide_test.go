package decide_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/longhaul-dev/longhaul/dispatcher/decide"
)

// one is a trigger called q that is known.
func one(t decide.Trigger) []decide.Trigger {
	t.Name, t.Known = "q", true
	return []decide.Trigger{t}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	jobs := func(n int) []decide.Share { return []decide.Share{{Trigger: "q", Jobs: n}} }
	for name, tc := range map[string]struct {
		in   decide.Input
		want []decide.Share
	}{
		"each waiting message gets a Job": {
			in:   decide.Input{MaxParallelism: 100, Triggers: one(decide.Trigger{Waiting: 12})},
			want: jobs(12),
		},
		"nothing waits, so no Job is made": {
			in: decide.Input{MaxParallelism: 100, Triggers: one(decide.Trigger{})},
		},
		"a starting Job is about to take one of the waiting messages": {
			in:   decide.Input{MaxParallelism: 100, Active: 3, Triggers: one(decide.Trigger{Waiting: 5, Starting: 3, NotRunning: 3})},
			want: jobs(2),
		},
		"a Job that works on its message does not stand for another": {
			in:   decide.Input{MaxParallelism: 100, Active: 3, Triggers: one(decide.Trigger{Waiting: 5, Held: 3, Running: 3})},
			want: jobs(5),
		},
		"the cap is the cap": {
			in:   decide.Input{MaxParallelism: 4, Active: 3, Triggers: one(decide.Trigger{Waiting: 50, Running: 3})},
			want: jobs(1),
		},
		"a cap lowered below what is active makes for no Job, and for no error": {
			in: decide.Input{MaxParallelism: 4, Active: 9, Triggers: one(decide.Trigger{Waiting: 50, Running: 9})},
		},
		"the minimum is kept going with nothing waiting": {
			in:   decide.Input{MaxParallelism: 10, MinParallelism: 3, Active: 1, Triggers: one(decide.Trigger{Running: 1})},
			want: jobs(2),
		},
		"the minimum is part of what the messages ask for, not beside it": {
			in:   decide.Input{MaxParallelism: 10, MinParallelism: 2, Triggers: one(decide.Trigger{Waiting: 3})},
			want: jobs(3),
		},
		"the minimum is part of the cap": {
			in:   decide.Input{MaxParallelism: 2, MinParallelism: 2, Active: 1, Triggers: one(decide.Trigger{Waiting: 9, Running: 1})},
			want: jobs(1),
		},
		"suspended means none, whatever waits and whatever the minimum": {
			in: decide.Input{MaxParallelism: 10, MinParallelism: 2, Suspended: true, Triggers: one(decide.Trigger{Waiting: 9})},
		},
		"a trigger that was not read gets no Job, not even to keep the minimum going": {
			in: decide.Input{MaxParallelism: 10, MinParallelism: 2, Triggers: []decide.Trigger{{Name: "q", Waiting: 9}}},
		},
		"at the activation threshold nothing happens": {
			in: decide.Input{MaxParallelism: 10, Triggers: one(decide.Trigger{Waiting: 5, ActivationThreshold: 5})},
		},
		"above the activation threshold every message counts": {
			in:   decide.Input{MaxParallelism: 10, Triggers: one(decide.Trigger{Waiting: 6, ActivationThreshold: 5})},
			want: jobs(6),
		},
		"several messages to a Job are rounded up": {
			in:   decide.Input{MaxParallelism: 10, Triggers: one(decide.Trigger{Waiting: 11, MessagesPerJob: 5})},
			want: jobs(3),
		},
		"several messages to a Job count for starting Jobs too": {
			in:   decide.Input{MaxParallelism: 10, Active: 2, Triggers: one(decide.Trigger{Waiting: 11, Starting: 10, MessagesPerJob: 5, NotRunning: 2})},
			want: jobs(1),
		},
		"Default takes what is held for covered by the Jobs that hold it": {
			in:   decide.Input{MaxParallelism: 10, Active: 3, Strategy: decide.Default, Triggers: one(decide.Trigger{Waiting: 3, Held: 3, Running: 3})},
			want: jobs(3),
		},
		"Default makes no more Jobs than messages wait, though others hold many": {
			in:   decide.Input{MaxParallelism: 100, Strategy: decide.Default, Triggers: one(decide.Trigger{Waiting: 3, Held: 50})},
			want: jobs(3),
		},
		"Accurate leaves pending Jobs their messages": {
			in:   decide.Input{MaxParallelism: 10, Active: 4, Strategy: decide.Accurate, Triggers: one(decide.Trigger{Waiting: 6, NotRunning: 1, Running: 3, Pending: 2})},
			want: jobs(4),
		},
		"Custom deducts its number, pending Jobs and its share of running ones": {
			in: decide.Input{
				MaxParallelism: 100, Active: 6, Strategy: decide.Custom, Deduction: 2, RunningPercentage: 50,
				Triggers: one(decide.Trigger{Waiting: 10, NotRunning: 1, Running: 5}),
			},
			want: jobs(5),
		},
		"Custom is capped by the free slots, not by the cap": {
			in: decide.Input{
				MaxParallelism: 10, Active: 10, Strategy: decide.Custom, RunningPercentage: 50,
				Triggers: one(decide.Trigger{Waiting: 20, Running: 10}),
			},
		},
		"Eager leaves only Jobs whose pod does not run their messages": {
			in:   decide.Input{MaxParallelism: 10, Active: 4, Strategy: decide.Eager, Triggers: one(decide.Trigger{Waiting: 6, NotRunning: 1, Running: 3, Pending: 4})},
			want: jobs(5),
		},
		"Sum gives each trigger Jobs of its own": {
			in: decide.Input{MaxParallelism: 10, Triggers: []decide.Trigger{
				{Name: "a", Known: true, Waiting: 2}, {Name: "b", Known: true, Waiting: 3},
			}},
			want: []decide.Share{{Trigger: "a", Jobs: 2}, {Trigger: "b", Jobs: 3}},
		},
		"a short slot goes to the trigger with the fewest Jobs": {
			in: decide.Input{MaxParallelism: 4, Active: 3, Triggers: []decide.Trigger{
				{Name: "a", Known: true, Waiting: 100, Running: 2}, {Name: "b", Known: true, Waiting: 1, Running: 1},
			}},
			want: []decide.Share{{Trigger: "b", Jobs: 1}},
		},
		"a trigger that is down does not hold the others": {
			in: decide.Input{MaxParallelism: 4, Triggers: []decide.Trigger{
				{Name: "a", Waiting: 100}, {Name: "b", Known: true, Waiting: 1},
			}},
			want: []decide.Share{{Trigger: "b", Jobs: 1}},
		},
		"the minimum is not kept going for a schedule while there is a queue": {
			in: decide.Input{MaxParallelism: 4, MinParallelism: 2, Triggers: []decide.Trigger{
				{Name: "a", Known: true, Scheduled: true}, {Name: "b", Known: true},
			}},
			want: []decide.Share{{Trigger: "b", Jobs: 2}},
		},
		"what a schedule has due gets its Jobs whatever those of earlier times do": {
			in: decide.Input{MaxParallelism: 10, Active: 3, Strategy: decide.Default, Triggers: []decide.Trigger{
				{Name: "a", Known: true, Scheduled: true, Waiting: 2, Starting: 3, NotRunning: 2, Running: 1, Pending: 3},
			}},
			want: []decide.Share{{Trigger: "a", Jobs: 2}},
		},
		"Max asks for as many as the trigger with the most, by Jobs and not by messages": {
			in: decide.Input{MaxParallelism: 20, Combine: decide.Max, Triggers: []decide.Trigger{
				{Name: "a", Known: true, Waiting: 10, MessagesPerJob: 4}, {Name: "b", Known: true, Waiting: 5},
			}},
			want: []decide.Share{{Jobs: 5}},
		},
		"Max gives a trigger that waits its Jobs though another is covered more than it needs": {
			in: decide.Input{MaxParallelism: 20, Active: 6, Combine: decide.Max, Triggers: []decide.Trigger{
				{Name: "a", Known: true, Waiting: 4, Held: 6, Running: 6}, {Name: "b", Known: true, Held: 2, Running: 6, Starting: 4},
			}},
			want: []decide.Share{{Jobs: 4}},
		},
		"Min asks for as many as the trigger with the fewest, also when that is none": {
			in: decide.Input{MaxParallelism: 20, Combine: decide.Min, Triggers: []decide.Trigger{
				{Name: "a", Known: true, Waiting: 5}, {Name: "b", Known: true},
			}},
		},
		"Average is the mean of what is asked for, before the cap": {
			in: decide.Input{MaxParallelism: 100, Combine: decide.Average, Triggers: []decide.Trigger{
				{Name: "a", Known: true, Waiting: 200}, {Name: "b", Known: true, Waiting: 2},
			}},
			want: []decide.Share{{Jobs: 100}},
		},
		"Max cannot be told while a trigger is down": {
			in: decide.Input{MaxParallelism: 100, Combine: decide.Max, Triggers: []decide.Trigger{
				{Name: "a", Known: true, Waiting: 200}, {Name: "b"},
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := decide.Decide(tc.in)
			if diff := cmp.Diff(tc.want, got.Create, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
			if got.Reason == "" {
				t.Error("the decision gives no reason")
			}
		})
	}
}

func TestReasonTellsTheNumbers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   decide.Input
		want string
	}{
		"one trigger at the cap": {
			in:   decide.Input{MaxParallelism: 20, Active: 20, Triggers: one(decide.Trigger{Waiting: 143, Running: 20})},
			want: "143 waiting, 0 of them about to be taken, 20 of 20 slots busy: at the cap",
		},
		"several triggers, one of them not read": {
			in: decide.Input{MaxParallelism: 9, Active: 1, Triggers: []decide.Trigger{
				{Name: "a", Known: true, Waiting: 2, Starting: 1}, {Name: "b"},
			}},
			want: "a: 2 waiting, 1 of them about to be taken; b: not read, 1 of 9 slots busy",
		},
		"the threshold": {
			in:   decide.Input{MaxParallelism: 9, Triggers: one(decide.Trigger{Waiting: 2, ActivationThreshold: 5})},
			want: "2 waiting, not above the activation threshold of 5, 0 of 9 slots busy",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := decide.Decide(tc.in).Reason; got != tc.want {
				t.Errorf("reason %q, want %q", got, tc.want)
			}
		})
	}
}

func TestStartingHeld(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		notRunning, running, unsettled int
		held, perJob, want             int64
	}{
		"Jobs without a running pod have taken nothing":                     {notRunning: 3, want: 3},
		"a running Job whose message is held has taken it":                  {running: 3, held: 3, want: 0},
		"a running Job beyond what is held has not":                         {running: 3, held: 1, want: 2},
		"what others hold does not make Jobs that do not run look busy":     {notRunning: 2, held: 50, want: 2},
		"a Job of five messages that holds two is about to take three more": {running: 1, unsettled: 1, held: 2, perJob: 5, want: 3},
		"but not once it has settled, for it found no more":                 {running: 1, held: 2, perJob: 5, want: 0},
		"a Job of one message is about to take it however long it takes":    {running: 1, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := decide.StartingHeld(tc.notRunning, tc.running, tc.unsettled, tc.held, tc.perJob); got != tc.want {
				t.Errorf("starting %d, want %d", got, tc.want)
			}
		})
	}
}

func TestLedger(t *testing.T) {
	t.Parallel()
	type e = decide.Entry
	for name, tc := range map[string]struct {
		entries []e
		want    int64
	}{
		"after a restart every unsettled Job is owed its message":    {entries: []e{{Fallen: 40, Unsettled: 7}}, want: 7},
		"dispatched Jobs are owed theirs":                            {entries: []e{{}, {Dispatched: 5, Unsettled: 5}}, want: 5},
		"when waiting falls by three, three have taken theirs":       {entries: []e{{}, {Dispatched: 5, Unsettled: 5}, {Fallen: 3, Unsettled: 5}}, want: 2},
		"what has fallen before does not count again":                {entries: []e{{Fallen: 9}, {Fallen: 9, Dispatched: 5, Unsettled: 5}, {Fallen: 9, Unsettled: 5}}, want: 5},
		"a Job that ended was counted when it took its message":      {entries: []e{{}, {Dispatched: 2, Unsettled: 2}, {Fallen: 1, Unsettled: 1}}, want: 1},
		"settled Jobs are owed nothing":                              {entries: []e{{}, {Dispatched: 5, Unsettled: 5}, {Unsettled: 2}}, want: 2},
		"a Job that failed and will run again is owed one again":     {entries: []e{{}, {Dispatched: 1, Unsettled: 1}, {Fallen: 1, Unsettled: 1}, {Fallen: 1, Retried: 1, Unsettled: 1}}, want: 1},
		"what others take is not owed to anyone, nor is it a credit": {entries: []e{{}, {Fallen: 50}, {Fallen: 50, Dispatched: 2, Unsettled: 2}}, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l decide.Ledger
			for _, entry := range tc.entries {
				l = l.Post(entry)
			}
			if l.Owed() != tc.want {
				t.Errorf("owed %d, want %d", l.Owed(), tc.want)
			}
		})
	}
}
