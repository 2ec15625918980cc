package view_test

import (
	"strings"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/view"
	"github.com/longhaul-dev/longhaul/history"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

func TestColoursComeWhereAskedForAndMoveNoColumn(t *testing.T) {
	t.Parallel()
	all := []v1.ScaledJob{{Name: "a", Ready: "False", LastHour: v1.Pace{Failed: 3}}, {Name: "long-name", Ready: "True"}}
	var plain, coloured strings.Builder
	view.Style{}.ScaledJobs(&plain, all)
	view.Style{Colour: true}.ScaledJobs(&coloured, all)
	if strings.Contains(plain.String(), "\x1b") {
		t.Errorf("colours that nobody asked for: %q", plain.String())
	}
	if !strings.Contains(coloured.String(), "\x1b[31mFalse") || !strings.Contains(coloured.String(), "\x1b[31m3") {
		t.Errorf("what is wrong is not red: %q", coloured.String())
	}
	if view.Line(coloured.String()) != view.Line(plain.String()) {
		t.Errorf("with colours the columns are elsewhere:\n%s\n%s", coloured.String(), plain.String())
	}
}

func TestDurationsHaveTwoUnitsAtMost(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0.0s", 1234 * time.Millisecond: "1.2s", 42 * time.Second: "42s", 252 * time.Second: "4m12s", 5 * time.Minute: "5m",
		185 * time.Minute: "3h5m", 30 * time.Hour: "30h", 12 * 24 * time.Hour: "12d",
	} {
		if got := view.Duration(d); got != want {
			t.Errorf("%s is written as %q, want %q", d, got, want)
		}
	}
}

func TestNothingThatATerminalObeysIsPrinted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain": "plain", "\x1b[31mred\x1b[0m": "red", "a\x07b\x00c\u009bd": "abcd", "two\nlines\tand": "two lines and", "\x1b]0;title\x07rest": "rest",
		"ä → ✓": "ä → ✓",
	} {
		if got := view.Line(text); got != want {
			t.Errorf("%q is printed as %q, want %q", text, got, want)
		}
	}
	var whole strings.Builder
	evil := "\x1b[2Jevil"
	view.Style{}.Whole(&whole, &v1.Record{Record: history.Record{
		MessageID: evil, Reason: evil, Message: evil, Attempts: []history.Attempt{{Reason: evil, Message: evil, LogTail: evil, Pod: "p"}},
	}})
	if strings.Contains(whole.String(), "\x1b") || strings.Count(whole.String(), "evil") != 6 {
		t.Errorf("a record is printed as %q", whole.String())
	}
}

func TestABarIsAsFullAsTheWorkIsDone(t *testing.T) {
	t.Parallel()
	for share, want := range map[float64]string{0: "░░░░   0%", 0.5: "██░░  50%", 1: "████ 100%", 1.7: "████ 170%"} {
		if got := view.Bar(&share, 4); got != want {
			t.Errorf("%v done is %q, want %q", share, got, want)
		}
	}
	if got := view.Bar(nil, 4); got != "" {
		t.Errorf("what nobody knows is %q", got)
	}
}

func TestASparklineIsHighestWhereThereIsMost(t *testing.T) {
	t.Parallel()
	if got, want := view.Sparkline([]int64{0, 1, 4, 8}), " ▁▄█"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
