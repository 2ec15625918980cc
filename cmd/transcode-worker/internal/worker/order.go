package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/encode"
)

// maxQuote bounds how much of a message an error quotes.
const maxQuote = 60

// order is what a message says. It may say more, for others.
type order struct {
	// ID names the order, in the report and by default in the output's name.
	ID string `json:"id"`
	// Input is the clip.
	Input string `json:"input"`
	// Output is the file to write; by default <id>.avi in the output folder. Without an extension it gets .avi.
	Output string `json:"output"`
}

func parseOrder(body []byte) (order, error) {
	var o order
	if err := json.Unmarshal(body, &o); err != nil {
		return order{}, fmt.Errorf("%w: %.*q is not JSON such as {\"id\": \"8141\", \"input\": \"clip.y4m\"}: %w", errOrder, maxQuote, body, err)
	}
	if !regexp.MustCompile(`^[0-9A-Za-z_][-0-9A-Za-z._:@+]{0,127}$`).MatchString(o.ID) {
		return order{}, fmt.Errorf("%w: its id %.*q must be 1 to 128 letters, digits and - . _ : @ +", errOrder, maxQuote, o.ID)
	}
	if o.Input == "" {
		return order{}, fmt.Errorf("%w: it names no input", errOrder)
	}
	return o, nil
}

// task is the order with its names made whole.
func (o order) task(s Settings) (encode.Task, error) {
	output := o.Output
	if output == "" {
		output = o.ID + ".avi"
	}
	if filepath.Ext(output) == "" {
		output += ".avi"
	}
	in, errIn := below(s.InputDir, o.Input)
	out, errOut := below(s.OutputDir, output)
	if err := errors.Join(errIn, errOut); err != nil {
		return encode.Task{}, err
	}
	return encode.Task{Input: in, Output: out, Speed: s.MaxSpeed}, nil
}

// below is a name within a folder, if it is relative. Then it must not lead out of it.
func below(folder, name string) (string, error) {
	if filepath.IsAbs(name) {
		return filepath.Clean(name), nil
	}
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%w: %.*q leads out of its folder", errOrder, maxQuote, name)
	}
	return filepath.Join(folder, name), nil
}
