package decide_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/dispatcher/decide"
)

func TestTheMessageThatHasWaitedLongestGetsTheNextJob(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	var a decide.Arrivals
	a.See(2, 2, at(1))
	a.See(1, 2, at(2)) // one may be about to be taken
	a.See(5, 5, at(3))
	for i, want := range []int{1, 1, 3} {
		if since, ok := a.Take(1); !ok || !since.Equal(at(want)) {
			t.Errorf("Job %d is for a message seen at %v (%v), not at second %d", i+1, since.Unix(), ok, want)
		}
	}
	a.See(0, 1, at(4)) // one of the two that were left was taken by somebody else
	a.See(3, 3, at(5))
	if since, _ := a.Take(2); !since.Equal(at(3)) {
		t.Errorf("a Job for two messages waits since second %d, not since the older of them came", since.Unix())
	}
	if since, _ := a.Take(5); !since.Equal(at(5)) {
		t.Errorf("what came last waits since second %d, not 5", since.Unix())
	}
	if _, ok := a.Take(1); ok {
		t.Error("a message is remembered though all got Jobs")
	}
}

func TestArrivalsAreNeverForgottenOrMadeUp(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var a decide.Arrivals
	var count int64
	var last time.Time
	for i := range 50_000 {
		now := time.Unix(int64(i), 0)
		if random.IntN(3) == 0 {
			n := int64(random.IntN(4))
			since, ok := a.Take(n)
			if ok != (count > 0) {
				t.Fatalf("step %d: %d are remembered, and Take says %v", i, count, ok)
			}
			if ok && since.After(now) {
				t.Fatalf("step %d: a message waits since %v, which is yet to come", i, since)
			}
			count = max(0, count-n)
		} else {
			least := count + int64(random.IntN(9)-4)
			most := least + int64(random.IntN(4))
			count = max(0, min(max(count, least), most))
			a.See(least, most, now)
		}
		if a.Count() != count {
			t.Fatalf("step %d: %d are remembered, not %d", i, a.Count(), count)
		}
		last = now
	}
	if since, ok := a.Take(1); ok && since.After(last) {
		t.Errorf("a message waits since %v, after the last look", since)
	}
}
