// Command kube is a Kubernetes control plane in one binary, for tests and for trying Longhaul without a cluster.
//
// It does what the name it is called by says: as etcd, kube-apiserver, kube-controller-manager or kubectl it is that
// program, unchanged; by any other name it is the command that starts and stops the first three together.
package main

import (
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	"github.com/longhaul-dev/longhaul/test/kube/command"
	"github.com/longhaul-dev/longhaul/test/kube/controlplane"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case controlplane.Etcd:
		etcdmain.Main(os.Args)
	case controlplane.APIServer:
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case controlplane.ControllerManager:
		os.Exit(cli.Run(manager.NewControllerManagerCommand()))
	case "kubectl":
		os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	default:
		// Kubernetes puts flags of its own, such as a --version, on this set, and every cobra command takes them over.
		pflag.CommandLine = pflag.NewFlagSet("kube", pflag.ContinueOnError)
		os.Exit(command.Main(os.Args[1:], os.Stdout, os.Stderr, version()))
	}
}

// version names what the binary was built from.
func version() string {
	kubernetes, etcd := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			switch module.Path {
			case "k8s.io/kubernetes":
				kubernetes = module.Version
			case "go.etcd.io/etcd/server/v3":
				etcd = module.Version
			}
		}
	}
	return "Kubernetes " + kubernetes + ", etcd " + etcd
}
