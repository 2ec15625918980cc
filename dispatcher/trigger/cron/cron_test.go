package cron_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/cron"
)

func scheduleOf(t testing.TB, schedule, zone string) trigger.Schedule {
	t.Helper()
	source, err := cron.Source(&v1alpha1.CronTrigger{Schedule: schedule, TimeZone: zone}, nil)
	if err != nil {
		t.Fatalf("Source(%q in %s): %v", schedule, zone, err)
	}
	return source.Schedule
}

func instant(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestNextTimes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		schedule, zone, from string
		want                 []string
	}{
		"Friday at 17:00 is Friday at 17:00 before and after the clocks change": {
			"0 17 * * 5", "Europe/Berlin", "2026-10-20T00:00:00Z",
			[]string{"2026-10-23T17:00:00+02:00", "2026-10-30T17:00:00+01:00", "2026-11-06T17:00:00+01:00"},
		},
		"days may be named": {
			"0 17 * * FRI", "Europe/Berlin", "2026-10-20T00:00:00Z", []string{"2026-10-23T17:00:00+02:00"},
		},
		"a scheduled time is not after itself": {
			"0 17 * * 5", "Europe/Berlin", "2026-10-23T17:00:00+02:00", []string{"2026-10-30T17:00:00+01:00"},
		},
		"a fraction of a second before it is before it": {
			"0 17 * * 5", "Europe/Berlin", "2026-10-23T16:59:59.999999999+02:00", []string{"2026-10-23T17:00:00+02:00"},
		},
		"without a zone it is UTC": {
			"30 6 * * *", "", "2026-01-01T00:00:00Z", []string{"2026-01-01T06:30:00Z", "2026-01-02T06:30:00Z"},
		},
		"Berlin, spring: a time that does not exist runs once, when the clock goes on": {
			"30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"},
		},
		"Berlin, spring: several that do not exist run once together, with one that is then": {
			"*/20 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-29T03:20:00+02:00", "2026-03-29T03:40:00+02:00", "2026-03-30T02:00:00+02:00"},
		},
		"Berlin, autumn: a time that occurs twice runs once, at the first": {
			"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"},
		},
		"Berlin, autumn: while an hour occurs again, nothing does": {
			"*/30 * * * *", "Europe/Berlin", "2026-10-25T02:15:00+02:00",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-25T03:00:00+01:00", "2026-10-25T03:30:00+01:00"},
		},
		"Berlin, autumn: not even when asked within the second time": {
			"*/30 * * * *", "Europe/Berlin", "2026-10-25T02:15:00+01:00", []string{"2026-10-25T03:00:00+01:00"},
		},
		"New York, spring": {
			"0 2 * * *", "America/New_York", "2026-03-07T12:00:00Z",
			[]string{"2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"},
		},
		"New York, autumn": {
			"0 1 * * *", "America/New_York", "2026-10-31T12:00:00Z",
			[]string{"2026-11-01T01:00:00-04:00", "2026-11-02T01:00:00-05:00"},
		},
		"Lord Howe, spring: half an hour is missing": {
			"*/15 2 * * *", "Australia/Lord_Howe", "2026-10-03T01:00:00+11:00",
			[]string{
				"2026-10-03T02:00:00+10:30", "2026-10-03T02:15:00+10:30", "2026-10-03T02:30:00+10:30", "2026-10-03T02:45:00+10:30",
				"2026-10-04T02:30:00+11:00", "2026-10-04T02:45:00+11:00", "2026-10-05T02:00:00+11:00",
			},
		},
		"Lord Howe, autumn: half an hour occurs twice": {
			"*/15 1-2 * * *", "Australia/Lord_Howe", "2026-04-05T01:20:00+11:00",
			[]string{
				"2026-04-05T01:30:00+11:00", "2026-04-05T01:45:00+11:00",
				"2026-04-05T02:00:00+10:30", "2026-04-05T02:15:00+10:30",
			},
		},
		"Kolkata is half an hour off and never changes": {
			"0 0 * * *", "Asia/Kolkata", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T18:30:00Z", "2026-03-29T18:30:00Z"},
		},
		"Apia: a day that the calendar left out runs once, when the next begins": {
			"0 17 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z",
			[]string{"2011-12-31T00:00:00+14:00", "2012-12-30T17:00:00+14:00"},
		},
		"New Year's Eve of a leap year beyond the zone's table": {
			"0 12 31 12 *", "Europe/Berlin", "2048-12-01T00:00:00Z", []string{"2048-12-31T12:00:00+01:00"},
		},
		"29 February around a turn of the century that is no leap year": {
			"0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z", []string{"2104-02-29T00:00:00Z"},
		},
		"day of month or day of week, where both are given": {
			"0 0 13 * 5", "UTC", "2026-02-07T00:00:00Z",
			[]string{"2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z", "2026-02-27T00:00:00Z", "2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z"},
		},
		"30 February never comes": {"0 0 30 2 *", "Europe/Berlin", "2026-01-01T00:00:00Z", []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := scheduleOf(t, tt.schedule, tt.zone)
			at := instant(t, tt.from)
			var got []string
			for range tt.want {
				at = s.Next(at)
				if at.IsZero() {
					got = append(got, "")
					break
				}
				got = append(got, at.Format(time.RFC3339Nano))
			}
			for i, w := range tt.want {
				if w != "" && len(got) > i && got[i] != "" && instant(t, w).Equal(instant(t, got[i])) {
					got[i] = w // the same instant, written in another zone
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%q in %s after %s (-want +got):\n%s", tt.schedule, tt.zone, tt.from, diff)
			}
		})
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		schedule, zone string
		deadline       time.Duration
		since, now     string
		want           string // empty for none
	}{
		"nothing before the time": {
			"0 17 * * 5", "Europe/Berlin", 0, "2026-10-23T00:00:00Z", "2026-10-23T16:59:59.9+02:00", "",
		},
		"at the time it is due": {
			"0 17 * * 5", "Europe/Berlin", 0, "2026-10-23T00:00:00Z", "2026-10-23T17:00:00+02:00", "2026-10-23T17:00:00+02:00",
		},
		"what has run is not due again": {
			"0 17 * * 5", "Europe/Berlin", 0, "2026-10-23T17:00:00+02:00", "2026-10-24T00:00:00Z", "",
		},
		"what has run is not due again though it ran with a fraction of a second": {
			"0 17 * * 5", "Europe/Berlin", 0, "2026-10-23T17:00:00.5+02:00", "2026-10-24T00:00:00Z", "",
		},
		"of missed times only the latest": {
			"0 17 * * 5", "Europe/Berlin", 0, "2026-09-01T00:00:00Z", "2026-10-25T00:00:00Z", "2026-10-23T17:00:00+02:00",
		},
		"missed by as much as the deadline still runs": {
			"0 17 * * 5", "Europe/Berlin", time.Hour, "2026-09-01T00:00:00Z", "2026-10-23T18:00:00+02:00", "2026-10-23T17:00:00+02:00",
		},
		"missed by more than the deadline does not": {
			"0 17 * * 5", "Europe/Berlin", time.Hour, "2026-09-01T00:00:00Z", "2026-10-23T18:00:00.000000001+02:00", "",
		},
		"a time that does not exist is due when the clock goes on": {
			"30 2 * * *", "Europe/Berlin", 0, "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T03:00:00+02:00",
		},
		"and no second time": {
			"30 2 * * *", "Europe/Berlin", 0, "2026-03-29T01:00:00Z", "2026-03-29T23:00:00Z", "",
		},
		"the second occurrence of a time is not due": {
			"30 2 * * *", "Europe/Berlin", 0, "2026-10-25T02:30:00+02:00", "2026-10-25T12:00:00+01:00", "",
		},
		"each minute for a year": {
			"* * * * *", "America/New_York", 0, "2025-10-23T16:00:30Z", "2026-10-23T16:00:30Z", "2026-10-23T16:00:00Z",
		},
		"since ever": {
			"* * * * *", "America/New_York", 0, "0001-01-01T00:00:00Z", "2026-10-23T16:00:30Z", "2026-10-23T16:00:00Z",
		},
		"when now is before since, nothing": {
			"* * * * *", "UTC", 0, "2026-10-23T16:00:30Z", "2026-10-23T15:00:30Z", "",
		},
		"30 February never": {
			"0 0 30 2 *", "UTC", 0, "0001-01-01T00:00:00Z", "2026-10-23T16:00:30Z", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := v1alpha1.CronTrigger{Schedule: tt.schedule, TimeZone: tt.zone}
			if tt.deadline > 0 {
				spec.StartingDeadline = &metav1.Duration{Duration: tt.deadline}
			}
			source, err := cron.Source(&spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, due := source.Schedule.Due(instant(t, tt.since), instant(t, tt.now))
			if tt.want == "" {
				if due || !got.IsZero() {
					t.Errorf("due %v at %s, want nothing", due, got)
				}
				return
			}
			if want := instant(t, tt.want); !due || !got.Equal(want) {
				t.Errorf("due %v at %s, want %s", due, got, want)
			}
		})
	}
}

func TestASourceIsAScheduleAndNoQueue(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		jobs *int32
		want int
	}{
		"one Job unless said otherwise": {nil, 1},
		"as many Jobs as said":          {ptr.To[int32](7), 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, err := cron.Source(&v1alpha1.CronTrigger{Schedule: "0 17 * * 5", TimeZone: "Etc/UTC", Jobs: tt.jobs}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if source.Open != nil || source.Endpoint != "" || source.Queue != (trigger.Queue{}) {
				t.Errorf("a schedule has a queue: %+v", source)
			}
			if got := source.Schedule.Jobs(); got != tt.want {
				t.Errorf("Jobs() = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestABadTriggerIsRefusedWithTheFieldItsValueAndTheRemedy(t *testing.T) {
	t.Parallel()
	good := v1alpha1.CronTrigger{Schedule: "0 17 * * 5", TimeZone: "Europe/Berlin"}
	for name, tt := range map[string]struct {
		change func(*v1alpha1.CronTrigger)
		want   []string
	}{
		"four fields":        {func(c *v1alpha1.CronTrigger) { c.Schedule = "0 17 * *" }, []string{"cron.schedule", `"0 17 * *"`, "0 17 * * 5"}},
		"six fields":         {func(c *v1alpha1.CronTrigger) { c.Schedule = "0 0 17 * * 5" }, []string{"cron.schedule", "0 17 * * 5"}},
		"nothing":            {func(c *v1alpha1.CronTrigger) { c.Schedule = "" }, []string{"cron.schedule", "0 17 * * 5"}},
		"minute 60":          {func(c *v1alpha1.CronTrigger) { c.Schedule = "60 17 * * 5" }, []string{"cron.schedule", "60", "minute (0-59)"}},
		"day 7":              {func(c *v1alpha1.CronTrigger) { c.Schedule = "0 17 * * 7" }, []string{"cron.schedule", "0 for Sunday"}},
		"a name":             {func(c *v1alpha1.CronTrigger) { c.Schedule = "@daily" }, []string{"cron.schedule", "@daily", "0 17 * * 5"}},
		"a name with a pad":  {func(c *v1alpha1.CronTrigger) { c.Schedule = " @every 5m" }, []string{"cron.schedule", "@every", "0 17 * * 5"}},
		"an inline zone":     {func(c *v1alpha1.CronTrigger) { c.Schedule = "TZ=UTC 0 17 * * 5" }, []string{"cron.schedule", "timeZone"}},
		"only a zone":        {func(c *v1alpha1.CronTrigger) { c.Schedule = "CRON_TZ=UTC" }, []string{"cron.schedule", "timeZone"}},
		"an unknown zone":    {func(c *v1alpha1.CronTrigger) { c.TimeZone = "Europe/Berlim" }, []string{"cron.timeZone", "Europe/Berlim", "Europe/Berlin"}},
		"the machine's zone": {func(c *v1alpha1.CronTrigger) { c.TimeZone = "Local" }, []string{"cron.timeZone", "Local", "Etc/UTC"}},
		"no Jobs":            {func(c *v1alpha1.CronTrigger) { c.Jobs = ptr.To[int32](0) }, []string{"cron.jobs", "0", "1 Job or more"}},
		"no time to start": {
			func(c *v1alpha1.CronTrigger) { c.StartingDeadline = &metav1.Duration{} },
			[]string{"cron.startingDeadline", "0s", "leave it out"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := good
			tt.change(&spec)
			source, err := cron.Source(&spec, nil)
			if err == nil {
				t.Fatalf("no error, but %+v", source)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}
