// Package command is the command line of the process node.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/longhaul-dev/longhaul/test/node"
)

// The exit codes of the command.
const (
	Succeeded = 0
	Failed    = 1
	Misused   = 2
)

const help = `Usage: process-node --kubeconfig FILE --dir DIR [flags]

Plays scheduler and kubelet for a control plane on this machine: binds the pods
that have no node to itself, and runs their containers as processes. It says
"ready" when it is registered, and ends its processes when it ends: on SIGINT,
SIGTERM, or however that comes about.

Flags:
`

// Main runs the command until ctx ends and returns its exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	options, err := parse(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return Succeeded
	case err != nil:
		fmt.Fprintln(stderr, "process-node:", err)
		return Misused
	}
	if err := node.Run(ctx, options); err != nil {
		fmt.Fprintln(stderr, "process-node:", err)
		return Failed
	}
	return Succeeded
}

func parse(args []string, stdout, stderr io.Writer) (node.Options, error) {
	flags := flag.NewFlagSet("process-node", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned, and written by the caller
	kubeconfig := flags.String("kubeconfig", "", "`file` that says how to reach the API server; $KUBECONFIG by default")
	dir := flags.String("dir", "", "`folder` for state and logs, for this process node alone")
	name := flags.String("name", "process-node", "`name` of the Node object")
	path := flags.String("path", "", "`folders` that come first in the containers' PATH, with colons between them")
	base := flags.String("address-base", "", "`block` that the pods' addresses are taken from, such as 127.64.0.0/18; "+
		"by default one of 127.64.0.0/10 that no other process node has")
	backoff := flags.Duration("restart-backoff", 10*time.Second, "how long a container that failed again waits at first")
	keep := flags.Int("keep-logs", 500, "`number` of deleted pods whose logs are kept")
	verbose := flags.Bool("verbose", false, "tell of each container that ends, and of each probe that fails")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stdout, help)
			flags.SetOutput(stdout)
			flags.PrintDefaults()
		}
		return node.Options{}, err
	}
	options := node.Options{
		Name: *name, Dir: *dir, Path: filepath.SplitList(*path), RestartBackoff: *backoff, KeepLogs: *keep,
		Ready: func() { fmt.Fprintln(stdout, "ready") },
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	options.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	switch {
	case flags.NArg() > 0:
		return options, fmt.Errorf("there is no %q to do; --help tells what there is", flags.Arg(0))
	case *dir == "":
		return options, errors.New("--dir is missing: a folder for state and logs")
	}
	if *base != "" {
		block, err := netip.ParsePrefix(*base)
		if err != nil || !block.Addr().IsLoopback() || !block.Addr().Is4() || block.Bits() > 30 || block.Bits() < 8 {
			return options, fmt.Errorf("--address-base %q is no block of 127.0.0.0/8 such as 127.64.0.0/18", *base)
		}
		options.AddressBase = block
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = *kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return options, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	options.Config = config
	return options, nil
}
