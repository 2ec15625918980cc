package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// settings are what the flags say.
type settings struct {
	kubeconfig              string
	leaderElect             bool
	leaderElectionID        string
	leaderElectionNamespace string
	metricsAddress          string
	probeAddress            string
	namespaces              []string
	namespaceSelector       string
	qps                     float32
	burst                   int
	creationConcurrency     int
	passes                  int
	logLevel                string
	logFormat               string
	history                 historySettings
	dashboard               dashboardSettings
}

func (s *settings) addFlags(f *pflag.FlagSet) {
	f.StringVar(&s.kubeconfig, "kubeconfig", "", "kubeconfig file of the cluster; by default $KUBECONFIG, else ~/.kube/config, else the cluster that this runs in")
	f.BoolVar(&s.leaderElect, "leader-elect", false, "elect a leader among several replicas; only the leader dispatches")
	f.StringVar(&s.leaderElectionID, "leader-election-id", "longhaul", "name of the lease; managers that watch different namespaces need different ones")
	f.StringVar(&s.leaderElectionNamespace, "leader-election-namespace", "", "namespace of the lease; by default the one that this runs in; required outside a cluster")
	f.StringVar(&s.metricsAddress, "metrics-bind-address", ":8080", "address of the metrics; 0 turns them off")
	f.StringVar(&s.probeAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 turns them off")
	f.StringSliceVar(&s.namespaces, "namespaces", nil, "namespaces to watch, separated by commas; by default all")
	f.StringVar(&s.namespaceSelector, "namespace-selector", "", "label selector of the namespaces to dispatch in, such as longhaul-shard=a; by default all")
	f.Float32Var(&s.qps, "kube-api-qps", 300, "requests per second to the API server")
	f.IntVar(&s.burst, "kube-api-burst", 500, "requests at once to the API server beyond --kube-api-qps")
	f.IntVar(&s.creationConcurrency, "creation-concurrency", 32, "Jobs to create at a time")
	f.IntVar(&s.passes, "concurrent-passes", 16, "ScaledJobs to look at concurrently")
	f.StringVar(&s.history.kind, "history", historySQLite, "where records of Jobs are kept: sqlite, postgres, or off for nowhere")
	f.StringVar(&s.history.file, "history-file", "", "SQLite's file; by default longhaul/history.db under $XDG_STATE_HOME, else under ~/.local/state")
	f.StringVar(&s.history.maxSize, "history-max-size", "2Gi", "how large SQLite's file may grow before the oldest records go; 0 for no bound")
	f.StringVar(&s.history.postgresURI, "history-postgres-uri-file", "", "file that holds PostgreSQL's connection string, such as postgres://user:password@host/longhaul")
	f.BoolVar(&s.history.logTails, "history-log-tails", true, "keep the last 4 KiB of the log of an attempt that failed")
	f.StringVar(&s.dashboard.address, "dashboard-bind-address", ":8443", "address of the dashboard and the API; 0 turns them off")
	f.StringVar(&s.dashboard.auth, "dashboard-auth", authCluster, "who may see what there: cluster asks the cluster; none lets anybody in, at a loopback address only")
	f.StringVar(&s.dashboard.certDir, "dashboard-cert-dir", "", "folder with tls.crt and tls.key of the dashboard, read again when they change; by default a certificate is made at start")
	f.BoolVar(&s.dashboard.tls, "dashboard-tls", true, "serve the dashboard by TLS; false at a loopback address only")
	f.StringVar(&s.logLevel, "log-level", "info", "least level to log: debug, info, warn or error")
	f.StringVar(&s.logFormat, "log-format", "text", "format of the log: text or json")
}

// check refuses settings that cannot work, and says which can.
func (s *settings) check() error {
	for _, n := range []struct {
		flag  string
		value int
	}{{"kube-api-burst", s.burst}, {"creation-concurrency", s.creationConcurrency}, {"concurrent-passes", s.passes}} {
		if n.value < 1 {
			return fmt.Errorf("--%s is %d: give 1 or more", n.flag, n.value)
		}
	}
	// Written so that what is not a number fails too.
	if !(s.qps > 0 && s.qps <= math.MaxInt32) {
		return fmt.Errorf("--kube-api-qps is %v: give a number above 0, such as 300", s.qps)
	}
	for _, n := range s.namespaces {
		if len(validation.IsDNS1123Label(n)) > 0 {
			return fmt.Errorf("--namespaces has %q, which is no namespace's name: separate names with single commas, such as video,audio", n)
		}
	}
	return errors.Join(s.history.check(), s.dashboard.check())
}

// namespaceFile is where a pod finds the name of its namespace, and where controller-runtime looks for that of the lease.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// checkLease refuses a leader election without a place for its lease. Whoever has no namespaceFile runs in no cluster;
// controller-runtime would then ask for a field of its own that no flag of ours is called after.
func (s *settings) checkLease(namespaceFile string) error {
	if !s.leaderElect {
		return nil
	}
	if s.leaderElectionID == "" {
		return errors.New("--leader-election-id is empty: give the lease a name, such as longhaul")
	}
	if s.leaderElectionNamespace != "" {
		return nil
	}
	if _, err := os.Stat(namespaceFile); errors.Is(err, fs.ErrNotExist) {
		return errors.New("--leader-elect knows no namespace for the lease outside a cluster: " +
			"give --leader-election-namespace, such as longhaul-system")
	}
	return nil
}

// selector is the parsed namespace selector; nil without one.
func (s *settings) selector() (labels.Selector, error) {
	if s.namespaceSelector == "" {
		return nil, nil //nolint:nilnil // no selector is what was asked for
	}
	selector, err := labels.Parse(s.namespaceSelector)
	if err != nil {
		return nil, fmt.Errorf("--namespace-selector %q: %w; write it as in kubectl -l, such as longhaul-shard=a", s.namespaceSelector, err)
	}
	return selector, nil
}

// logger makes the log.
func (s *settings) logger() (logr.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.logLevel)); err != nil {
		return logr.Logger{}, fmt.Errorf("--log-level %q: give debug, info, warn or error", s.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch s.logFormat {
	case "text":
		return logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, options)), nil
	case "json":
		return logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, options)), nil
	default:
		return logr.Logger{}, fmt.Errorf("--log-format %q: give text or json", s.logFormat)
	}
}
