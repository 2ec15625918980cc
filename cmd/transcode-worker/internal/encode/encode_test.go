package encode_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/encode"
)

// clip makes a small test clip and returns its name.
func clip(t *testing.T, p encode.Pattern) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "clip.y4m")
	if err := encode.MakeClip(name, p); err != nil {
		t.Fatal(err)
	}
	return name
}

// encoders are those that can be had here, by name.
func encoders(t *testing.T) map[string]encode.Encoder {
	t.Helper()
	all := map[string]encode.Encoder{"builtin": encode.Builtin}
	if program, err := exec.LookPath("ffmpeg"); err == nil {
		all["ffmpeg"] = encode.FFmpeg(program)
	}
	return all
}

func task(input, output string) encode.Task {
	return encode.Task{Input: input, Output: output, Progress: func(float64) {}}
}

func TestATranscodeHalvesAClipAndTellsItsProgress(t *testing.T) {
	t.Parallel()
	for name, run := range encoders(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			work := task(clip(t, encode.Pattern{Frames: 30, Width: 160, Height: 90, Rate: 30}), filepath.Join(t.TempDir(), "deep", "out.avi"))
			var shares []float64
			work.Progress = func(share float64) { shares = append(shares, share) }
			result, err := run(t.Context(), work)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(work.Output)
			if err != nil {
				t.Fatal(err)
			}
			want := encode.Result{Encoder: name, Output: work.Output, Frames: 30, Bytes: info.Size()}
			if result != want {
				t.Errorf("result %+v, want %+v", result, want)
			}
			if !slices.IsSorted(shares) || len(shares) == 0 || shares[len(shares)-1] != 1 {
				t.Errorf("progress does not rise to 1: %v", shares)
			}
			onlyFile(t, filepath.Dir(work.Output), "out.avi")
		})
	}
}

// onlyFile fails unless the folder holds that file and nothing else; empty for nothing at all.
func onlyFile(t *testing.T, folder, name string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if got := strings.Join(names, " "); got != name {
		t.Errorf("%s holds %q, want %q", folder, got, name)
	}
}

func TestPicturesSurviveTheBuiltinEncoder(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		header string
		frame  []byte // of 4×4: the left half dark, the right half bright
		dark   byte
		bright byte
	}{
		"of limited range, which is stretched": {"C420jpeg", join(rows(16, 235), grey(8)), 0, 255},
		"of full range, which stays":           {"C420jpeg XCOLORRANGE=FULL", join(rows(16, 235), grey(8)), 16, 235},
		"with colours as fine as brightness":   {"C444", join(rows(16, 235), grey(32)), 0, 255},
		"with colours half as wide":            {"C422", join(rows(16, 235), grey(16)), 0, 255},
		"without colours":                      {"Cmono", rows(16, 235), 0, 255},
		"of a format that goes without saying": {"A1:1", join(rows(16, 235), grey(8)), 0, 255},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, out := filepath.Join(t.TempDir(), "in.y4m"), filepath.Join(t.TempDir(), "out.avi")
			content := join([]byte("YUV4MPEG2 W4 H4 F10:1 "+tt.header+"\nFRAME\n"), tt.frame, []byte("FRAME Ip\n"), tt.frame)
			if err := os.WriteFile(in, content, 0o600); err != nil {
				t.Fatal(err)
			}
			result, err := encode.Builtin(t.Context(), task(in, out))
			if err != nil || result.Frames != 2 {
				t.Fatalf("%d frames and %v, want 2", result.Frames, err)
			}
			pictures := readAVI(t, out).pictures
			for i, picture := range pictures {
				if size := picture.Bounds().Size(); size != image.Pt(2, 2) {
					t.Fatalf("picture %d has %v, want half of 4×4", i, size)
				}
				near(t, picture, 0, tt.dark)
				near(t, picture, 1, tt.bright)
			}
		})
	}
}

func near(t *testing.T, picture image.Image, x int, want byte) {
	t.Helper()
	r, g, b, _ := picture.At(x, 0).RGBA()
	for _, c := range []uint32{r, g, b} {
		if math.Abs(float64(c>>8)-float64(want)) > 8 {
			t.Errorf("column %d is %d,%d,%d, want a grey of %d", x, r>>8, g>>8, b>>8, want)
			return
		}
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func grey(n int) []byte { return bytes.Repeat([]byte{128}, n) }

func rows(dark, bright byte) []byte {
	return bytes.Repeat([]byte{dark, dark, bright, bright}, 4)
}

func TestOddSidesAreRoundedUp(t *testing.T) {
	t.Parallel()
	for _, size := range []image.Point{{1, 1}, {1, 7}, {7, 1}, {5, 3}, {33, 17}} {
		in, out := clip(t, encode.Pattern{Frames: 2, Width: size.X, Height: size.Y, Rate: 25}), filepath.Join(t.TempDir(), "out.avi")
		if _, err := encode.Builtin(t.Context(), task(in, out)); err != nil {
			t.Fatalf("%v: %v", size, err)
		}
		want := image.Pt((size.X+1)/2, (size.Y+1)/2)
		if got := readAVI(t, out).pictures[0].Bounds().Size(); got != want {
			t.Errorf("%v became %v, want %v", size, got, want)
		}
	}
}

func TestABadClipIsTheInputsFaultAndLeavesNothing(t *testing.T) {
	t.Parallel()
	whole := func(t *testing.T) []byte {
		t.Helper()
		content, err := os.ReadFile(clip(t, encode.Pattern{Frames: 3, Width: 64, Height: 36, Rate: 30}))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	for name, tt := range map[string]struct {
		spoil func(whole []byte) []byte
		says  string // by the builtin encoder
		only  string // the encoder that minds
	}{
		"empty":                      {func([]byte) []byte { return nil }, "empty", ""},
		"garbage":                    {func([]byte) []byte { return []byte("this is no video\n") }, "YUV4MPEG2", ""},
		"garbage without end":        {func([]byte) []byte { return bytes.Repeat([]byte("x"), 1<<16) }, "longer than", ""},
		"cut off in the header":      {func(w []byte) []byte { return w[:20] }, "within a header", ""},
		"cut off in a picture":       {func(w []byte) []byte { return w[:len(w)-100] }, "within frame 3", "builtin"},
		"without a picture":          {func(w []byte) []byte { return w[:bytes.IndexByte(w, '\n')+1] }, "no frames", ""},
		"damaged between pictures":   {func(w []byte) []byte { return bytes.Replace(w, []byte("FRAME"), []byte("FLAME"), 1) }, "frame 1 does not begin", "builtin"},
		"without a width":            {func(w []byte) []byte { return bytes.Replace(w, []byte("W64 "), nil, 1) }, "lacks the width", ""},
		"with a width below nothing": {func(w []byte) []byte { return bytes.Replace(w, []byte("W64 "), []byte("W-64 "), 1) }, "width", ""},
		"with too large a picture":   {func(w []byte) []byte { return bytes.Replace(w, []byte("W64 H36"), []byte("W16384 H16384"), 1) }, "too large", "builtin"},
		"with a rate of nonsense":    {func(w []byte) []byte { return bytes.Replace(w, []byte("F30:1"), []byte("F30"), 1) }, "frame rate", "builtin"},
		"of a format not supported":  {func(w []byte) []byte { return bytes.Replace(w, []byte("C420jpeg"), []byte("C420p10"), 1) }, "C420p10", "builtin"},
	} {
		for encoder, run := range encoders(t) {
			if tt.only != "" && tt.only != encoder {
				continue
			}
			t.Run(name+", by "+encoder, func(t *testing.T) {
				t.Parallel()
				in, folder := filepath.Join(t.TempDir(), "in.y4m"), t.TempDir()
				if err := os.WriteFile(in, tt.spoil(whole(t)), 0o600); err != nil {
					t.Fatal(err)
				}
				_, err := run(t.Context(), task(in, filepath.Join(folder, "out.avi")))
				if !errors.Is(err, encode.ErrInput) {
					t.Fatalf("error %v, want one that blames the input", err)
				}
				if encoder == "builtin" && !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%q does not say %q", err, tt.says)
				}
				onlyFile(t, folder, "")
			})
		}
	}
}

func TestAClipThatIsNotThereIsTheInputsFault(t *testing.T) {
	t.Parallel()
	for name, run := range encoders(t) {
		for what, in := range map[string]string{"missing": filepath.Join(t.TempDir(), "none.y4m"), "a folder": t.TempDir()} {
			if _, err := run(t.Context(), task(in, filepath.Join(t.TempDir(), "out.avi"))); !errors.Is(err, encode.ErrInput) {
				t.Errorf("%s, %s: error %v, want one that blames the input", name, what, err)
			}
		}
	}
}

func TestAnOutputThatCannotBeWrittenIsNotTheInputsFault(t *testing.T) {
	t.Parallel()
	for name, run := range encoders(t) {
		in := clip(t, encode.Pattern{Frames: 2, Width: 16, Height: 16, Rate: 30})
		_, err := run(t.Context(), task(in, filepath.Join(in, "out.avi"))) // below a file
		if err == nil || errors.Is(err, encode.ErrInput) {
			t.Errorf("%s: error %v, want one that does not blame the input", name, err)
		}
	}
}

func TestAFailureOfFFmpegIsTheInputsFaultOnlyIfTheClipCannotBeRead(t *testing.T) {
	t.Parallel()
	in := clip(t, encode.Pattern{Frames: 2, Width: 16, Height: 16, Rate: 30})
	for name, tt := range map[string]struct {
		script string
		blamed bool
	}{
		"a disk that is full":     {`case "$*" in *"-f null"*) exit 0;; esac; echo 'No space left on device' >&2; exit 1`, false},
		"a clip that is damaged":  {`echo 'Invalid data found' >&2; exit 1`, true},
		"a program that is ended": {`kill -9 $$`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(t.TempDir(), "ffmpeg")
			if err := os.WriteFile(program, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			folder := t.TempDir()
			_, err := encode.FFmpeg(program)(t.Context(), task(in, filepath.Join(folder, "out.avi")))
			if err == nil || errors.Is(err, encode.ErrInput) != tt.blamed {
				t.Errorf("error %v, input blamed should be %v", err, tt.blamed)
			}
			onlyFile(t, folder, "")
		})
	}
}

func TestATranscodeThatIsBrokenOffLeavesNothing(t *testing.T) {
	t.Parallel()
	stop := errors.New("enough")
	for name, run := range encoders(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			folder := t.TempDir()
			work := task(clip(t, encode.Pattern{Frames: 100, Width: 64, Height: 36, Rate: 10}), filepath.Join(folder, "out.avi"))
			work.Speed = 1 // ten seconds, were it not broken off
			work.Progress = func(float64) { cancel(stop) }
			if _, err := run(ctx, work); !errors.Is(err, stop) {
				t.Fatalf("error %v, want why it was broken off", err)
			}
			onlyFile(t, folder, "")
		})
	}
}

func TestSpeedIsALimit(t *testing.T) {
	t.Parallel()
	for name, run := range encoders(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			work := task(clip(t, encode.Pattern{Frames: 20, Width: 16, Height: 16, Rate: 10}), filepath.Join(t.TempDir(), "out.avi"))
			work.Speed = 4
			begun := time.Now()
			if _, err := run(t.Context(), work); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took < 300*time.Millisecond { // 2 s of video, and encoders may read ahead
				t.Errorf("2 s of video at four times its speed took %s", took)
			}
		})
	}
}

func TestAnOutputIsReplacedWhole(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out.avi")
	if err := os.WriteFile(out, []byte("of an earlier attempt"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := encode.Builtin(t.Context(), task(clip(t, encode.Pattern{Frames: 2, Width: 16, Height: 16, Rate: 30}), out)); err != nil {
		t.Fatal(err)
	}
	if n := len(readAVI(t, out).pictures); n != 2 {
		t.Errorf("%d pictures, want 2", n)
	}
}

func TestFindingAnEncoder(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"auto", "builtin"} {
		if found, err := encode.Find(name); err != nil || found == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := encode.Find("vhs"); err == nil || !strings.Contains(err.Error(), "builtin") {
		t.Errorf("error %v, want one that lists the encoders", err)
	}
}
