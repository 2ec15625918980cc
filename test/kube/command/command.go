// Package command is the command line that starts, shows and stops a local control plane.
//
// Each command is about one control plane, named by its folder. What a program reads goes to stdout: the line that says
// that it is ready, its status. Everything else goes to stderr.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/longhaul-dev/longhaul/test/kube/controlplane"
)

// stopTimeout is three graces, one per component, and some: then the keeper itself hangs.
const stopTimeout = 20 * time.Second

// errNotRunning ends a command with exit code 1 and no message: the command has said it already.
var errNotRunning = errors.New("no control plane runs")

// Main runs the command with its arguments, without the program's name, and returns its exit code. SIGINT and SIGTERM
// end it in order.
func Main(args []string, stdout, stderr io.Writer, version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(version)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errNotRunning) {
		_, _ = fmt.Fprintln(stderr, "kube:", err)
	}
	return 1
}

func newRoot(version string) *cobra.Command {
	root := &cobra.Command{
		Use:   "kube",
		Short: "Runs a Kubernetes control plane on this machine, for tests and for trying things out",
		Long: `Runs etcd, kube-apiserver and kube-controller-manager as processes of this machine, on loopback ports that are free.
There is no scheduler and no kubelet: pods stay pending until somebody plays the node.

Called by the name of one of them, or as kubectl, this program is that one.`,
		Example: `  kube start --dir /tmp/kube
  export KUBECONFIG=/tmp/kube/kubeconfig
  kubectl get namespaces
  kube stop --dir /tmp/kube`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newRun(), newStart(), newStop(), newStatus())
	return root
}

// addDir adds the flag that every command needs.
func addDir(command *cobra.Command, dir *string) {
	command.Flags().StringVar(dir, "dir", "", "folder of the control plane: objects, keys, logs and kubeconfig (required)")
	// Both fail only for a flag that does not exist.
	_ = command.MarkFlagRequired("dir")
	_ = command.MarkFlagDirname("dir")
}

// addOptions adds the flags that run and start share.
func addOptions(command *cobra.Command, options *controlplane.Options) {
	addDir(command, &options.Dir)
	flags := command.Flags()
	flags.StringSliceVar(&options.Controllers, "controllers", controlplane.DefaultControllers(),
		"controllers to run, in the terms of kube-controller-manager: names, * for all, -name for all but")
	flags.StringVar(&options.AuditPolicy, "audit-policy", "",
		"file with an audit policy; requests are then logged to audit.log in the folder (none by default)")
	flags.DurationVar(&options.Timeout, "timeout", 2*time.Minute, "how long it may take to be ready")
	_ = command.MarkFlagFilename("audit-policy", "yaml", "yml", "json")
}

func newRun() *cobra.Command {
	var options controlplane.Options
	command := &cobra.Command{
		Use:   "run --dir DIR",
		Short: "Run a control plane in the foreground until SIGINT or SIGTERM",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := resolveAuditPolicy(&options); err != nil {
				return err
			}
			return controlplane.Run(command.Context(), options, func(state controlplane.State) {
				printReady(command.OutOrStdout(), state)
			})
		},
	}
	addOptions(command, &options)
	return command
}

func newStart() *cobra.Command {
	var options controlplane.Options
	command := &cobra.Command{
		Use:   "start --dir DIR",
		Short: "Start a control plane in the background and wait until it is ready",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := resolveAuditPolicy(&options); err != nil {
				return err
			}
			// The keeper gives up by itself first, and then says why.
			patience := options.Timeout + stopTimeout
			ctx, cancel := context.WithTimeoutCause(command.Context(), patience, fmt.Errorf("not ready after %s", patience))
			defer cancel()
			state, already, err := controlplane.Start(ctx, options.Dir, keeper(options))
			if err != nil {
				return err
			}
			if already {
				_, _ = fmt.Fprintf(command.ErrOrStderr(), "already running, process %d\n", state.PID)
			}
			printReady(command.OutOrStdout(), state)
			return nil
		},
	}
	addOptions(command, &options)
	return command
}

// keeper is this program again, as the process that stays.
func keeper(options controlplane.Options) *exec.Cmd {
	command := exec.Command("/proc/self/exe", "run",
		"--dir="+options.Dir,
		"--controllers="+strings.Join(options.Controllers, ","),
		"--audit-policy="+options.AuditPolicy,
		"--timeout="+options.Timeout.String())
	command.Args[0] = "kube"
	return command
}

// resolveAuditPolicy makes the path one that is right in every working directory.
func resolveAuditPolicy(options *controlplane.Options) error {
	if options.AuditPolicy == "" {
		return nil
	}
	absolute, err := filepath.Abs(options.AuditPolicy)
	if err != nil {
		return fmt.Errorf("resolving the audit policy's path: %w", err)
	}
	options.AuditPolicy = absolute
	return nil
}

func printReady(out io.Writer, state controlplane.State) {
	_, _ = fmt.Fprintf(out, "ready: KUBECONFIG=%s\n", state.Kubeconfig)
}

func newStop() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use:   "stop --dir DIR",
		Short: "Stop the control plane; its objects stay in the folder for the next start",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeoutCause(command.Context(), stopTimeout, fmt.Errorf("still there after %s", stopTimeout))
			defer cancel()
			stopped, err := controlplane.Stop(ctx, dir)
			if err != nil {
				return err
			}
			if !stopped {
				_, _ = fmt.Fprintln(command.ErrOrStderr(), "not running")
			}
			return nil
		},
	}
	addDir(command, &dir)
	return command
}
