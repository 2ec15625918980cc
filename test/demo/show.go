package main

import (
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/longhaul-dev/longhaul/test/demo/internal/board"
	"github.com/longhaul-dev/longhaul/test/demo/internal/view"
)

// show shows one picture after the other: on a terminal in place, elsewhere as lines.
type show struct {
	out    *os.File
	title  string
	screen *view.Screen // nil for lines
	last   board.Picture
}

func newShow(out *os.File, title string) *show {
	s := &show{out: out, title: title}
	fmt.Fprintln(out)
	if term.IsTerminal(int(out.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		s.screen = view.NewScreen(out)
	} else {
		fmt.Fprintln(out, title)
	}
	return s
}

func (s *show) picture(p board.Picture) {
	if s.screen == nil {
		for _, l := range view.Changes(s.last, p) {
			fmt.Fprintln(s.out, l)
		}
		s.last = p
		return
	}
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil {
		width, height = 80, 24
	}
	s.screen.Draw(view.Frame(p, s.title, width, height))
}

func (s *show) close() {
	if s.screen != nil {
		s.screen.Close()
	}
}
