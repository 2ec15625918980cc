package encode

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// killDelay is how long ffmpeg may take to end when it is asked to.
	killDelay = 5 * time.Second
	// keptMessages bounds what is kept of what ffmpeg says, in bytes.
	keptMessages = 64 << 10
	// quotedLines is how many of its last lines an error quotes.
	quotedLines = 3
)

// FFmpeg returns the encoder that runs an ffmpeg program. It reads any video that the program does, from local files
// only, and writes MPEG-4.
func FFmpeg(program string) Encoder {
	return func(ctx context.Context, task Task) (Result, error) {
		in, _, err := openClip(task.Input)
		if err != nil {
			return Result{}, err
		}
		defer in.Close()
		result := Result{Encoder: "ffmpeg", Output: task.Output}
		result.Bytes, err = replace(task.Output, func(out *os.File) error {
			result.Frames, err = runFFmpeg(ctx, program, task, out.Name())
			return err
		})
		if err != nil {
			return Result{}, fmt.Errorf("transcoding %s: %w", task.Input, err)
		}
		return result, nil
	}
}

// ffmpegInput names the clip, so that nothing but a local file is read, whatever its name looks like or it refers to.
func ffmpegInput(task Task) ([]string, error) {
	path, err := filepath.Abs(task.Input)
	if err != nil {
		return nil, fmt.Errorf("finding the input: %w", err)
	}
	return []string{"-protocol_whitelist", "file", "-i", "file:" + path}, nil
}

// runFFmpeg transcodes into the file out, and returns how many frames there were.
func runFFmpeg(ctx context.Context, program string, task Task, out string) (int, error) {
	input, err := ffmpegInput(task)
	if err != nil {
		return 0, err
	}
	args := []string{"-hide_banner", "-nostdin", "-nostats", "-y"}
	if task.Speed > 0 {
		args = append(args, "-readrate", strconv.FormatFloat(task.Speed, 'f', -1, 64))
	}
	args = append(args, input...)
	args = append(args,
		"-map", "0:v:0", "-an",
		"-vf", `scale=max(2\,trunc((iw+2)/4)*2):max(2\,trunc((ih+2)/4)*2)`, // half the sides, and even
		"-c:v", "mpeg4", "-q:v", "4", "-f", "avi", "-progress", "pipe:1", "file:"+out)
	cmd := command(ctx, program, args)
	report := &ffmpegReport{}
	cmd.Stderr = report
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("preparing ffmpeg: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting ffmpeg: %w", err)
	}
	frames := report.follow(stdout, task.Progress)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err != nil:
		return 0, blame(ctx, program, input, fmt.Errorf("ffmpeg: %w: %s", err, report.lastLines()))
	case frames == 0:
		return 0, fmt.Errorf("%w: it has no frames", ErrInput)
	}
	task.Progress(1)
	return frames, nil
}

// command is an ffmpeg that is asked to end when the context does, and killed if it does not.
func command(ctx context.Context, program string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	return cmd
}

// blame finds out whose fault a failure is. ffmpeg's exit code does not tell a clip that is damaged from a disk that is
// full, so it reads the clip again and writes nothing: where that fails too, it is the clip's.
func blame(ctx context.Context, program string, input []string, failure error) error {
	args := append([]string{"-v", "error", "-nostdin"}, input...)
	args = append(args, "-map", "0:v:0", "-f", "null", "-")
	var exit *exec.ExitError
	err := command(ctx, program, args).Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.As(err, &exit) && exit.Exited() {
		return fmt.Errorf("%w: %w", ErrInput, failure)
	}
	return failure
}

// ffmpegReport is what ffmpeg says while it runs: messages, written to it, among them how long the clip is, and lines of
// progress, which follow reads.
type ffmpegReport struct {
	mu       sync.Mutex
	messages bytes.Buffer
}

// Write keeps messages, up to a bound, and then the newest.
func (r *ffmpegReport) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if excess := r.messages.Len() + len(p) - keptMessages; excess > 0 {
		r.messages.Next(excess)
	}
	return r.messages.Write(p)
}

func (r *ffmpegReport) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.messages.String()
}

// lastLines returns the last messages, which tell why it failed.
func (r *ffmpegReport) lastLines() string {
	lines := strings.Split(strings.TrimSpace(r.said()), "\n")
	return strings.Join(lines[max(0, len(lines)-quotedLines):], "; ")
}

// follow reads lines of progress, such as out_time_us=120000 and frame=3, until they end, and returns the last frame's
// number.
func (r *ffmpegReport) follow(stdout io.Reader, progress func(float64)) int {
	frames := 0
	length := time.Duration(0)
	share := 0.0
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			continue
		}
		switch key {
		case "frame":
			frames = int(n)
		case "out_time_us":
			if length == 0 {
				length = clipLength(r.said())
			}
			if length > 0 {
				share = max(share, min(float64(n)*float64(time.Microsecond)/float64(length), 1))
				progress(share)
			}
		}
	}
	return frames
}

// clipLength finds how long the clip is in what ffmpeg says of it; 0 where it does not say.
func clipLength(messages string) time.Duration {
	m := regexp.MustCompile(`Duration: (\d+):(\d+):(\d+(?:\.\d+)?)`).FindStringSubmatch(messages)
	if m == nil {
		return 0
	}
	length, err := time.ParseDuration(m[1] + "h" + m[2] + "m" + m[3] + "s")
	if err != nil {
		return 0
	}
	return length
}
