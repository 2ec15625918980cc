package cron_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/cron"
)

var zones = []string{
	"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC",
	"Africa/Casablanca", "America/Sao_Paulo", "Pacific/Apia", "Antarctica/Troll", "Africa/Monrovia",
}

// walk lists the scheduled times after since and not after now, by asking for one after the other.
func walk(s trigger.Schedule, since, now time.Time) []time.Time {
	var times []time.Time
	for at := s.Next(since); !at.IsZero() && !at.After(now); at = s.Next(at) {
		times = append(times, at)
	}
	return times
}

// matcher is a schedule said in other words: whether a wall time matches.
type matcher struct {
	schedule string
	matches  func(wall time.Time) bool
}

// byLooking lists what walk does, for each schedule, from nothing but what the zone's clock shows each minute: the first
// instant at which the clock has reached a wall time that matches. Clocks must change at whole minutes.
func byLooking(location *time.Location, schedules []matcher, since, now time.Time) [][]time.Time {
	wallAt := func(at time.Time) int64 {
		_, offset := at.In(location).Zone()
		return at.Unix() + int64(offset)
	}
	times := make([][]time.Time, len(schedules))
	hit := make([]bool, len(schedules))
	at := since.Truncate(time.Minute).Add(-26 * time.Hour)
	for reached := wallAt(at); !at.After(now); at = at.Add(time.Minute) {
		clear(hit)
		for end := wallAt(at); reached < end; {
			reached += 60
			wall := time.Unix(reached, 0).UTC()
			for i, s := range schedules {
				hit[i] = hit[i] || s.matches(wall)
			}
		}
		for i := range schedules {
			if hit[i] && at.After(since) {
				times[i] = append(times[i], at)
			}
		}
	}
	return times
}

func TestEachWallTimeRunsExactlyOnceInAYear(t *testing.T) {
	t.Parallel()
	schedules := []matcher{
		{"*/7 * * * *", func(w time.Time) bool { return w.Minute()%7 == 0 }},
		{"30 2 * * *", func(w time.Time) bool { return w.Hour() == 2 && w.Minute() == 30 }},
		{"0 0 * * *", func(w time.Time) bool { return w.Hour() == 0 && w.Minute() == 0 }},
		{"5 0,1,2,3 * * 0", func(w time.Time) bool { return w.Hour() < 4 && w.Minute() == 5 && w.Weekday() == time.Sunday }},
	}
	for _, zone := range zones {
		for _, year := range []int{2011, 2026, 2044} {
			t.Run(fmt.Sprint(zone, " ", year), func(t *testing.T) {
				t.Parallel()
				location, err := time.LoadLocation(zone)
				if err != nil {
					t.Fatal(err)
				}
				since := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Add(-90 * time.Minute)
				now := since.AddDate(1, 0, 1)
				for i, want := range byLooking(location, schedules, since, now) {
					got := walk(scheduleOf(t, schedules[i].schedule, zone), since, now)
					if !slices.EqualFunc(got, want, time.Time.Equal) {
						t.Errorf("%q: %d scheduled times, want %d; %s", schedules[i].schedule, len(got), len(want), firstDifference(got, want))
					}
				}
			})
		}
	}
}

func firstDifference(got, want []time.Time) string {
	for i := range min(len(got), len(want)) {
		if !got[i].Equal(want[i]) {
			return fmt.Sprintf("at %d: %s, want %s", i, got[i], want[i].In(got[i].Location()))
		}
	}
	return "the rest differs"
}

func TestAHalfCenturyOfMissedMinutesCostsNoMoreThanAFewLooks(t *testing.T) {
	t.Parallel()
	now := instant(t, "2026-10-23T16:00:30Z")
	for _, missed := range []time.Duration{time.Minute, 24 * time.Hour, 365 * 24 * time.Hour, 50 * 365 * 24 * time.Hour} {
		looks := 0
		s := cron.CountLooks(scheduleOf(t, "* * * * *", "Europe/Berlin"), &looks)
		if _, due := s.Due(now.Add(-missed), now); !due {
			t.Errorf("%s missed: nothing is due", missed)
		}
		if looks > 150 {
			t.Errorf("%s missed: looked at the fields %d times", missed, looks)
		}
	}
}

// checkProperties checks what must hold of any schedule between two instants.
func checkProperties(t *testing.T, s trigger.Schedule, since, now time.Time) {
	t.Helper()
	times := walk(s, since, now)
	for i, at := range times {
		if i > 0 && !at.After(times[i-1]) {
			t.Fatalf("%s follows %s", at, times[i-1])
		}
		if at.Nanosecond() != 0 {
			t.Fatalf("%s is no whole second", at)
		}
	}
	got, due := s.Due(since, now)
	if due != (len(times) > 0) {
		t.Fatalf("from %s to %s: due %v, but %d times", since, now, due, len(times))
	}
	if !due {
		if next := s.Next(now); !next.Equal(s.Next(since)) {
			t.Fatalf("nothing between %s and %s, but what follows them differs: %s, %s", since, now, s.Next(since), next)
		}
		return
	}
	if want := times[len(times)-1]; !got.Equal(want) {
		t.Fatalf("from %s to %s: due at %s, want the latest, %s", since, now, got, want)
	}
	if next := s.Next(got); !next.IsZero() && !next.After(now) {
		t.Fatalf("due at %s, but %s follows before %s", got, next, now)
	}
	if _, again := s.Due(got, now); again {
		t.Fatalf("due again after %s", got)
	}
	if same, ok := s.Due(got.Add(-time.Nanosecond), got); !ok || !same.Equal(got) {
		t.Fatalf("not due at its own time %s, but %s", got, same)
	}
}

func TestSchedulesKeepTheirPromisesAroundEveryChangeOfTheClocks(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	schedules := []string{
		"* * * * *", "*/15 * * * *", "0 * * * *", "30 2 * * *", "0 0 * * *", "0 17 * * 5", "1-59/2 0-3 * 3,4,10,11 *", "0 0 29 2 *", "0 0 30 2 *",
	}
	for range 3000 {
		zone := zones[random.IntN(len(zones))]
		schedule := schedules[random.IntN(len(schedules))]
		since := time.Unix(random.Int64N(4_000_000_000), random.Int64N(1_000_000_000))
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		if _, change := since.In(location).ZoneBounds(); !change.IsZero() && random.IntN(2) == 0 {
			since = change.Add(time.Duration(random.Int64N(int64(6*time.Hour))) - 3*time.Hour)
		}
		checkProperties(t, scheduleOf(t, schedule, zone), since, since.Add(time.Duration(random.Int64N(int64(8*time.Hour)))))
	}
}

// FuzzSource feeds any schedule: it is refused, or keeps its promises.
func FuzzSource(f *testing.F) {
	f.Add("0 17 * * 5", uint8(0), int64(1_792_800_000), uint32(86_400))
	f.Add("30 2 * * *", uint8(1), int64(1_774_746_000), uint32(7_200))
	f.Add("*/5 1-2,2 ? JAN-DEC SUN,1-3/2", uint8(2), int64(1_775_316_600), uint32(3_600))
	f.Add("0 0 30 2 *", uint8(4), int64(0), uint32(1))
	f.Add("0 0 29 2 *", uint8(4), int64(3_980_000_000), uint32(1))
	f.Add("TZ=", uint8(4), int64(0), uint32(1))
	f.Add("*/9223372036854775807 * * * *", uint8(4), int64(0), uint32(1))
	f.Fuzz(func(t *testing.T, schedule string, zone uint8, from int64, span uint32) {
		if len(schedule) > 256 { // the API server refuses longer ones
			return
		}
		source, err := cron.Source(&v1alpha1.CronTrigger{Schedule: schedule, TimeZone: zones[int(zone)%len(zones)]}, nil)
		if err != nil {
			return
		}
		since := time.Unix(from%10_000_000_000, 0)
		checkProperties(t, source.Schedule, since, since.Add(time.Duration(span%400_000)*time.Second))
	})
}
