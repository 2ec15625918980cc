// Package view shows a board: as a frame that is drawn again and again on a terminal, as lines for what has changed
// where there is no terminal, and as a table at the end.
package view

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/longhaul-dev/longhaul/test/demo/internal/board"
)

// barWidth is how many characters a progress bar has.
const barWidth = 30

// none stands for what is not known.
const none = "-"

// A colour is the number of a terminal's.
type colour string

const (
	plain  colour = ""
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	blue   colour = "36"
	grey   colour = "90"
)

func colourOf(state board.State) colour {
	switch state {
	case board.Starting:
		return yellow
	case board.Running:
		return blue
	case board.Succeeded:
		return green
	case board.Failed:
		return red
	default:
		return plain
	}
}

// line is a line on a terminal, cut off where that ends.
type line struct {
	text strings.Builder
	room int
}

func (l *line) add(c colour, format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if utf8.RuneCountInString(s) > l.room {
		s = string([]rune(s)[:l.room])
	}
	l.room -= utf8.RuneCountInString(s)
	if c == plain || s == "" {
		l.text.WriteString(s)
		return
	}
	fmt.Fprintf(&l.text, "\033[%sm%s\033[0m", c, s)
}

// Frame is what a terminal of that size shows, a line each. Where there are more Jobs than lines, those that ended first
// are left out.
func Frame(p board.Picture, title string, width, height int) []string {
	const around = 5 // lines that are not Jobs, and the one that the cursor is on
	names := nameWidth(p)
	frame := []string{render(width, func(l *line) { l.add(plain, "%s", title) }), ""}
	for _, j := range latest(p.Jobs, height-around) {
		frame = append(frame, render(width, func(l *line) { row(l, j, names, p.At) }))
	}
	return append(frame, "", render(width, func(l *line) {
		l.add(plain, "%6.1f s   ", p.At.Sub(p.Queued).Seconds())
		l.add(plain, "waiting %-3d ", p.Waiting)
		for _, state := range []board.State{board.Starting, board.Running, board.Succeeded, board.Failed} {
			c := colourOf(state)
			if p.Count(state) == 0 {
				c = grey
			}
			l.add(c, " %s %-3d ", state, p.Count(state))
		}
	}))
}

func render(width int, write func(*line)) string {
	l := &line{room: max(0, width-1)} // a full line may wrap
	write(l)
	return strings.TrimRight(l.text.String(), " ")
}

// nameWidth is how long the longest name is.
func nameWidth(p board.Picture) int {
	longest := 0
	for _, j := range p.Jobs {
		longest = max(longest, len(j.Name))
	}
	return longest
}

// row shows one Job.
func row(l *line, j board.Job, names int, now time.Time) {
	l.add(plain, "  %-*s  %-8s  ", names, j.Name, cmp.Or(j.Message, none))
	switch j.State {
	case board.Running:
		done := min(max(0, int(j.Progress*barWidth)), barWidth)
		l.add(blue, "%s", strings.Repeat("█", done))
		l.add(grey, "%s", strings.Repeat("░", barWidth-done))
		l.add(plain, " %3.0f%%  %7s", j.Progress*100, between(j.Began, now))
	case board.Starting:
		l.add(yellow, "%-*s", barWidth, j.State)
		l.add(plain, "       %7s", between(j.Created, now))
	default:
		l.add(colourOf(j.State), "%-*s", barWidth, j.State)
		l.add(plain, "       %7s  %s", between(j.Began, j.Ended), j.Why)
	}
}

// latest leaves out the Jobs that ended first, until the others fit.
func latest(jobs []board.Job, most int) []board.Job {
	excess := len(jobs) - max(1, most)
	var kept []board.Job
	for _, j := range jobs {
		if excess > 0 && !j.Ended.IsZero() {
			excess--
			continue
		}
		kept = append(kept, j)
	}
	return kept[max(0, len(kept)-max(1, most)):]
}

// between tells how long it was from one moment to another, where both are known.
func between(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return none
	}
	return fmt.Sprintf("%.1f s", to.Sub(from).Seconds())
}

// Changes tells what has happened between two pictures, a line for each Job whose state is another.
func Changes(before, after board.Picture) []string {
	states := map[string]board.State{}
	for _, j := range before.Jobs {
		states[j.Name] = j.State
	}
	var lines []string
	for _, j := range after.Jobs {
		if j.State == states[j.Name] {
			continue
		}
		l := fmt.Sprintf("%6.1f s  %-*s  %-9s  %s", after.At.Sub(after.Queued).Seconds(), nameWidth(after), j.Name, j.State, j.Message)
		switch {
		case j.State == board.Succeeded:
			l += " in " + between(j.Began, j.Ended)
		case j.State == board.Failed && j.Why != "":
			l = strings.TrimRight(l, " ") + ": " + j.Why
		}
		lines = append(lines, strings.TrimRight(l, " "))
	}
	if len(lines) > 0 || after.Waiting != before.Waiting {
		lines = append(lines, fmt.Sprintf("%6.1f s  waiting %d, starting %d, running %d, succeeded %d, failed %d",
			after.At.Sub(after.Queued).Seconds(), after.Waiting, after.Count(board.Starting), after.Count(board.Running),
			after.Count(board.Succeeded), after.Count(board.Failed)))
	}
	return lines
}

// Table lists every Job at the end: its message, how long that waited, how long the work took, and how it ended.
func Table(p board.Picture) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "JOB\tMESSAGE\tWAIT\tDURATION\tOUTCOME")
	for _, j := range p.Jobs {
		outcome := string(j.State)
		if j.State == board.Failed && j.Why != "" {
			outcome += ": " + j.Why
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n",
			j.Name, cmp.Or(j.Message, none), between(j.Queued, j.Began), between(j.Began, j.Ended), outcome)
	}
	_ = w.Flush() // a Builder takes everything
	return out.String()
}

// Screen draws frames on a terminal, each over the one before.
type Screen struct {
	out   io.Writer
	drawn int
}

// NewScreen makes one and hides the cursor until Close.
func NewScreen(out io.Writer) *Screen {
	fmt.Fprint(out, "\033[?25l")
	return &Screen{out: out}
}

// Draw shows a frame in place of the last.
func (s *Screen) Draw(frame []string) {
	// In one write, so that no half of a frame is seen.
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\033[%dA", s.drawn)
	}
	for _, l := range frame {
		b.WriteString("\r\033[K" + l + "\n")
	}
	b.WriteString("\033[J")
	s.drawn = len(frame)
	_, _ = io.WriteString(s.out, b.String())
}

// Close takes the last frame away and shows the cursor again.
func (s *Screen) Close() {
	s.Draw(nil)
	fmt.Fprint(s.out, "\033[?25h")
}
