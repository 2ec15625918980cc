package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/client"
	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/view"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// environment is where the plugin runs.
type environment struct {
	out, errOut io.Writer
	in          io.Reader
	lookup      func(string) (string, bool)
	clock       clock.WithTicker
}

// plugin is what all commands share.
type plugin struct {
	environment

	flags         *genericclioptions.ConfigFlags
	server, token string
	caFile        string
	insecure      bool
	manager       string
	noHeaders     bool
}

func newCommand(e environment) *cobra.Command {
	p := &plugin{environment: e}
	root := &cobra.Command{
		Use:   "kubectl-longhaul",
		Short: "What ScaledJobs do, and what became of their Jobs",
		Long: "Shows what ScaledJobs do and why, and what became of every message's Job, long after the Job is gone.\n\n" +
			"It asks Longhaul's manager through the API server, so your own rights decide what you see.",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl longhaul"},
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(e.out)
	root.SetErr(e.errOut)
	root.SetIn(e.in)
	f := root.PersistentFlags()
	// Of kubectl's, those that say which cluster, who and where. Who has credentials of another kind has them in a kubeconfig.
	p.flags = &genericclioptions.ConfigFlags{
		KubeConfig: ptr.To(""), Context: ptr.To(""), ClusterName: ptr.To(""), AuthInfoName: ptr.To(""), Namespace: ptr.To(""),
	}
	p.flags.AddFlags(f)
	f.StringVar(&p.server, "server", "", "URL of a manager's dashboard, to go straight there instead of through the API server; $LONGHAUL_SERVER")
	f.StringVar(&p.token, "token", "", "your token, such as 'kubectl create token' prints; by default the kubeconfig's")
	f.StringVar(&p.caFile, "certificate-authority", "", "file with the authorities of --server's certificate")
	f.BoolVar(&p.insecure, "insecure-skip-tls-verify", false, "do not verify --server's certificate")
	f.StringVar(&p.manager, "manager-namespace", "longhaul-system", "namespace of Longhaul's manager")
	f.BoolVar(&p.noHeaders, "no-headers", false, "print no headers")
	_ = root.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions) // there is such a flag
	root.AddCommand(
		p.get(), p.describe(), p.history(), p.record(), p.stats(), p.top(), p.suspend(), p.resume(), p.runOne(), p.cancel(), p.logs(),
		p.dashboard(), p.version(),
	)
	return root
}

// now is the time.
func (p *plugin) now() time.Time { return p.clock.Now() }

// namespace is the one that is asked about.
func (p *plugin) namespace() (string, error) {
	namespace, _, err := p.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return namespace, nil
}

// config is how to reach the API server; nil where there is no kubeconfig.
func (p *plugin) config() (*rest.Config, error) {
	config, err := p.flags.ToRESTConfig()
	if clientcmd.IsEmptyConfig(err) || errors.Is(err, rest.ErrNotInCluster) {
		return nil, nil //nolint:nilnil // see above
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return config, nil
}

// client asks the manager.
func (p *plugin) client() (*client.Client, error) {
	config, err := p.config()
	if err != nil {
		return nil, err
	}
	if config != nil && config.Impersonate.UserName != "" {
		return nil, fmt.Errorf("the kubeconfig impersonates %q, and the manager shows what the user of a token may see: use a context that does not",
			config.Impersonate.UserName)
	}
	server := p.server
	if server == "" {
		server, _ = p.lookup("LONGHAUL_SERVER")
	}
	return client.New(client.Options{
		Config: config, Namespace: p.manager, Server: server, Token: p.token, CAFile: p.caFile, Insecure: p.insecure,
	})
}

// style is how to write for people.
func (p *plugin) style(wide, namespaces bool) view.Style {
	_, noColour := p.lookup("NO_COLOR")
	return view.Style{Colour: p.terminal() && !noColour, Wide: wide, NoHeaders: p.noHeaders, Namespaces: namespaces, Now: p.now()}
}

func (p *plugin) terminal() bool {
	file, ok := p.out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// output is a flag for how to write.
type output struct{ format string }

func (o *output) add(c *cobra.Command, formats ...string) {
	formats = append([]string{"table"}, formats...)
	c.Flags().StringVarP(&o.format, "output", "o", "table", "one of "+strings.Join(formats, ", "))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) // there is such a flag
	before := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if !slices.Contains(formats, o.format) {
			return fmt.Errorf("--output %q: give one of %s", o.format, strings.Join(formats, ", "))
		}
		if before != nil {
			return before(c, args)
		}
		return nil
	}
}

// structured writes JSON or YAML, if either is asked for.
func (o *output) structured(w io.Writer, answer any) (bool, error) {
	var text []byte
	var err error
	switch o.format {
	case "json":
		text, err = json.MarshalIndent(answer, "", "    ")
		text = append(text, '\n')
	case "yaml":
		text, err = yaml.Marshal(answer)
	default:
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("writing %s: %w", o.format, err)
	}
	_, err = w.Write(text)
	return true, err
}

// completeNames completes the names of ScaledJobs.
func (p *plugin) completeNames(most int) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, err := p.scaledJobs(c.Context(), false, "", true)
		if err != nil {
			cobra.CompErrorln(err.Error())
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for i := range all {
			names = append(names, all[i].Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeShown completes the names of ScaledJobs and of ScaledDeployments.
func (p *plugin) completeShown(most int) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		names, directive := p.completeNames(most)(c, args, begun)
		if len(args) >= most || directive == cobra.ShellCompDirectiveError {
			return names, directive
		}
		all, err := p.scaledDeployments(c.Context(), false, "")
		if err != nil {
			cobra.CompErrorln(err.Error())
			return nil, cobra.ShellCompDirectiveError
		}
		for i := range all {
			names = append(names, all[i].Name)
		}
		return names, directive
	}
}

// completeJobs completes the name of a ScaledJob, and the sequences of its newest Jobs; of those that are active, where only
// they are of use.
func (p *plugin) completeJobs(active bool) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return p.completeNames(1)(c, args, begun)
		}
		asked, err := p.one(args[0])
		if err != nil {
			cobra.CompErrorln(err.Error())
			return nil, cobra.ShellCompDirectiveError
		}
		q := url.Values{"limit": {"20"}}
		if active {
			q.Set("outcome", "active")
		}
		var list v1.RecordList
		if err := asked.ask(c.Context(), "/records", q, &list); err != nil {
			cobra.CompErrorln(err.Error())
			return nil, cobra.ShellCompDirectiveError
		}
		var sequences []string
		for i := range list.Items {
			r := &list.Items[i]
			about := strings.TrimSpace(cmp.Or(string(r.Category), "active") + " " + view.Line(r.MessageID))
			sequences = append(sequences, cobra.CompletionWithDesc(fmt.Sprint(r.Sequence), about))
		}
		return sequences, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// numbered is a Job that is asked about: the ScaledJob, and the sequence.
func (p *plugin) numbered(args []string) (*one, int64, error) {
	asked, err := p.one(args[0])
	if err != nil {
		return nil, 0, err
	}
	n, err := sequence(asked.name, args[1])
	return asked, n, err
}

// scaledJobs are all that are asked about.
func (p *plugin) scaledJobs(ctx context.Context, everywhere bool, selector string, deleted bool) ([]v1.ScaledJob, error) {
	q, err := p.chosen(everywhere, selector)
	if err != nil {
		return nil, err
	}
	if deleted {
		q.Set("deleted", "true")
	}
	asked, err := p.client()
	if err != nil {
		return nil, err
	}
	var list v1.ScaledJobList
	err = asked.Get(ctx, "/api/v1/scaledjobs", q, &list)
	return list.Items, err
}

// scaledDeployments are all that are asked about; none where the user may not see them, or the manager knows none yet.
func (p *plugin) scaledDeployments(ctx context.Context, everywhere bool, selector string) ([]v1.ScaledDeployment, error) {
	q, err := p.chosen(everywhere, selector)
	if err != nil {
		return nil, err
	}
	asked, err := p.client()
	if err != nil {
		return nil, err
	}
	list := v1.ScaledDeploymentList{Items: []v1.ScaledDeployment{}}
	err = asked.Get(ctx, "/api/v1/scaleddeployments", q, &list)
	if isStatus(err, http.StatusForbidden) || isStatus(err, http.StatusNotFound) {
		return list.Items, nil
	}
	return list.Items, err
}

// chosen is the query for some of a kind.
func (p *plugin) chosen(everywhere bool, selector string) (url.Values, error) {
	q := url.Values{}
	if !everywhere {
		namespace, err := p.namespace()
		if err != nil {
			return nil, err
		}
		q.Set("namespace", namespace)
	}
	if selector != "" {
		q.Set("labelSelector", selector)
	}
	return q, nil
}

// one is a ScaledJob that is asked about by its name, and how to ask further.
type one struct {
	*client.Client

	namespace, name string
}

func (p *plugin) one(name string) (*one, error) {
	namespace, err := p.namespace()
	if err != nil {
		return nil, err
	}
	asked, err := p.client()
	if err != nil {
		return nil, err
	}
	return &one{asked, namespace, nameOf(name)}, nil
}

// What kubectl prints before names.
const (
	scaledJobPrefix        = "scaledjob.longhaul.dev/"
	scaledDeploymentPrefix = "scaleddeployment.longhaul.dev/"
)

// nameOf takes names of ScaledJobs as kubectl prints them, too.
func nameOf(text string) string {
	return without(text, scaledJobPrefix, "scaledjobs.longhaul.dev/", "scaledjob/", "scaledjobs/", "lsj/")
}

// deploymentNameOf takes names of ScaledDeployments likewise.
func deploymentNameOf(text string) string {
	return without(text, scaledDeploymentPrefix, "scaleddeployments.longhaul.dev/", "scaleddeployment/", "scaleddeployments/", "lsd/")
}

func without(text string, prefixes ...string) string {
	for _, prefix := range prefixes {
		if name, ok := strings.CutPrefix(text, prefix); ok {
			return name
		}
	}
	return text
}

// ask asks for what is of the ScaledJob.
func (o *one) ask(ctx context.Context, rest string, q url.Values, into any) error {
	return o.Get(ctx, client.OfScaledJob(o.namespace, o.name, rest), q, into)
}

// sequence reads the number of a Job, or the name of one.
func sequence(scaledJob, text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimLeft(strings.TrimPrefix(text, scaledJob+"-"), "0"), 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("the sequence %q is no number above 0: give the number in the Job's name, 42 for %s-000042", text, scaledJob)
	}
	return n, nil
}

// isStatus says whether the manager answered with a status of HTTP.
func isStatus(err error, status int) bool {
	refused, ok := errors.AsType[*client.RefusedError](err)
	return ok && refused.Status == status
}

func (p *plugin) version() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "version", Short: "Print the versions of the plugin and of the manager", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			versions := map[string]string{"client": version}
			asked, err := p.client()
			if err == nil {
				var u v1.User
				if err = asked.Get(c.Context(), "/api/v1/user", nil, &u); err == nil {
					versions["manager"] = u.Version
				}
			}
			if done, err := o.structured(p.out, versions); done {
				return err
			}
			fmt.Fprintln(p.out, "client: ", versions["client"])
			if err != nil {
				return fmt.Errorf("asking for the manager's version: %w", err)
			}
			fmt.Fprintln(p.out, "manager:", cmp.Or(versions["manager"], "unknown"))
			return nil
		},
	}
	o.add(c, "json", "yaml")
	return c
}
