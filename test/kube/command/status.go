package command

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/longhaul-dev/longhaul/test/kube/controlplane"
)

func newStatus() *cobra.Command {
	var dir, format string
	command := &cobra.Command{
		Use:   "status --dir DIR",
		Short: "Show whether the control plane runs: exit code 0 if it is ready, 1 if not",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			write := writeText
			switch format {
			case "text":
			case "json":
				write = writeJSON
			default:
				return fmt.Errorf("--output is %q: it has to be text or json", format)
			}
			state, err := controlplane.Inspect(dir)
			if err != nil {
				return err
			}
			if err := write(command.OutOrStdout(), state); err != nil {
				return err
			}
			if state.Phase != controlplane.Running {
				return errNotRunning
			}
			return nil
		},
	}
	addDir(command, &dir)
	command.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	// It fails only for a flag that does not exist.
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return command
}

func writeJSON(out io.Writer, state controlplane.State) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(state); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	return nil
}

func writeText(out io.Writer, state controlplane.State) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, value string) { _, _ = fmt.Fprintf(table, "%s\t%s\n", name, value) }
	row("phase", string(state.Phase))
	row("folder", state.Dir)
	if state.PID != 0 {
		row("process", fmt.Sprint(state.PID))
	}
	if state.Phase == controlplane.Running {
		row("kubeconfig", state.Kubeconfig)
		row("server", state.Server)
	}
	for _, c := range state.Components {
		row(c.Name, fmt.Sprintf("process %d, %s, %d MiB", c.PID, c.Address, c.ResidentBytes>>20))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	return nil
}
