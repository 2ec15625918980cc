package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/client"
	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/view"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// shown is what get lists: ScaledJobs, and ScaledDeployments.
type shown struct {
	Items             []v1.ScaledJob        `json:"items"`
	ScaledDeployments []v1.ScaledDeployment `json:"scaledDeployments"`
}

func (p *plugin) get() *cobra.Command {
	var (
		o          output
		everywhere bool
		selector   string
		deleted    bool
	)
	c := &cobra.Command{
		Use: "get [NAME...]", Short: "List ScaledJobs and ScaledDeployments, and what they do",
		Long: "List ScaledJobs and ScaledDeployments, and what they do; with names or -o wide also what each pod of a ScaledDeployment does.",
		Example: "  kubectl longhaul get\n  kubectl longhaul get -A -o wide\n  kubectl longhaul get transcode -o json\n" +
			"  kubectl longhaul get scaleddeployment/encoder",
		RunE: func(c *cobra.Command, names []string) error {
			var all shown
			var err error
			if all.Items, err = p.scaledJobs(c.Context(), everywhere, selector, deleted || len(names) > 0); err != nil {
				return err
			}
			if all.ScaledDeployments, err = p.scaledDeployments(c.Context(), everywhere, selector); err != nil {
				return err
			}
			if err := all.only(names); err != nil {
				return err
			}
			if done, err := o.structured(p.out, all); done {
				return err
			}
			if o.format == "name" {
				all.names(p.out)
				return nil
			}
			all.tables(p.out, p.errOut, p.style(o.format == "wide", everywhere), len(names) > 0)
			return nil
		},
		ValidArgsFunction: p.completeShown(100),
	}
	c.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "those of all namespaces that you may see")
	c.Flags().StringVarP(&selector, "selector", "l", "", "only those with such labels, such as app=video")
	c.Flags().BoolVar(&deleted, "deleted", false, "also ScaledJobs of which only the history is left")
	o.add(c, "wide", "json", "yaml", "name")
	return c
}

// tables writes for people. Pods are told of where few things are asked for.
func (all *shown) tables(out, errOut io.Writer, style view.Style, pods bool) {
	if len(all.Items)+len(all.ScaledDeployments) == 0 {
		fmt.Fprintln(errOut, "No ScaledJobs and no ScaledDeployments found.")
		return
	}
	if len(all.Items) > 0 {
		style.ScaledJobs(out, all.Items)
	}
	if len(all.ScaledDeployments) == 0 {
		return
	}
	if len(all.Items) > 0 {
		fmt.Fprintln(out)
	}
	style.ScaledDeployments(out, all.ScaledDeployments)
	if pods || style.Wide {
		style.Consumers(out, all.ScaledDeployments)
	}
}

// names writes names as kubectl takes them.
func (all *shown) names(out io.Writer) {
	for i := range all.Items {
		fmt.Fprintln(out, scaledJobPrefix+all.Items[i].Name)
	}
	for i := range all.ScaledDeployments {
		fmt.Fprintln(out, scaledDeploymentPrefix+all.ScaledDeployments[i].Name)
	}
}

// only keeps those of these names; all, where there are none. It is an error where one of them is missing.
func (all *shown) only(names []string) error {
	if len(names) == 0 {
		return nil
	}
	job, deployment := map[string]bool{}, map[string]bool{}
	for _, text := range names {
		name := nameOf(text)
		scaledDeployment, found := deploymentNameOf(text), false
		for i := range all.Items {
			if all.Items[i].Name == name {
				job[name], found = true, true
			}
		}
		for i := range all.ScaledDeployments {
			if all.ScaledDeployments[i].Name == scaledDeployment {
				deployment[scaledDeployment], found = true, true
			}
		}
		if !found {
			return fmt.Errorf("there is no ScaledJob or ScaledDeployment %q, and no history of one: `kubectl longhaul get` lists them, -A of all namespaces", text)
		}
	}
	all.Items = slices.DeleteFunc(all.Items, func(sj v1.ScaledJob) bool { return !job[sj.Name] })
	all.ScaledDeployments = slices.DeleteFunc(all.ScaledDeployments, func(sd v1.ScaledDeployment) bool { return !deployment[sd.Name] })
	return nil
}

func (p *plugin) describe() *cobra.Command {
	return &cobra.Command{
		Use: "describe NAME", Short: "Show what a ScaledJob or ScaledDeployment does now, and why", Args: exactly("the name of a ScaledJob or ScaledDeployment"),
		Example: "  kubectl longhaul describe transcode\n  kubectl longhaul describe scaleddeployment/encoder",
		RunE: func(c *cobra.Command, args []string) error {
			asked, err := p.one(args[0])
			if err != nil {
				return err
			}
			if name := deploymentNameOf(args[0]); name != args[0] {
				return p.describeDeployment(c.Context(), asked, name)
			}
			var sj v1.ScaledJob
			err = asked.ask(c.Context(), "", nil, &sj)
			if isStatus(err, http.StatusNotFound) && p.describeDeployment(c.Context(), asked, asked.name) == nil {
				return nil
			}
			if err != nil {
				return err
			}
			var jobs v1.JobList
			if err := asked.ask(c.Context(), "/jobs", url.Values{"progress": {"true"}}, &jobs); err != nil {
				return err
			}
			p.style(false, false).Describe(p.out, &sj, jobs.Items)
			return nil
		},
		ValidArgsFunction: p.completeShown(1),
	}
}

// describeDeployment is describe for a ScaledDeployment.
func (p *plugin) describeDeployment(ctx context.Context, asked *one, name string) error {
	var sd v1.ScaledDeployment
	if err := asked.Get(ctx, client.OfScaledDeployment(asked.namespace, name), nil, &sd); err != nil {
		return err
	}
	p.style(false, false).DescribeDeployment(p.out, &sd)
	return nil
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
