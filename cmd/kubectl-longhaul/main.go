// Command kubectl-longhaul is a plugin of kubectl: `kubectl longhaul` shows what ScaledJobs do, what became of each of their
// Jobs, and lets you suspend, resume, run and cancel.
//
// What it shows comes from the manager's API, reached through the API server with your own rights; what it changes it changes
// by the Kubernetes API, likewise.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"
)

// version is set when it is built.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, environment{out: os.Stdout, errOut: os.Stderr, in: os.Stdin, lookup: os.LookupEnv, clock: clock.RealClock{}}, os.Args)
	stop()
	os.Exit(code)
}

// run does what arguments, of which the first is the program's name, ask for, and returns the exit code.
func run(ctx context.Context, e environment, args []string) int {
	command := newCommand(e) //nolint:contextcheck // its commands have the context that it is executed with
	command.SetArgs(args[1:])
	// kubectl asks a program of this name what its plugin would complete.
	if strings.HasPrefix(filepath.Base(args[0]), "kubectl_complete-") {
		command.SetArgs(append([]string{cobra.ShellCompRequestCmd}, args[1:]...))
	}
	err := command.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return 130 // interrupted, as shells have it
	default:
		fmt.Fprintln(e.errOut, "error:", err)
		return 1
	}
}
