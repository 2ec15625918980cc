package node_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/longhaul-dev/longhaul/test/node/command"
)

// role is the variable that makes this program something else than the tests: the command, or what a container runs.
const role = "PROCESS_NODE_TEST_ROLE"

// server is the API server of all tests, or nil if there is none to be had.
var server *rest.Config

// clients is the authority by which nodes know it. They take it for the server's own.
var clients *authority

// kubeconfig is what the command needs to reach it.
var kubeconfig []byte

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "command":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		code := command.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	case "web":
		os.Exit(serveWeb())
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run()
	}
	environment := &envtest.Environment{}
	folder, err := os.MkdirTemp("", "process-node-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	authority, err := introduce(environment, folder)
	if err != nil {
		fmt.Fprintln(os.Stderr, "making the API server's certificate:", err)
		return 1
	}
	config, err := environment.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the API server:", err)
		return 1
	}
	config.CAData = append(config.CAData, authority...)
	server, kubeconfig = config, environment.KubeConfig
	code := m.Run()
	if err := environment.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the API server:", err)
		return 1
	}
	return code
}

// introduce gives the API server a certificate by which nodes know it, and returns that of the authority.
func introduce(environment *envtest.Environment, folder string) ([]byte, error) {
	var err error
	if clients, err = newAuthority(); err != nil {
		return nil, err
	}
	certificate, key, err := clients.sign(apiServerName, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	arguments := environment.ControlPlane.GetAPIServer().Configure().Set("kubelet-preferred-address-types", "InternalIP")
	for name, content := range map[string][]byte{"certificate": certificate, "key": key} {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return nil, err
		}
		arguments.Set("kubelet-client-"+name, file)
	}
	return clients.pem()
}

// serveWeb listens on the pod's address. It answers 200 to the path of a file in its folder, 404 otherwise, and writes the
// paths that it is asked for to its log.
func serveWeb() int {
	listener, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("LONGHAUL_POD_IP"), "8081"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.URL.Path, r.Header.Get("X-Asked-By"))
		if _, err := os.Stat("." + r.URL.Path); err != nil {
			w.WriteHeader(http.StatusNotFound)
		}
	}
	web := http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: patience}
	fmt.Fprintln(os.Stderr, web.Serve(listener))
	return 1
}
