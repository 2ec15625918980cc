package trigger_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

const (
	ms     = time.Millisecond
	second = time.Second
)

var errDown = errors.New("the broker is down")

// moments are multiples of a millisecond.
func moments(n ...int) []time.Duration {
	m := []time.Duration{}
	for _, i := range n {
		m = append(m, time.Duration(i)*ms)
	}
	return m
}

func expect[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) || errors.Is(b, a) })); diff != "" {
		t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

func TestTriggersOfOneEndpointShareOneConnectionAndOneRequest(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "audio", "text", "video")
		b.holds("audio", 1)
		b.holds("text", 2)
		b.holds("video", 3)
		s.meter.Watch(named("one"), []trigger.Watch{
			{Trigger: "a", Source: b.source("audio"), Interval: second},
			{Trigger: "t", Source: b.source("text"), Interval: second},
		})
		s.watch("two", b, "video", second)
		s.watch("three", b, "video", second)
		s.start()
		s.step(2 * second)

		b.connections(1, 0)
		requests, _, _ := b.log()
		all := []string{"audio", "text", "video"}
		expect(t, "requests", []request{{0, all}, {second, all}, {2 * second, all}}, requests)
		for _, c := range []struct {
			owner, trigger string
			want           int64
		}{{"one", "a", 1}, {"one", "t", 2}, {"two", "video", 3}, {"three", "video", 3}} {
			o, ok := s.meter.Last(named(c.owner), c.trigger, s.at(0))
			if o.Backlog.Waiting != c.want || !ok {
				t.Errorf("trigger %s of %s shows %d waiting, %t; want %d, true", c.trigger, c.owner, o.Backlog.Waiting, ok, c.want)
			}
		}
	})
}

func TestEachEndpointHasAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		here, there := s.broker("here", "jobs"), s.broker("there", "jobs")
		here.holds("jobs", 1)
		there.holds("jobs", 2)
		s.meter.Watch(named("one"), []trigger.Watch{
			{Trigger: "here", Source: here.source("jobs"), Interval: second},
			{Trigger: "there", Source: there.source("jobs"), Interval: second},
		})
		s.start()
		here.connections(1, 0)
		there.connections(1, 0)
		h, _ := s.meter.Last(named("one"), "here", s.at(0))
		e, _ := s.meter.Last(named("one"), "there", s.at(0))
		if h.Backlog.Waiting != 1 || e.Backlog.Waiting != 2 {
			t.Errorf("waiting here %d and there %d, want 1 and 2", h.Backlog.Waiting, e.Backlog.Waiting)
		}
	})
}

func TestTheShortestIntervalRules(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		s.watch("patient", b, "jobs", second)
		s.watch("hasty", b, "jobs", 400*ms)
		s.start()
		s.step(2 * second)
		expect(t, "readings with both", moments(0, 400, 800, 1200, 1600, 2000), b.reads(""))

		s.meter.Forget(named("hasty"))
		s.step(3 * second)
		expect(t, "readings without the hasty one", moments(3000, 4000, 5000), b.reads("")[6:])
	})
}

func TestAShorterIntervalHoldsAtOnce(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		s.watch("one", b, "jobs", 20*time.Minute)
		s.start()
		s.step(10 * second)
		s.watch("one", b, "jobs", 500*ms)
		s.step(second)
		expect(t, "readings", moments(0, 10000, 10500, 11000), b.reads("jobs"))
		b.connections(1, 0)
	})
}

func TestAQueueThatIsNearlyDueIsReadWithTheOthers(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "often", "seldom")
		s.watch("one", b, "often", second)
		s.watch("two", b, "seldom", 4500*ms)
		s.start()
		s.step(8 * second)
		expect(t, "readings of the one", moments(0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000), b.reads("often"))
		expect(t, "readings of the other", moments(0, 4000, 8000), b.reads("seldom"))
	})
}

func TestANewTriggerIsReadAtOnce(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "old", "new")
		s.watch("one", b, "old", time.Hour)
		s.start()
		s.step(second)
		s.watch("two", b, "new", time.Hour)
		synctest.Wait()
		requests, _, _ := b.log()
		expect(t, "requests", []request{{0, []string{"old"}}, {second, []string{"new"}}}, requests)
		expect(t, "when its owner was told", moments(1000), s.changed("two"))
	})
}

func TestManyNewTriggersShareARequest(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "old")
		s.watch("old", b, "old", time.Hour)
		s.start()
		queues := []string{}
		for i := range 20 {
			q := fmt.Sprintf("queue-%02d", i)
			queues = append(queues, q)
			s.watch(q, b, q, time.Hour)
			synctest.Wait()
		}
		s.step(second)
		requests, _, _ := b.log()
		expect(t, "requests", []request{{0, []string{"old"}}, {5 * ms, queues}}, requests)
	})
}

func TestWhoAsksAndLeavesIsNotReadForAnyMore(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		s.watch("stays", b, "jobs", time.Hour)
		s.watch("leaves", b, "jobs", time.Hour)
		s.start()
		s.meter.Observe(named("leaves"), "jobs", s.at(ms))
		s.meter.Forget(named("leaves"))
		s.step(second)
		if begun := b.reads("jobs"); len(begun) > 2 {
			t.Errorf("%d readings were made for who is gone", len(begun)-1)
		}
	})
}

func TestWhoAsksWhileLeavingIsNotReadForAnyMore(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		s.watch("stays", b, "jobs", time.Hour)
		s.watch("leaves", b, "jobs", time.Hour)
		s.start()
		ask := s.meter.Asking(named("leaves"), "jobs", s.at(ms))
		s.meter.Forget(named("leaves"))
		ask()
		s.step(second)
		expect(t, "readings", moments(0), b.reads("jobs"))
	})
}

func TestNoReadingIsToldOfAfterItsOwnerWasForgotten(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		var forgotten atomic.Bool
		forget := func() {
			s.meter.Forget(named("one"))
			s.meter.Forget(named("two"))
			forgotten.Store(true)
		}
		told := 0
		s.meter = trigger.NewMeter(clock.RealClock{}, s.onChange, func(owner trigger.Owner, _ string, _ trigger.Observation) {
			told++
			if forgotten.Load() {
				t.Errorf("a reading is told of to %s, who is forgotten", owner.Name)
			}
			if told > 1 {
				return
			}
			go forget()
			for range 100_000 { // every chance to be through before the other is told
				runtime.Gosched()
			}
		})
		s.watch("one", b, "jobs", second)
		s.watch("two", b, "jobs", second)
		s.start()
		s.step(10 * second)
		if told != 2 || !forgotten.Load() {
			t.Errorf("%d readings were told of, and both are forgotten: %t; want 2, true", told, forgotten.Load())
		}
	})
}

func TestObserveGivesOnlyReadingsBegunAtTheMomentOrLater(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		b.holds("jobs", 5)
		b.takes(300 * ms)
		s.watch("one", b, "jobs", time.Hour)
		s.start()
		one := named("one")
		if _, ok := s.meter.Observe(one, "jobs", time.Time{}); ok {
			t.Error("before the first reading Observe gives one for the beginning of time")
		}
		if o, ok := s.meter.Observe(one, "jobs", s.at(0)); ok || o != (trigger.Observation{}) {
			t.Errorf("before the first reading Observe gives %+v, %t", o, ok)
		}
		s.step(100 * ms)
		since := s.at(100 * ms)
		if _, ok := s.meter.Observe(one, "jobs", since); ok {
			t.Error("before the first reading is there, Observe gives it for a moment after its beginning")
		}
		s.step(200 * ms) // the reading begun at 0 is there
		if o, ok := s.meter.Observe(one, "jobs", since); ok {
			t.Errorf("Observe gives a reading begun at %s for a moment of 100ms", o.At.Sub(s.epoch))
		}
		if o, ok := s.meter.Observe(one, "jobs", s.at(0)); !ok || !o.At.Equal(s.at(0)) || o.Took != 300*ms || o.Backlog.Waiting != 5 {
			t.Errorf("for the moment when it was begun Observe gives %+v, %t", o, ok)
		}
		b.holds("jobs", 4)
		s.step(10 * second)
		begun := b.reads("jobs")
		if len(begun) != 2 {
			t.Fatalf("readings were begun at %s; want two, of which one for who asked", begun)
		}
		o, ok := s.meter.Observe(one, "jobs", since)
		if !ok || o.At.Sub(s.epoch) != begun[1] || o.Backlog.Waiting != 4 {
			t.Errorf("when it was asked for, Observe gives %+v, %t", o, ok)
		}
		expect(t, "when the owner was told", []time.Duration{300 * ms, begun[1] + 300*ms}, s.changed("one"))
		s.step(10 * second)
		expect(t, "readings once there is an answer", begun, b.reads("jobs"))
	})
}

func TestWhoAsksIsToldEvenIfNothingIsNew(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		s.watch("asks", b, "jobs", time.Hour)
		s.watch("does not", b, "jobs", time.Hour)
		s.start()
		s.step(second)
		s.meter.Observe(named("asks"), "jobs", time.Now())
		s.step(second)
		expect(t, "readings", moments(0, 1000), b.reads("jobs"))
		expect(t, "when who asked was told", moments(0, 1000), s.changed("asks"))
		expect(t, "when who did not ask was told", moments(0), s.changed("does not"))
	})
}

// A pass that asks for a moment after the present one, as by a clock that was set back, waits until then.
func TestWhoAsksForALaterMomentIsToldThenOnce(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		s.watch("one", b, "jobs", time.Hour)
		s.start()
		s.meter.Observe(named("one"), "jobs", s.at(12*ms))
		s.step(second)
		expect(t, "when the owner was told", moments(0, 15), s.changed("one"))
	})
}

func TestOneRoundTripAnswersManyAskers(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "nobody's")
		s.watch("nobody", b, "nobody's", time.Hour)
		asked := []string{}
		for i := range 50 {
			q := fmt.Sprintf("queue-%02d", i)
			asked = append(asked, q)
			b.holds(q, int64(i))
			s.watch(q, b, q, time.Hour)
		}
		s.start()
		b.connections(1, 0)
		for _, q := range asked { // right after a reading, so that all come before the next may be
			if _, ok := s.meter.Observe(named(q), q, s.at(ms)); ok {
				t.Errorf("%s: the reading begun before the moment answers", q)
			}
		}
		s.step(second)
		requests, _, _ := b.log()
		if len(requests) != 2 {
			t.Fatalf("%d requests were made for 50 who asked at once", len(requests)-1)
		}
		expect(t, "the queues read for who asked", asked, requests[1].Queues)
		for _, q := range asked {
			expect(t, "when "+q+" was told", []time.Duration{0, requests[1].At}, s.changed(q))
			if _, ok := s.meter.Last(named(q), q, s.at(ms)); !ok {
				t.Errorf("%s has no answer", q)
			}
		}
	})
}

// askOnAndOn has an owner ask for a new reading as soon as it is told of the last.
func askOnAndOn(s *stage, owner, queue string, until time.Duration) {
	for s.now() < until {
		s.meter.Observe(named(owner), queue, time.Now().Add(1)) // newer than any there is
		s.step(ms)
	}
}

func TestAnEndpointIsLeftInPeaceBetweenReadingsSomeoneWaitsFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		takes, least time.Duration
	}{
		"a quick one": {0, 5 * ms},
		"a slow one":  {50 * ms, 100 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				b := s.broker("broker", "jobs")
				b.takes(c.takes)
				s.watch("one", b, "jobs", time.Hour)
				s.start()
				askOnAndOn(s, "one", "jobs", second)
				begun := b.reads("jobs")
				if len(begun) < 5 {
					t.Fatalf("readings were begun at %s, although someone waited all the time", begun)
				}
				for i := range begun[1:] {
					if gap := begun[i+1] - begun[i]; gap < c.least {
						t.Fatalf("a reading was begun %s after one that took %s", gap, c.takes)
					}
				}
			})
		})
	}
}

func TestASlowEndpointIsReadASecondAfterAReading(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		b.takes(3 * second)
		s.watch("one", b, "jobs", second)
		s.start()
		s.step(12 * second)
		expect(t, "readings", moments(0, 4000, 8000, 12_000), b.reads("jobs"))
	})
}

func TestWhatWasTriedInVainOverADeadConnectionDelaysNobody(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		b.takes(10 * ms)
		s.watch("one", b, "jobs", 20*second)
		s.start()
		s.step(second)
		b.tell(func() {
			answers := b.onRead
			b.onRead = never
			b.onOpen = func(context.Context) error {
				time.Sleep(2 * second)
				b.tell(func() { b.onRead = answers })
				return nil
			}
		})
		s.step(24 * second) // the reading of 20 s hangs until 30 s
		s.meter.Observe(named("one"), "jobs", s.at(25*second))
		s.step(7*second + 10*ms)
		o, ok := s.meter.Observe(named("one"), "jobs", s.at(25*second))
		if !ok || o.At.Sub(s.epoch) != 32*second || o.Took != 10*ms || o.Err != nil {
			t.Errorf("when it was read over another connection the trigger shows %+v, %t; want one of 10ms, of the moment when that was open", o, ok)
		}
		s.meter.Observe(named("one"), "jobs", time.Now())
		s.step(second)
		expect(t, "readings", moments(0, 20_000, 32_000, 32_030), b.reads("jobs"))
		expect(t, "when the owner was told", moments(10, 32_010, 32_040), s.changed("one"))
	})
}

func TestLastHasNothingRead(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		s.watch("one", b, "jobs", time.Hour)
		s.start()
		s.step(second)
		if o, ok := s.meter.Last(named("one"), "jobs", s.at(0)); !ok || !o.At.Equal(s.epoch) {
			t.Errorf("Last gives %+v, %t", o, ok)
		}
		if o, ok := s.meter.Last(named("one"), "jobs", s.at(1)); ok || !o.At.Equal(s.epoch) {
			t.Errorf("for a moment after the last reading Last gives %+v, %t", o, ok)
		}
		s.step(second)
		expect(t, "readings", moments(0), b.reads("jobs"))
	})
}

func TestWhatIsNotWatchedIsNotObserved(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		s.watch("one", b, "jobs", second)
		s.start()
		for _, look := range []func(trigger.Owner, string, time.Time) (trigger.Observation, bool){s.meter.Observe, s.meter.Last} {
			for owner, name := range map[string]string{"one": "other", "other": "jobs"} {
				if o, ok := look(named(owner), name, s.at(0)); ok || o != (trigger.Observation{}) {
					t.Errorf("trigger %s of %s shows %+v, %t", name, owner, o, ok)
				}
			}
		}
	})
}

func TestASlowEndpointDelaysOnlyItsOwnTriggers(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]func(*broker){
		"that never answers a reading": func(b *broker) { b.onRead = never },
		"that never lets anyone in":    func(b *broker) { b.onOpen = never },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				hung, well := s.broker("hung", "jobs"), s.broker("well", "jobs")
				slow(hung)
				both := []trigger.Watch{
					{Trigger: "hung", Source: hung.source("jobs"), Interval: second},
					{Trigger: "well", Source: well.source("jobs"), Interval: second},
				}
				s.meter.Watch(named("both"), both)
				s.start()
				s.step(9 * second)
				expect(t, "readings of the other", moments(0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000), well.reads("jobs"))

				// None of these may wait for it: time does not move meanwhile.
				s.meter.Observe(named("both"), "hung", time.Now())
				s.meter.Last(named("both"), "hung", time.Now())
				s.watch("third", hung, "jobs", second)
				s.meter.Forget(named("third"))
				s.meter.Watch(named("both"), both)
				if s.now() != 9*second {
					t.Errorf("it took %s to use the meter", s.now()-9*second)
				}
				if len(hung.openings()) != 1 {
					t.Errorf("connections were begun at %s, want one", hung.openings())
				}
				s.step(second)
				o, ok := s.meter.Last(named("both"), "hung", s.at(0))
				if !ok || !errors.Is(o.Err, context.DeadlineExceeded) {
					t.Errorf("after ten seconds the slow one shows %+v, %t; want its deadline exceeded", o, ok)
				}
			})
		})
	}
}

func TestAnEndpointThatFailsIsTriedEverLessOften(t *testing.T) {
	t.Parallel()
	backOff := moments(0, 250, 750, 1750, 3750, 7750, 12750, 17750)
	for name, c := range map[string]struct {
		fails func(*broker)
		ask   bool
	}{
		"that lets no one in":                     {func(b *broker) { b.onOpen = func(context.Context) error { return errDown } }, false},
		"that fails to read":                      {func(b *broker) { b.onRead = func(context.Context) error { return errDown } }, false},
		"that gives too few results":              {func(b *broker) { b.short = 1 }, false},
		"that lets no one in while someone waits": {func(b *broker) { b.onOpen = func(context.Context) error { return errDown } }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				b := s.broker("broker", "jobs")
				b.holds("jobs", 5)
				c.fails(b)
				s.watch("one", b, "jobs", 100*ms)
				s.start()
				if c.ask {
					askOnAndOn(s, "one", "jobs", 20*second)
				} else {
					s.step(20 * second)
				}
				expect(t, "attempts", backOff, b.openings())
				o, ok := s.meter.Last(named("one"), "jobs", s.at(17750*ms))
				if o.Err == nil || !ok || o.Backlog != (trigger.Backlog{}) {
					t.Errorf("the trigger shows %+v, %t; want an error of the last attempt", o, ok)
				}

				b.tell(func() { b.onOpen, b.onRead, b.short = nil, nil, 0 })
				s.step(3 * second)
				o, _ = s.meter.Last(named("one"), "jobs", s.at(22750*ms))
				if o.Err != nil || o.Backlog.Waiting != 5 {
					t.Errorf("when the broker is back the trigger shows %+v", o)
				}
				failures := len(b.openings()) - 1
				b.fails(errDown)
				s.step(200 * ms) // the next reading fails, and once more over a new connection
				again := b.openings()[failures+1]
				s.step(second)
				expect(t, "attempts after the success", []time.Duration{again, again + 250*ms, again + 750*ms}, b.openings()[failures+1:])
			})
		})
	}
}

func TestWhatIsAskedForWhileAnEndpointFailsIsReadWhenItIsBack(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		b.holds("jobs", 5)
		b.fails(errDown)
		s.watch("one", b, "jobs", 100*ms)
		s.start()
		s.step(500 * ms) // tried at 0 and 250 ms, next at 750 ms
		s.meter.Observe(named("one"), "jobs", time.Now())
		b.fails(nil)
		s.step(250 * ms)
		o, ok := s.meter.Last(named("one"), "jobs", s.at(500*ms))
		if !ok || o.Err != nil || o.Backlog.Waiting != 5 {
			t.Errorf("the trigger shows %+v, %t", o, ok)
		}
		expect(t, "when the owner was told", moments(0, 750), s.changed("one"))
	})
}

func TestAMissingQueueDisturbsNoOther(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "there")
		b.holds("there", 5)
		s.watch("one", b, "there", second)
		s.watch("two", b, "missing", second)
		s.start()
		s.step(3 * second)
		both := []string{"missing", "there"}
		requests, _, _ := b.log()
		expect(t, "requests", []request{{0, both}, {second, both}, {2 * second, both}, {3 * second, both}}, requests)
		b.connections(1, 0)
		there, _ := s.meter.Last(named("one"), "there", s.at(0))
		missing, ok := s.meter.Last(named("two"), "missing", s.at(3*second))
		if there.Err != nil || there.Backlog.Waiting != 5 {
			t.Errorf("the queue that is there shows %+v", there)
		}
		if !ok || !errors.Is(missing.Err, errMissing) || missing.Backlog != (trigger.Backlog{}) {
			t.Errorf("the missing queue shows %+v, %t", missing, ok)
		}

		b.holds("missing", 2)
		s.step(second)
		if found, _ := s.meter.Last(named("two"), "missing", s.at(4*second)); found.Err != nil || found.Backlog.Waiting != 2 || found.Fallen != 0 {
			t.Errorf("when it appears it shows %+v", found)
		}
		expect(t, "when its owner was told", moments(0, 4000), s.changed("two"))
	})
}

func TestWhatCouldNotBeReadIsReadAgainSoon(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fails, heals func(*broker)
	}{
		"a missing queue": {
			func(b *broker) { delete(b.backlogs, "jobs") },
			func(b *broker) { b.backlogs["jobs"] = trigger.Backlog{} },
		},
		"a broker that is down": {
			func(b *broker) { b.onRead = func(context.Context) error { return errDown } },
			func(b *broker) { b.onRead = nil },
		},
		"a broker that lets no one in": {
			func(b *broker) { b.onOpen = never },
			func(b *broker) { b.onOpen = nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				b := s.broker("broker", "jobs")
				c.fails(b)
				s.watch("one", b, "jobs", time.Hour)
				s.start()
				s.step(30 * second)
				b.tell(func() { c.heals(b) })
				s.step(15 * second) // an attempt that hangs may be under way, and a pause follows it
				begun := b.reads("jobs")
				if o, ok := s.meter.Last(named("one"), "jobs", s.at(30*second)); !ok || o.Err != nil {
					t.Errorf("the trigger shows %+v, %t", o, ok)
				}
				s.step(10 * time.Minute)
				expect(t, "readings once it was read", begun, b.reads("jobs"))
			})
		})
	}
}

func TestAConnectionCutWhileIdleIsOpenedAnewBeforeAnErrorShows(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		b.holds("jobs", 5)
		cuts := 0 // how many readings fail
		b.onRead = func(context.Context) error {
			if cuts > 0 {
				cuts--
				return errDown
			}
			return nil
		}
		s.watch("one", b, "jobs", second)
		s.start()
		b.tell(func() { cuts = 1 })
		s.step(second)
		b.connections(2, 1)
		expect(t, "readings", moments(0, 1000, 1000), b.reads("jobs"))
		for _, o := range s.observed("one") {
			if o.Err != nil {
				t.Errorf("a reading shows %v, and the next attempt was to succeed", o.Err)
			}
		}

		b.tell(func() { cuts = 2 })
		s.step(second)
		b.connections(3, 3)
		o, ok := s.meter.Last(named("one"), "jobs", s.at(2*second))
		if !errors.Is(o.Err, errDown) || !ok {
			t.Errorf("when the new connection fails as well the trigger shows %+v, %t", o, ok)
		}
		s.step(250 * ms * 4)
		if o, _ := s.meter.Last(named("one"), "jobs", s.at(2*second)); o.Err != nil {
			t.Errorf("later the trigger shows %v", o.Err)
		}
	})
}

func TestFallenAddsUpEveryFallAndNoRise(t *testing.T) {
	t.Parallel()
	type step struct {
		waiting int64 // below 0: the broker is down; below -1: the queue is missing
		fallen  int64
	}
	for name, steps := range map[string][]step{
		"falls add up":                         {{10, 0}, {7, 3}, {7, 3}, {1, 9}, {0, 10}},
		"rises do not count":                   {{0, 0}, {5, 0}, {100, 0}, {100, 0}},
		"nor does a rise undo a fall":          {{10, 0}, {4, 6}, {9, 6}, {8, 7}},
		"a fall over a failure counts":         {{10, 0}, {-1, 0}, {-1, 0}, {4, 6}, {3, 7}},
		"a rise over a failure does not":       {{10, 0}, {8, 2}, {-1, 2}, {12, 2}, {11, 3}},
		"a fall while it was missing counts":   {{10, 0}, {-2, 0}, {4, 6}},
		"a failure at first is not a zero":     {{-1, 0}, {10, 0}, {9, 1}},
		"nor is a failure a fall to zero":      {{10, 0}, {-1, 0}, {10, 0}, {-2, 0}, {10, 0}},
		"a queue that is emptied falls by all": {{10, 0}, {0, 10}, {10, 10}, {0, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				b := s.broker("broker", "jobs")
				s.watch("one", b, "jobs", 5*second)
				for i, step := range steps {
					switch step.waiting {
					case -1:
						b.fails(errDown)
					case -2:
						b.tell(func() { delete(b.backlogs, "jobs") })
					default:
						b.fails(nil)
						b.holds("jobs", step.waiting)
					}
					if i == 0 {
						s.start()
					} else {
						s.step(5 * second)
					}
					o, ok := s.meter.Last(named("one"), "jobs", time.Now())
					if !ok || o.Fallen != step.fallen || (o.Err != nil) != (step.waiting < 0) {
						t.Fatalf("reading %d of %v shows %+v, %t; want fallen %d", i, steps, o, ok, step.fallen)
					}
				}
			})
		})
	}
}

func TestAFallThatIsInDoubtCountsOnlyWhenItHasLasted(t *testing.T) {
	t.Parallel()
	const doubtful, fails = -1, -2 // instead of what waits
	for name, c := range map[string]struct {
		interval time.Duration
		shows    []int64 // what waits, reading by reading; the last goes on
		read     []time.Duration
		fallen   []int64
		told     []time.Duration
	}{
		"a false zero is no fall": {
			second,
			[]int64{20, doubtful, 20},
			moments(0, 1000, 1250, 2250, 3250),
			[]int64{0, 0, 0, 0, 0},
			moments(0, 1000, 1250),
		},
		"a real zero is one after two seconds": {
			second,
			[]int64{20, doubtful},
			moments(0, 1000, 1250, 1500, 1750, 2000, 2250, 2500, 2750, 3000, 4000),
			[]int64{0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 20},
			moments(0, 1000, 3000),
		},
		"a short interval stays as it is": {
			100 * ms,
			[]int64{20, 20, 20, doubtful, doubtful, 19, doubtful, doubtful, 17},
			moments(0, 100, 200, 300, 400, 500, 600, 700, 800, 900),
			[]int64{0, 0, 0, 0, 0, 1, 1, 1, 3, 3},
			moments(0, 300, 500, 600, 800),
		},
		"what waits after it is set against what waited before it": {
			second,
			[]int64{20, doubtful, doubtful, 5, doubtful, 7},
			moments(0, 1000, 1250, 1500, 2500, 2750, 3750),
			[]int64{0, 0, 0, 15, 15, 15, 15},
			moments(0, 1000, 1500, 2500, 2750),
		},
		"a zero beyond doubt is a fall at once": {
			second,
			[]int64{20, doubtful, 0},
			moments(0, 1000, 1250, 2250),
			[]int64{0, 0, 20, 20},
			moments(0, 1000, 1250),
		},
		"a failure has the doubt begin anew": {
			second,
			[]int64{20, doubtful, doubtful, doubtful, doubtful, doubtful, doubtful, doubtful, fails, doubtful, doubtful, doubtful, 12},
			moments(0, 1000, 1250, 1500, 1750, 2000, 2250, 2500, 2750, 3750, 4000, 4250, 4500),
			[]int64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8},
			moments(0, 1000, 2750, 3750, 4500),
		},
		"a zero after a zero is not doubted": {
			second,
			[]int64{doubtful, 0, doubtful, 3, doubtful, 3},
			moments(0, 1000, 2000, 3000, 4000, 4250),
			[]int64{0, 0, 0, 0, 0, 0},
			moments(0, 3000, 4000, 4250),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				b := s.broker("broker")
				b.onRead = func(context.Context) error {
					shown := c.shows[min(len(b.reads("")), len(c.shows))-1]
					b.tell(func() {
						b.backlogs["jobs"] = trigger.Backlog{Waiting: max(0, shown), Doubtful: shown == doubtful}
						if shown == fails {
							delete(b.backlogs, "jobs")
						}
					})
					return nil
				}
				s.watch("one", b, "jobs", c.interval)
				s.start()
				s.step(c.read[len(c.read)-1])
				expect(t, "readings", c.read, b.reads("jobs"))
				fallen := []int64{}
				for _, o := range s.observed("one") {
					fallen = append(fallen, o.Fallen)
				}
				expect(t, "what each shows to have fallen", c.fallen, fallen)
				expect(t, "when the owner was told", c.told, s.changed("one"))
			})
		})
	}
}

func TestOwnersAreToldWhatIsNewAndNothingElse(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		show := func(backlog trigger.Backlog) { b.tell(func() { b.backlogs["jobs"] = backlog }) }
		s.watch("one", b, "jobs", 5*second)
		s.watch("two", b, "jobs", 5*second)
		s.start()
		s.step(10 * second)
		show(trigger.Backlog{Waiting: 1})
		s.step(10 * second)
		show(trigger.Backlog{Waiting: 1, Held: 2, HeldKnown: true})
		s.step(10 * second)
		b.fails(errDown)
		s.step(10 * second)
		b.fails(errMissing) // another error
		s.step(10 * second)
		b.fails(nil)
		s.step(10 * second)
		show(trigger.Backlog{})
		s.step(10 * second)
		b.fails(errDown)
		s.step(10 * second)
		b.fails(nil)
		s.step(10 * second)
		told := moments(0, 15_000, 25_000, 35_000, 45_000, 55_000, 65_000, 75_000, 85_000)
		expect(t, "when one was told", told, s.changed("one"))
		expect(t, "when two was told", told, s.changed("two"))
		if n := len(s.observed("one")); n != 19 {
			t.Errorf("%d readings were told of, want each of 19", n)
		}
		for _, r := range s.readings {
			if r.Trigger != "jobs" {
				t.Errorf("a reading of trigger %q was told of", r.Trigger)
			}
		}
	})
}

func TestDroppingTheLastWatchClosesTheConnection(t *testing.T) {
	t.Parallel()
	errs := func(context.Context) error { return errDown }
	for name, c := range map[string]struct {
		first, then func(context.Context) error // what readings do
		wait        time.Duration
	}{
		"between readings":             {nil, nil, 500 * ms},
		"during the first reading":     {never, never, 500 * ms},
		"during a later reading":       {nil, never, 1500 * ms},
		"while it backs off":           {errs, errs, 10 * second},
		"when the next reading is due": {nil, nil, second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				b := s.broker("broker", "audio", "video")
				b.onRead = c.first
				s.meter.Watch(named("one"), []trigger.Watch{
					{Trigger: "audio", Source: b.source("audio"), Interval: second},
					{Trigger: "video", Source: b.source("video"), Interval: second},
				})
				s.watch("two", b, "video", second)
				s.start()
				b.tell(func() { b.onRead = c.then })
				s.step(c.wait)
				s.meter.Forget(named("one"))
				synctest.Wait()
				_, opened, closed := b.log()
				if c.then == nil && closed != 0 {
					t.Error("the connection is closed, and two still uses it")
				}

				s.meter.Forget(named("two"))
				synctest.Wait()
				_, nowOpened, closed := b.log()
				if closed != opened || nowOpened != opened {
					t.Errorf("%d connections were opened and %d closed when the last watch was dropped", nowOpened, closed)
				}
				before := b.reads("")
				s.step(time.Hour)
				expect(t, "readings after that", before, b.reads(""))

				b.tell(func() { b.onRead = nil })
				s.watch("three", b, "audio", 3*time.Hour)
				synctest.Wait()
				requests, nowOpened, _ := b.log()
				expect(t, "the first reading when it is watched again", request{s.now(), []string{"audio"}}, requests[len(requests)-1])
				if nowOpened != opened+1 {
					t.Errorf("%d connections were opened to read again, want one", nowOpened-opened)
				}
			})
		})
	}
}

func TestAQueueThatNobodyWatchesIsNotRead(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "audio", "video")
		s.meter.Watch(named("one"), []trigger.Watch{
			{Trigger: "audio", Source: b.source("audio"), Interval: second},
			{Trigger: "video", Source: b.source("video"), Interval: second},
		})
		s.start()
		s.watch("one", b, "audio", second)
		s.step(second)
		requests, _, _ := b.log()
		expect(t, "requests", []request{{0, []string{"audio", "video"}}, {second, []string{"audio"}}}, requests)
		if o, ok := s.meter.Last(named("one"), "video", s.at(0)); ok || o != (trigger.Observation{}) {
			t.Errorf("the trigger that was dropped shows %+v, %t", o, ok)
		}
	})
}

func TestAnotherSourceForgetsTheOldCounts(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		here, there := s.broker("here", "jobs", "more"), s.broker("there", "jobs")
		watch := func(source trigger.Source) {
			s.meter.Watch(named("one"), []trigger.Watch{
				{Trigger: "t", Source: source, Interval: second},
				{Trigger: "keeps the connection", Source: here.source("kept"), Interval: second},
			})
		}
		shows := func(what string, waiting, fallen int64) {
			t.Helper()
			o, ok := s.meter.Last(named("one"), "t", s.at(0))
			if !ok || o.Err != nil || o.Backlog.Waiting != waiting || o.Fallen != fallen {
				t.Errorf("%s the trigger shows %+v, %t; want %d waiting, %d fallen", what, o, ok, waiting, fallen)
			}
		}
		here.holds("kept", 0)
		here.holds("jobs", 10)
		here.holds("more", 4)
		there.holds("jobs", 1)
		watch(here.source("jobs"))
		s.start()
		here.holds("jobs", 8)
		s.step(second)
		shows("at first", 8, 2)

		watch(here.source("jobs"))
		synctest.Wait()
		shows("watched again as it was,", 8, 2)
		expect(t, "readings", moments(0, 1000), here.reads("jobs"))

		watch(here.source("more"))
		if o, ok := s.meter.Last(named("one"), "t", s.at(0)); ok || o != (trigger.Observation{}) {
			t.Errorf("before another queue is read, the trigger shows %+v, %t", o, ok)
		}
		s.step(5 * ms)
		shows("of another queue,", 4, 0)
		here.connections(1, 0)

		watch(there.source("jobs"))
		synctest.Wait()
		shows("at another endpoint,", 1, 0)

		watch(here.source("jobs"))
		s.step(5 * ms)
		shows("back where it was,", 8, 0)
		there.connections(1, 1)
		here.connections(1, 0)
	})
}

func TestQueuesThatDifferOnlyInWhatIsBesideAreReadApart(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "stream")
		group := func(name string) trigger.Source {
			source := b.source("stream")
			source.Queue.Beside = name
			return source
		}
		s.meter.Watch(named("one"), []trigger.Watch{
			{Trigger: "a", Source: group("encoders"), Interval: second},
			{Trigger: "b", Source: group("indexers"), Interval: second},
		})
		s.start()
		requests, _, _ := b.log()
		expect(t, "requests", []request{{0, []string{"stream", "stream"}}}, requests)
	})
}

func TestStartReturnsOnlyWhenAllConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		idle, busy, failing, unreached := s.broker("idle", "jobs"), s.broker("busy", "jobs"), s.broker("failing", "jobs"), s.broker("unreached", "jobs")
		lingers := func() { time.Sleep(3 * second) }
		idle.onClose, busy.onClose = lingers, lingers
		busy.onRead = never
		failing.onRead = func(context.Context) error { return errDown }
		unreached.onOpen = never
		for _, b := range s.brokers {
			s.watch(b.name, b, "jobs", second)
		}
		s.start()
		s.step(100 * ms)
		s.end()
		s.step(2999 * ms)
		select {
		case <-s.ended:
			t.Fatal("Start has returned, and two connections are not closed yet")
		default:
		}
		s.step(ms)
		select {
		case <-s.ended:
		default:
			t.Fatal("all connections are closed, and Start has not returned")
		}
		idle.connections(1, 1)
		busy.connections(1, 1)
		failing.connections(1, 1)
		unreached.connections(1, 1)
		if n := len(s.observed("busy")); n != 0 {
			t.Errorf("%d readings were told of that the end of the meter cut short", n)
		}
	})
}

func TestAMeterThatHasEndedOpensNothing(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		s.start()
		s.end()
		<-s.ended
		s.watch("one", b, "jobs", second)
		s.meter.Observe(named("one"), "jobs", s.at(0))
		s.step(time.Minute)
		s.meter.Forget(named("one"))
		b.connections(0, 0)
	})
}

// The dispatcher's waker may look at the meter before it returns.
func TestWhoIsToldMayUseTheMeter(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		b := s.broker("broker", "jobs")
		var asked int
		ask := func(owner trigger.Owner) {
			if asked++; asked < 5 {
				s.meter.Observe(owner, "jobs", time.Now().Add(1))
			}
			s.meter.Last(owner, "jobs", time.Now())
			s.meter.Watch(owner, []trigger.Watch{{Trigger: "jobs", Source: b.source("jobs"), Interval: time.Hour}})
		}
		s.meter = trigger.NewMeter(clock.RealClock{}, ask, s.onRead)
		s.watch("one", b, "jobs", time.Hour)
		s.start()
		s.step(second)
		expect(t, "readings", moments(0, 5, 10, 15, 20), b.reads("jobs"))
	})
}

// All other stories are told by a bubble's clock, which is the real one's double. This tells that the meter has no clock
// but the one it is given.
func TestTheMeterGoesByTheClockItIsGiven(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		noon := time.Date(2026, 7, 3, 12, 0, 0, 0, time.UTC)
		given := clocktesting.NewFakeClock(noon)
		s.meter = trigger.NewMeter(given, s.onChange, s.onRead)
		b := s.broker("broker", "jobs")
		b.holds("jobs", 5)
		b.onRead = func(context.Context) error {
			given.Step(40 * ms)
			return nil
		}
		s.watch("one", b, "jobs", second)
		s.start()
		s.step(5 * second) // means nothing to the given clock
		given.Step(959 * ms)
		synctest.Wait()
		expect(t, "readings", []trigger.Observation{
			{At: noon, Took: 40 * ms, Backlog: trigger.Backlog{Waiting: 5}},
		}, s.observed("one"))
		given.Step(ms)
		synctest.Wait()
		expect(t, "readings", []trigger.Observation{
			{At: noon, Took: 40 * ms, Backlog: trigger.Backlog{Waiting: 5}},
			{At: noon.Add(second), Took: 40 * ms, Backlog: trigger.Backlog{Waiting: 5}},
		}, s.observed("one"))
	})
}

func TestConcurrentUseNeitherBlocksNorRaces(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		const owners, rounds = 8, 300
		brokers := []*broker{}
		for i := range 3 {
			b := s.broker("broker-"+strconv.Itoa(i), "a", "b", "c")
			random := rand.New(rand.NewPCG(uint64(i), 1))
			var mu sync.Mutex
			b.onRead = func(ctx context.Context) error {
				mu.Lock()
				took, fails := time.Duration(random.IntN(20))*ms, random.IntN(10) == 0
				mu.Unlock()
				select {
				case <-time.After(took):
				case <-ctx.Done():
					return ctx.Err()
				}
				if fails {
					return errDown
				}
				return nil
			}
			brokers = append(brokers, b)
		}
		s.start()
		var using sync.WaitGroup
		for i := range owners {
			using.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 2))
				// Two at a time share an owner, which a dispatcher does not do; the meter does not mind.
				owner := named(strconv.Itoa(i / 2))
				for range rounds {
					b := brokers[random.IntN(len(brokers))]
					queue := []string{"a", "b", "c", "missing"}[random.IntN(4)]
					interval := time.Duration(1+random.IntN(50)) * ms
					switch random.IntN(5) {
					case 0:
						s.meter.Watch(owner, []trigger.Watch{{Trigger: "x", Source: b.source(queue), Interval: interval}})
					case 1:
						s.meter.Watch(owner, []trigger.Watch{
							{Trigger: "x", Source: b.source(queue), Interval: interval},
							{Trigger: "y", Source: brokers[0].source("a"), Interval: interval},
						})
					case 2:
						since := time.Now()
						if o, ok := s.meter.Observe(owner, "x", since); ok && o.At.Before(since) {
							t.Errorf("Observe gives a reading of %s for %s", o.At, since)
						}
					case 3:
						s.meter.Last(owner, "y", time.Now())
					case 4:
						s.meter.Forget(owner)
					}
					if random.IntN(3) == 0 {
						time.Sleep(time.Duration(random.IntN(30)) * ms)
					}
				}
			})
		}
		using.Wait()

		// Whatever happened before, what is watched now is read.
		for i := range owners / 2 {
			s.watch(strconv.Itoa(i), brokers[0], "a", second)
		}
		s.step(20 * second)
		moment := time.Now()
		s.step(20 * second)
		for i := range owners / 2 {
			if _, ok := s.meter.Last(named(strconv.Itoa(i)), "a", moment); !ok {
				t.Errorf("owner %d is no longer read for", i)
			}
		}
		for i := range owners / 2 {
			s.meter.Forget(named(strconv.Itoa(i)))
		}
		synctest.Wait()
		for _, b := range brokers {
			if _, opened, closed := b.log(); opened == 0 || opened != closed {
				t.Errorf("%s: %d connections were opened, and %d closed when nobody watched", b.name, opened, closed)
			}
		}
		if !slices.ContainsFunc(s.observed("0"), func(o trigger.Observation) bool { return o.Err != nil }) {
			t.Error("no reading failed: this story is tamer than it should be")
		}
	})
}
