package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
	"github.com/longhaul-dev/longhaul/test/node"
)

var (
	brokers brokertest.Shared
	stages  sharedStage
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // of the helpers that install the kinds
	code := brokers.Run(m)
	stages.strike()
	os.Exit(code)
}

// stage is what a scenario plays on: a cluster with Longhaul's kinds and one node, and the programs.
type stage struct {
	dir        string
	kubeconfig string
	config     *rest.Config
	client     client.WithWatch
	clip       string
	plane      *exec.Cmd
	endNode    context.CancelFunc
	nodeEnded  chan error
}

// sharedStage is set up by the first test that needs it.
type sharedStage struct {
	once  sync.Once
	stage *stage
	err   error
}

func (s *sharedStage) get(t *testing.T) *stage {
	t.Helper()
	if testing.Short() {
		t.Skip("end-to-end scenarios take minutes; run without -short")
	}
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		const missing = "no control plane: set KUBEBUILDER_ASSETS to what test/kube/build.sh prints"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	s.once.Do(func() { s.stage, s.err = build(t.Context(), assets) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.stage
}

func build(ctx context.Context, assets string) (*stage, error) {
	dir, err := os.MkdirTemp("", "longhaul-e2e-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, kubeconfig: filepath.Join(dir, "kube", "kubeconfig"), clip: filepath.Join(dir, "clip.y4m")}
	for _, program := range []string{"../../cmd/longhaul", "../../cmd/kubectl-longhaul", "../../cmd/transcode-worker", "../fixture/consumer"} {
		name := filepath.Base(program)
		command := exec.CommandContext(ctx, "go", "build", "-o", s.bin(name), program)
		if output, err := command.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building %s: %w: %s", name, err, output)
		}
	}
	output, err := exec.CommandContext(ctx, s.bin("transcode-worker"), "make-clip", "--size", "64x36", "--frames", "30", "--out", s.clip).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("making a clip: %w: %s", err, output)
	}
	if err := s.startPlane(ctx, assets); err != nil {
		return nil, err
	}
	err = s.startNode(ctx)
	return s, err
}

// history is the file that holds the records of all Jobs of all scenarios.
func (s *stage) history() string { return filepath.Join(s.dir, "history.db") }

func (s *stage) bin(name string) string { return filepath.Join(s.dir, "bin", name) }

func (s *stage) startPlane(ctx context.Context, assets string) error {
	s.plane = s.command(filepath.Join(assets, "kube"), "run", "--dir", filepath.Join(s.dir, "kube"))
	if err := s.run(s.plane, "kube"); err != nil {
		return err
	}
	err := wait(ctx, time.Minute, "the control plane", func() (bool, error) {
		_, err := os.Stat(s.kubeconfig)
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	if s.config, err = clientcmd.BuildConfigFromFlags("", s.kubeconfig); err != nil {
		return err
	}
	s.config.QPS, s.config.Burst = 500, 1000
	scheme := apiruntime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), clientgoscheme.AddToScheme(scheme)); err != nil {
		return err
	}
	if _, err := envtest.InstallCRDs(s.config, envtest.CRDInstallOptions{Paths: []string{"../../config/crd/bases"}, ErrorIfPathMissing: true}); err != nil {
		return err
	}
	s.client, err = client.NewWithWatch(s.config, client.Options{Scheme: scheme})
	return err
}

func (s *stage) startNode(ctx context.Context) error {
	// It outlives the test that asks for it first.
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	s.endNode, s.nodeEnded = end, make(chan error, 1)
	ready := make(chan struct{})
	config := rest.CopyConfig(s.config)
	go func() {
		s.nodeEnded <- node.Run(ctx, node.Options{
			Config: config, Dir: filepath.Join(s.dir, "node"), Path: []string{filepath.Join(s.dir, "bin")}, RestartBackoff: time.Second,
			Ready: func() { close(ready) },
		})
	}()
	select {
	case <-ready:
		return nil
	case err := <-s.nodeEnded:
		return fmt.Errorf("the node ended: %w", err)
	}
}

// command is a program that ends with this process, however that comes about.
func (s *stage) command(program string, arguments ...string) *exec.Cmd {
	command := exec.Command(program, arguments...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return command
}

// run starts a command that writes to a log.
func (s *stage) run(command *exec.Cmd, log string) error {
	file, err := os.OpenFile(s.log(log), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	command.Stdout, command.Stderr = file, file
	started := make(chan error)
	go func() {
		// The signal comes when the thread that started the process ends: this one stays.
		runtime.LockOSThread()
		started <- command.Start()
		if command.Process != nil {
			_ = command.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", log, err)
	}
	return nil
}

func (s *stage) log(name string) string { return filepath.Join(s.dir, name+".log") }

// strike ends all that was set up. The folder stays where something failed and LONGHAUL_TEST_KEEP is set.
func (s *sharedStage) strike() {
	if s.stage == nil {
		return
	}
	if s.stage.endNode != nil {
		s.stage.endNode()
		if err := <-s.stage.nodeEnded; err != nil {
			fmt.Fprintln(os.Stderr, "the node:", err)
		}
	}
	if p := s.stage.plane; p != nil && p.Process != nil {
		_ = p.Process.Signal(syscall.SIGTERM)
		for p.Process.Signal(syscall.Signal(0)) == nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
	if os.Getenv("LONGHAUL_TEST_KEEP") != "" {
		fmt.Fprintln(os.Stderr, "kept:", s.stage.dir)
		return
	}
	_ = os.RemoveAll(s.stage.dir)
}

// manager is one process of the manager's binary.
type manager struct {
	command *exec.Cmd
	log     string
}

// startManager runs the manager until the test is over.
func (s *stage) startManager(t *testing.T, name string, flags ...string) *manager {
	t.Helper()
	flags = append([]string{
		"--kubeconfig", s.kubeconfig, "--metrics-bind-address", "0", "--health-probe-bind-address", "0",
		"--history-file", s.history(), "--dashboard-bind-address", "0",
	}, flags...)
	m := &manager{command: s.command(s.bin("longhaul"), flags...), log: strings.ReplaceAll(t.Name(), "/", "-") + "-" + name}
	if err := s.run(m.command, m.log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			text, _ := os.ReadFile(s.log(m.log))
			t.Logf("the end of the log of manager %s:\n%s", name, text[max(0, len(text)-4000):])
		}
	})
	return m
}

// kill ends it hard.
func (m *manager) kill() {
	_ = m.command.Process.Kill()
}

// wait polls until something is so.
func wait(ctx context.Context, patience time.Duration, what string, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := so()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-ticker.C:
		}
	}
}
