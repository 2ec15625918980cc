package encode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"os"
	"time"
)

// jpegQuality is from 1 to 100. At 85 one has to look closely to tell a picture from its original.
const jpegQuality = 85

// Builtin is the encoder that needs nothing installed. It reads Y4M and writes Motion-JPEG.
func Builtin(ctx context.Context, task Task) (Result, error) {
	in, size, err := openClip(task.Input)
	if err != nil {
		return Result{}, err
	}
	defer in.Close()
	reader, err := NewY4MReader(in)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", task.Input, err)
	}
	result := Result{Encoder: "builtin", Output: task.Output}
	result.Bytes, err = replace(task.Output, func(out *os.File) error {
		progress := func() { task.Progress(min(float64(reader.Offset())/float64(size), 1)) }
		result.Frames, err = encodeFrames(ctx, reader, out, pace(task.Speed, reader.Header()), progress)
		return err
	})
	if err != nil {
		return Result{}, fmt.Errorf("transcoding %s: %w", task.Input, err)
	}
	return result, nil
}

// pace is the least time from one frame to the next.
func pace(speed float64, h Header) time.Duration {
	if speed <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) * float64(h.Scale) / float64(h.Rate) / speed)
}

// encodeFrames transcodes frame by frame, and returns how many there were.
func encodeFrames(ctx context.Context, in *Y4MReader, out io.WriteSeeker, pace time.Duration, progress func()) (int, error) {
	header := in.Header()
	width, height := half(header.Width), half(header.Height)
	avi, err := NewAVIWriter(out, AVIFormat{Width: width, Height: height, Rate: header.Rate, Scale: header.Scale})
	if err != nil {
		return 0, err
	}
	halver := newHalver(header.FullRange)
	large, small := in.NewFrame(), newFrame(width, height, header.Ratio)
	begun := time.Now()
	frames := 0
	for ; ; frames++ {
		if err := sleepUntil(ctx, begun.Add(time.Duration(frames)*pace)); err != nil {
			return 0, err
		}
		err := in.ReadFrame(large)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		halver.halve(small, large)
		var picture bytes.Buffer
		if err := jpeg.Encode(&picture, small, &jpeg.Options{Quality: jpegQuality}); err != nil {
			return 0, fmt.Errorf("encoding frame %d: %w", frames+1, err)
		}
		if err := avi.WriteFrame(picture.Bytes()); err != nil {
			return 0, fmt.Errorf("writing frame %d: %w", frames+1, err)
		}
		progress()
	}
	if frames == 0 {
		return 0, fmt.Errorf("%w: it has no frames", ErrInput)
	}
	return frames, avi.Close()
}

// sleepUntil waits for a moment, or for the context's end, which is its error.
func sleepUntil(ctx context.Context, at time.Time) error {
	if wait := time.Until(at); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}
