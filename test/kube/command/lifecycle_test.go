package command_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/longhaul-dev/longhaul/test/kube/controlplane"
)

func TestControllersActOnWhatIsCreated(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.start(t)

	p.kubectl(t, "create", "deployment", "web", "--image=none", "--replicas=2")
	p.kubectl(t, "create", "job", "once", "--image=none")
	eventually(t, "the Deployment has two pods and the Job one", func() bool {
		return strings.Count(p.kubectl(t, "get", "pods", "--output=name"), "pod/web-") == 2 &&
			p.kubectl(t, "get", "job", "once", "--output=jsonpath={.status.active}") == "1"
	})
	p.kubectl(t, "delete", "deployment", "web", "--wait=false")
	eventually(t, "the pods of the deleted Deployment are collected", func() bool {
		return !strings.Contains(p.kubectl(t, "get", "pods", "--output=name"), "pod/web-")
	})
	p.kubectl(t, "create", "namespace", "passing")
	p.kubectl(t, "delete", "namespace", "passing", "--timeout="+patience.String())
}

func TestTheNodeIsAskedForLogsByWhoHasACertificate(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.start(t)
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM([]byte(readFile(t, p.dir+"/pki/ca.crt")))
	asked := make(chan string, 1)
	node := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.TLS.PeerCertificates[0].Subject.CommonName + " " + r.URL.Path
		fmt.Fprintln(w, "written")
	}))
	node.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authorities}
	node.StartTLS()
	t.Cleanup(node.Close)

	_, port, _ := net.SplitHostPort(node.Listener.Addr().String())
	objects := t.TempDir() + "/objects.yaml"
	writeFile(t, objects, `
{apiVersion: v1, kind: Node, metadata: {name: played}, status: {daemonEndpoints: {kubeletEndpoint: {Port: `+port+`}}, addresses: [
  {type: Hostname, address: nowhere.invalid}, {type: InternalIP, address: 127.0.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {nodeName: played, containers: [{name: main, image: none}]}}
`)
	p.kubectl(t, "create", "--filename="+objects)
	if log := p.kubectl(t, "logs", "web"); log != "written" {
		t.Fatalf("the log is %q", log)
	}
	if got, want := <-asked, "kube-apiserver-kubelet-client /containerLogs/default/web/main"; got != want {
		t.Errorf("the node was asked by %q, want %q", got, want)
	}
}

func TestServiceAccountMayDoWhatItsRoleAllows(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.start(t)

	token := p.kubectl(t, "create", "token", "default")
	denied, err := p.command(t.Context(), "kubectl", "--token="+token, "get", "pods").CombinedOutput()
	if err == nil || !bytes.Contains(denied, []byte(`"system:serviceaccount:default:default" cannot list resource "pods"`)) {
		t.Errorf("a service account without a role lists pods: %v: %s", err, denied)
	}
	p.kubectl(t, "create", "clusterrolebinding", "viewer", "--clusterrole=view", "--serviceaccount=default:default")
	eventually(t, "the role view, which is aggregated, is filled", func() bool {
		out, err := p.command(t.Context(), "kubectl", "--token="+token, "get", "pods").CombinedOutput()
		return err == nil && bytes.Contains(out, []byte("No resources found"))
	})
	if out := p.kubectl(t, "--as=system:serviceaccount:default:default", "auth", "can-i", "list", "pods"); out != "yes" {
		t.Errorf("the same service account, impersonated, may list pods: %s", out)
	}
}

func TestStoppedControlPlaneLeavesNoProcessAndComesBackAsItWas(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	before := p.start(t)
	if before.Phase != controlplane.Running || len(before.Components) != 3 {
		t.Fatalf("state is %+v, want Running with three components", before)
	}
	for _, c := range before.Components {
		if c.ResidentBytes == 0 {
			t.Errorf("%s has no memory in use", c.Name)
		}
	}
	p.kubectl(t, "create", "configmap", "kept")

	if _, stderr, code := p.kube(t, "stop"); code != 0 {
		t.Fatalf("kube stop: exit code %d: %s", code, stderr)
	}
	if left := p.processes(t); len(left) != 0 {
		t.Fatalf("stopped, but there runs: %q", left)
	}
	if _, _, code := p.kube(t, "status"); code != 1 || p.exists("kubeconfig") || p.exists("pid") {
		t.Errorf("stopped, but the status is exit code %d and the folder has a kubeconfig or a pid", code)
	}

	after := p.start(t)
	if after.Server != before.Server {
		t.Errorf("the server was at %s and is at %s: connected clients lose it", before.Server, after.Server)
	}
	p.kubectl(t, "get", "configmap", "kept")
}

func TestPortThatWasTakenMeanwhileIsReplaced(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	before := p.start(t)
	p.kube(t, "stop")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", strings.TrimPrefix(before.Server, "https://"))
	if err != nil {
		t.Fatalf("taking the API server's port: %v", err)
	}
	t.Cleanup(func() { _ = listener.Close() })

	if after := p.start(t); after.Server == before.Server {
		t.Errorf("the server is at %s, where somebody else listens", after.Server)
	}
	p.kubectl(t, "get", "namespaces")
}

func TestStartingTwiceMakesOne(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	var together sync.WaitGroup
	for range 3 {
		together.Go(func() {
			if _, stderr, code := p.kube(t, "start"); code != 0 {
				t.Errorf("kube start: exit code %d: %s", code, stderr)
			}
		})
	}
	together.Wait()
	state := p.state(t)
	if processes := p.processes(t); state.Phase != controlplane.Running || len(processes) != 4 {
		t.Errorf("the phase is %s; want Running, a keeper and three components, have %q", state.Phase, processes)
	}
	stdout, stderr, code := p.kube(t, "start")
	if code != 0 || !strings.Contains(stderr, fmt.Sprintf("already running, process %d", state.PID)) || !strings.Contains(stdout, "ready: ") {
		t.Errorf("starting it again: exit code %d, %q, %q", code, stdout, stderr)
	}
	if _, stderr, code := p.kube(t, "run"); code != 1 || !strings.Contains(stderr, "already runs") {
		t.Errorf("running another in its folder: exit code %d, %q", code, stderr)
	}
}

func TestKilledKeeperTakesItsComponentsAlong(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	keeper := p.start(t).PID
	p.kubectl(t, "create", "configmap", "kept")

	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no process is left", func() bool { return len(p.processes(t)) == 0 })
	if state := p.state(t); state.Phase != controlplane.Stopped {
		t.Errorf("the phase is %s, want Stopped", state.Phase)
	}
	p.start(t)
	p.kubectl(t, "get", "configmap", "kept")
}

func TestComponentThatEndsEndsAllAndIsNamed(t *testing.T) {
	t.Parallel()
	for i, name := range []string{controlplane.Etcd, controlplane.APIServer, controlplane.ControllerManager} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlane(t)
			var stdout, stderr lockedBuffer
			run := runInForeground(t, p, &stdout, &stderr)
			eventually(t, "it says that it is ready", func() bool { return strings.Contains(stdout.String(), "ready: KUBECONFIG=") })

			if err := syscall.Kill(p.state(t).Components[i].PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := run.Wait(); err == nil {
				t.Error("kube run ends with exit code 0")
			}
			if out := stderr.String(); !strings.Contains(out, name+" ended (signal: killed); the last lines of ") {
				t.Errorf("the message does not name %s and its log: %s", name, out)
			}
			if left := p.processes(t); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestStartThatCannotWorkSaysWhy(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ flag, want string }{
		"a controller that does not exist":    {"--controllers=nonsense", "is not in the list of known controllers"},
		"an audit policy that does not exist": {"--audit-policy=/nowhere/policy.yaml", "/nowhere/policy.yaml: no such file"},
		"too little time":                     {"--timeout=1ms", "not ready after 1ms"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlane(t)
			stdout, stderr, code := p.kube(t, "start", c.flag)
			if code != 1 || stdout != "" || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d, stdout %q; stderr is to say %q: %s", code, stdout, c.want, stderr)
			}
			if left := p.processes(t); len(left) != 0 || p.exists("kubeconfig") {
				t.Errorf("left behind: %q, or a kubeconfig", left)
			}
		})
	}
}

func TestRunThatIsAskedToEndBeforeItIsReadyEndsInOrder(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	var stdout, stderr lockedBuffer
	run := runInForeground(t, p, &stdout, &stderr)
	eventually(t, "the API server starts", func() bool { return p.exists("kube-apiserver.log") })
	if err := run.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(); err != nil || stdout.String() != "" || stderr.String() != "" {
		t.Errorf("kube run: %v, stdout %q, stderr %q", err, stdout.String(), stderr.String())
	}
	if left := p.processes(t); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestStopEndsWhatStartIsStillStarting(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	start := p.command(t.Context(), "kube", "start", "--dir", p.dir)
	var stderr lockedBuffer
	start.Stderr = &stderr
	if err := start.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it begins to start", func() bool { return p.state(t).PID != 0 })
	if _, stderr, code := p.kube(t, "stop"); code != 0 {
		t.Errorf("kube stop: exit code %d: %s", code, stderr)
	}
	if err := start.Wait(); err == nil || !strings.Contains(stderr.String(), "stopped before it was ready") {
		t.Errorf("kube start says %v: %s", err, stderr.String())
	}
	if left := p.processes(t); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestAuditPolicyLogsRequests(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	policy := t.TempDir() + "/policy.yaml"
	writeFile(t, policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, verbs: [create], resources: [{resources: [configmaps]}]}]\n")
	if _, stderr, code := p.kube(t, "start", "--audit-policy="+policy); code != 0 {
		t.Fatalf("kube start: exit code %d: %s", code, stderr)
	}
	p.kubectl(t, "create", "configmap", "seen")
	eventually(t, "the request is in the log", func() bool {
		return strings.Contains(readFile(t, p.dir+"/audit.log"), `"name":"seen"`)
	})
}

func TestPIDFileNamesTheKeeper(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	state := p.start(t)
	if got := strings.TrimSpace(readFile(t, p.dir+"/pid")); got != strconv.Itoa(state.PID) {
		t.Errorf("pid is %s, the keeper is process %d", got, state.PID)
	}
}

// runInForeground starts kube run. A test that fails leaves it to the folder's cleaning up to end it.
func runInForeground(t *testing.T, p plane, stdout, stderr *lockedBuffer) *exec.Cmd {
	t.Helper()
	run := p.command(t.Context(), "kube", "run", "--dir", p.dir)
	run.Stdout, run.Stderr = stdout, stderr
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	return run
}
