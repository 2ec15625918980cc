// Package encode transcodes one video file into a smaller one.
//
// A clip is the video that is read. An Encoder makes of it an AVI of half its width and height, without sound. There are
// two: FFmpeg, which reads whatever ffmpeg does and writes MPEG-4, and Builtin, which needs nothing installed, reads
// uncompressed Y4M, and writes Motion-JPEG. Players open either.
//
// An output appears under its name when it is whole, and not before: until then it is a hidden file beside it. So a
// transcode may be broken off at any moment, and may be done again.
package encode

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrInput is wrapped by every error that is the clip's fault, so that trying again would not help.
var ErrInput = errors.New("the input cannot be transcoded")

// Task is one clip to transcode.
type Task struct {
	// Input and Output are the files to read and to write.
	Input, Output string
	// Speed is how many seconds of video may at most be transcoded in a second; 0 for as many as can be.
	Speed float64
	// Progress is called now and then with the share that is done, from 0 to 1, never with less than before.
	Progress func(share float64)
}

// Result is what a transcode came to.
type Result struct {
	// Encoder is which encoder it was: ffmpeg or builtin.
	Encoder string `json:"encoder"`
	// Output is the file written.
	Output string `json:"output"`
	// Frames is how many pictures it holds.
	Frames int `json:"frames"`
	// Bytes is its size.
	Bytes int64 `json:"bytes"`
}

// Encoder transcodes one clip. It returns when the context ends, with the context's error.
type Encoder func(ctx context.Context, task Task) (Result, error)

// Find returns an encoder by name: ffmpeg, builtin, or auto for ffmpeg where it is on the PATH and builtin where not.
func Find(name string) (Encoder, error) {
	switch name {
	case "builtin":
		return Builtin, nil
	case "ffmpeg", "auto":
		program, err := exec.LookPath("ffmpeg")
		if err != nil && name == "auto" {
			return Builtin, nil
		}
		if err != nil {
			return nil, fmt.Errorf("looking for ffmpeg: %w", err)
		}
		return FFmpeg(program), nil
	default:
		return nil, fmt.Errorf("there is no encoder %q: choose auto, ffmpeg or builtin", name)
	}
}

// openClip opens a regular file.
func openClip(name string) (*os.File, int64, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: %w", ErrInput, err)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening the input: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is no regular file", ErrInput, name)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// replace lets write fill a hidden file, and gives it the output's name when that went well. It returns its size.
func replace(output string, write func(*os.File) error) (size int64, err error) {
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return 0, fmt.Errorf("making the output's folder: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(output), "."+filepath.Base(output)+".*.part")
	if err != nil {
		return 0, fmt.Errorf("creating the output: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // a second time, where it failed later; that is of no account
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("finishing the output: %w", err)
	}
	// The message is acknowledged on the strength of this file, so it must be on the disk.
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return 0, fmt.Errorf("finishing the output: %w", err)
	}
	if err := os.Rename(f.Name(), output); err != nil {
		return 0, fmt.Errorf("naming the output: %w", err)
	}
	return info.Size(), nil
}
