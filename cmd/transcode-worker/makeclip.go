package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/encode"
)

// newMakeClip builds the command that makes something to transcode.
func newMakeClip() *cobra.Command {
	pattern := encode.Pattern{}
	var size, out string
	command := &cobra.Command{
		Use:   "make-clip --out FILE",
		Short: "Make a test clip: uncompressed video in a Y4M file",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage(errors.New("--out is not set: give it the file to write"))
			}
			if n, err := fmt.Sscanf(size+"\n", "%dx%d\n", &pattern.Width, &pattern.Height); err != nil || n != 2 {
				return usage(fmt.Errorf("--size %q is no size such as 640x360", size))
			}
			if err := encode.MakeClip(out, pattern); err != nil {
				return fmt.Errorf("making the clip: %w", err)
			}
			cmd.Printf("made %s: %d frames of %dx%d\n", out, pattern.Frames, pattern.Width, pattern.Height)
			return nil
		},
	}
	flags := command.Flags()
	flags.IntVar(&pattern.Frames, "frames", 90, "how many frames to make")
	flags.IntVar(&pattern.Rate, "rate", 30, "how many frames there are in a second")
	flags.StringVar(&size, "size", "320x180", "width and height in pixels")
	flags.StringVar(&out, "out", "", "file to write; required")
	return command
}
