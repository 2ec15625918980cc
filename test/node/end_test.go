package node_test

import (
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// told is a script that says when it has been started, and when it is asked to end, which it then does with code 3.
const told = "trap 'echo asked; exit 3' TERM; echo started; while :; do sleep 0.05; done"

// stubborn is a script that does not end when it is asked to.
const stubborn = "trap 'echo asked' TERM; echo started; while :; do sleep 0.05; done"

func TestADeletedPodIsAskedToEndAndItsEndReported(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod(told))
	b.awaitLog(pod, "main", "started")
	began := time.Now()
	pod = b.end(pod, -1)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s although the process ended at once", took)
	}
	end := pod.Status.ContainerStatuses[0].State.Terminated
	if pod.Status.Phase != corev1.PodFailed || end == nil || end.ExitCode != 3 {
		t.Errorf("its end was not reported: %+v", pod.Status)
	}
	if got := b.log(pod, "main", 0); got != "started\nasked\n" {
		t.Errorf("it wrote %q", got)
	}
}

func TestAPodThatEndsWellWhenDeletedHasSucceeded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod(strings.Replace(told, "exit 3", "exit 0", 1)))
	b.awaitLog(pod, "main", "started")
	if pod = b.end(pod, -1); pod.Status.Phase != corev1.PodSucceeded {
		t.Errorf("phase is %s, want Succeeded", pod.Status.Phase)
	}
}

func TestAPodThatDoesNotEndIsKilledAfterItsGracePeriod(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod("sleep 61 & " + stubborn))
	b.awaitLog(pod, "main", "started")
	began := time.Now()
	pod = b.end(pod, 1)
	if took := time.Since(began); took < time.Second || took > 4*time.Second {
		t.Errorf("it took %s, want a little more than 1s", took)
	}
	end := pod.Status.ContainerStatuses[0].State.Terminated
	if end == nil || end.ExitCode != 137 || end.Signal != 9 {
		t.Errorf("it was not killed: %+v", pod.Status)
	}
	if got := b.log(pod, "main", 0); got != "started\nasked\n" {
		t.Errorf("it wrote %q", got)
	}
}

func TestAGracePeriodCanBeMadeShorter(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod(stubborn))
	b.awaitLog(pod, "main", "started")
	last := b.watchEnd(pod)
	b.delete(pod, 600)
	b.awaitLog(pod, "main", "asked")
	began := time.Now()
	b.delete(pod, 1)
	last()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %s, want a little more than 1s", took)
	}
}

func TestAPodWhoseObjectIsGoneIsKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod("echo $$$$ >pid; " + stubborn))
	b.awaitLog(pod, "main", "started")
	pid := b.readWork(pod, "pid")
	b.end(pod, 0)
	b.awaitEnd(pid)
}

func TestWhatAContainerStartedEndsWithIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod("sleep 61 & echo $! >pid; cp pid copy; sleep 0.1"))
	pod = b.awaitPhase(pod, corev1.PodSucceeded)
	b.awaitEnd(b.readWork(pod, "pid"))
}

func TestAFinishedPodCanBeDeleted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("echo done")
	pod.Finalizers = []string{"example.com/test"}
	pod = b.awaitPhase(b.create(pod), corev1.PodSucceeded)
	last := b.watchEnd(pod)
	b.delete(pod, -1)
	release := []byte(`{"metadata":{"finalizers":null}}`)
	_, err := b.client.CoreV1().Pods(b.name).Patch(t.Context(), pod.Name, types.MergePatchType, release, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	last()
	b.eventually("the work folder is gone", func() bool {
		_, err := os.Stat(b.folder(pod) + "/_work")
		return os.IsNotExist(err)
	}, func() any { return b.folder(pod) })
	if got := b.log(pod, "main", 0); got != "done\n" {
		t.Errorf("the log of the deleted pod is %q", got)
	}
}

func TestThePreStopHookComesBeforeTheSignal(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	web := b.awaitServing(b.create(b.webPod("")))
	for name, test := range map[string]struct {
		hook  corev1.LifecycleHandler
		check func(t *testing.T, log string, took time.Duration)
	}{
		"a command": {
			hook: corev1.LifecycleHandler{Exec: &corev1.ExecAction{
				Command: []string{"sh", "-c", `sleep 0.3; cp "$GREETING" seen; sleep 0.1`},
			}},
			check: func(t *testing.T, log string, _ time.Duration) {
				t.Helper()
				if want := "started\nhook\nasked\n"; log != want {
					t.Errorf("it wrote %q, want %q", log, want)
				}
			},
		},
		"sleep": {
			hook: corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}},
			check: func(t *testing.T, _ string, took time.Duration) {
				t.Helper()
				if took < time.Second {
					t.Errorf("the pod was gone after %s, want at least 1s", took)
				}
			},
		},
		"a request": {
			hook: corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{
				Host: web.Status.PodIP, Port: intstr.FromInt32(8081), Path: "/stopping?now",
				HTTPHeaders: []corev1.HTTPHeader{{Name: "X-Asked-By", Value: "hook"}},
			}},
			check: func(t *testing.T, _ string, _ time.Duration) {
				t.Helper()
				b.with(t).awaitLog(web, "main", "/stopping hook\n")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := b.with(t)
			pod := b.pod("trap 'echo asked; exit 0' TERM; echo greeting >greeting; echo started; " +
				"while :; do sleep 0.05; [ -e seen ] && rm seen && echo hook; done")
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "GREETING", Value: "greeting"}}
			pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &test.hook}
			pod = b.create(pod)
			b.awaitLog(pod, "main", "started")
			began := time.Now()
			pod = b.end(pod, 30)
			if pod.Status.Phase != corev1.PodSucceeded {
				t.Errorf("phase is %s, want Succeeded", pod.Status.Phase)
			}
			test.check(t, b.log(pod, "main", 0), time.Since(began))
		})
	}
}

func TestAPreStopHookThatTakesTooLongIsCutShort(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod(told)
	pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{
		Exec: &corev1.ExecAction{Command: []string{"sleep", "61"}},
	}}
	pod = b.create(pod)
	b.awaitLog(pod, "main", "started")
	began := time.Now()
	pod = b.end(pod, 1)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s, want a little more than 1s", took)
	}
	if got := b.log(pod, "main", 0); got != "started\nasked\n" {
		t.Errorf("it wrote %q: the signal is sent all the same", got)
	}
}

// readWork reads the first line of a file where a pod's containers run, once it is there.
func (b *bench) readWork(pod *corev1.Pod, name string) string {
	b.t.Helper()
	var line string
	b.eventually("there is a file "+name, func() bool {
		content, err := os.ReadFile(b.folder(pod) + "/_work/" + name)
		var whole bool
		line, _, whole = strings.Cut(string(content), "\n")
		return err == nil && whole
	}, func() any { return nil })
	return line
}
