package encode_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/encode"
)

// avi is what an AVI file says of itself, and its pictures.
type avi struct {
	frames, width, height, rate, scale uint32
	pictures                           []image.Image
}

// chunk is a named piece of a file.
type chunk struct {
	name   string
	offset int // of the name
	body   []byte
}

// split takes apart what a file or a list is made of.
func split(t *testing.T, content []byte, base int) []chunk {
	t.Helper()
	var all []chunk
	for at := 0; at < len(content); {
		if len(content)-at < 8 {
			t.Fatalf("%d bytes are left over at %d", len(content)-at, base+at)
		}
		size := int(binary.LittleEndian.Uint32(content[at+4:]))
		if size > len(content)-at-8 {
			t.Fatalf("%q at %d claims %d bytes, but %d follow", content[at:at+4], base+at, size, len(content)-at-8)
		}
		all = append(all, chunk{string(content[at : at+4]), base + at, content[at+8 : at+8+size]})
		at += 8 + size + size%2
	}
	return all
}

// readAVI takes a file apart, and fails unless every size, offset and count in it is right.
func readAVI(t *testing.T, name string) avi {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file := split(t, content, 0)
	if len(file) != 1 || file[0].name != "RIFF" || !bytes.HasPrefix(file[0].body, []byte("AVI ")) {
		t.Fatalf("not one RIFF AVI, but %d chunks", len(file))
	}
	parts := split(t, file[0].body[4:], 12)
	var names []string
	for _, part := range parts {
		names = append(names, part.name+" "+strings.TrimRight(string(part.body[:4]), "\x00"))
	}
	if len(parts) != 3 || names[0] != "LIST hdrl" || names[1] != "LIST movi" || parts[2].name != "idx1" {
		t.Fatalf("chunks %q, want the header, the pictures and the index", names)
	}
	a := readHeader(t, parts[0])
	number := binary.LittleEndian.Uint32
	pictures := split(t, parts[1].body[4:], parts[1].offset+12)
	index := parts[2].body
	if len(index) != 16*len(pictures) || a.frames != uint32(len(pictures)) {
		t.Fatalf("%d pictures, an index of %d bytes, and a header that says %d", len(pictures), len(index), a.frames)
	}
	for i, picture := range pictures {
		entry := index[16*i:]
		offset := parts[1].offset + 8 + int(number(entry[8:]))
		if picture.name != "00dc" || string(entry[:4]) != "00dc" || offset != picture.offset || int(number(entry[12:])) != len(picture.body) {
			t.Fatalf("picture %d is %q at %d with %d bytes; the index says %d and %d", i, picture.name, picture.offset, len(picture.body),
				offset, number(entry[12:]))
		}
		decoded, err := jpeg.Decode(bytes.NewReader(picture.body))
		if err != nil {
			t.Fatalf("picture %d: %v", i, err)
		}
		a.pictures = append(a.pictures, decoded)
	}
	return a
}

func readHeader(t *testing.T, list chunk) avi {
	t.Helper()
	number := binary.LittleEndian.Uint32
	parts := split(t, list.body[4:], list.offset+12)
	stream := split(t, parts[1].body[4:], parts[1].offset+12)
	if parts[0].name != "avih" || parts[1].name != "LIST" || stream[0].name != "strh" || stream[1].name != "strf" {
		t.Fatal("the header is not in order")
	}
	avih, strh, strf := parts[0].body, stream[0].body, stream[1].body
	if string(strh[:8]) != "vidsMJPG" || string(strf[16:20]) != "MJPG" {
		t.Fatalf("the stream is %q of %q", strh[:8], strf[16:20])
	}
	a := avi{frames: number(avih[16:]), width: number(avih[32:]), height: number(avih[36:]), scale: number(strh[20:]), rate: number(strh[24:])}
	again := avi{frames: number(strh[32:]), width: number(strf[4:]), height: number(strf[8:]), scale: a.scale, rate: a.rate}
	if diff := cmp.Diff(a, again, cmp.AllowUnexported(avi{})); diff != "" {
		t.Fatalf("the header of the file and of the stream differ:\n%s", diff)
	}
	return a
}

func TestAnAVITellsWhatItHolds(t *testing.T) {
	t.Parallel()
	in, out := clip(t, encode.Pattern{Frames: 7, Width: 64, Height: 36, Rate: 24}), filepath.Join(t.TempDir(), "out.avi")
	if _, err := encode.Builtin(t.Context(), task(in, out)); err != nil {
		t.Fatal(err)
	}
	got := readAVI(t, out)
	if len(got.pictures) != 7 {
		t.Errorf("%d pictures, want 7", len(got.pictures))
	}
	got.pictures = nil
	want := avi{frames: 7, width: 32, height: 18, rate: 24, scale: 1}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(avi{})); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestAnAVIOpensInAPlayer(t *testing.T) {
	t.Parallel()
	player, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("there is no ffmpeg on the PATH to play it with")
	}
	in, out := clip(t, encode.Pattern{Frames: 7, Width: 66, Height: 38, Rate: 24}), filepath.Join(t.TempDir(), "out.avi")
	if _, err := encode.Builtin(t.Context(), task(in, out)); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), player, "-v", "warning", "-nostats", "-progress", "pipe:1", "-i", out, "-f", "null", "-").CombinedOutput()
	if err != nil || !strings.Contains(string(said), "frame=7\n") {
		t.Errorf("error %v:\n%s", err, said)
	}
	if strings.Contains(string(said), "avi @") || strings.Contains(string(said), "mjpeg @") {
		t.Errorf("the player complains:\n%s", said)
	}
}

func TestAnAVIDoesNotOutgrowItsSizes(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "out.avi"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := encode.NewAVIWriter(f, encode.AVIFormat{Width: 2, Height: 2, Rate: 25, Scale: 1})
	if err != nil {
		t.Fatal(err)
	}
	const limit = 5000
	encode.SetAVILimit(w, limit)
	written := 0
	for err == nil {
		err = w.WriteFrame(make([]byte, 99))
		written++
	}
	if !errors.Is(err, encode.ErrInput) || written < 10 {
		t.Fatalf("after %d pictures: %v, want an error that blames the input", written, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > limit || info.Size() < limit-150 {
		t.Errorf("%d bytes, want just under %d", info.Size(), limit)
	}
}
