package cron

import "time"

// farthestOffset is more than any clock was ever ahead of UTC.
const farthestOffset = 48 * time.Hour

// wallClock is the clock on the wall of a time zone. What it shows is a wall time: the seconds that a Unix clock would
// count if the fields shown were UTC.
type wallClock struct {
	zone *time.Location
}

// at returns what the clock shows at an instant.
func (c wallClock) at(sec int64) int64 {
	_, offset := time.Unix(sec, 0).In(c.zone).Zone()
	return sec + int64(offset)
}

// reached returns the first instant at which the clock shows the wall time or a later one. That is the one instant at
// which it shows it, mostly; the first of two where it was turned back; and the end of the gap where it was turned
// forward over it.
func (c wallClock) reached(wall int64) int64 {
	// From a moment before the clock got there, go from one change of its offset to the next.
	at := time.Unix(wall, 0).Add(-farthestOffset).In(c.zone)
	for {
		_, offset := at.Zone()
		shown := wall - int64(offset)
		end := offsetEnd(at)
		if end.IsZero() || shown < end.Unix() {
			return max(shown, at.Unix())
		}
		at = end
	}
}

// offsetEnd returns an instant until which the clock keeps the offset it has; zero for ever. It may well keep it longer.
func offsetEnd(at time.Time) time.Time {
	_, end := at.ZoneBounds()
	if end.IsZero() || end.After(at) {
		return end
	}
	// For years that lie beyond a zone's table, the bounds of its last piece of the year are those of a year of 365 days.
	// On the last day of a leap year they are over, and the piece is not.
	return time.Date(at.UTC().Year()+1, time.January, 1, 0, 0, 0, 0, time.UTC).In(at.Location())
}
