package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/client"
	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/top"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

func (p *plugin) top() *cobra.Command {
	a := asker{plugin: p}
	c := &cobra.Command{
		Use: "top", Short: "Watch all ScaledJobs live, and look into one", Args: cobra.NoArgs,
		Long:    "Watches all ScaledJobs of all namespaces that you may see, or of one. Without a terminal it prints them once.",
		Example: "  kubectl longhaul top\n  kubectl longhaul top -n video -l app=transcode",
		RunE: func(c *cobra.Command, _ []string) error {
			a.everywhere = !c.Flags().Changed("namespace")
			if !p.terminal() {
				all, err := a.ScaledJobs(c.Context())
				if err != nil {
					return err
				}
				p.style(false, true).ScaledJobs(p.out, all)
				return nil
			}
			m := top.New(c.Context(), &a, p.style(false, true), p.now)
			if _, err := tea.NewProgram(m, tea.WithContext(c.Context()), tea.WithInput(p.in), tea.WithOutput(p.out)).Run(); err != nil &&
				!errors.Is(err, tea.ErrProgramKilled) {
				return fmt.Errorf("showing the live view: %w", err)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&a.selector, "selector", "l", "", "only those with such labels, such as app=video")
	return c
}

// asker reads what the live view shows.
type asker struct {
	*plugin

	everywhere bool
	selector   string
}

// ScaledJobs are all to show.
func (a *asker) ScaledJobs(ctx context.Context) ([]v1.ScaledJob, error) {
	return a.scaledJobs(ctx, a.everywhere, a.selector, false)
}

// Jobs are those of one that have not ended.
func (a *asker) Jobs(ctx context.Context, namespace, name string) ([]v1.Job, error) {
	asked, err := a.client()
	if err != nil {
		return nil, err
	}
	var jobs v1.JobList
	err = asked.Get(ctx, client.OfScaledJob(namespace, name, "/jobs"), url.Values{"progress": {"true"}}, &jobs)
	return jobs.Items, err
}
