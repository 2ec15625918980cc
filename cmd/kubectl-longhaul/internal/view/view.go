// Package view writes what the API answers as people read it: tables, sentences, small charts. It is pure; colours are asked
// for.
package view

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/longhaul-dev/longhaul/history"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// Style says how things are written.
type Style struct {
	// Colour asks for colours.
	Colour bool
	// Wide asks for more columns, NoHeaders for no line that names them, Namespaces for one that names the namespace.
	Wide, NoHeaders, Namespaces bool
	// Now is the time from which ages are told.
	Now time.Time
}

// colours are numbers of ANSI's, which terminals choose themselves.
const (
	red, green, yellow, grey = "1", "2", "3", "8"
)

func (s Style) paint(text, colour string) string {
	if !s.Colour || text == "" {
		return text
	}
	return lipgloss.NewStyle().Foreground(lipgloss.Color(colour)).Render(text)
}

// Table writes rows with their columns below each other. The last column is not filled up.
func (s Style) Table(w io.Writer, headers []string, rows [][]string) {
	if !s.NoHeaders {
		rows = append([][]string{headers}, rows...)
	}
	widths := make([]int, len(headers))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-lipgloss.Width(cell)+3))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// ScaledJobs writes a table of them.
func (s Style) ScaledJobs(w io.Writer, all []v1.ScaledJob) {
	headers := []string{"NAME", "MAX", "WAITING", "STARTING", "RUNNING", "LAST HOUR", "FAILED", "READY", "AGE"}
	if s.Wide {
		headers = append(headers, "HELD", "PER MINUTE", "LAST DISPATCH", "WHY")
	}
	if s.Namespaces {
		headers = append([]string{"NAMESPACE"}, headers...)
	}
	var rows [][]string
	for i := range all {
		sj := &all[i]
		row := []string{
			sj.Name, fmt.Sprint(sj.MaxParallelism), number(sj.Waiting), fmt.Sprint(sj.Starting), fmt.Sprint(sj.Running),
			fmt.Sprint(sj.LastHour.Succeeded + sj.LastHour.Failed), s.failures(sj.LastHour.Failed), s.State(sj), s.age(sj.Created),
		}
		if sj.Deleted {
			row = []string{sj.Name, "", "", "", "", "", "", s.State(sj), ""}
		}
		if s.Wide {
			row = append(row, number(sj.Held), fmt.Sprintf("%.1f", sj.LastHour.PerMinute), s.age(sj.LastDispatch), Line(sj.Why))
		}
		if s.Namespaces {
			row = append([]string{sj.Namespace}, row...)
		}
		rows = append(rows, row)
	}
	s.Table(w, headers, rows)
}

func number[N int32 | int64](n *N) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func (s Style) failures(n int64) string {
	if n == 0 {
		return "0"
	}
	return s.paint(fmt.Sprint(n), red)
}

// State is the state of a ScaledJob in a word.
func (s Style) State(sj *v1.ScaledJob) string {
	if sj.Deleted {
		return s.paint("Deleted", grey)
	}
	return s.readiness(sj.Suspended, sj.Ready)
}

func (s Style) readiness(suspended bool, ready string) string {
	switch {
	case suspended:
		return s.paint("Suspended", yellow)
	case ready == "True":
		return s.paint("True", green)
	case ready == "False":
		return s.paint("False", red)
	default:
		return s.paint("Unknown", yellow)
	}
}

// age is how long ago a moment was.
func (s Style) age(at *time.Time) string {
	if at == nil || at.IsZero() {
		return "-"
	}
	return Duration(s.Now.Sub(*at))
}

// Duration is one in two units at most, as kubectl has it: 4m12s, 3h5m, 12d.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return two(int(d.Minutes()), "m", int(d.Seconds())%60, "s")
	case d < 48*time.Hour:
		d = d.Round(time.Minute)
		return two(int(d.Hours()), "h", int(d.Minutes())%60, "m")
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// two is a number of units and, if there is one, that of the lesser unit.
func two(more int, unit string, less int, lesser string) string {
	if less == 0 {
		return fmt.Sprint(more, unit)
	}
	return fmt.Sprint(more, unit, less, lesser)
}

// Seconds is a number of seconds as Duration has it; "-" for none.
func Seconds(s *float64) string {
	if s == nil {
		return "-"
	}
	return Duration(time.Duration(*s * float64(time.Second)))
}

func (s Style) triggers(w io.Writer, all []v1.Trigger) {
	fmt.Fprintln(w, "Triggers:")
	var rows [][]string
	for _, t := range all {
		rows = append(rows, []string{"  " + t.Name, t.Kind, number(t.Waiting), number(t.Held), s.paint(Line(t.Message), red)})
	}
	s.Table(w, []string{"  NAME", "KIND", "WAITING", "HELD", "MESSAGE"}, rows)
}

func (s Style) conditions(w io.Writer, all []v1.Condition) {
	fmt.Fprintln(w, "Conditions:")
	var rows [][]string
	for _, c := range all {
		rows = append(rows, []string{"  " + c.Type, c.Status, c.Reason, s.age(&c.Since), Line(c.Message)})
	}
	s.Table(w, []string{"  TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"}, rows)
}

// Describe writes all about one ScaledJob, and its Jobs that have not ended.
func (s Style) Describe(w io.Writer, sj *v1.ScaledJob, jobs []v1.Job) {
	field := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-16s %s\n", name+":", fmt.Sprintf(format, args...))
	}
	field("Name", "%s", sj.Name)
	field("Namespace", "%s", sj.Namespace)
	field("Why", "%s", Line(sj.Why))
	if sj.Deleted {
		return
	}
	field("Ready", "%s", s.State(sj))
	busy := sj.Starting + sj.Running
	field("Slots", "%d of %d busy, %d starting, %d running", busy, sj.MaxParallelism, sj.Starting, sj.Running)
	if sj.MinParallelism > 0 {
		field("At least", "%d", sj.MinParallelism)
	}
	field("Waiting", "%s", number(sj.Waiting))
	field("Held", "%s", number(sj.Held))
	field("Last hour", "%d succeeded, %s failed, %.1f a minute", sj.LastHour.Succeeded, s.failures(sj.LastHour.Failed), sj.LastHour.PerMinute)
	field("Kept Jobs", "%d succeeded, %d failed", sj.KeptSucceeded, sj.KeptFailed)
	field("Last dispatch", "%s", s.since(sj.LastDispatch))
	field("Age", "%s", s.age(sj.Created))
	s.triggers(w, sj.Triggers)
	s.conditions(w, sj.Conditions)
	if len(jobs) == 0 {
		fmt.Fprintln(w, "Active Jobs:     none")
		return
	}
	fmt.Fprintln(w, "Active Jobs:")
	var rows [][]string
	for i := range jobs {
		rows = append(rows, s.job(&jobs[i]))
	}
	s.Table(w, []string{"  JOB", "STATE", "AGE", "RUNS", "ATTEMPT", "NODE", "PROGRESS"}, rows)
}

func (s Style) since(at *time.Time) string {
	if at == nil {
		return "never"
	}
	return s.age(at) + " ago"
}

func (s Style) job(j *v1.Job) []string {
	runs := "-"
	if j.Started != nil {
		runs = s.age(j.Started)
	}
	return []string{
		"  " + j.Name, string(j.State), s.age(&j.Created), runs, fmt.Sprint(j.Attempts), cmp.Or(j.Node, "-"), cmp.Or(Bar(j.Progress, 20), Line(j.Message)),
	}
}

// Bar is how far something is, in so many characters; empty where that is not known.
func Bar(share *float64, width int) string {
	if share == nil {
		return ""
	}
	done := int(math.Round(min(max(0, *share), 1) * float64(width)))
	return fmt.Sprintf("%s%s %3.0f%%", strings.Repeat("█", done), strings.Repeat("░", width-done), *share*100)
}

// RecordHeaders are the columns of Record.
func (s Style) RecordHeaders() []string {
	headers := []string{"SEQUENCE", "FINISHED", "OUTCOME", "CATEGORY", "WAITED", "STARTED UP", "RAN", "ATTEMPTS", "MESSAGE ID"}
	if s.Wide {
		headers = append(headers, "TRIGGER", "NODE", "EXIT", "REASON")
	}
	if s.Namespaces {
		headers = append([]string{"NAMESPACE", "SCALEDJOB"}, headers...)
	}
	return headers
}

// Record is a record as a row.
func (s Style) Record(r *v1.Record) []string {
	finished := "-"
	if r.Finished != nil {
		finished = s.age(r.Finished) + " ago"
	}
	row := []string{
		fmt.Sprint(r.Sequence), finished, s.Outcome(r.Outcome), s.category(r), Seconds(r.WaitSeconds), Seconds(r.StartUpSeconds), Seconds(r.RunSeconds),
		fmt.Sprint(len(r.Attempts)), cmp.Or(Line(r.MessageID), "-"),
	}
	if s.Wide {
		node, exit := "-", "-"
		if n := len(r.Attempts); n > 0 {
			node = cmp.Or(r.Attempts[n-1].Node, "-")
			if code := r.Attempts[n-1].ExitCode; code != nil {
				exit = fmt.Sprint(*code)
			}
		}
		row = append(row, cmp.Or(r.Trigger, "-"), node, exit, Line(cmp.Or(r.Reason, "-")))
	}
	if s.Namespaces {
		row = append([]string{r.Namespace, r.ScaledJob}, row...)
	}
	return row
}

// Outcome is how a Job ended; active for one that has not.
func (s Style) Outcome(o history.Outcome) string {
	switch o {
	case history.Succeeded:
		return s.paint(string(o), green)
	case history.Failed:
		return s.paint(string(o), red)
	case history.Cancelled:
		return s.paint(string(o), yellow)
	default:
		return "active"
	}
}

func (s Style) category(r *v1.Record) string {
	if r.Outcome == history.Failed {
		return s.paint(string(r.Category), red)
	}
	return cmp.Or(string(r.Category), "-")
}

// Line is a text on one line, without what a terminal would obey.
func Line(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0):
			return -1
		default:
			return r
		}
	}, ansi.Strip(text))
}

// Lines is a text without what a terminal would obey, each of its lines indented.
func Lines(text, indent string) string {
	var all []string
	for line := range strings.Lines(text) {
		all = append(all, indent+Line(strings.TrimRight(line, "\r\n")))
	}
	return strings.Join(all, "\n")
}

// Whole writes all of one record.
func (s Style) Whole(w io.Writer, r *v1.Record) {
	field := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-16s %s\n", name+":", text)
		}
	}
	moment := func(at *time.Time) string {
		if at == nil || at.IsZero() {
			return ""
		}
		return at.UTC().Format("2006-01-02 15:04:05.000 UTC")
	}
	field("Job", r.Job)
	field("Namespace", r.Namespace)
	field("ScaledJob", r.ScaledJob)
	field("Sequence", fmt.Sprint(r.Sequence))
	field("Trigger", r.Trigger)
	field("Message ID", Line(r.MessageID))
	field("Outcome", s.Outcome(r.Outcome))
	field("Category", s.category(r))
	field("Reason", Line(r.Reason))
	field("Message", Line(r.Message))
	field("Scheduled for", moment(r.ScheduledTime))
	field("Seen", moment(&r.Seen))
	field("Created", moment(&r.Created))
	field("Given to a node", moment(r.Scheduled))
	field("Started", moment(r.Started))
	field("Finished", moment(r.Finished))
	field("Waited", Seconds(r.WaitSeconds))
	field("Started up in", Seconds(r.StartUpSeconds))
	field("Ran", Seconds(r.RunSeconds))
	if r.CPUSeconds > 0 || r.MemoryByteSeconds > 0 {
		field("Requested", fmt.Sprintf("%.1f core-seconds, %.1f GiB-seconds", r.CPUSeconds, r.MemoryByteSeconds/(1<<30)))
	}
	field("Result", Line(string(r.Result)))
	field("Template", r.Revision)
	field("UID", r.UID)
	for i := range r.Attempts {
		s.attempt(w, i+1, &r.Attempts[i])
	}
}

func (s Style) attempt(w io.Writer, n int, a *history.Attempt) {
	how := "is not over"
	switch {
	case a.Succeeded:
		how = s.paint("succeeded", green)
	case a.Ended():
		how = s.paint("failed", red)
	}
	var facts []string
	if a.ExitCode != nil {
		facts = append(facts, fmt.Sprintf("exit code %d", *a.ExitCode))
	}
	if a.Signal != 0 {
		facts = append(facts, fmt.Sprintf("signal %d", a.Signal))
	}
	if a.Reason != "" {
		facts = append(facts, Line(a.Reason))
	}
	if a.Started != nil && a.Finished != nil {
		facts = append(facts, "ran "+Duration(a.Finished.Sub(*a.Started)))
	}
	if a.Restarts > 0 {
		facts = append(facts, fmt.Sprintf("%d restarts", a.Restarts))
	}
	fmt.Fprintf(w, "\nAttempt %d %s", n, how)
	if len(facts) > 0 {
		fmt.Fprintf(w, ": %s", strings.Join(facts, ", "))
	}
	fmt.Fprintf(w, "\n  pod %s on node %s, image %s\n", a.Pod, cmp.Or(a.Node, "-"), cmp.Or(a.Image, "-"))
	if a.Message != "" {
		fmt.Fprintf(w, "  message:\n%s\n", Lines(a.Message, "    "))
	}
	if a.LogTail != "" {
		fmt.Fprintf(w, "  the end of its log:\n%s\n", Lines(a.LogTail, "    "))
	}
}

// Prices are what things cost.
type Prices struct {
	// CPUHour and GiBHour are for a core and for a gibibyte of memory, for an hour.
	CPUHour, GiBHour float64
}

// Stats writes statistics.
func (s Style) Stats(w io.Writer, name string, st *v1.Stats, prices Prices) {
	ended := st.Outcomes[history.Succeeded] + st.Outcomes[history.Failed] + st.Outcomes[history.Cancelled]
	fmt.Fprintf(w, "%s, %s to %s\n\n", name, st.From.UTC().Format("2006-01-02 15:04"), st.To.UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(w, "%d Jobs ended: %d succeeded, %s failed, %d cancelled; %d are active now\n",
		ended, st.Outcomes[history.Succeeded], s.failures(st.Outcomes[history.Failed]), st.Outcomes[history.Cancelled], st.Active)
	if len(st.Series) > 0 {
		counts := make([]int64, len(st.Series))
		for i, f := range st.Series {
			counts[i] = f.Succeeded + f.Failed
		}
		part := st.To.Sub(st.From) / time.Duration(len(st.Series))
		fmt.Fprintf(w, "%s  up to %d in %s\n", Sparkline(counts), slices.Max(counts), Duration(part))
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, d := range []struct {
		name string
		of   *v1.Durations
	}{{"waited", &st.Wait}, {"started up", &st.StartUp}, {"ran", &st.Run}} {
		rows = append(rows, []string{d.name, fmt.Sprint(d.of.Count), Seconds(d.of.P50), Seconds(d.of.P95), Seconds(d.of.P99)})
	}
	s.Table(w, []string{"", "JOBS", "MEDIAN", "P95", "P99"}, rows)
	rows = nil
	for _, c := range history.Categories() {
		if n := st.Categories[c]; n > 0 && c != history.CategorySucceeded {
			rows = append(rows, []string{string(c), fmt.Sprint(n), fmt.Sprintf("%.1f%%", 100*float64(n)/float64(max(1, ended)))})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(w)
		s.Table(w, []string{"WHY NOT", "JOBS", "OF ALL"}, rows)
	}
	cpu, memory := st.CPUSeconds/3600, st.MemoryByteSeconds/(1<<30)/3600
	fmt.Fprintf(w, "\nrequested: %.2f core-hours, %.2f GiB-hours\n", cpu, memory)
	if prices != (Prices{}) {
		cost := cpu*prices.CPUHour + memory*prices.GiBHour
		fmt.Fprintf(w, "cost: %.2f", cost)
		if ended > 0 {
			fmt.Fprintf(w, ", %.4f a Job", cost/float64(ended))
		}
		fmt.Fprintln(w)
	}
}

// Sparkline is counts as a row of bars, the highest for the most.
func Sparkline(counts []int64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	most := int64(1)
	for _, n := range counts {
		most = max(most, n)
	}
	var line strings.Builder
	for _, n := range counts {
		if n == 0 {
			line.WriteRune(' ')
			continue
		}
		line.WriteRune(bars[int(math.Ceil(float64(n)/float64(most)*float64(len(bars))))-1])
	}
	return line.String()
}
