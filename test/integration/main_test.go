// Package integration_test tries Longhaul on a real API server: what it refuses and in which words, what it fills in, what
// it shows, what the manager's role allows, and the manager's own program.
//
// The API server is envtest's, from the folder that KUBEBUILDER_ASSETS names; test/kube/build.sh makes one. No controller
// and no node runs, so Jobs stay as they are. The manager's user is the service account of config/rbac. Each request is
// audited: the audit log tells which rights the manager used.
package integration_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// root is the repository, seen from here.
const root = "../.."

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// shared is the API server of all tests; nil where none can be started.
var shared *plane

// plane is a running API server with Longhaul's kinds.
type plane struct {
	// dir is for files that all tests share.
	dir string
	// config and kubeconfig are those of an administrator.
	config     *rest.Config
	kubeconfig string
	client     client.Client
	// audit is the API server's log of requests.
	audit string
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run() // which skips each test, by name
	}
	log.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "longhaul-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	env := environment(dir)
	defer func() {
		if err := env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the API server:", err)
		}
	}()
	if shared, err = start(env, dir); err != nil {
		fmt.Fprintln(os.Stderr, "starting the API server of KUBEBUILDER_ASSETS:", err)
		return 1
	}
	return m.Run()
}

// auditPolicy has the API server note who asked for what.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

func environment(dir string) *envtest.Environment {
	env := &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  time.Minute,
	}
	env.ControlPlane.GetAPIServer().Configure().
		// Some clusters guard who may block the deletion of an owner; there the manager needs a right more.
		Append("enable-admission-plugins", "OwnerReferencesPermissionEnforcement").
		Set("audit-policy-file", filepath.Join(dir, "audit-policy.yaml")).
		Set("audit-log-path", filepath.Join(dir, "audit.log")).
		Set("audit-log-mode", "blocking")
	return env
}

func start(env *envtest.Environment, dir string) (*plane, error) {
	if err := os.WriteFile(filepath.Join(dir, "audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return nil, err
	}
	config, err := env.Start()
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, env.KubeConfig, 0o600); err != nil {
		return nil, err
	}
	c, err := newClient(config)
	if err != nil {
		return nil, err
	}
	return &plane{dir: dir, config: config, kubeconfig: kubeconfig, client: c, audit: filepath.Join(dir, "audit.log")}, nil
}

func newClient(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: scheme})
}

// apiServer is the API server, or the end of the test where there is none.
func apiServer(t *testing.T) *plane {
	t.Helper()
	if shared != nil {
		return shared
	}
	const instruction = `needs an API server: export KUBEBUILDER_ASSETS="$(test/kube/build.sh)"`
	if os.Getenv("CI") == "true" {
		t.Fatal(instruction)
	}
	t.Skip(instruction)
	return nil
}

// namespace makes a namespace for one test.
func (p *plane) namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := p.client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// kubectl runs kubectl as an administrator, and returns what it printed.
func (p *plane) kubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return p.kubectlAs(t.Context(), p.kubeconfig, args...)
}

func (p *plane) kubectlAs(ctx context.Context, kubeconfig string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.Dir = root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, &out)
	}
	return out.String(), nil
}

// golden compares with a file in testdata, which -update rewrites.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("not as in %s; if this is as wanted: go test ./test/integration -update (-want +got):\n%s", file, diff)
	}
}

// eventually waits until a condition holds. What it last said goes into the failure.
func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		ok, seen := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s\nlast seen: %s", what, seen)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
