package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/test/demo/internal/parts"
)

// namespace is where everything is.
const namespace = metav1.NamespaceDefault

// cluster is a Kubernetes on this machine with Longhaul in it.
type cluster struct {
	programs programs
	root     string
	dir      string
	// metrics and dashboard are the addresses of the manager's.
	metrics, dashboard string
	client             client.WithWatch
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.dir, "kube", "kubeconfig") }

// start starts the control plane, the node and the manager, each as a user would.
func (c *cluster) start(ctx context.Context, set *parts.Set) error {
	kube, err := set.Start("kube", exec.Command(filepath.Join(c.programs.assets, "kube"), "run", "--dir", filepath.Join(c.dir, "kube")))
	if err != nil {
		return err
	}
	// The file is there while everything is ready.
	ready := func(context.Context) error { _, err := os.Stat(c.kubeconfig()); return err }
	if err := kube.Await(ctx, ready); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	if err := c.kubectl(ctx, "apply", "-k", filepath.Join("config", "crd")); err != nil {
		return err
	}
	served := func(ctx context.Context) error { return c.client.List(ctx, &v1alpha1.ScaledJobList{}) }
	if err := kube.Await(ctx, served); err != nil {
		return err
	}
	if err := c.startNode(ctx, set); err != nil {
		return err
	}
	return c.startManager(ctx, set)
}

func (c *cluster) startNode(ctx context.Context, set *parts.Set) error {
	node, err := set.Start("node", exec.Command(filepath.Join(c.programs.bin, "process-node"),
		"--kubeconfig", c.kubeconfig(), "--dir", filepath.Join(c.dir, "node"), "--path", c.programs.bin))
	if err != nil {
		return err
	}
	return node.Await(ctx, func(context.Context) error {
		log, err := os.ReadFile(node.Log)
		if err != nil {
			return err
		}
		if !bytes.Contains(append([]byte("\n"), log...), []byte("\nready\n")) {
			return errors.New("it is not ready")
		}
		return nil
	})
}

func (c *cluster) startManager(ctx context.Context, set *parts.Set) error {
	probes, err := freeAddress()
	if err != nil {
		return err
	}
	if c.metrics, err = freeAddress(); err != nil {
		return err
	}
	if c.dashboard, err = freeAddress(); err != nil {
		return err
	}
	manager, err := set.Start("longhaul", exec.Command(filepath.Join(c.programs.bin, "longhaul"), "--kubeconfig", c.kubeconfig(),
		"--health-probe-bind-address", probes, "--metrics-bind-address", c.metrics, "--history-file", filepath.Join(c.dir, "history.db"),
		"--dashboard-bind-address", c.dashboard, "--dashboard-auth", "none", "--dashboard-tls=false"))
	if err != nil {
		return err
	}
	return manager.Await(ctx, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+probes+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New("/readyz: " + response.Status)
		}
		return nil
	})
}

// freeAddress is one on loopback that nobody listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

func (c *cluster) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("making the scheme: %w", err)
	}
	if c.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	return nil
}

// kubectl runs kubectl in the repository.
func (c *cluster) kubectl(ctx context.Context, args ...string) error {
	command := tool(ctx, filepath.Join(c.programs.assets, "kubectl"), args...)
	command.Dir, command.Env = c.root, append(os.Environ(), "KUBECONFIG="+c.kubeconfig())
	return runTool(command)
}

// addSecret makes the Secret that config/samples/transcode-rabbitmq.yaml tells to create.
func (c *cluster) addSecret(ctx context.Context, a access) error {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "rabbitmq"},
		StringData: map[string]string{"uri": a.URI, "management": a.Management},
	}
	if err := c.client.Create(ctx, secret); err != nil {
		return fmt.Errorf("creating the Secret with the broker's URIs: %w", err)
	}
	return nil
}

// report is the file in which the node has a worker tell of its work: the container's termination message.
func (c *cluster) report(pod types.NamespacedName, uid types.UID) string {
	return filepath.Join(c.dir, "node", "pods", fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, uid), "worker", "0.message")
}
