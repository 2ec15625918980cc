package size

import "time"

// Limits bound the number of replicas, and how fast it changes.
type Limits struct {
	// Min and Max are the least and the greatest number. Max is applied last.
	Min, Max int
	// Stabilization is how long a smaller wish must have lasted.
	Stabilization time.Duration
	// UpPerStep and UpPerMinute are how many replicas are added at once, and within a minute, at most; 0 for no limit.
	UpPerStep, UpPerMinute int
	// Step is the least time between two steps up that UpPerStep bounds.
	Step time.Duration
}

// History is what is remembered of earlier wishes and steps. Its zero value remembers nothing.
type History struct {
	wishes []moment // each lower than the one before
	ups    []moment
}

// moment is a number and when it was so, or by which something changed then.
type moment struct {
	at time.Time
	n  int
}

// Wish is how many replicas there should be, and what limits it.
type Wish struct {
	// Replicas is the number wished for now.
	Replicas int
	// Desired is the demand within Min and Max, whatever the history.
	Desired int
	// Limit says in words what keeps Replicas from Desired; empty where nothing does.
	Limit string
	// Next is when the limit may let more through, or a smaller wish will have lasted; zero where nothing is waited for.
	Next time.Time
}

// Wish takes a demand and returns what to wish for, and the history with it. A history without wishes begins with the
// current number, as if that had been wished for until now: a manager that starts takes nothing away at once.
func (h History) Wish(now time.Time, demand, current int, l Limits) (Wish, History) {
	desired := min(max(demand, l.Min), l.Max)
	if len(h.wishes) == 0 {
		h.wishes = []moment{{now, current}}
	}
	h.wishes = lower(recent(h.wishes, now, l.Stabilization), moment{now, desired})
	h.ups = recent(h.ups, now, max(time.Minute, l.Step))
	w := Wish{Replicas: desired, Desired: desired}
	switch {
	case desired > current:
		w.limitUp(h.ups, now, current, l)
	case desired < current:
		w.stabilize(h.wishes, current, l)
	}
	return w, h
}

// Scaled notes that replicas were changed by so many.
func (h History) Scaled(now time.Time, by int) History {
	if by > 0 {
		h.ups = append(recent(h.ups, now, time.Hour), moment{now, by})
	}
	return h
}

func (w *Wish) limitUp(ups []moment, now time.Time, current int, l Limits) {
	room := w.Desired - current
	if l.UpPerStep > 0 {
		step := l.UpPerStep
		if k := len(ups) - 1; k >= 0 && now.Sub(ups[k].at) < l.Step {
			step, w.Next = 0, ups[k].at.Add(l.Step)
		}
		if step < room {
			room, w.Limit = step, "scaleUp.maxPerStep"
		}
	}
	if l.UpPerMinute > 0 {
		left := l.UpPerMinute
		for _, u := range ups {
			if now.Sub(u.at) < time.Minute {
				left -= u.n
			}
		}
		if left = max(0, left); left < room {
			room, w.Limit = left, "scaleUp.maxPerMinute"
			if left == 0 {
				w.Next = ups[0].at.Add(time.Minute)
			}
		}
	}
	if w.Limit == "" {
		w.Next = time.Time{}
	}
	w.Replicas = current + room
}

// stabilize takes the highest of the recent wishes, but no more than there are.
func (w *Wish) stabilize(wishes []moment, current int, l Limits) {
	if highest := wishes[0]; highest.n > w.Desired {
		w.Replicas = min(highest.n, current)
		w.Limit = "scaleDown.stabilization"
		w.Next = highest.at.Add(l.Stabilization)
	}
}

// lower adds a wish to those that are each lower than the one before: of the earlier, only higher ones can still count.
func lower(wishes []moment, next moment) []moment {
	for len(wishes) > 0 && wishes[len(wishes)-1].n <= next.n {
		wishes = wishes[:len(wishes)-1]
	}
	return append(wishes, next)
}

// recent are the moments less long ago than so.
func recent(moments []moment, now time.Time, within time.Duration) []moment {
	kept := make([]moment, 0, len(moments)+1)
	for _, m := range moments {
		if now.Sub(m.at) < within {
			kept = append(kept, m)
		}
	}
	return kept
}

// WindowOpen says whether a window of time is open, from when it opens next and when it closes next; zero for never again. It
// is open while it closes before it opens.
func WindowOpen(opens, closes time.Time) bool {
	return !closes.IsZero() && (opens.IsZero() || closes.Before(opens))
}
