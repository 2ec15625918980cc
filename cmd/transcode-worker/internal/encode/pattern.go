package encode

import (
	"bufio"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
)

// Pattern says what a test clip is to be: colour bars that move, over them a disc that bounces, and the grain of film.
type Pattern struct {
	// Frames is how many pictures there are; 1 or more.
	Frames int
	// Width and Height are in pixels.
	Width, Height int
	// Rate is how many pictures there are in a second; 1 or more.
	Rate int
}

// MakeClip writes a test clip as Y4M.
func MakeClip(output string, p Pattern) error {
	if p.Frames < 1 || p.Rate < 1 {
		return errors.New("a clip has at least one frame, and one in a second")
	}
	if p.Width < 1 || p.Height < 1 || p.Width > maxSide || p.Height > maxSide || p.Width*p.Height > maxPixels {
		return fmt.Errorf("a clip of %d×%d is not possible: each side has 1 to %d pixels, and both at most %d together",
			p.Width, p.Height, maxSide, maxPixels)
	}
	_, err := replace(output, func(f *os.File) error {
		w := bufio.NewWriterSize(f, 1<<20)
		if err := p.write(w); err != nil {
			return fmt.Errorf("writing the clip: %w", err)
		}
		return w.Flush()
	})
	return err
}

func (p Pattern) write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s W%d H%d F%d:1 Ip A1:1 C420jpeg\n", y4mMagic, p.Width, p.Height, p.Rate); err != nil {
		return err
	}
	frame := newFrame(p.Width, p.Height, image.YCbCrSubsampleRatio420)
	for n := range p.Frames {
		p.draw(frame, n)
		for _, part := range [][]byte{[]byte(frameWord + "\n"), frame.Y, frame.Cb, frame.Cr} {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
	}
	return nil
}

// draw draws the picture of a number.
func (p Pattern) draw(frame *image.YCbCr, n int) {
	grain := uint32(n)*2654435761 + 1
	radius := max(1, min(p.Width, p.Height)/6)
	cx, cy := bounce(n*p.Width/90, radius, p.Width), bounce(n*p.Height/60, radius, p.Height)
	for y := range p.Height {
		row := frame.Y[y*frame.YStride:][:p.Width]
		for x := range row {
			grain ^= grain << 13
			grain ^= grain >> 17
			grain ^= grain << 5
			brightness := 48 + 24*p.bar(x, n) + int(grain>>28)
			if (x-cx)*(x-cx)+(y-cy)*(y-cy) < radius*radius {
				brightness = 220
			}
			row[x] = byte(brightness)
		}
	}
	for y := range half(p.Height) {
		for x := range half(p.Width) {
			bar := p.bar(2*x, n)
			frame.Cb[y*frame.CStride+x] = byte(64 + 18*bar)
			frame.Cr[y*frame.CStride+x] = byte(64 + 36*(bar%4))
		}
	}
}

// bar is which of the seven bars is at a column; they move by a hundredth of the width from picture to picture.
func (p Pattern) bar(x, n int) int {
	return (x + n*p.Width/100) % p.Width * 7 / p.Width
}

// bounce is where something is that has gone a way to and fro between two walls, and keeps its radius from both.
func bounce(way, radius, side int) int {
	room := max(1, side-2*radius)
	way %= 2 * room
	return radius + min(way, 2*room-way)
}
