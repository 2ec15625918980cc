package worker

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/encode"
)

const (
	// statusPause and linePause are the least times between two writes of the status, and between two lines of progress.
	statusPause = 200 * time.Millisecond
	linePause   = time.Second
	// maxError bounds an error in the status, in bytes. Kubernetes keeps 4096 of the termination log, and JSON may need six
	// for one.
	maxError = 512
)

// Status is what a status file says of the work.
type Status struct {
	// MessageID is the order's; empty while there is none.
	MessageID string `json:"messageID"`
	// Progress is the share that is done, from 0 to 1.
	Progress float64 `json:"progress"`
	// Result is there when the output is.
	Result *encode.Result `json:"result,omitempty"`
	// Error says why the work failed.
	Error string `json:"error,omitempty"`
}

// report tells how the work goes.
type report struct {
	log    io.Writer
	files  []string
	status Status

	begun, lastStatus, lastLine time.Time
}

func newReport(log io.Writer, files []string) *report {
	return &report{log: log, files: files}
}

func (r *report) line(format string, args ...any) {
	_, _ = fmt.Fprintf(r.log, format+"\n", args...) // nobody is left to tell
}

// begin says which order it is.
func (r *report) begin(id string) {
	r.begun = time.Now()
	r.lastLine = r.begun
	r.status.MessageID = id
	r.line("took message %s", id)
	r.write()
}

// progress says how far it is, now and then.
func (r *report) progress(share float64) {
	now := time.Now()
	r.status.Progress = math.Floor(share*1000) / 1000
	if now.Sub(r.lastStatus) >= statusPause {
		r.write()
	}
	if now.Sub(r.lastLine) >= linePause {
		r.lastLine = now
		r.line("progress %.0f%%", math.Floor(share*100))
	}
}

// done says what it came to, when the message is settled.
func (r *report) done(result encode.Result) {
	r.status.Progress, r.status.Result = 1, &result
	r.line("progress 100%%")
	r.line("done with message %s in %.1f s: %d frames, %d bytes, by the %s encoder", r.status.MessageID,
		time.Since(r.begun).Seconds(), result.Frames, result.Bytes, result.Encoder)
}

// end writes the last status, which says why it failed, if so. Saying so in a line is the caller's part.
func (r *report) end(err error) {
	if err != nil {
		r.status.Error = strings.ToValidUTF8(err.Error()[:min(len(err.Error()), maxError)], "")
	}
	r.write()
}

// write writes the status. A file that cannot be written is said so once and not tried again: the work matters more.
func (r *report) write() {
	r.lastStatus = time.Now()
	line, err := json.Marshal(r.status)
	if err != nil {
		r.line("the status cannot be written: %v", err)
		return
	}
	var good []string
	for _, name := range r.files {
		if err := overwrite(name, append(line, '\n')); err != nil {
			r.line("the status cannot be written: %v", err)
			continue
		}
		good = append(good, name)
	}
	r.files = good
}

// overwrite replaces what a file holds, in place, since a termination log cannot be renamed over. It writes before it
// truncates, so that who reads the first line always gets a whole one.
func overwrite(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(content)))
}
