package encode_test

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/encode"
)

func TestAClipThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	good := encode.Pattern{Frames: 1, Width: 16, Height: 16, Rate: 30}
	for name, change := range map[string]func(*encode.Pattern){
		"no frames":     func(p *encode.Pattern) { p.Frames = 0 },
		"no rate":       func(p *encode.Pattern) { p.Rate = 0 },
		"no width":      func(p *encode.Pattern) { p.Width = 0 },
		"too wide":      func(p *encode.Pattern) { p.Width = 1 << 20 },
		"too many dots": func(p *encode.Pattern) { p.Width, p.Height = 16384, 16384 },
	} {
		p := good
		change(&p)
		folder := t.TempDir()
		if err := encode.MakeClip(filepath.Join(folder, "clip.y4m"), p); err == nil {
			t.Errorf("%s: no error", name)
		}
		onlyFile(t, folder, "")
	}
}

func TestPicturesOfAClipMove(t *testing.T) {
	t.Parallel()
	f, err := os.Open(clip(t, encode.Pattern{Frames: 3, Width: 320, Height: 180, Rate: 24}))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	y, err := encode.NewY4MReader(f)
	if err != nil {
		t.Fatal(err)
	}
	want := encode.Header{Width: 320, Height: 180, Rate: 24, Scale: 1, Ratio: image.YCbCrSubsampleRatio420}
	if y.Header() != want {
		t.Errorf("header %+v, want %+v", y.Header(), want)
	}
	var last []byte
	for n := range 3 {
		frame := y.NewFrame()
		if err := y.ReadFrame(frame); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(last, frame.Y) {
			t.Errorf("picture %d is the one before", n)
		}
		last = frame.Y
	}
	if err := y.ReadFrame(y.NewFrame()); !errors.Is(err, io.EOF) {
		t.Errorf("after the last picture: %v, want io.EOF", err)
	}
}

// FuzzY4M feeds anything: it is refused, or read without a panic and without more than it holds.
func FuzzY4M(f *testing.F) {
	f.Add([]byte("YUV4MPEG2 W4 H2 F30:1 C420jpeg\nFRAME\n0123456789ab"))
	f.Add([]byte("YUV4MPEG2 W1 H1 Cmono\nFRAME Ip\nxFRAME\n"))
	f.Add([]byte("YUV4MPEG2 W3 H3 C444 F0:0\nFRAME\n"))
	f.Add([]byte("YUV4MPEG2 W16384 H4096 F2147483648:1\n"))
	f.Add([]byte("YUV4MPEG2  W-1 H0\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		y, err := encode.NewY4MReader(bytes.NewReader(content))
		if err != nil {
			if !errors.Is(err, encode.ErrInput) {
				t.Fatalf("%v does not blame the input", err)
			}
			return
		}
		h := y.Header()
		if h.Width < 1 || h.Height < 1 || h.Rate < 1 || h.Scale < 1 {
			t.Fatalf("a header that makes no sense: %+v", h)
		}
		if h.Width*h.Height > 1<<16 { // what is not there need not be made room for, again and again
			return
		}
		frame := y.NewFrame()
		for err == nil {
			err = y.ReadFrame(frame)
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, encode.ErrInput) {
			t.Fatalf("%v does not blame the input", err)
		}
		if y.Offset() > int64(len(content)) || (errors.Is(err, io.EOF) && y.Offset() != int64(len(content))) {
			t.Fatalf("read %d of %d bytes, ending in %v", y.Offset(), len(content), err)
		}
		if err := jpeg.Encode(io.Discard, frame, nil); err != nil {
			t.Fatal(err)
		}
	})
}
