package cron

import (
	"time"

	"github.com/robfig/cron/v3"
)

// schedule implements trigger.Schedule. Scheduled times are whole seconds, so it calculates in Unix seconds.
type schedule struct {
	clock    wallClock
	fields   cron.Schedule // reads any time as a wall time in UTC
	jobs     int
	deadline time.Duration // 0 for none
}

// Jobs implements trigger.Schedule.
func (s schedule) Jobs() int { return s.jobs }

// Next implements trigger.Schedule. The time is in the schedule's zone.
func (s schedule) Next(now time.Time) time.Time {
	sec, ok := s.after(now.Unix())
	if !ok {
		return time.Time{}
	}
	return time.Unix(sec, 0).In(s.clock.zone)
}

// Due implements trigger.Schedule. The time is in the schedule's zone.
//
// It halves the span in which the latest scheduled time lies, so it costs some thirty calls of Next for a year as for a
// day, however many times were missed.
func (s schedule) Due(since, now time.Time) (time.Time, bool) {
	low, high := since.Unix(), now.Unix()
	found := false
	for probe := low; low < high; probe = low + (high-low)/2 {
		sec, ok := s.after(probe)
		switch {
		case ok && sec <= now.Unix():
			found, low = true, sec // low is scheduled, or the start
		case probe == low:
			high = low // none after low
		default:
			high = probe // none after high
		}
	}
	latest := time.Unix(low, 0).In(s.clock.zone)
	if !found || (s.deadline > 0 && now.Sub(latest) > s.deadline) {
		return time.Time{}, false
	}
	return latest, true
}

// after returns the first scheduled time after an instant, both in Unix seconds; false where there is none.
func (s schedule) after(sec int64) (int64, bool) {
	// All that the clock shows later lies ahead. It may be showing an hour again: then what it has shown is over.
	wall := s.clock.at(sec)
	for {
		next, ok := s.nextWall(wall)
		if !ok {
			return 0, false
		}
		if at := s.clock.reached(next); at > sec {
			return at, true
		}
		wall = next
	}
}

// nextWall returns the first wall time after another that matches the fields; false where there is none. The parser's
// schedules look no further than to the end of the fifth year after, and 29 February may be eight years away, around a
// turn of the century: so it looks twice.
func (s schedule) nextWall(wall int64) (int64, bool) {
	from := time.Unix(wall, 0).UTC()
	next := s.fields.Next(from)
	if next.IsZero() {
		next = s.fields.Next(time.Date(from.Year()+5, time.December, 31, 23, 59, 59, 0, time.UTC))
	}
	return next.Unix(), !next.IsZero()
}
