package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
)

var update = flag.Bool("update", false, "write the golden files anew")

// nowhere leads to no cluster: whoever gets as far as looking for one fails there.
const nowhere = "testdata/no-such-kubeconfig"

// longhaul runs the command as main does.
func longhaul(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// parsed are the settings that some flags come to.
func parsed(t *testing.T, args ...string) settings {
	t.Helper()
	var s settings
	f := pflag.NewFlagSet("longhaul", pflag.ContinueOnError)
	s.addFlags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return s
}

// defaults are the settings without any flag.
func defaults() settings {
	return settings{
		leaderElectionID:    "longhaul",
		metricsAddress:      ":8080",
		probeAddress:        ":8081",
		qps:                 300,
		burst:               500,
		creationConcurrency: 32,
		passes:              16,
		logLevel:            "info",
		logFormat:           "text",
		history:             historySettings{kind: "sqlite", maxSize: "2Gi", logTails: true},
		dashboard:           dashboardSettings{address: ":8443", auth: "cluster", tls: true},
	}
}

func TestEachFlagSetsWhatItSays(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("longhaul", pflag.ContinueOnError)
	new(settings).addFlags(flags)
	untested := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) { untested[f.Name] = true })
	for _, c := range []struct {
		flag, value string
		set         func(*settings)
	}{
		{"kubeconfig", "/k", func(s *settings) { s.kubeconfig = "/k" }},
		{"leader-elect", "true", func(s *settings) { s.leaderElect = true }},
		{"leader-election-id", "a", func(s *settings) { s.leaderElectionID = "a" }},
		{"leader-election-namespace", "system", func(s *settings) { s.leaderElectionNamespace = "system" }},
		{"metrics-bind-address", "0", func(s *settings) { s.metricsAddress = "0" }},
		{"health-probe-bind-address", "127.0.0.1:1", func(s *settings) { s.probeAddress = "127.0.0.1:1" }},
		{"namespaces", "video,audio", func(s *settings) { s.namespaces = []string{"video", "audio"} }},
		{"namespace-selector", "shard=a", func(s *settings) { s.namespaceSelector = "shard=a" }},
		{"kube-api-qps", "12.5", func(s *settings) { s.qps = 12.5 }},
		{"kube-api-burst", "1", func(s *settings) { s.burst = 1 }},
		{"creation-concurrency", "2", func(s *settings) { s.creationConcurrency = 2 }},
		{"concurrent-passes", "3", func(s *settings) { s.passes = 3 }},
		{"history", "off", func(s *settings) { s.history.kind = "off" }},
		{"dashboard-bind-address", ":9", func(s *settings) { s.dashboard.address = ":9" }},
		{"dashboard-auth", "none", func(s *settings) { s.dashboard.auth = authNone }},
		{"dashboard-cert-dir", "/c", func(s *settings) { s.dashboard.certDir = "/c" }},
		{"dashboard-tls", "false", func(s *settings) { s.dashboard.tls = false }},
		{"history-file", "/h", func(s *settings) { s.history.file = "/h" }},
		{"history-max-size", "1Gi", func(s *settings) { s.history.maxSize = "1Gi" }},
		{"history-postgres-uri-file", "/p", func(s *settings) { s.history.postgresURI = "/p" }},
		{"history-log-tails", "false", func(s *settings) { s.history.logTails = false }},
		{"log-level", "debug", func(s *settings) { s.logLevel = "debug" }},
		{"log-format", "json", func(s *settings) { s.logFormat = "json" }},
	} {
		want := defaults()
		c.set(&want)
		if diff := cmp.Diff(want, parsed(t, "--"+c.flag+"="+c.value), cmp.AllowUnexported(settings{}, historySettings{}, dashboardSettings{})); diff != "" {
			t.Errorf("--%s=%s (-want +got)\n%s", c.flag, c.value, diff)
		}
		delete(untested, c.flag)
	}
	for name := range untested {
		t.Errorf("this test knows no flag --%s", name)
	}
}

func TestTheDefaultsAreAccepted(t *testing.T) {
	t.Parallel()
	s := parsed(t)
	if diff := cmp.Diff(defaults(), s, cmp.AllowUnexported(settings{}, historySettings{}, dashboardSettings{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := s.check(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	if selector, err := s.selector(); selector != nil || err != nil {
		t.Errorf("by default namespaces are selected by %v, %v; want all", selector, err)
	}
}

func TestHelpListsEveryFlag(t *testing.T) {
	t.Parallel()
	help, err := longhaul(t, "--help")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "help.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(help), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), help); diff != "" {
		t.Errorf("the help is not as %s shows (-want +got); if it is right, run go test ./cmd/longhaul -update\n%s", golden, diff)
	}
	command().Flags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(help, "--"+f.Name+" ") {
			t.Errorf("the help does not list --%s", f.Name)
		}
		if f.Usage == "" || f.Hidden {
			t.Errorf("the help does not say what --%s is", f.Name)
		}
	})
}

func TestVersionPrintsTheVersion(t *testing.T) {
	t.Parallel()
	out, err := longhaul(t, "version")
	if err != nil {
		t.Fatal(err)
	}
	if want := "longhaul " + version + "\n"; out != want {
		t.Errorf("it prints %q, want %q", out, want)
	}
}

func TestVersionTellsProgramsAsJSON(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--output=json", "-ojson"} {
		out, err := longhaul(t, "version", flag)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%s prints %q: %v", flag, out, err)
		}
		want := map[string]string{"version": version, "goVersion": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", flag, diff)
		}
	}
}

func TestShellsAreHelpedToComplete(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, err := longhaul(t, "completion", shell); err != nil || !strings.Contains(out, "longhaul") {
			t.Errorf("completion %s: error %v, and it prints %q", shell, err, out)
		}
	}
}

func TestBadValuesAreRefusedWithTheFlagTheValueAndTheRemedy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--kube-api-burst=0"}, []string{"--kube-api-burst", "is 0", "give 1 or more"}},
		{[]string{"--kube-api-burst=-5"}, []string{"--kube-api-burst", "is -5", "give 1 or more"}},
		{[]string{"--creation-concurrency=0"}, []string{"--creation-concurrency", "is 0", "give 1 or more"}},
		{[]string{"--concurrent-passes=0"}, []string{"--concurrent-passes", "is 0", "give 1 or more"}},
		{[]string{"--kube-api-qps=0"}, []string{"--kube-api-qps", "is 0", "give a number above 0"}},
		{[]string{"--kube-api-qps=-1"}, []string{"--kube-api-qps", "is -1", "give a number above 0"}},
		{[]string{"--namespaces=video,,audio"}, []string{"--namespaces", "no namespace's name", "separate names with single commas"}},
		{[]string{"--namespaces=video,"}, []string{"--namespaces", "no namespace's name", "separate names with single commas"}},
		{[]string{"--namespace-selector=a in b"}, []string{"--namespace-selector", `"a in b"`, "kubectl -l", "longhaul-shard=a"}},
		{[]string{"--dashboard-auth=none"}, []string{"--dashboard-auth=none", ":8443", "loopback"}},
		{[]string{"--dashboard-auth=none", "--dashboard-bind-address=10.0.0.1:8443"}, []string{"10.0.0.1:8443", "--dashboard-auth=cluster"}},
		{[]string{"--dashboard-auth=basic"}, []string{"--dashboard-auth", `"basic"`, "cluster or none"}},
		{[]string{"--dashboard-tls=false"}, []string{"--dashboard-tls=false", ":8443", "loopback"}},
		{[]string{"--dashboard-tls=false", "--dashboard-bind-address=localhost:1", "--dashboard-cert-dir=/x"}, []string{"--dashboard-cert-dir", "leave out one"}},
		{[]string{"--dashboard-bind-address=8443"}, []string{"--dashboard-bind-address", `"8443"`, ":8443"}},
		{[]string{"--log-level=loud"}, []string{"--log-level", `"loud"`, "debug, info, warn or error"}},
		{[]string{"--log-level="}, []string{"--log-level", `""`, "debug, info, warn or error"}},
		{[]string{"--log-format=xml"}, []string{"--log-format", `"xml"`, "text or json"}},
		{[]string{"--log-format=JSON"}, []string{"--log-format", `"JSON"`, "text or json"}},
		// The flag library's own words.
		{[]string{"--kube-api-burst=many"}, []string{"--kube-api-burst", `"many"`}},
		{[]string{"--kube-api-qps=many"}, []string{"--kube-api-qps", `"many"`}},
		{[]string{"--leader-elect=perhaps"}, []string{"--leader-elect", `"perhaps"`}},
		{[]string{"--nonsense"}, []string{"--nonsense"}},
		{[]string{"nonsense"}, []string{`"nonsense"`}},
		{[]string{"version", "nonsense"}, []string{`"nonsense"`}},
		{[]string{"version", "--output=yaml"}, []string{"--output", `"yaml"`, "text or json"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			t.Parallel()
			args := c.args
			if strings.HasPrefix(args[0], "--") {
				args = append([]string{"--kubeconfig", nowhere}, args...)
			}
			out, err := longhaul(t, args...)
			if err == nil {
				t.Fatal("it is accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message is %q, which does not hold %q", err, want)
				}
			}
			if out != "" {
				t.Errorf("beside its message it prints %q", out)
			}
		})
	}
}

func TestTheLeastValuesAreAccepted(t *testing.T) {
	t.Parallel()
	s := parsed(t, "--kube-api-burst=1", "--creation-concurrency=1", "--concurrent-passes=1", "--kube-api-qps=0.1", "--namespaces=video")
	if err := s.check(); err != nil {
		t.Error(err)
	}
}

func TestALeaderElectionNeedsAPlaceForItsLease(t *testing.T) {
	t.Parallel()
	pods := filepath.Join(t.TempDir(), "namespace")
	if err := os.WriteFile(pods, []byte("longhaul-system"), 0o600); err != nil {
		t.Fatal(err)
	}
	nobodys := filepath.Join(t.TempDir(), "namespace")
	for name, c := range map[string]struct {
		file, remedy string
		args         []string
	}{
		"none is held":                                 {nobodys, "", nil},
		"in a cluster":                                 {pods, "", []string{"--leader-elect"}},
		"outside, with a namespace":                    {nobodys, "", []string{"--leader-elect", "--leader-election-namespace=system"}},
		"outside, without a namespace":                 {nobodys, "give --leader-election-namespace", []string{"--leader-elect"}},
		"in a cluster, without a name":                 {pods, "--leader-election-id", []string{"--leader-elect", "--leader-election-id="}},
		"outside, with a namespace and without a name": {nobodys, "--leader-election-id", []string{"--leader-elect", "--leader-election-id=", "--leader-election-namespace=system"}},
	} {
		s := parsed(t, c.args...)
		err := s.checkLease(c.file)
		if c.remedy == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.remedy != "" && (err == nil || !strings.Contains(err.Error(), c.remedy)) {
			t.Errorf("%s: the message is %v, which does not hold %q", name, err, c.remedy)
		}
	}
}

func TestTheNamespaceSelectorSelectsAsKubectlDoes(t *testing.T) {
	t.Parallel()
	s := parsed(t, "--namespace-selector", "longhaul-shard in (a, b), !frozen")
	selector, err := s.selector()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		namespace labels.Set
		want      bool
	}{
		{labels.Set{"longhaul-shard": "a"}, true},
		{labels.Set{"longhaul-shard": "c"}, false},
		{labels.Set{"longhaul-shard": "b", "frozen": "yes"}, false},
		{nil, false},
	} {
		if got := selector.Matches(c.namespace); got != c.want {
			t.Errorf("a namespace with the labels %v: %t, want %t", c.namespace, got, c.want)
		}
	}
}

func TestAMissingKubeconfigIsToldWithTheRemedy(t *testing.T) {
	t.Parallel()
	s := parsed(t, "--kubeconfig", nowhere)
	_, err := s.config()
	if err == nil {
		t.Fatal("a cluster was found")
	}
	for _, want := range []string{"finding the cluster", nowhere, "give --kubeconfig or set KUBECONFIG"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message is %q, which does not hold %q", err, want)
		}
	}
}

func TestTheKubeconfigsClusterIsAskedAtTheRateOfTheFlags(t *testing.T) {
	t.Parallel()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(`
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "https://127.0.0.1:6443"}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
current-context: here
users: [{name: me, user: {token: t}}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := parsed(t, "--kubeconfig", kubeconfig, "--kube-api-qps=12.5", "--kube-api-burst=34")
	config, err := s.config()
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:6443" || config.QPS != 12.5 || config.Burst != 34 {
		t.Errorf("%s is asked %v times per second, and %d at once", config.Host, config.QPS, config.Burst)
	}
}

func TestTheLogHoldsItsLevelAndThoseAbove(t *testing.T) {
	t.Parallel()
	for level, want := range map[string][]slog.Level{
		"debug": {slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError},
		"info":  {slog.LevelInfo, slog.LevelWarn, slog.LevelError},
		"WARN":  {slog.LevelWarn, slog.LevelError},
		"error": {slog.LevelError},
	} {
		s := parsed(t, "--log-level", level)
		log, err := s.logger()
		if err != nil {
			t.Fatal(err)
		}
		var got []slog.Level
		for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			if log.GetSink().Enabled(int(-l)) {
				got = append(got, l)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("--log-level=%s (-want +got)\n%s", level, diff)
		}
	}
}

//nolint:paralleltest // what others write to the process' standard error is not to be seen here
func TestTheLogIsWrittenToStandardErrorAsAsked(t *testing.T) {
	for format, want := range map[string]string{
		"text": `level=INFO msg=starting version=v1`,
		"json": `"level":"INFO","msg":"starting","version":"v1"}`,
	} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		stderr := os.Stderr
		os.Stderr = write
		s := parsed(t, "--log-format", format)
		log, err := s.logger()
		os.Stderr = stderr
		if err != nil {
			t.Fatal(err)
		}
		log.Info("starting", "version", "v1")
		log.V(4).Info("a detail")
		write.Close()
		line, err := io.ReadAll(read)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(line)); !strings.HasSuffix(got, want) || strings.Contains(got, "\n") {
			t.Errorf("--log-format=%s writes %q, want a line that ends with %q", format, got, want)
		}
	}
}
