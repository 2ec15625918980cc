// Command longhaul is the manager: it watches ScaledJobs and runs one Job per message for each. It wires what the other
// packages do: flags, the real clock, the list of triggers.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	_ "time/tzdata" // the image has no time zones of its own, and cron triggers name them

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
)

// version is set when building.
var version = "devel"

func main() {
	if err := command().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "longhaul:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "longhaul",
		Short: "Runs one Kubernetes Job per message that waits in a queue, never more than a cap at once",
		Long: `longhaul is the manager. It watches ScaledJobs, reads how many messages wait for each, and runs one Job per
message, never more than spec.maxParallelism at once.

It uses the cluster of --kubeconfig, else of $KUBECONFIG, else of ~/.kube/config, else the one it runs in.`,
		Example: `  longhaul --kubeconfig ~/.kube/config
  longhaul --namespaces video,audio --log-format json
  longhaul --leader-elect --leader-election-namespace longhaul-system`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), s) },
	}
	s.addFlags(cmd.Flags())
	cmd.AddCommand(versionCommand())
	return cmd
}

func versionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch output {
			case "text":
				fmt.Fprintln(cmd.OutOrStdout(), "longhaul", version)
				return nil
			case "json":
				return json.NewEncoder(cmd.OutOrStdout()).Encode(build{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH})
			default:
				return fmt.Errorf("--output %q: give text or json", output)
			}
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "format: text or json")
	return cmd
}

// build is what version -o json tells.
type build struct {
	Version   string `json:"version"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}
