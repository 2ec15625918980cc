package node_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/test/node"
)

func TestANodeThatIsStartedAgainTakesWhatRanForKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	once, again, finished := b.pod("echo $$$$; sleep 60"), b.pod("echo $$$$; sleep 60"), b.pod("echo x >>runs")
	again.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	once, again, finished = b.create(once), b.create(again), b.create(finished)
	b.awaitPhase(once, corev1.PodRunning)
	again = b.awaitPhase(again, corev1.PodRunning)
	b.awaitPhase(finished, corev1.PodSucceeded)
	b.awaitLog(once, "main", "\n")
	pid := b.log(once, "main", 0)
	b.stop()
	b.awaitEnd(pid[:len(pid)-1])

	b.start()
	once = b.awaitPhase(once, corev1.PodFailed)
	end := once.Status.ContainerStatuses[0].State.Terminated
	if end == nil || end.ExitCode != 137 || end.Reason != "ContainerStatusUnknown" {
		t.Errorf("it was not taken for killed: %+v", once.Status)
	}
	address := again.Status.PodIP
	again = b.await(again, "running again", func(p *corev1.Pod) bool {
		return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	if end := again.Status.ContainerStatuses[0].LastTerminationState.Terminated; end == nil || end.ExitCode != 137 {
		t.Errorf("its first run was not taken for killed: %+v", again.Status)
	}
	if again.Status.PodIP != address {
		t.Errorf("its address was %s and is %s", address, again.Status.PodIP)
	}
	if got := b.read(b.folder(finished) + "/_work/runs"); got != "x\n" {
		t.Errorf("the finished pod ran again: %q", got)
	}
}

func TestPodsKeepTheirAddressesWhenTheNodeIsStartedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	make10 := func() (pods []*corev1.Pod) {
		for range 10 {
			pod := b.pod("sleep 60")
			pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
			pods = append(pods, b.create(pod))
		}
		return pods
	}
	before := map[string]string{}
	old := make10()
	for _, pod := range old {
		before[pod.Name] = b.awaitPhase(pod, corev1.PodRunning).Status.PodIP
	}
	b.stop()
	newer := make10()
	b.start()
	taken := map[string]bool{}
	for _, pod := range newer {
		taken[b.awaitPhase(pod, corev1.PodRunning).Status.PodIP] = true
	}
	after := map[string]string{}
	for _, pod := range old {
		pod = b.await(pod, "running again", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 })
		after[pod.Name] = pod.Status.PodIP
		taken[pod.Status.PodIP] = true
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	if len(taken) != 20 {
		t.Errorf("20 pods have %d addresses", len(taken))
	}
}

func TestAPodOfAnotherNodeGetsAnAddressOfThisOne(t *testing.T) {
	t.Parallel()
	b := newBenchWithoutNode(t)
	pod := b.create(b.pod("true"))
	status := []byte(`{"status":{"podIP":"10.1.2.3","podIPs":[{"ip":"10.1.2.3"}],"hostIP":"10.0.0.1","hostIPs":[{"ip":"10.0.0.1"}]}}`)
	pods := b.client.CoreV1().Pods(b.name)
	patch := types.StrategicMergePatchType
	if _, err := pods.Patch(t.Context(), pod.Name, patch, status, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	b.start()
	pod = b.awaitPhase(pod, corev1.PodSucceeded)
	if len(pod.Status.PodIPs) != 1 || !strings.HasPrefix(pod.Status.PodIP, "127.") {
		t.Errorf("its addresses are %v", pod.Status.PodIPs)
	}
}

func TestAPodWhoseEndTheServerDoesNotKnowDoesNotRunAgain(t *testing.T) {
	t.Parallel()
	b := newBenchWithoutNode(t)
	wire := newWire(t)
	b.start(func(o *node.Options) { o.Config = wire.config })
	pod := b.create(b.pod("echo x >>runs; echo started; until [ -e go ]; do sleep 0.05; done"))
	b.awaitPhase(pod, corev1.PodRunning)
	wire.cut()
	b.touch(pod, "go")
	b.eventually("the end is written down", func() bool {
		return strings.Contains(b.read(b.folder(pod)+"/_state.json"), `"terminated"`)
	}, func() any { return b.read(b.folder(pod) + "/_state.json") })
	b.stop()

	b.start()
	b.awaitPhase(pod, corev1.PodSucceeded)
	if got := b.read(b.folder(pod) + "/_work/runs"); got != "x\n" {
		t.Errorf("it ran again: %q", got)
	}
}

func TestPodsRunOnWhileTheServerCannotBeReached(t *testing.T) {
	t.Parallel()
	b := newBenchWithoutNode(t)
	wire := newWire(t)
	b.start(func(o *node.Options) { o.Config = wire.config })
	ends, stays := b.create(b.pod("until [ -e go ]; do sleep 0.05; done; exit 5")), b.create(b.pod("sleep 60"))
	b.awaitPhase(ends, corev1.PodRunning)
	b.awaitPhase(stays, corev1.PodRunning)
	wire.cut()
	b.touch(ends, "go")
	missed := b.create(b.pod("echo started"))
	b.eventually("the end is written down", func() bool {
		return strings.Contains(b.read(b.folder(ends)+"/_state.json"), `"terminated"`)
	}, func() any { return b.read(b.folder(ends) + "/_state.json") })
	if phase := b.get(ends).Status.Phase; phase != corev1.PodRunning {
		t.Fatalf("the server knows although the wire was cut: %s", phase)
	}
	wire.mend()
	ends = b.awaitPhase(ends, corev1.PodFailed)
	if end := ends.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 5 {
		t.Errorf("its end was not reported: %+v", ends.Status)
	}
	b.awaitPhase(missed, corev1.PodSucceeded)
	if !isReady(b.get(stays)) {
		t.Error("the other pod was touched")
	}
}

func TestTheProcessesOfANodeThatIsKilledEnd(t *testing.T) {
	t.Parallel()
	b := newBenchWithoutNode(t)
	kill := b.startCommand()
	pod := b.create(b.pod("echo $$$$ >leader; setsid sh -c 'echo $$ >escaped; exec sleep 61' & sleep 62"))
	leader, escaped := b.readWork(pod, "leader"), b.readWork(pod, "escaped")
	b.awaitPhase(pod, corev1.PodRunning)
	kill()
	b.awaitEnd(leader)
	b.start()
	b.awaitEnd(escaped)
}

func TestOneNodeAtATimeHasAFolder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	err := node.Run(t.Context(), node.Options{Config: server, Name: b.name, Dir: b.dir})
	if !errors.Is(err, node.ErrInUse) {
		t.Errorf("the second node got %v", err)
	}
}

func TestTheLogsOfTheNewestDeletedPodsAreKept(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *node.Options) { o.KeepLogs = 2 })
	var pods []*corev1.Pod
	for range 4 {
		pod := b.awaitPhase(b.create(b.pod("echo done")), corev1.PodSucceeded)
		b.delete(pod, -1)
		b.eventually("it is cleared away", func() bool {
			_, err := os.Stat(b.folder(pod) + "/_work")
			return os.IsNotExist(err)
		}, func() any { return b.folder(pod) })
		pods = append(pods, pod)
	}
	var kept []bool
	b.eventually("the first two are gone", func() bool {
		kept = nil
		for _, pod := range pods {
			_, err := os.Stat(b.folder(pod))
			kept = append(kept, err == nil)
		}
		return !kept[0] && !kept[1] && kept[2] && kept[3]
	}, func() any { return kept })
}

// startCommand starts the node as the command, and returns what kills it hard.
func (b *bench) startCommand() (kill func()) {
	b.t.Helper()
	program, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	file := filepath.Join(b.t.TempDir(), "kubeconfig")
	writeFile(b.t, file, string(kubeconfig))
	run := exec.Command(program, "--kubeconfig", file, "--dir", b.dir, "--name", b.name)
	run.Env = append(os.Environ(), role+"=command")
	run.Stderr = b.t.Output()
	output, err := run.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		b.t.Fatal(err)
	}
	var once sync.Once
	kill = func() { once.Do(func() { _ = run.Process.Kill(); _ = run.Wait() }) }
	b.t.Cleanup(kill)
	if line, err := bufio.NewReader(output).ReadString('\n'); line != "ready\n" {
		b.t.Fatalf("it said %q: %v", line, err)
	}
	return kill
}
