package cron

import (
	"time"

	"github.com/robfig/cron/v3"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// CountLooks makes a schedule that counts in looks how often its fields are looked at, which is what its work is made of.
func CountLooks(s trigger.Schedule, looks *int) trigger.Schedule {
	counted := s.(schedule)
	counted.fields = counter{counted.fields, looks}
	return counted
}

type counter struct {
	cron.Schedule
	looks *int
}

func (c counter) Next(from time.Time) time.Time {
	*c.looks++
	return c.Schedule.Next(from)
}
