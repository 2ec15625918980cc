package size_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/dispatcher/longpoll/size"
)

func TestDemand(t *testing.T) {
	t.Parallel()
	live := func(waiting, held, each int64) size.Work {
		return size.Work{Waiting: waiting, Held: held, HeldKnown: true, HeldLive: true, PerReplica: each}
	}
	blind := func(waiting, each int64) size.Work { return size.Work{Waiting: waiting, PerReplica: each} }
	for _, test := range []struct {
		name          string
		work          []size.Work
		combine       size.Combine
		busy, leaving int
		want          int
	}{
		{name: "nothing waits and nobody works", work: []size.Work{blind(0, 1)}, want: 0},
		{name: "each message that waits asks for a replica", work: []size.Work{blind(7, 1)}, want: 7},
		{name: "a replica for each begun group", work: []size.Work{blind(7, 3)}, want: 3},
		{name: "busy pods are occupied where nothing tells what is held", work: []size.Work{blind(4, 3)}, busy: 5, want: 7},
		{name: "held messages count where they are live", work: []size.Work{live(4, 5, 1)}, busy: 5, want: 9},
		{name: "busy pods with room take what waits", work: []size.Work{live(5, 3, 10)}, busy: 1, want: 1},
		{name: "never fewer than are busy", work: []size.Work{live(0, 2, 10)}, busy: 4, want: 4},
		{name: "what leaving pods hold asks for no replica", work: []size.Work{live(0, 3, 1)}, leaving: 3, want: 0},
		{name: "something held that is not live keeps one", work: []size.Work{{Held: 1, HeldKnown: true, PerReplica: 1}}, want: 1},
		{name: "held without meaning keeps none", work: []size.Work{{Held: 9, PerReplica: 1}}, want: 0},
		{name: "the most", work: []size.Work{blind(3, 1), blind(8, 1)}, combine: size.Max, want: 8},
		{name: "the fewest", work: []size.Work{blind(3, 1), blind(8, 1)}, combine: size.Min, want: 3},
		{name: "the sum", work: []size.Work{blind(3, 1), blind(8, 1)}, combine: size.Sum, want: 11},
		{name: "the mean, rounded up", work: []size.Work{blind(3, 1), blind(8, 1)}, combine: size.Average, want: 6},
		{name: "busy pods count once, however many triggers", work: []size.Work{blind(3, 1), blind(8, 1)}, combine: size.Sum, busy: 2, want: 13},
		{name: "no trigger that can be read", busy: 3, want: 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := size.Demand(test.work, test.combine, test.busy, test.leaving); got != test.want {
				t.Errorf("the demand is %d, not %d", got, test.want)
			}
		})
	}
}

// at is a moment, in seconds.
func at(seconds float64) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

func TestWishesAsTimeGoesBy(t *testing.T) {
	t.Parallel()
	type moment struct {
		at      float64
		demand  int
		current int // what there is; the test scales to what is wished for
		want    int
		limit   string
	}
	for _, test := range []struct {
		name    string
		limits  size.Limits
		moments []moment
	}{
		{
			name:   "up at once, down when it has lasted",
			limits: size.Limits{Max: 10, Stabilization: 30 * time.Second},
			moments: []moment{
				{at: 0, demand: 4, current: 0, want: 4},
				{at: 10, demand: 9, current: 4, want: 9},
				{at: 20, demand: 2, current: 9, want: 9, limit: "scaleDown.stabilization"},
				{at: 39.9, demand: 3, current: 9, want: 9, limit: "scaleDown.stabilization"},
				{at: 40, demand: 2, current: 9, want: 3, limit: "scaleDown.stabilization"},
				{at: 69.9, demand: 2, current: 3, want: 2},
			},
		},
		{
			name:   "a manager that starts takes nothing away at once",
			limits: size.Limits{Max: 10, Stabilization: 30 * time.Second},
			moments: []moment{
				{at: 0, demand: 1, current: 8, want: 8, limit: "scaleDown.stabilization"},
				{at: 29, demand: 1, current: 8, want: 8, limit: "scaleDown.stabilization"},
				{at: 30, demand: 1, current: 8, want: 1},
			},
		},
		{
			name:   "between the least and the most",
			limits: size.Limits{Min: 2, Max: 5},
			moments: []moment{
				{at: 0, demand: 0, current: 0, want: 2},
				{at: 1, demand: 99, current: 2, want: 5},
				{at: 2, demand: 0, current: 5, want: 2},
			},
		},
		{
			name:   "the most is applied last",
			limits: size.Limits{Min: 7, Max: 5},
			moments: []moment{
				{at: 0, demand: 0, current: 0, want: 5},
			},
		},
		{
			name:   "so many a step",
			limits: size.Limits{Max: 10, UpPerStep: 3, Step: time.Second},
			moments: []moment{
				{at: 0, demand: 8, current: 0, want: 3, limit: "scaleUp.maxPerStep"},
				{at: 0.5, demand: 8, current: 3, want: 3, limit: "scaleUp.maxPerStep"},
				{at: 1, demand: 8, current: 3, want: 6, limit: "scaleUp.maxPerStep"},
				{at: 2, demand: 8, current: 6, want: 8},
			},
		},
		{
			name:   "so many a minute",
			limits: size.Limits{Max: 20, UpPerMinute: 4},
			moments: []moment{
				{at: 0, demand: 3, current: 0, want: 3},
				{at: 10, demand: 9, current: 3, want: 4, limit: "scaleUp.maxPerMinute"},
				{at: 59.9, demand: 9, current: 4, want: 4, limit: "scaleUp.maxPerMinute"},
				{at: 60, demand: 9, current: 4, want: 7, limit: "scaleUp.maxPerMinute"},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var h size.History
			for _, m := range test.moments {
				var w size.Wish
				w, h = h.Wish(at(m.at), m.demand, m.current, test.limits)
				h = h.Scaled(at(m.at), w.Replicas-m.current)
				if diff := cmp.Diff([]any{m.want, m.limit}, []any{w.Replicas, w.Limit}); diff != "" {
					t.Errorf("at %v s (-want +got):\n%s", m.at, diff)
				}
				if w.Limit != "" && !w.Next.IsZero() && !w.Next.After(at(m.at)) {
					t.Errorf("at %v s the limit is to be looked at again at %s, which is over", m.at, w.Next)
				}
			}
		})
	}
}

func TestAWindowIsOpenWhileItClosesBeforeItOpens(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		opens, closes time.Time
		want          bool
	}{
		{"inside", at(100), at(50), true},
		{"outside", at(50), at(100), false},
		{"the last time", time.Time{}, at(50), true},
		{"never again", time.Time{}, time.Time{}, false},
		{"never closes again", at(50), time.Time{}, false},
	} {
		if got := size.WindowOpen(test.opens, test.closes); got != test.want {
			t.Errorf("%s: open is %t", test.name, got)
		}
	}
}

// pod is a ready pod that runs.
func pod(name string, state size.State) size.Pod {
	return size.Pod{Name: name, State: state, Stage: size.Running, Ready: true, Ordinal: int(name[len(name)-1] - '0'), Set: "1"}
}

func fenced(name string) size.Pod {
	p := pod(name, size.Idle)
	p.Fenced = true
	return p
}

func unready(p size.Pod) size.Pod {
	p.Ready = false
	return p
}

func TestNext(t *testing.T) {
	t.Parallel()
	idle, busy, silent, lost := size.Idle, size.Busy, size.Silent, size.Lost
	precious := fenced("a1")
	cheap := pod("b2", silent)
	cheap.Cost = size.LowestCost
	for _, test := range []struct {
		name string
		any  bool // the order is not known; otherwise it is a ReplicaSet's where none is given
		in   size.Input
		want size.Step
	}{
		{
			name: "more are wanted",
			in:   size.Input{Current: 1, Wanted: 4, Pods: []size.Pod{pod("a1", busy)}},
			want: size.Step{Replicas: 4},
		},
		{
			name: "more are wanted, and a fenced one works again",
			in:   size.Input{Current: 2, Wanted: 3, Pods: []size.Pod{pod("a1", busy), fenced("a2")}},
			want: size.Step{Replicas: 3, Unfence: []string{"a2"}},
		},
		{
			name: "enough, and a fenced one works again",
			in:   size.Input{Current: 2, Wanted: 2, Pods: []size.Pod{pod("a1", busy), fenced("a2")}},
			want: size.Step{Replicas: 2, Unfence: []string{"a2"}},
		},
		{
			name: "fewer are wanted: idle ones are fenced first, the youngest before",
			in:   size.Input{Current: 3, Wanted: 1, Pods: []size.Pod{pod("a1", busy), pod("a2", idle), pod("a3", idle)}},
			want: size.Step{Replicas: 3, Fence: []string{"a2", "a3"}},
		},
		{
			name: "fewer are wanted: fenced ones go",
			in:   size.Input{Current: 3, Wanted: 1, Pods: []size.Pod{pod("a1", busy), fenced("a2"), fenced("a3")}},
			want: size.Step{Replicas: 1, Go: []string{"a2", "a3"}},
		},
		{
			name: "one turned out to be busy: only those fenced go",
			in:   size.Input{Current: 3, Wanted: 0, Pods: []size.Pod{pod("a1", busy), fenced("a2"), pod("a3", busy)}},
			want: size.Step{Replicas: 2, Go: []string{"a2"}, Hold: "the others are busy"},
		},
		{
			name: "more are fenced than are to go",
			in:   size.Input{Current: 3, Wanted: 2, Pods: []size.Pod{fenced("a1"), fenced("a2"), fenced("a3")}},
			want: size.Step{Replicas: 2, Go: []string{"a1"}, Unfence: []string{"a2", "a3"}},
		},
		{
			name: "what is not there yet goes first",
			in:   size.Input{Current: 5, Wanted: 2, Pods: []size.Pod{pod("a1", busy), pod("a2", busy), pod("a3", idle)}},
			want: size.Step{Replicas: 5, Fence: []string{"a3"}},
		},
		{
			name: "what is not there yet is enough",
			in:   size.Input{Current: 5, Wanted: 3, Pods: []size.Pod{pod("a1", busy), pod("a2", busy), pod("a3", idle)}},
			want: size.Step{Replicas: 3},
		},
		{
			name: "a busy pod that is not ready holds the shrink",
			in:   size.Input{Current: 3, Wanted: 1, Pods: []size.Pod{unready(pod("a1", busy)), pod("a2", idle), fenced("a3")}},
			want: size.Step{Replicas: 3, Unfence: []string{"a3"}, Hold: "pod a1 is not ready, would be ended first, and is busy"},
		},
		{
			name: "one that starts holds the shrink",
			in:   size.Input{Current: 2, Wanted: 1, Pods: []size.Pod{unready(pod("a1", silent)), pod("a2", idle)}},
			want: size.Step{Replicas: 2, Hold: "pod a1 is not ready, would be ended first, and has not said that it is idle"},
		},
		{
			name: "a lost one that is not ready goes first",
			in:   size.Input{Current: 3, Wanted: 2, Pods: []size.Pod{unready(pod("a1", lost)), pod("a2", idle), pod("a3", busy)}},
			want: size.Step{Replicas: 2, Go: []string{"a1"}},
		},
		{
			name: "somebody gave a pod the lowest cost that may not go",
			in:   size.Input{Current: 2, Wanted: 1, Pods: []size.Pod{precious, cheap}},
			want: size.Step{Replicas: 2, Unfence: []string{"a1"}, Hold: "the others are busy"},
		},
		{
			name: "at most so many at once",
			in:   size.Input{Current: 4, Wanted: 0, MaxPerStep: 2, Pods: []size.Pod{pod("a1", idle), pod("a2", idle), pod("a3", idle), pod("a4", idle)}},
			want: size.Step{Replicas: 4, Fence: []string{"a1", "a2"}},
		},
		{
			name: "pods of two ReplicaSets: the replicas would be shared out among them",
			in:   size.Input{Current: 2, Wanted: 1, Sets: 2, Pods: []size.Pod{fenced("a1"), pod("b1", busy)}},
			want: size.Step{Replicas: 2, Unfence: []string{"a1"}, Hold: "a rollout goes on"},
		},
		{
			name: "so they would where the pods of one are not there yet",
			in:   size.Input{Current: 3, Wanted: 1, Sets: 2, Pods: []size.Pod{pod("a1", busy)}},
			want: size.Step{Replicas: 3, Hold: "a rollout goes on"},
		},
		{
			name: "a StatefulSet: from the top",
			in:   size.Input{Current: 4, Wanted: 1, Order: size.Ordinal, Pods: []size.Pod{pod("a0", idle), pod("a1", busy), pod("a2", idle), pod("a3", idle)}},
			want: size.Step{Replicas: 4, Fence: []string{"a3", "a2"}},
		},
		{
			name: "a StatefulSet: up to the first busy one",
			in:   size.Input{Current: 4, Wanted: 1, Order: size.Ordinal, Pods: []size.Pod{pod("a0", idle), pod("a1", busy), fenced("a2"), fenced("a3")}},
			want: size.Step{Replicas: 2, Go: []string{"a3", "a2"}, Hold: "pod a1 has the highest ordinal, and is busy"},
		},
		{
			name: "nobody knows the order: all have to be idle", any: true,
			in:   size.Input{Current: 2, Wanted: 1, Pods: []size.Pod{pod("a1", busy), fenced("a2")}},
			want: size.Step{Replicas: 2, Unfence: []string{"a2"}, Hold: "nobody knows which pods the target's controller would end, and not all are idle"},
		},
		{
			name: "nobody knows the order: all are fenced", any: true,
			in:   size.Input{Current: 2, Wanted: 1, Pods: []size.Pod{pod("a1", idle), fenced("a2")}},
			want: size.Step{Replicas: 2, Fence: []string{"a1"}},
		},
		{
			name: "nobody knows the order, and any may go", any: true,
			in:   size.Input{Current: 2, Wanted: 1, Pods: []size.Pod{fenced("a1"), fenced("a2")}},
			want: size.Step{Replicas: 1},
		},
		{
			name: "without a fence idle has to do",
			in:   size.Input{Current: 2, Wanted: 1, Unfenceable: true, Pods: []size.Pod{pod("a1", busy), pod("a2", idle)}},
			want: size.Step{Replicas: 1, Go: []string{"a2"}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := test.in
			in.Settled = true
			if in.Order == size.Any && !test.any {
				in.Order = size.ReplicaSet
			}
			if diff := cmp.Diff(test.want, size.Next(in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNothingButMoreReplicasBeforeTheControllerHasActed(t *testing.T) {
	t.Parallel()
	pods := []size.Pod{pod("a1", size.Busy), fenced("a2"), fenced("a3")}
	for _, test := range []struct {
		current, wanted int
		want            size.Step
	}{
		{current: 1, wanted: 3, want: size.Step{Replicas: 3}},
		{current: 3, wanted: 1, want: size.Step{Replicas: 3, Hold: "the target's controller has not acted on the last change yet"}},
		{current: 2, wanted: 2, want: size.Step{Replicas: 2}},
	} {
		in := size.Input{Current: test.current, Wanted: test.wanted, Order: size.ReplicaSet, Pods: pods}
		if diff := cmp.Diff(test.want, size.Next(in)); diff != "" {
			t.Errorf("from %d to %d (-want +got):\n%s", test.current, test.wanted, diff)
		}
	}
}

func old(p size.Pod, set string) size.Pod {
	p.Old, p.Set = true, set
	return p
}

func gate(p size.Pod, g size.Gate) size.Pod {
	p.Gate, p.Ready, p.Set = g, false, "9"
	return p
}

func TestRoll(t *testing.T) {
	t.Parallel()
	idle, busy := size.Idle, size.Busy
	placed := size.Rollout{Placed: true}
	for _, test := range []struct {
		name    string
		current int
		order   size.Order
		rollout size.Rollout
		pods    []size.Pod
		want    size.RollStep
	}{
		{name: "none goes on", current: 1, rollout: placed, pods: []size.Pod{pod("a1", busy)}},
		{
			name: "a new pod is admitted", current: 1, rollout: placed,
			pods: []size.Pod{gate(pod("n1", busy), size.Waited)},
			want: size.RollStep{Admit: []string{"n1"}},
		},
		{
			name: "one that became old before it was admitted is, too", current: 1, rollout: placed,
			pods: []size.Pod{old(gate(pod("n1", busy), size.Waited), "1")},
			want: size.RollStep{Admit: []string{"n1"}},
		},
		{
			name: "one that is not ready yet is not", current: 1, rollout: placed,
			pods: []size.Pod{gate(pod("n1", busy), size.Closed)},
		},
		{
			name: "idle pods are fenced first", current: 3, rollout: placed,
			pods: []size.Pod{old(pod("a1", busy), "1"), old(pod("a2", idle), "1"), old(pod("a3", idle), "1")},
			want: size.RollStep{Fence: []string{"a2", "a3"}},
		},
		{
			name: "as many are replaced as are fenced", current: 3, rollout: placed,
			pods: []size.Pod{old(pod("a1", busy), "1"), old(fenced("a2"), "1"), old(fenced("a3"), "1")},
			want: size.RollStep{Go: []string{"a2", "a3"}, Replace: 2},
		},
		{
			name: "all are busy", current: 1, rollout: placed,
			pods: []size.Pod{old(pod("a1", busy), "1")},
			want: size.RollStep{Hold: "the pods to be replaced are busy"},
		},
		{
			name: "the pods of a later ReplicaSet wait for those of an older", current: 2, rollout: placed,
			pods: []size.Pod{old(pod("a1", busy), "1"), old(pod("b2", idle), "2")},
			want: size.RollStep{Hold: "the pods to be replaced are busy"},
		},
		{
			name: "a busy pod that is not ready would go first", current: 2, rollout: placed,
			pods: []size.Pod{old(unready(pod("a1", busy)), "1"), old(pod("a2", idle), "1")},
			want: size.RollStep{Hold: "a pod to be replaced is not ready, would be ended first, and may be busy"},
		},
		{
			name: "under way: its controller has not ended the fenced one yet", current: 2, rollout: size.Rollout{Replacing: 1, Placed: true},
			pods: []size.Pod{old(pod("a1", busy), "1"), old(fenced("a2"), "1")},
			want: size.RollStep{Go: []string{"a2"}, Replace: 1},
		},
		{
			name: "under way: it has not asked for the new one yet", current: 2, rollout: size.Rollout{Replacing: 1},
			pods: []size.Pod{old(pod("a1", busy), "1")},
			want: size.RollStep{Replace: 1},
		},
		{
			name: "done: the Deployment is paused, before anything is admitted", current: 2, rollout: size.Rollout{Replacing: 1, Placed: true},
			pods: []size.Pod{old(pod("a1", busy), "1"), gate(pod("n1", busy), size.Waited)},
		},
		{
			name: "as many new ones are to come as may be unavailable: its controller ends no more", current: 2, rollout: size.Rollout{Replacing: 1, Placed: true},
			pods: []size.Pod{old(fenced("a1"), "1"), gate(fenced("n1"), size.Waited)},
		},
		{
			name: "as many are not there yet", current: 2, rollout: size.Rollout{Replacing: 1, Placed: true},
			pods: []size.Pod{old(fenced("a1"), "1")},
		},
		{
			name: "fewer new ones are to come than may be unavailable", current: 3, rollout: size.Rollout{Replacing: 2, Placed: true},
			pods: []size.Pod{old(pod("a1", busy), "1"), old(fenced("a2"), "1"), gate(fenced("n1"), size.Waited)},
			want: size.RollStep{Go: []string{"a2"}, Replace: 2},
		},
		{
			name: "an old one that may go need not be there first", current: 1, rollout: placed,
			pods: []size.Pod{old(gate(fenced("a1"), size.Waited), "1")},
			want: size.RollStep{Go: []string{"a1"}, Replace: 1},
		},
		{
			name: "no other step before the new ones are ready", current: 2, rollout: placed,
			pods: []size.Pod{old(fenced("a1"), "1"), unready(pod("n1", busy))},
		},
		{
			name: "no other step before the new ones are there", current: 2, rollout: placed,
			pods: []size.Pod{old(fenced("a1"), "1"), gate(pod("n1", busy), size.Waited)},
			want: size.RollStep{Admit: []string{"n1"}},
		},
		{
			name: "without pods a new template needs no care", rollout: size.Rollout{Placed: true, Unknown: true},
			want: size.RollStep{Replace: 1},
		},
		{
			name: "a StatefulSet: the highest that is idle", current: 3, order: size.Ordinal,
			pods: []size.Pod{old(pod("a0", idle), ""), old(pod("a1", idle), ""), old(pod("a2", busy), "")},
			want: size.RollStep{Fence: []string{"a1"}},
		},
		{
			name: "a StatefulSet: the fenced one", current: 2, order: size.Ordinal,
			pods: []size.Pod{old(pod("a0", idle), ""), old(fenced("a1"), "")},
			want: size.RollStep{Delete: []string{"a1"}},
		},
		{
			name: "a StatefulSet: one at a time", current: 3, order: size.Ordinal,
			pods: []size.Pod{old(fenced("a0"), ""), old(pod("a1", idle), "")},
		},
		{
			name: "a StatefulSet: all are busy", current: 1, order: size.Ordinal,
			pods: []size.Pod{old(pod("a0", busy), "")},
			want: size.RollStep{Hold: "the pods to be replaced are busy"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			order := test.order
			if order == size.Any {
				order = size.ReplicaSet
			}
			in := size.Input{Current: test.current, Wanted: test.current, Order: order, Pods: test.pods, Settled: true}
			if diff := cmp.Diff(test.want, size.Roll(in, test.rollout)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			in.Settled = false
			if diff := cmp.Diff(size.RollStep{Replace: test.rollout.Replacing}, size.Roll(in, test.rollout)); diff != "" {
				t.Errorf("before the controller has acted, nothing changes (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzNoBusyPodIsEnded plays a target's controller, and pods whose work comes and goes between any two things that happen.
func FuzzNoBusyPodIsEnded(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, int(seed%3))
	}
	f.Fuzz(func(t *testing.T, seed uint64, order int) {
		w := world{random: rand.New(rand.NewPCG(seed, 7)), order: size.Order((order%3 + 3) % 3)}
		for range 300 {
			w.step(t)
		}
	})
}

func TestPodsAreEndedWhereTheyMayBe(t *testing.T) {
	t.Parallel()
	for _, order := range []size.Order{size.Any, size.ReplicaSet, size.Ordinal} {
		ended := 0
		for seed := range uint64(20) {
			w := world{random: rand.New(rand.NewPCG(seed, 7)), order: order}
			for range 300 {
				w.step(t)
			}
			ended += w.ended
		}
		if ended < 20 {
			t.Errorf("order %d: %d pods were ended in 6,000 steps", order, ended)
		}
	}
}

// world is a target, its controller and its pods.
type world struct {
	random *rand.Rand
	order  size.Order
	// replicas is what is set; observed what the controller has acted on.
	replicas, observed int
	pods               []size.Pod
	made, ended        int
}

func (w *world) step(t *testing.T) {
	t.Helper()
	for range w.random.IntN(4) {
		w.live(t)
	}
	in := size.Input{
		Current: w.replicas, Wanted: w.random.IntN(8), Order: w.order, Pods: slices.Clone(w.pods),
		Settled: w.observed == w.replicas && len(w.pods) <= w.replicas, MaxPerStep: w.random.IntN(4),
	}
	var step size.Step
	for range 10 {
		if step = size.Next(in); len(step.Fence) == 0 {
			break
		}
		w.live(t) // a message may come first
		for _, name := range step.Fence {
			if p := w.find(name); p != nil && p.State == size.Idle {
				p.Fenced = true
			}
		}
		in.Pods = slices.Clone(w.pods)
	}
	if len(step.Fence) > 0 {
		t.Fatal("it asks for fences for ever")
	}
	for _, name := range step.Unfence {
		w.find(name).Fenced, w.find(name).Cost = false, 0
	}
	for _, name := range step.Go {
		w.find(name).Cost = size.LowestCost
	}
	w.replicas = step.Replicas
}

// live lets something happen that is not up to us.
func (w *world) live(t *testing.T) {
	t.Helper()
	switch w.random.IntN(5) {
	case 0, 1:
		w.control(t)
	case 2: // a message comes
		for i := range w.pods {
			if p := &w.pods[i]; p.State != size.Busy && !p.Fenced && w.random.IntN(2) == 0 {
				p.State = size.Busy
				break
			}
		}
	case 3: // work is done
		for i := range w.pods {
			if p := &w.pods[i]; p.State == size.Busy && w.random.IntN(2) == 0 {
				p.State = size.Idle
				break
			}
		}
	case 4: // a pod becomes ready, and says so, or is ready no longer
		if len(w.pods) > 0 {
			p := &w.pods[w.random.IntN(len(w.pods))]
			// Readiness that is lost in the moment between a shrink and the controller's acting on it cannot be seen by anybody.
			settled := w.observed == w.replicas && len(w.pods) == w.replicas
			p.Ready, p.Stage = !settled || w.random.IntN(6) > 0, size.Running
			if p.State == size.Silent {
				p.State = size.Idle
			}
		}
	}
}

// control is what a ReplicaSet's or StatefulSet's controller does, or one of which nothing is known.
func (w *world) control(t *testing.T) {
	t.Helper()
	w.observed = w.replicas
	for len(w.pods) < w.replicas {
		w.made++
		name := fmt.Sprintf("p%05d", w.made)
		w.pods = append(w.pods, size.Pod{Name: name, State: size.Silent, Stage: size.Unassigned, Ordinal: len(w.pods), Created: at(float64(w.made)), Set: "1"})
	}
	switch w.order {
	case size.ReplicaSet:
		rank := func(p size.Pod) []int {
			ready := 0
			if p.Ready {
				ready = 1
			}
			return []int{int(p.Stage), ready, p.Cost}
		}
		slices.SortStableFunc(w.pods, func(a, b size.Pod) int { return slices.Compare(rank(b), rank(a)) })
	case size.Ordinal: // they are in order
	case size.Any:
		w.random.Shuffle(len(w.pods), func(i, j int) { w.pods[i], w.pods[j] = w.pods[j], w.pods[i] })
	}
	for len(w.pods) > w.replicas {
		last := w.pods[len(w.pods)-1]
		if last.State == size.Busy || last.State == size.Silent {
			t.Fatalf("%s was ended, which was busy or might have been: %+v", last.Name, last)
		}
		w.pods = w.pods[:len(w.pods)-1]
		w.ended++
	}
}

func (w *world) find(name string) *size.Pod {
	for i := range w.pods {
		if w.pods[i].Name == name {
			return &w.pods[i]
		}
	}
	return nil
}
