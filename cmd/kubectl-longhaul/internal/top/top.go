// Package top is a live view of ScaledJobs: a list of all, and a look into one.
//
// The model is bubbletea's: what it shows follows from the messages that it was sent, and nothing else.
package top

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/view"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// Asker reads what is shown.
type Asker interface {
	// ScaledJobs are all to show.
	ScaledJobs(ctx context.Context) ([]v1.ScaledJob, error)
	// Jobs are those of one that have not ended, with how far they are.
	Jobs(ctx context.Context, namespace, name string) ([]v1.Job, error)
}

// Every is how often it looks.
const Every = 2 * time.Second

// order is by what the list is sorted.
type order int

const (
	byName order = iota
	byWaiting
	byRunning
	byPace
	byFailures
	orders // how many there are
)

func (o order) String() string {
	return [...]string{"name", "waiting", "running", "per minute", "failing"}[o]
}

// Model is what is shown.
type Model struct { //nolint:recvcheck // bubbletea takes it as a value
	ask   Asker
	style view.Style
	now   func() time.Time
	ctx   context.Context //nolint:containedctx // bubbletea's commands take none

	all    []v1.ScaledJob
	jobs   []v1.Job
	at     time.Time
	err    error
	order  order
	cursor int
	// inside is the one that is looked into; empty names for the list.
	inside        [2]string
	width, height int
	help          bool
}

// New returns a Model that asks until the context ends.
func New(ctx context.Context, ask Asker, style view.Style, now func() time.Time) Model {
	return Model{ask: ask, style: style, now: now, ctx: ctx, width: 100, height: 30, order: byName}
}

// Looked is what a look at the manager found.
type Looked struct {
	All  []v1.ScaledJob
	Jobs []v1.Job
	Of   [2]string
	At   time.Time
	Err  error
}

// tick says that it is time to look.
type tick struct{}

// Init looks at once.
func (m Model) Init() tea.Cmd { return m.look() }

// look asks the manager.
func (m Model) look() tea.Cmd {
	inside := m.inside
	return func() tea.Msg {
		found := Looked{Of: inside, At: m.now()}
		if found.All, found.Err = m.ask.ScaledJobs(m.ctx); found.Err == nil && inside != [2]string{} {
			found.Jobs, found.Err = m.ask.Jobs(m.ctx, inside[0], inside[1])
		}
		return found
	}
}

// Update is the Model after a message.
func (m Model) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = message.Width, message.Height
	case Looked:
		again := tea.Tick(Every, func(time.Time) tea.Msg { return tick{} })
		if m.err = message.Err; m.err == nil {
			chosen := m.chosen()
			m.all, m.at = message.All, message.At
			if message.Of == m.inside {
				m.jobs = message.Jobs
			}
			m.sort(chosen)
		}
		return m, again
	case tick:
		return m, m.look()
	case tea.KeyPressMsg:
		return m.pressed(message.String())
	}
	return m, nil
}

func (m Model) pressed(key string) (tea.Model, tea.Cmd) {
	switch key {
	case "q", "ctrl+c":
		return m, tea.Quit
	case "?", "h":
		m.help = !m.help
	case "up", "k":
		m.cursor = max(0, m.cursor-1)
	case "down", "j":
		m.cursor = max(0, min(len(m.all)-1, m.cursor+1))
	case "s":
		chosen := m.chosen()
		m.order = (m.order + 1) % orders
		m.sort(chosen)
	case "enter", "right", "l":
		if m.inside == [2]string{} && len(m.all) > 0 {
			m.inside, m.jobs = m.chosen(), nil
			return m, m.look()
		}
	case "esc", "left", "backspace":
		m.inside, m.jobs = [2]string{}, nil
	}
	return m, nil
}

func (m Model) chosen() [2]string {
	if m.cursor >= len(m.all) {
		return [2]string{}
	}
	return [2]string{m.all[m.cursor].Namespace, m.all[m.cursor].Name}
}

// sort sorts the list, and keeps the cursor on what was chosen.
func (m *Model) sort(chosen [2]string) {
	m.all = slices.Clone(m.all)
	slices.SortStableFunc(m.all, func(a, b v1.ScaledJob) int {
		by := 0
		switch m.order {
		case byWaiting:
			by = cmp.Compare(count(b.Waiting), count(a.Waiting))
		case byRunning:
			by = cmp.Compare(b.Running+b.Starting, a.Running+a.Starting)
		case byPace:
			by = cmp.Compare(b.LastHour.PerMinute, a.LastHour.PerMinute)
		case byFailures:
			by = cmp.Compare(b.LastHour.Failed, a.LastHour.Failed)
		case byName, orders:
		}
		return cmp.Or(by, cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	m.cursor = max(0, min(m.cursor, len(m.all)-1))
	for i := range m.all {
		if [2]string{m.all[i].Namespace, m.all[i].Name} == chosen {
			m.cursor = i
		}
	}
}

func count(n *int64) int64 {
	if n == nil {
		return -1
	}
	return *n
}

// View is what is on the screen.
func (m Model) View() tea.View {
	v := tea.NewView(m.text())
	v.AltScreen = true
	return v
}

// text is what is on the screen, as text.
func (m Model) text() string {
	var lines []string
	switch {
	case m.help:
		lines = help()
	case m.inside != [2]string{}:
		lines = m.one()
	default:
		lines = m.list()
	}
	footer := "q quit · ↑↓ choose · enter look into · s sort · ? help"
	if m.inside != [2]string{} {
		footer = "q quit · esc back · ? help"
	}
	if m.err != nil {
		footer = "! " + view.Line(m.err.Error())
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, m.height-1)], footer)
	for i := range lines {
		lines[i] = lipgloss.NewStyle().MaxWidth(m.width).Render(lines[i])
	}
	return strings.Join(lines, "\n")
}

func help() []string {
	return []string{
		"kubectl longhaul top", "",
		"  ↑ ↓ or k j    choose a ScaledJob",
		"  enter         look into it: its Jobs that have not ended, and how far they are",
		"  esc           back to the list",
		"  s             sort by the next: name, waiting, running, per minute, failing",
		"  ?             this help, and back",
		"  q             quit",
		"", "  Waiting are messages, starting and running Jobs. Per minute and failing are of the last hour.",
	}
}

func (m Model) list() []string {
	waiting, active := int64(0), int32(0)
	for i := range m.all {
		waiting += max(0, count(m.all[i].Waiting))
		active += m.all[i].Starting + m.all[i].Running
	}
	title := fmt.Sprintf("%d ScaledJobs · %d waiting · %d active · by %s", len(m.all), waiting, active, m.order)
	if m.at.IsZero() {
		return []string{"asking the manager …"}
	}
	title += " · " + m.at.Format(time.TimeOnly)
	rows := [][]string{}
	first := max(0, m.cursor-(m.height-6))
	for i := first; i < len(m.all) && i < first+m.height-4; i++ {
		sj := &m.all[i]
		mark := " "
		if i == m.cursor {
			mark = "›"
		}
		share := float64(sj.Starting+sj.Running) / float64(max(1, sj.MaxParallelism))
		rows = append(rows, []string{
			mark + " " + sj.Namespace + "/" + sj.Name, dash(sj.Waiting), fmt.Sprint(sj.Starting), fmt.Sprint(sj.Running),
			fmt.Sprintf("%s of %d", view.Bar(&share, 10), sj.MaxParallelism), fmt.Sprintf("%.1f", sj.LastHour.PerMinute), fmt.Sprint(sj.LastHour.Failed), m.style.State(sj),
		})
	}
	return append([]string{title, ""}, m.table([]string{"  SCALEDJOB", "WAITING", "STARTING", "RUNNING", "SLOTS", "PER MINUTE", "FAILING", "READY"}, rows)...)
}

func dash(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func (m Model) table(headers []string, rows [][]string) []string {
	var text strings.Builder
	m.style.Table(&text, headers, rows)
	return strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
}

func (m Model) one() []string {
	lines := []string{m.inside[0] + "/" + m.inside[1], ""}
	for i := range m.all {
		if sj := &m.all[i]; [2]string{sj.Namespace, sj.Name} == m.inside {
			lines = append(lines, lipgloss.NewStyle().Width(max(20, m.width)).Render(view.Line(sj.Why)), "",
				fmt.Sprintf("%s waiting · %d starting · %d running of %d · %.1f a minute · %d failed in the last hour",
					dash(sj.Waiting), sj.Starting, sj.Running, sj.MaxParallelism, sj.LastHour.PerMinute, sj.LastHour.Failed), "")
		}
	}
	if len(m.jobs) == 0 {
		return append(lines, "No Job is active.")
	}
	now := m.now()
	var rows [][]string
	for i := range m.jobs {
		j := &m.jobs[i]
		runs := "-"
		if j.Started != nil {
			runs = view.Duration(now.Sub(*j.Started))
		}
		rows = append(rows, []string{j.Name, string(j.State), runs, fmt.Sprint(j.Attempts), cmp.Or(j.Node, "-"), cmp.Or(view.Bar(j.Progress, 20), view.Line(j.Message))})
	}
	return append(lines, m.table([]string{"JOB", "STATE", "RUNS", "ATTEMPT", "NODE", "PROGRESS"}, rows)...)
}
