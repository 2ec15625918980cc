package node_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
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
	config, err := environment.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the API server:", err)
		return 1
	}
	server, kubeconfig = config, environment.KubeConfig
	code := m.Run()
	if err := environment.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the API server:", err)
		return 1
	}
	return code
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
