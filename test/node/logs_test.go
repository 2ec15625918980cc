package node_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/test/node"
)

func TestAPodsLogIsReadThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	failed := b.pod("echo one; echo two >&2; echo three; exit 7")
	failed.Spec.InitContainers = []corev1.Container{shell("first", "echo prepared")}
	failed = b.awaitPhase(b.create(failed), corev1.PodFailed)
	running := b.create(b.pod("echo started; sleep 60"))
	b.awaitLog(running, "main", "started")
	unable := b.pod("")
	unable.Spec.Containers[0].Command = []string{"there-is-no-such-program"}
	unable = b.awaitPhase(b.create(unable), corev1.PodFailed)
	for name, test := range map[string]struct {
		pod     *corev1.Pod
		options corev1.PodLogOptions
		want    string
	}{
		"all of it":                 {failed, corev1.PodLogOptions{}, "one\ntwo\nthree\n"},
		"an init container's":       {failed, corev1.PodLogOptions{Container: "first"}, "prepared\n"},
		"the last lines":            {failed, corev1.PodLogOptions{TailLines: ptr.To[int64](2)}, "two\nthree\n"},
		"so many bytes":             {failed, corev1.PodLogOptions{LimitBytes: ptr.To[int64](5)}, "one\nt"},
		"followed when it is over":  {failed, corev1.PodLogOptions{Follow: true}, "one\ntwo\nthree\n"},
		"while it is being written": {running, corev1.PodLogOptions{}, "started\n"},
		"followed up to a size":     {running, corev1.PodLogOptions{Follow: true, LimitBytes: ptr.To[int64](4)}, "star"},
		"of what could not start":   {unable, corev1.PodLogOptions{}, ""},
	} {
		if got := b.logs(test.pod, test.options); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestALogIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod("echo first; until [ -e go ]; do sleep 0.05; done; seq 20000; echo last"))
	b.awaitPhase(pod, corev1.PodRunning)
	stream := b.follow(t.Context(), pod)
	if line, err := stream.ReadString('\n'); line != "first\n" {
		t.Fatalf("it begins with %q: %v", line, err)
	}
	b.touch(pod, "go")
	rest, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := "first\n"+string(rest), b.log(pod, "main", 0); got != want || !strings.HasSuffix(got, "\nlast\n") {
		t.Errorf("%d bytes were sent of %d", len(got), len(want))
	}
}

func TestALogThatIsFollowedEndsWithThePodsObject(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod("echo started; sleep 60"))
	b.awaitPhase(pod, corev1.PodRunning)
	stream := b.follow(t.Context(), pod)
	b.delete(pod, 0)
	if got, err := io.ReadAll(stream); string(got) != "started\n" || err != nil {
		t.Errorf("it was %q: %v", got, err)
	}
}

func TestALogThatIsFollowedEndsWithTheNode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod("echo started; sleep 60"))
	b.awaitLog(pod, "main", "started")
	b.awaitPhase(pod, corev1.PodRunning)
	// Asked as the API server does: its own clients cannot tell an end from a cut.
	response := b.send(http.MethodGet, "/containerLogs/"+b.name+"/"+pod.Name+"/main?follow=true",
		certificates(t, clients, apiServerName, x509.ExtKeyUsageClientAuth))
	defer response.Body.Close()
	b.stop()
	if got, err := io.ReadAll(response.Body); string(got) != "started\n" || err != nil {
		t.Errorf("it was %q: %v", got, err)
	}
}

func TestALogThatNobodyFollowsAnyMoreIsClosed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.create(b.pod("echo started; sleep 60"))
	b.awaitPhase(pod, corev1.PodRunning)
	ctx, leave := context.WithCancel(t.Context())
	if line, err := b.follow(ctx, pod).ReadString('\n'); line != "started\n" {
		t.Fatalf("it begins with %q: %v", line, err)
	}
	file := filepath.Join(b.folder(pod), "main", "0.log")
	if !isOpen(file) {
		t.Fatal("the log is followed and not open")
	}
	leave()
	b.eventually("the log is closed", func() bool { return !isOpen(file) }, func() any { return file })
}

func TestTheRunBeforeHasALog(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *node.Options) { o.RestartBackoff = time.Minute })
	const count = "echo x >>runs; wc -l <runs; "
	pod := b.pod(count + "[ $(wc -l <runs) = 2 ] && sleep 60")
	pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	again := b.await(b.create(pod), "running again", func(p *corev1.Pod) bool {
		return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	b.eventually("it has written", func() bool { return b.log(again, "main", 1) != "" }, func() any { return nil })
	pod = b.pod(count + "exit 1")
	pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	waiting := b.await(b.create(pod), "backing off", func(p *corev1.Pod) bool { return waitsFor(p) == "CrashLoopBackOff" })
	for name, test := range map[string]struct {
		pod      *corev1.Pod
		previous bool
		want     string
	}{
		"the one that runs":                    {again, false, "2\n"},
		"the one before":                       {again, true, "1\n"},
		"the last one, while it waits":         {waiting, false, "2\n"},
		"the one before the one that it waits": {waiting, true, "2\n"},
	} {
		if got := b.logs(test.pod, corev1.PodLogOptions{Previous: test.previous}); got != test.want {
			t.Errorf("%s wrote %q, want %q", name, got, test.want)
		}
	}
}

func TestALogThatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	waits := b.pod("")
	waits.Spec.Containers[0].Command = nil
	waits = b.await(b.create(waits), "refused", func(p *corev1.Pod) bool { return waitsFor(p) == "CreateContainerError" })
	failed := b.pod("true")
	failed.Spec.InitContainers = []corev1.Container{shell("first", "exit 4")}
	failed = b.awaitPhase(b.create(failed), corev1.PodFailed)
	for name, test := range map[string]struct {
		pod     *corev1.Pod
		options corev1.PodLogOptions
		want    string
	}{
		"of a container that waits": {
			waits,
			corev1.PodLogOptions{},
			fmt.Sprintf("container %q in pod %q is waiting to start: CreateContainerError", "main", waits.Name),
		},
		"of one that never started": {
			failed,
			corev1.PodLogOptions{},
			fmt.Sprintf("container %q in pod %q is waiting to start: PodInitializing", "main", failed.Name),
		},
		"of a run that was not": {
			failed,
			corev1.PodLogOptions{Container: "first", Previous: true},
			fmt.Sprintf("previous terminated container %q in pod %q not found", "first", failed.Name),
		},
		"of no container of the pod": {
			failed,
			corev1.PodLogOptions{Container: "none"},
			fmt.Sprintf("container none is not valid for pod %s", failed.Name), // the API server says so itself
		},
		"with times": {
			failed,
			corev1.PodLogOptions{Container: "first", Timestamps: true},
			"the process node does not know when a line was written: leave out timestamps",
		},
	} {
		_, err := b.client.CoreV1().Pods(b.name).GetLogs(test.pod.Name, &test.options).Stream(t.Context())
		if !apierrors.IsBadRequest(err) || err.Error() != test.want {
			t.Errorf("%s: it says %v, want a bad request with %q", name, err, test.want)
		}
	}
}

func TestLogsStayWhenTheNodeIsStartedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	finished, killed := b.pod("echo done"), b.pod("echo started; sleep 60")
	finished, killed = b.create(finished), b.create(killed)
	b.awaitPhase(finished, corev1.PodSucceeded)
	b.awaitPhase(killed, corev1.PodRunning)
	b.awaitLog(killed, "main", "started")
	b.stop()
	b.start()
	b.awaitPhase(killed, corev1.PodFailed)
	for pod, want := range map[*corev1.Pod]string{finished: "done\n", killed: "started\n"} {
		if got := b.logs(pod, corev1.PodLogOptions{}); got != want {
			t.Errorf("it wrote %q, want %q", got, want)
		}
	}
	b.stop()
	if err := os.RemoveAll(b.folder(finished)); err != nil {
		t.Fatal(err)
	}
	b.start()
	_, err := b.client.CoreV1().Pods(b.name).GetLogs(finished.Name, &corev1.PodLogOptions{}).Stream(t.Context())
	want := fmt.Sprintf("the log of container %q in pod %q is not in the process node's folder", "main", finished.Name)
	if err == nil || err.Error() != want {
		t.Errorf("of a log that was removed it says %v, want %q", err, want)
	}
}

func TestAPartOfALogIsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(strings.Repeat("x", 40<<10)+"\n", 3) // lines that are longer than what is read at once
	for name, test := range map[string]struct{ log, query, want string }{
		"all":                              {"a\nb\n", "", "a\nb\n"},
		"nothing of nothing":               {"", "tailLines=3", ""},
		"the last line":                    {"a\nb\n", "tailLines=1", "b\n"},
		"the last line, which goes on":     {"a\nb", "tailLines=1", "b"},
		"an empty last line":               {"a\n\n", "tailLines=1", "\n"},
		"as many lines as there are":       {"a\nb\n", "tailLines=2", "a\nb\n"},
		"more lines than there are":        {"a\nb", "tailLines=3", "a\nb"},
		"no line":                          {"a\nb", "tailLines=0", ""},
		"the last of long lines":           {long, "tailLines=2", long[len(long)/3:]},
		"the beginning":                    {"a\nb\n", "limitBytes=3", "a\nb"},
		"no more than there is":            {"a\nb\n", "limitBytes=9", "a\nb\n"},
		"the beginning of the last lines":  {"a\nb\nc\n", "tailLines=2&limitBytes=3", "b\nc"},
		"what comes after it":              {"a\n", "tailLines=0&follow=true", "added\n"},
		"the last line and what comes":     {"a\nb\n", "tailLines=1&follow=true", "b\nadded\n"},
		"all of it as far as it may be":    {"a\n", "limitBytes=4&follow=true", "a\nad"},
		"what there is if nothing follows": {"a\n", "timestamps=false", "a\n"},
	} {
		file := filepath.Join(t.TempDir(), "0.log")
		writeFile(t, file, test.log)
		query, err := url.ParseQuery(test.query)
		if err != nil {
			t.Fatal(err)
		}
		// The run writes its last and ends right before it is looked at for the second time.
		looked := 0
		runs := func() bool {
			if looked++; looked == 2 {
				writeFile(t, file, test.log+"added\n")
			}
			return looked < 2
		}
		got := httptest.NewRecorder()
		if err := node.SendLog(t.Context(), got, file, query, runs); err != nil || got.Body.String() != test.want {
			t.Errorf("%s: %q, want %q (%v)", name, abridged(got.Body.String()), abridged(test.want), err)
		}
	}
}

func abridged(text string) string { return text[:min(len(text), 80)] }

// logs returns a pod's log as the API server gives it.
func (b *bench) logs(pod *corev1.Pod, options corev1.PodLogOptions) string {
	b.t.Helper()
	if options.Container == "" {
		options.Container = "main"
	}
	log, err := b.client.CoreV1().Pods(b.name).GetLogs(pod.Name, &options).DoRaw(b.t.Context())
	if err != nil {
		b.t.Errorf("reading the log of %s: %v", pod.Name, err)
	}
	return string(log)
}

// follow returns a pod's log as the API server gives it, from its beginning to its end.
func (b *bench) follow(ctx context.Context, pod *corev1.Pod) *bufio.Reader {
	b.t.Helper()
	stream, err := b.client.CoreV1().Pods(b.name).GetLogs(pod.Name, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { stream.Close() })
	return bufio.NewReader(stream)
}

// isOpen tells whether this process, in which the node runs, has a file open.
func isOpen(file string) bool {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == file {
			return true
		}
	}
	return false
}
