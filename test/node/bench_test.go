package node_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/longhaul-dev/longhaul/test/node"
)

// patience is how long a test waits for what is to happen at once.
const patience = 20 * time.Second

// bench is a process node under test and a client of its own.
type bench struct {
	t      *testing.T
	name   string // of the node; also of the namespace in which its pods are
	dir    string
	client kubernetes.Interface
	stop   func() // ends the node and waits for that
}

// newBench starts a process node for one test.
func newBench(t *testing.T, change ...func(*node.Options)) *bench {
	t.Helper()
	b := newBenchWithoutNode(t)
	b.start(change...)
	return b
}

func newBenchWithoutNode(t *testing.T) *bench {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" { // asked again here, so that a cached result depends on it
		const missing = "KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver, such as the one that " +
			"test/kube/build.sh prints"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	b := &bench{t: t, dir: t.TempDir()}
	config := rest.CopyConfig(server)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	b.client = client
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "node-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.name = namespace.Name
	return b
}

// start starts the bench's node and returns when it is ready.
func (b *bench) start(change ...func(*node.Options)) {
	b.t.Helper()
	ready := make(chan struct{})
	options := node.Options{
		Config: server, Name: b.name, SchedulerName: b.name, Dir: b.dir, Ready: func() { close(ready) },
	}
	for _, change := range change {
		change(&options)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx, options) }()
	b.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Error("the node failed:", err)
		}
		b.stop = func() {}
	}
	b.t.Cleanup(func() { b.stop() })
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		b.t.Fatal("the node ended:", err)
	case <-time.After(patience):
		b.t.Fatal("the node is not ready")
	}
}

// pod returns a pod that runs a shell script once.
func (b *bench) pod(script string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-", Namespace: b.name},
		Spec: corev1.PodSpec{
			NodeName:      b.name,
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{shell("main", script)},
		},
	}
}

// shell returns a container that runs a shell script.
func shell(name, script string) corev1.Container {
	return corev1.Container{Name: name, Image: "none", Command: []string{"sh", "-c", script}}
}

// create makes a pod's object.
func (b *bench) create(pod *corev1.Pod) *corev1.Pod {
	b.t.Helper()
	created, err := b.client.CoreV1().Pods(b.name).Create(b.t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return created
}

// get returns a pod's object as it is now.
func (b *bench) get(pod *corev1.Pod) *corev1.Pod {
	b.t.Helper()
	now, err := b.client.CoreV1().Pods(b.name).Get(b.t.Context(), pod.Name, metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return now
}

// await returns the pod's object once it is as it should be.
func (b *bench) await(pod *corev1.Pod, what string, holds func(*corev1.Pod) bool) *corev1.Pod {
	b.t.Helper()
	var now *corev1.Pod
	b.eventually("the pod is "+what, func() bool {
		now = b.get(pod)
		return holds(now)
	}, func() any { return now.Status })
	return now
}

// awaitPhase returns the pod's object once it is in a phase.
func (b *bench) awaitPhase(pod *corev1.Pod, phase corev1.PodPhase) *corev1.Pod {
	b.t.Helper()
	return b.await(pod, string(phase), func(p *corev1.Pod) bool { return p.Status.Phase == phase })
}

// eventually waits until something holds. What is shown tells why it does not.
func (b *bench) eventually(what string, holds func() bool, show func() any) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("it is not so that %s: %+v", what, show())
		}
	}
}

// delete asks for a pod's end, with a grace period of its own unless that is negative.
func (b *bench) delete(pod *corev1.Pod, grace int64) {
	b.t.Helper()
	options := metav1.DeleteOptions{}
	if grace >= 0 {
		options.GracePeriodSeconds = &grace
	}
	if err := b.client.CoreV1().Pods(b.name).Delete(b.t.Context(), pod.Name, options); err != nil {
		b.t.Fatal(err)
	}
}

// end deletes a pod and returns the last that was seen of its object.
func (b *bench) end(pod *corev1.Pod, grace int64) *corev1.Pod {
	b.t.Helper()
	last := b.watchEnd(pod)
	b.delete(pod, grace)
	return last()
}

// watchEnd returns a function that waits for the deletion of a pod's object and returns it as it was last.
func (b *bench) watchEnd(pod *corev1.Pod) func() *corev1.Pod {
	b.t.Helper()
	events, err := b.client.CoreV1().Pods(b.name).Watch(b.t.Context(), metav1.ListOptions{
		FieldSelector: "metadata.name=" + pod.Name, ResourceVersion: b.get(pod).ResourceVersion,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return func() *corev1.Pod {
		b.t.Helper()
		defer events.Stop()
		timeout := time.After(patience)
		for {
			select {
			case event := <-events.ResultChan():
				if gone, ok := event.Object.(*corev1.Pod); ok && event.Type == "DELETED" {
					return gone
				}
			case <-timeout:
				b.t.Fatalf("the pod is not gone: %+v", b.get(pod).Status)
			}
		}
	}
}

// log returns what a run of a container wrote.
func (b *bench) log(pod *corev1.Pod, container string, run int) string {
	b.t.Helper()
	return b.read(filepath.Join(b.folder(pod), container, fmt.Sprintf("%d.log", run)))
}

// folder is a pod's folder, where the README says that it is.
func (b *bench) folder(pod *corev1.Pod) string {
	return filepath.Join(b.dir, "pods", fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID))
}

// read returns what is in a file.
func (b *bench) read(path string) string {
	b.t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(content)
}

// awaitLog waits until a container's first run has written a text.
func (b *bench) awaitLog(pod *corev1.Pod, container, text string) {
	b.t.Helper()
	file := filepath.Join(b.folder(pod), container, "0.log")
	var content []byte
	b.eventually(fmt.Sprintf("the log has %q", text), func() bool {
		content, _ = os.ReadFile(file)
		return strings.Contains(string(content), text)
	}, func() any { return string(content) })
}

// awaitEnd waits until the process whose id a container has written to its log is gone.
func (b *bench) awaitEnd(pid string) {
	b.t.Helper()
	b.eventually("the process has ended", func() bool {
		state, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(state), ") Z ")
	}, func() any { return pid })
}

// with is the bench for a subtest.
func (b *bench) with(t *testing.T) *bench {
	t.Helper()
	sub := *b
	sub.t = t
	return &sub
}

// touch makes a file where a pod's containers run.
func (b *bench) touch(pod *corev1.Pod, name string) {
	b.t.Helper()
	writeFile(b.t, filepath.Join(b.folder(pod), "_work", name), "")
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// waitsFor is the reason for which a pod's first container waits, if it does.
func waitsFor(pod *corev1.Pod) string {
	if len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Waiting == nil {
		return ""
	}
	return pod.Status.ContainerStatuses[0].State.Waiting.Reason
}

func dial(address string) error {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	return connection.Close()
}
