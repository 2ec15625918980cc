package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/view"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

func (p *plugin) get() *cobra.Command {
	var (
		o          output
		everywhere bool
		selector   string
		deleted    bool
	)
	c := &cobra.Command{
		Use: "get [NAME...]", Short: "List ScaledJobs, and what they do",
		Example: "  kubectl longhaul get\n  kubectl longhaul get -A -o wide\n  kubectl longhaul get transcode -o json",
		RunE: func(c *cobra.Command, names []string) error {
			all, err := p.scaledJobs(c.Context(), everywhere, selector, deleted || len(names) > 0)
			if err != nil {
				return err
			}
			if all, err = named(all, names); err != nil {
				return err
			}
			if done, err := o.structured(p.out, v1.ScaledJobList{Items: all}); done {
				return err
			}
			if o.format == "name" {
				for i := range all {
					fmt.Fprintln(p.out, "scaledjob.longhaul.dev/"+all[i].Name)
				}
				return nil
			}
			if len(all) == 0 {
				fmt.Fprintln(p.errOut, "No ScaledJobs found.")
				return nil
			}
			p.style(o.format == "wide", everywhere).ScaledJobs(p.out, all)
			return nil
		},
		ValidArgsFunction: p.completeNames(100),
	}
	c.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "those of all namespaces that you may see")
	c.Flags().StringVarP(&selector, "selector", "l", "", "only those with such labels, such as app=video")
	c.Flags().BoolVar(&deleted, "deleted", false, "also those of which only the history is left")
	o.add(c, "wide", "json", "yaml", "name")
	return c
}

// named are the ScaledJobs of these names; all, where there are none. It is an error where one of them is missing.
func named(all []v1.ScaledJob, names []string) ([]v1.ScaledJob, error) {
	if len(names) == 0 {
		return all, nil
	}
	wanted := map[string]bool{}
	for _, name := range names {
		name = nameOf(name)
		if !slices.ContainsFunc(all, func(sj v1.ScaledJob) bool { return sj.Name == name }) {
			return nil, fmt.Errorf("there is no ScaledJob %q, and no history of one: `kubectl longhaul get` lists them, -A of all namespaces", name)
		}
		wanted[name] = true
	}
	return slices.DeleteFunc(all, func(sj v1.ScaledJob) bool { return !wanted[sj.Name] }), nil
}

func (p *plugin) describe() *cobra.Command {
	return &cobra.Command{
		Use: "describe NAME", Short: "Show what a ScaledJob does now, and why", Args: exactly("the ScaledJob's name"),
		Example: "  kubectl longhaul describe transcode",
		RunE: func(c *cobra.Command, args []string) error {
			asked, err := p.one(args[0])
			if err != nil {
				return err
			}
			var sj v1.ScaledJob
			if err := asked.ask(c.Context(), "", nil, &sj); err != nil {
				return err
			}
			var jobs v1.JobList
			if err := asked.ask(c.Context(), "/jobs", url.Values{"progress": {"true"}}, &jobs); err != nil {
				return err
			}
			p.style(false, false).Describe(p.out, &sj, jobs.Items)
			return nil
		},
		ValidArgsFunction: p.completeNames(1),
	}
}

// exactly refuses other than these arguments, and says what they are.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return fmt.Errorf("%s needs %s: see `%s --help`", c.Name(), strings.Join(names, " and "), c.CommandPath())
		}
		return nil
	}
}

func (p *plugin) record() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "record NAME SEQUENCE", Short: "Show one record whole, with its attempts and the end of their logs",
		Args: exactly("the ScaledJob's name", "the number in the Job's name"), Example: "  kubectl longhaul record transcode 42",
		RunE: func(c *cobra.Command, args []string) error {
			asked, n, err := p.numbered(args)
			if err != nil {
				return err
			}
			var r v1.Record
			if err := asked.ask(c.Context(), "/records/"+fmt.Sprint(n), nil, &r); err != nil {
				return err
			}
			if done, err := o.structured(p.out, r); done {
				return err
			}
			p.style(false, false).Whole(p.out, &r)
			return nil
		},
		ValidArgsFunction: p.completeJobs(false),
	}
	o.add(c, "json", "yaml")
	return c
}

func (p *plugin) stats() *cobra.Command {
	var (
		o            output
		since, until string
		prices       view.Prices
	)
	c := &cobra.Command{
		Use: "stats NAME", Short: "Count what ended, how long it took, why it failed, and what it cost", Args: exactly("the ScaledJob's name"),
		Example: "  kubectl longhaul stats transcode --since 7d\n  kubectl longhaul stats transcode --since 30d --price-cpu-hour 0.04 --price-gib-hour 0.005",
		RunE: func(c *cobra.Command, args []string) error {
			if prices.CPUHour < 0 || prices.GiBHour < 0 {
				return fmt.Errorf("a price is below 0: give --price-cpu-hour and --price-gib-hour what a core and a GiB cost for an hour")
			}
			asked, err := p.one(args[0])
			if err != nil {
				return err
			}
			q := url.Values{"since": {since}, "buckets": {"60"}}
			if until != "" {
				q.Set("until", until)
			}
			var st v1.Stats
			if err := asked.ask(c.Context(), "/stats", q, &st); err != nil {
				return err
			}
			if done, err := o.structured(p.out, st); done {
				return err
			}
			p.style(false, false).Stats(p.out, asked.namespace+"/"+asked.name, &st, prices)
			return nil
		},
		ValidArgsFunction: p.completeNames(1),
	}
	c.Flags().StringVar(&since, "since", "7d", "ended then or later: a time, or how long ago, such as 90m, 24h or 7d")
	c.Flags().StringVar(&until, "until", "", "ended before then, likewise; by default now")
	c.Flags().Float64Var(&prices.CPUHour, "price-cpu-hour", 0, "what a core costs for an hour, in a currency of yours")
	c.Flags().Float64Var(&prices.GiBHour, "price-gib-hour", 0, "what a GiB of memory costs for an hour")
	o.add(c, "json", "yaml")
	return c
}
