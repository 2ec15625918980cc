package controlplane

import (
	"fmt"
	"slices"
	"strings"
)

// The names of the components: of their programs, their logs and in messages.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
)

// DefaultControllers returns what the controller manager runs unless told otherwise: what acts on the objects that a
// control plane without nodes can hold. Left out above all is what needs nodes, volumes or a cloud. The pod garbage
// collector is left out because it deletes pods of nodes that are no Node objects.
func DefaultControllers() []string {
	return []string{
		"clusterrole-aggregation-controller", // else the roles view, edit and admin are empty
		"cronjob-controller",
		"deployment-controller",
		"disruption-controller",
		"garbage-collector-controller",
		"job-controller",
		"namespace-controller",
		"replicaset-controller",
		"resourcequota-controller",
		"root-ca-certificate-publisher-controller",
		serviceAccountController,
		"serviceaccount-token-controller",
		"statefulset-controller",
		"ttl-after-finished-controller",
	}
}

// serviceAccountController makes the service account without which no pod can be created in a namespace.
const serviceAccountController = "serviceaccount-controller"

// managerKubeconfig is the controller manager's own, in the folder.
const managerKubeconfig = "controller-manager.kubeconfig"

// component is one process of a control plane: what to run, and where it answers that it is ready.
type component struct {
	name    string
	args    []string
	address string // host:port of its main listener
	ready   string // URL that answers 200 when the component is ready
}

func (f folder) etcd(p ports) component {
	address, peer := loopback(p.Etcd), "http://"+loopback(p.EtcdPeer)
	client := "http://" + address
	return component{
		name: Etcd, address: address, ready: client + "/readyz",
		args: []string{
			"--name=local",
			"--data-dir=" + f.path("etcd"),
			"--listen-client-urls=" + client,
			"--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer,
			"--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=local=" + peer,
			"--socket-reuse-port",
			// What is written survives the end of the process all the same, only not a power failure.
			"--unsafe-no-fsync",
			"--quota-backend-bytes=8589934592",
			"--log-level=warn",
		},
	}
}

func (f folder) apiServer(p ports, auditPolicy string) component {
	address := loopback(p.APIServer)
	args := []string{
		"--etcd-servers=http://" + loopback(p.Etcd),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", p.APIServer),
		"--permit-port-sharing",
		// A loopback address is refused as an endpoint of the Service kubernetes: it has none.
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=" + serviceIPRange,
		"--tls-cert-file=" + f.path("pki", "serving.crt"),
		"--tls-private-key-file=" + f.path("pki", "serving.key"),
		"--token-auth-file=" + f.path("pki", "tokens.csv"),
		// Nodes are asked for logs at their addresses: nothing makes a node's name known here.
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate=" + f.path("pki", "kubelet-client.crt"),
		"--kubelet-client-key=" + f.path("pki", "kubelet-client.key"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + f.path("pki", "serviceaccount.key"),
		"--service-account-signing-key-file=" + f.path("pki", "serviceaccount.key"),
		// A benchmark is to measure what it tests. With fairness on, the server queues and refuses by the shares that it
		// works out from its limits in flight; with it off and no limits, a request waits for nothing but the processor.
		"--enable-priority-and-fairness=false",
		"--max-requests-inflight=0",
		"--max-mutating-requests-inflight=0",
	}
	if auditPolicy != "" {
		args = append(args, "--audit-policy-file="+auditPolicy, "--audit-log-path="+f.path("audit.log"))
	}
	return component{name: APIServer, args: args, address: address, ready: "https://" + address + "/readyz"}
}

func (f folder) controllerManager(p ports, controllers []string) component {
	address, config := loopback(p.ControllerManager), f.path(managerKubeconfig)
	return component{
		name: ControllerManager, address: address, ready: "https://" + address + "/healthz",
		args: []string{
			"--kubeconfig=" + config,
			"--authentication-kubeconfig=" + config,
			"--authorization-kubeconfig=" + config,
			"--authentication-skip-lookup", // clients come with tokens: there is no authority to look up
			"--bind-address=127.0.0.1",
			fmt.Sprintf("--secure-port=%d", p.ControllerManager),
			"--permit-port-sharing",
			"--tls-cert-file=" + f.path("pki", "serving.crt"),
			"--tls-private-key-file=" + f.path("pki", "serving.key"),
			"--leader-elect=false",
			"--controllers=" + strings.Join(controllers, ","),
			// As in real clusters, each controller is a service account with a role of its own.
			"--use-service-account-credentials",
			"--service-account-private-key-file=" + f.path("pki", "serviceaccount.key"),
			"--root-ca-file=" + f.path("pki", "ca.crt"),
			// At the default of 20 requests a second these limits would be what a benchmark measures.
			"--kube-api-qps=1000",
			"--kube-api-burst=2000",
			"--concurrent-job-syncs=32",
		},
	}
}

// enabled tells whether a list for the controller manager turns a controller on: by its name, or by the star that stands
// for all, unless its name with a minus takes it out.
func enabled(controllers []string, name string) bool {
	return slices.Contains(controllers, name) || slices.Contains(controllers, "*") && !slices.Contains(controllers, "-"+name)
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
