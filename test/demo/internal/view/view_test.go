package view_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/test/demo/internal/board"
	"github.com/longhaul-dev/longhaul/test/demo/internal/view"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// at is a moment, in seconds after the first message was queued.
func at(seconds float64) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

// midway has a Job in each state.
func midway() board.Picture {
	return board.Picture{
		At: at(4.25), Queued: at(0), Waiting: 7,
		Jobs: []board.Job{
			{
				Name: "transcode-000001", State: board.Succeeded, Message: "clip-01", Progress: 1,
				Queued: at(0), Created: at(0.3), Began: at(0.9), Ended: at(2.9),
			},
			{
				Name: "transcode-000002", State: board.Failed, Message: "clip-02", Progress: 0.4, Why: "worker exited with code 65",
				Queued: at(0), Created: at(0.3), Began: at(1), Ended: at(2.2),
			},
			{Name: "transcode-000003", State: board.Running, Message: "clip-03", Progress: 0.62, Queued: at(0), Created: at(0.3), Began: at(1.1)},
			{Name: "transcode-000004", State: board.Running, Message: "clip-04", Progress: 0, Queued: at(0.1), Created: at(3), Began: at(4.2)},
			{Name: "transcode-000005", State: board.Starting, Created: at(3.05)},
		},
	}
}

func TestWhatIsShown(t *testing.T) {
	t.Parallel()
	before := midway()
	before.Jobs = before.Jobs[:3]
	before.Jobs[0].State = board.Running
	before.Jobs[2].State = board.Starting
	for name, got := range map[string]string{
		"frame":            lines(view.Frame(midway(), "One Job per message", 100, 24)),
		"frame-narrow":     lines(view.Frame(midway(), "One Job per message", 40, 24)),
		"frame-low":        lines(view.Frame(midway(), "One Job per message", 100, 8)),
		"frame-beginning":  lines(view.Frame(board.Picture{At: at(0.1), Queued: at(0), Waiting: 12}, "One Job per message", 100, 24)),
		"changes":          lines(view.Changes(before, midway())),
		"changes-all":      lines(view.Changes(board.Picture{}, midway())),
		"changes-none":     lines(view.Changes(midway(), midway())),
		"changes-waiting":  lines(view.Changes(board.Picture{}, board.Picture{At: at(0.1), Queued: at(0), Waiting: 12})),
		"table":            view.Table(midway()),
		"table-of-nothing": view.Table(board.Picture{}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Colours are written out, so that people can read the files.
			golden(t, name, strings.ReplaceAll(got, "\033", "ESC"))
		})
	}
}

func TestAFrameNeverReachesTheEdgesOfTheTerminal(t *testing.T) {
	t.Parallel()
	for width := range 120 {
		for height := range 30 {
			frame := view.Frame(midway(), "One Job per message", width, height)
			// Less than six lines hold no frame of a Job; a terminal as low as that may scroll.
			if most := max(height-1, 5); len(frame) > most {
				t.Fatalf("%d×%d: the frame has %d lines", width, height, len(frame))
			}
			for _, l := range frame {
				if n := len([]rune(withoutColours(l))); n > max(0, width-1) {
					t.Fatalf("%d×%d: %q has %d characters", width, height, l, n)
				}
			}
		}
	}
}

func TestProgressBeyondWhatIsPossibleIsShownAsFarAsItIs(t *testing.T) {
	t.Parallel()
	for _, progress := range []float64{-3, 7} {
		p := board.Picture{Jobs: []board.Job{{Name: "a", State: board.Running, Progress: progress}}}
		frame := lines(view.Frame(p, "", 100, 24))
		if n := strings.Count(frame, "█") + strings.Count(frame, "░"); n != 30 {
			t.Errorf("a progress of %v has a bar of %d characters", progress, n)
		}
	}
}

func TestEachFrameIsDrawnOverTheLast(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := view.NewScreen(&out)
	s.Draw([]string{"one", "two", "three"})
	s.Draw([]string{"four", "five"})
	s.Close()
	if diff := cmp.Diff([]string{"", "", ""}, onTerminal(out.String())); diff != "" {
		t.Errorf("something is left when the screen is closed (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(out.String(), "\033[?25l") || !strings.HasSuffix(out.String(), "\033[?25h") {
		t.Errorf("the cursor is not hidden at first and shown at the end: %q", out.String())
	}
	drawn, _, _ := strings.Cut(out.String(), "five\n")
	if diff := cmp.Diff([]string{"four", "five", "three"}, onTerminal(drawn+"five\n")); diff != "" {
		t.Errorf("the second frame is not over the first (-want +got):\n%s", diff)
	}
}

// onTerminal is what is seen after writing that to a terminal, as far as Screen's few codes go.
func onTerminal(written string) []string {
	screen, row := []string{}, 0
	for written != "" {
		switch {
		case strings.HasPrefix(written, "\033[?25"):
			written = written[len("\033[?25l"):]
		case strings.HasPrefix(written, "\033[J"):
			for i := row; i < len(screen); i++ {
				screen[i] = ""
			}
			written = written[len("\033[J"):]
		case strings.HasPrefix(written, "\r\033[K"):
			written = written[len("\r\033[K"):]
			text, rest, _ := strings.Cut(written, "\n")
			for len(screen) <= row {
				screen = append(screen, "")
			}
			screen[row], row, written = text, row+1, rest
		case strings.HasPrefix(written, "\033["):
			row -= int(written[2] - '0')
			written = written[len("\033[1A"):]
		default:
			return append(screen, "not understood: "+written)
		}
	}
	return screen
}

func withoutColours(s string) string {
	for _, code := range []string{"\033[31m", "\033[32m", "\033[33m", "\033[36m", "\033[90m", "\033[0m"} {
		s = strings.ReplaceAll(s, code, "")
	}
	return s
}

func lines(l []string) string { return strings.Join(append(l, ""), "\n") }

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("not as in %s; if this is as wanted: go test ./test/demo/internal/view -update (-want +got):\n%s", file, diff)
	}
}
