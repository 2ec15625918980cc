// Package cron is the trigger that follows a schedule instead of a queue.
//
// A schedule speaks of wall times: what a clock on the wall of its time zone shows, such as Friday at 17:00. A scheduled
// time is the instant at which a wall time runs. The two part where the clocks change, and these rules say how:
//
//   - A wall time runs at the first instant at which the clock has reached it. So one that the clock skips (in spring)
//     runs once, at the first instant after the gap, and one that the clock shows twice (in autumn) runs once, at the
//     first. A schedule for each minute therefore rests while the clock shows an hour again.
//   - Wall times that come to the same instant, such as several within one gap, are one scheduled time. Scheduled times
//     strictly increase.
//   - Of scheduled times that were missed, only the latest is due, and only if it was missed by no more than
//     startingDeadline. Without that it is due however late.
//
// A wall time is calculated with as if it were UTC, where no clock ever changes, and made an instant only then. Fields
// mean what they mean to cron: where day of month and day of week are both restricted, either will do.
//
// Nothing here reads a clock or holds state. Time zones come from Go's database of them, which the program must find: one
// that runs without a system's imports time/tzdata.
package cron

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// Source returns the trigger's schedule. It needs no Secret. An error names the field at fault, its value, and what to
// put there instead.
func Source(spec *v1alpha1.CronTrigger, _ trigger.Secrets) (trigger.Source, error) {
	fields, err := parse(spec.Schedule)
	if err != nil {
		return trigger.Source{}, fmt.Errorf("cron.schedule %q is not usable (%w): write minute (0-59), hour (0-23), "+
			"day of month (1-31), month (1-12 or JAN-DEC) and day of week (0-6 or SUN-SAT, with 0 for Sunday), "+
			"such as \"0 17 * * 5\" for Friday at 17:00", spec.Schedule, err)
	}
	zone, err := location(spec.TimeZone)
	if err != nil {
		return trigger.Source{}, fmt.Errorf("cron.timeZone %q is not usable (%w): use a name from the IANA database, "+
			"such as Europe/Berlin or Etc/UTC", spec.TimeZone, err)
	}
	s := schedule{clock: wallClock{zone: zone}, fields: fields, jobs: 1}
	if spec.Jobs != nil {
		s.jobs = int(*spec.Jobs)
	}
	if s.jobs < 1 {
		return trigger.Source{}, fmt.Errorf("cron.jobs %d is not usable: ask for 1 Job or more", s.jobs)
	}
	if spec.StartingDeadline != nil {
		s.deadline = spec.StartingDeadline.Duration
		if s.deadline <= 0 {
			return trigger.Source{}, fmt.Errorf("cron.startingDeadline %s is not usable: "+
				"give it a positive duration, or leave it out for none", s.deadline)
		}
	}
	return trigger.Source{Schedule: s}, nil
}

// parse takes five fields and nothing else: the parser would also read a time zone before them, and not with care.
func parse(schedule string) (cron.Schedule, error) {
	switch {
	case strings.Contains(schedule, "="):
		return nil, errors.New("a time zone goes into timeZone")
	case strings.HasPrefix(strings.TrimSpace(schedule), "@"):
		return nil, errors.New("names such as @daily are not known here")
	}
	return cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(schedule)
}

// location refuses Local, which would mean another zone on another machine.
func location(name string) (*time.Location, error) {
	switch name {
	case "":
		return time.UTC, nil
	case "Local":
		return nil, errors.New("it depends on where the manager runs")
	}
	return time.LoadLocation(name)
}
