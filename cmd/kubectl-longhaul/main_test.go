package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
	"github.com/longhaul-dev/longhaul/history/web"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

// The tests run commands against a manager's real API with a real store. What changes things, follows and reads logs is tried
// end to end, in test/e2e.

var update = flag.Bool("update", false, "write the golden files anew")

const (
	owner = "controller" // the index of Jobs and pods
	home  = "media"      // the kubeconfig's namespace
)

var now = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

// world is a manager's API, and a kubeconfig.
type world struct {
	url        string
	kubeconfig string
	store      *store.Store
	cluster    client.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kept, err := store.Open(t.Context(), store.Options{SQLite: filepath.Join(t.TempDir(), "history.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close() })
	scheme := runtime.NewScheme()
	if err := errors.Join(batchv1.AddToScheme(scheme), corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	byOwner := func(o client.Object) []string { return []string{string(metav1.GetControllerOf(o).UID)} }
	w := &world{store: kept, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	w.cluster = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.ScaledJob{}, &v1alpha1.ScaledDeployment{}).
		WithIndex(&batchv1.Job{}, owner, byOwner).WithIndex(&corev1.Pod{}, owner, byOwner).Build()
	server, err := web.New(web.Options{
		Store: kept, Cache: w.cluster, Informers: &informertest.FakeInformers{Scheme: scheme}, Index: owner, Access: web.Open{}, Version: "1.2.3",
		Log: logr.Discard(), Clock: clocktesting.NewFakeClock(now), Keeps: func(context.Context, string) (bool, error) { return true, nil },
		Logs: func(_ context.Context, _, _, _ string) (string, error) { return "started\nprogress 42%\n", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	serving := httptest.NewServer(server)
	t.Cleanup(serving.Close)
	w.url = serving.URL
	writeKubeconfig(t, w.kubeconfig, "https://127.0.0.1:1")
	w.fill(t)
	return w
}

// writeKubeconfig writes one of a user with a token.
func writeKubeconfig(t *testing.T, file, server string) {
	t.Helper()
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a, namespace: %s}}]\n"+
		"clusters: [{name: a, cluster: {server: %q, insecure-skip-tls-verify: true}}]\nusers: [{name: a, user: {token: token-of-ada}}]\n", home, server)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fill has three ScaledJobs, one of which is busy, and the history of another.
func (w *world) fill(t *testing.T) {
	t.Helper()
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDispatching, Message: "dispatching",
		LastTransitionTime: metav1.NewTime(now.Add(-3 * time.Hour)),
	}
	broken := ready
	broken.Status, broken.Reason, broken.Message = metav1.ConditionFalse, v1alpha1.ReasonTriggerUnreadable, "redisList: dial tcp: connection \x1b[31mrefused"
	for _, sj := range []struct {
		name    string
		suspend bool
		status  v1alpha1.ScaledJobStatus
	}{
		{"media/transcode", false, v1alpha1.ScaledJobStatus{
			Waiting: ptr.To[int64](143), Held: ptr.To[int64](2), Starting: ptr.To[int32](1), Running: ptr.To[int32](1), Succeeded: ptr.To[int32](3),
			LastDispatchTime: ptr.To(metav1.NewTime(now.Add(-30 * time.Second))), Conditions: []metav1.Condition{ready},
			Triggers: []v1alpha1.TriggerStatus{{Name: "redisList", Waiting: ptr.To[int64](143), Held: ptr.To[int64](2)}},
		}},
		{"media/thumbnails", true, v1alpha1.ScaledJobStatus{Waiting: ptr.To[int64](7), Conditions: []metav1.Condition{ready}}},
		{"audio/mix", false, v1alpha1.ScaledJobStatus{
			Conditions: []metav1.Condition{broken}, Triggers: []v1alpha1.TriggerStatus{{Name: "redisList", Message: broken.Message}},
		}},
	} {
		namespace, name, _ := strings.Cut(sj.name, "/")
		o := &v1alpha1.ScaledJob{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: name, UID: types.UID(sj.name), CreationTimestamp: metav1.NewTime(now.Add(-30 * time.Hour)),
				Labels: map[string]string{"app": name},
			},
			Spec: v1alpha1.ScaledJobSpec{
				MaxParallelism: ptr.To[int32](2), Suspend: ptr.To(sj.suspend),
				Triggers: []v1alpha1.Trigger{{RedisList: &v1alpha1.RedisListTrigger{List: "videos"}}},
			},
		}
		if err := w.cluster.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		o.Status = sj.status
		if err := w.cluster.Status().Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if name == "transcode" {
			w.runs(t, o, 641)
		}
	}
	w.fleet(t, ready)
	var records []history.Record
	for n := range int64(60) {
		records = append(records, ended("media/transcode", n+1, 60-int(n), history.CategorySucceeded))
	}
	failed := ended("media/transcode", 61, 0, history.CategoryOutOfMemory)
	failed.Reason, failed.Message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
	failed.Attempts[0].ExitCode, failed.Attempts[0].Signal, failed.Attempts[0].Reason = ptr.To[int32](137), 9, "OOMKilled"
	failed.Attempts[0].LogTail = "opening 61.y4m\r\n\x1b[31m fatal:\x1b[0m macroblock lost\n"
	failed.MessageID = "=1+1"
	gone := ended("media/old", 1, 600, history.CategoryFailed)
	gone.Result = json.RawMessage(`{"frames": 100}`)
	records = append(records, failed, gone, ended("audio/mix", 1, 30, history.CategoryCancelled))
	if err := w.store.Save(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

// fleet is a ScaledDeployment with pods.
func (w *world) fleet(t *testing.T, ready metav1.Condition) {
	t.Helper()
	since := func(d time.Duration) *metav1.Time { return ptr.To(metav1.NewTime(now.Add(-d))) }
	sd := &v1alpha1.ScaledDeployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "encoder", UID: "encoder", CreationTimestamp: metav1.NewTime(now.Add(-30 * time.Hour))},
		Spec: v1alpha1.ScaledDeploymentSpec{
			ScaleTargetRef: v1alpha1.ScaleTargetRef{Kind: "Deployment", Name: "encoder"}, MinReplicas: ptr.To[int32](0), MaxReplicas: ptr.To[int32](20),
			Triggers: []v1alpha1.ReplicaTrigger{{RedisList: &v1alpha1.RedisListTrigger{List: "videos"}}},
		},
	}
	if err := w.cluster.Create(t.Context(), sd); err != nil {
		t.Fatal(err)
	}
	sd.Status = v1alpha1.ScaledDeploymentStatus{
		Waiting: ptr.To[int64](0), Held: ptr.To[int64](1), DesiredReplicas: ptr.To[int32](1), Replicas: ptr.To[int32](3),
		Ready: ptr.To[int32](3), Busy: ptr.To[int32](1), Idle: ptr.To[int32](1), Fenced: ptr.To[int32](1), Lost: ptr.To[int32](1), Leaving: ptr.To[int32](0),
		LastScaleTime: since(2 * time.Minute), Conditions: []metav1.Condition{ready},
		LastDecision: "replicas wanted 1, set 3: messages waiting 0, held 1, pods busy 1; scaleDown.stabilization holds 3",
		Triggers:     []v1alpha1.TriggerStatus{{Name: "redisList", Waiting: ptr.To[int64](0), Held: ptr.To[int64](1)}},
		Pods: []v1alpha1.ConsumerStatus{
			{Name: "encoder-7d9f-x7k2p", State: v1alpha1.ConsumerBusy, MessageID: "8141", Since: since(133 * time.Minute)},
			{Name: "encoder-7d9f-m4c8q", State: v1alpha1.ConsumerLost, MessageID: "8102\x1b[2J", Since: since(50 * time.Hour)},
			{Name: "encoder-7d9f-zz4lq", State: v1alpha1.ConsumerFenced, Since: since(3 * time.Second)},
		},
	}
	if err := w.cluster.Status().Update(t.Context(), sd); err != nil {
		t.Fatal(err)
	}
}

// runs is a Job of a ScaledJob that runs.
func (w *world) runs(t *testing.T, sj *v1alpha1.ScaledJob, sequence int64) {
	t.Helper()
	created := now.Add(-30 * time.Second)
	job := jobtemplate.Job(sj, "revision", jobtemplate.Order{Sequence: sequence, Trigger: "redisList", Seen: created, Created: created})
	job.UID, job.CreationTimestamp = "running", metav1.NewTime(created)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: sj.Namespace, Name: job.Name + "-x7k2p", UID: "pod", CreationTimestamp: job.CreationTimestamp,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))},
		},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "worker"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "worker", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-20 * time.Second))}},
		}}},
	}
	for _, o := range []client.Object{job, pod} {
		if err := w.cluster.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// ended is the record of a Job that ran for a minute and ended some minutes ago.
func ended(name string, sequence int64, minutesAgo int, category history.Category) history.Record {
	namespace, name, _ := strings.Cut(name, "/")
	outcome := history.Failed
	switch category {
	case history.CategorySucceeded:
		outcome = history.Succeeded
	case history.CategoryCancelled:
		outcome = history.Cancelled
	default:
	}
	finished := now.Add(-time.Duration(minutesAgo) * time.Minute)
	created, started := finished.Add(-62*time.Second), finished.Add(-60*time.Second)
	return history.Record{
		UID: fmt.Sprintf("%s-%s-%d", namespace, name, sequence), Namespace: namespace, ScaledJob: name, Sequence: sequence, Trigger: "redisList",
		Job: jobtemplate.Name(name, sequence), Revision: "6b7f9c", Outcome: outcome, Category: category, MessageID: fmt.Sprintf("video-%d", sequence),
		Seen: created.Add(-10 * time.Second), Created: created, Scheduled: &created, Started: &started, Finished: &finished,
		Attempts: []history.Attempt{{
			Pod: jobtemplate.Name(name, sequence) + "-x7k2p", UID: fmt.Sprint("pod-", sequence), Node: "n1", Image: "worker:1", Created: created,
			Started: &started, Finished: &finished, Succeeded: outcome == history.Succeeded, CPU: 2, Memory: 1 << 30,
		}},
	}
}

// do runs a command as a user would, and returns what it printed and its exit code.
func (w *world) do(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	return execute(t, append([]string{"kubectl-longhaul", "--kubeconfig", w.kubeconfig, "--server", w.url}, args...)...)
}

func execute(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	e := environment{
		out: &stdout, errOut: &stderr, in: strings.NewReader(""), lookup: func(string) (string, bool) { return "", false }, clock: clocktesting.NewFakeClock(now),
	}
	code = run(t.Context(), e, args)
	return stdout.String(), stderr.String(), code
}

// golden compares with a file in testdata, which -update writes anew.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("not as in %s; if it is right: go test ./cmd/kubectl-longhaul -update (-want +got):\n%s", file, diff)
	}
}

func TestWhatIsAskedForIsPrinted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, commands := range map[string][]string{
		"get": {
			"get", "get -A", "get -A -o wide", "get -l app=transcode", "get transcode", "get scaledjob.longhaul.dev/transcode -o name", "get --deleted -o name",
			"get old", "get --no-headers", "get -n empty", "get -n fleet", "get -n fleet encoder", "get -n fleet lsd/encoder -o name", "get -n fleet lsj/encoder",
		},
		"describe": {"describe transcode", "describe thumbnails", "describe mix -n audio", "describe old", "describe -n fleet encoder", "describe -n fleet scaleddeployment/encoder", "describe -n fleet scaleddeployment/none"},
		"history": {
			"history transcode --limit 3", "history transcode --limit 3 -o wide", "history transcode --outcome failed --since 24h", "history -A --category Failed",
			"history transcode --message-id video-12", "history transcode --search macroblock", "history transcode --limit 2 -o name",
			"history transcode --limit 2 -o csv", "history transcode --since 5s --outcome cancelled", "history old",
		},
		"record":  {"record transcode 61", "record transcode transcode-000001", "record old 1"},
		"stats":   {"stats transcode", "stats transcode --since 1h --price-cpu-hour 0.04 --price-gib-hour 0.005", "stats thumbnails"},
		"version": {"version"},
		"top":     {"top"},
		"structured": {
			"get transcode -o json", "get thumbnails -o yaml", "history transcode --limit 1 -o json", "record transcode 60 -o yaml", "stats transcode --since 1h -o json",
			"version -o json", "get -n fleet -o json",
		},
		"complete": {
			"__complete describe ", "__complete -n fleet describe ", "__complete history transcode --outcome ", "__complete record transcode ", "__complete get -o ", "__complete history transcode --category ",
		},
		"errors": {
			"get none", "describe none", "history none", "record transcode 1000", "record transcode x", "record transcode", "stats", "get -o csv",
			"history transcode --since yesterday", "history transcode --outcome lost", "history transcode --limit -1", "history transcode --follow -o json", "history transcode --follow --search lost",
			"stats transcode --price-cpu-hour -1", "nonsense", "get --nonsense",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all strings.Builder
			for _, command := range commands {
				args := strings.Split(command, " ") // an empty last one asks for all completions
				if args[0] == "__complete" {
					args = append([]string{"__complete", "--kubeconfig", w.kubeconfig, "--server", w.url}, args[1:]...)
				}
				out, errOut, code := w.do(t, args...)
				fmt.Fprintf(&all, "$ kubectl longhaul %s\n%s", command, out)
				if errOut != "" {
					fmt.Fprintf(&all, "--- on standard error:\n%s", errOut)
				}
				if code != 0 {
					fmt.Fprintf(&all, "--- exit code %d\n", code)
				}
				fmt.Fprintln(&all)
				if strings.Contains(out+errOut, "\x1b") {
					t.Errorf("%s: something for a terminal is printed where there is none: %q", command, out+errOut)
				}
			}
			golden(t, name, all.String())
		})
	}
}

func TestHelpOfEachCommandHasAnExample(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	global := ""
	for _, c := range newCommand(environment{}).Commands() {
		if c.Hidden {
			continue
		}
		if c.Example == "" && c.Name() != "version" {
			t.Errorf("kubectl longhaul %s --help has no example", c.Name())
		}
		out, errOut, code := execute(t, "kubectl-longhaul", c.Name(), "--help")
		if code != 0 || errOut != "" {
			t.Errorf("kubectl longhaul %s --help: %d, %s", c.Name(), code, errOut)
		}
		own, shared, _ := strings.Cut(out, "Global Flags:\n")
		fmt.Fprintf(&all, "$ kubectl longhaul %s --help\n%s", c.Name(), own)
		if shared != "" {
			global = shared
		}
	}
	golden(t, "help", all.String()+"Global Flags:\n"+global)
}

func TestAllRecordsArePrintedThoughTheyAreSeveralPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var more []history.Record
	for n := range int64(store.MaxBatch) {
		more = append(more, ended("media/bulk", n+1, 90, history.CategorySucceeded))
	}
	if err := w.store.Save(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[string]int{"0": len(more), "700": 700, "1": 1} {
		out, errOut, code := w.do(t, "history", "bulk", "--limit", limit, "-o", "name")
		names := map[string]bool{}
		for line := range strings.Lines(out) {
			names[line] = true
		}
		if code != 0 || len(names) != want {
			t.Errorf("--limit %s prints %d Jobs, want %d: %d %s", limit, len(names), want, code, errOut)
		}
	}
}

// apiServer plays the part of an API server that proxies to a Service, as Kubernetes does: without the user's Authorization.
func apiServer(t *testing.T, manager string, refuse *metav1.Status) *httptest.Server {
	t.Helper()
	const prefix = "/api/v1/namespaces/longhaul-system/services/https:longhaul-dashboard:https/proxy"
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse != nil {
			w.WriteHeader(int(refuse.Code))
			_ = json.NewEncoder(w).Encode(refuse)
			return
		}
		path, ok := strings.CutPrefix(r.URL.Path, prefix)
		if !ok || r.Header.Get("Authorization") != "Bearer token-of-ada" || r.Header.Get("Longhaul-Authorization") != "Bearer token-of-ada" {
			t.Errorf("a request for %s with %v", r.URL, r.Header)
			http.NotFound(w, r)
			return
		}
		answer, err := http.Get(manager + path + "?" + r.URL.RawQuery) //nolint:gosec // it is what a proxy does
		if err != nil {
			t.Error(err)
			return
		}
		defer answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestTheManagerIsReachedThroughTheAPIServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		refuse *metav1.Status
		code   int
		want   string
	}{
		"with the rights to": {nil, 0, "transcode"},
		"without the right to the proxy": {
			&metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status"}, Code: http.StatusForbidden, Message: "services is forbidden"}, 1,
			`ask for the right to get services/proxy "https:longhaul-dashboard:https" in namespace longhaul-system`,
		},
		"where it is not installed": {
			&metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status"}, Code: http.StatusNotFound, Message: "not found"}, 1, "give --manager-namespace",
		},
		"where no manager answers": {
			&metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status"}, Code: http.StatusServiceUnavailable, Message: "no endpoints"}, 1, "kubectl -n longhaul-system get pods",
		},
		"by a user that the API server does not know": {
			&metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status"}, Code: http.StatusUnauthorized, Message: "Unauthorized"}, 1, "does not know you",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
			writeKubeconfig(t, kubeconfig, apiServer(t, w.url, tt.refuse).URL)
			out, errOut, code := execute(t, "kubectl-longhaul", "--kubeconfig", kubeconfig, "get")
			if code != tt.code || !strings.Contains(out+errOut, tt.want) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", code, tt.code, tt.want, out, errOut)
			}
		})
	}
}

func TestATokenGoesNowhereThatItShouldNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, errOut, code := execute(t, "kubectl-longhaul", "--kubeconfig", w.kubeconfig, "--server", "http://longhaul.example.com", "get")
	if code != 1 || !strings.Contains(errOut, "use https") {
		t.Errorf("over plain HTTP to another machine: %d %s", code, errOut)
	}
	other := httptest.NewUnstartedServer(http.NotFoundHandler())
	other.Config.ErrorLog = log.New(io.Discard, "", 0) // it says what this test wants
	other.StartTLS()
	defer other.Close()
	_, errOut, code = execute(t, "kubectl-longhaul", "--kubeconfig", w.kubeconfig, "--server", other.URL, "get")
	if code != 1 || !strings.Contains(errOut, "certificate") {
		t.Errorf("to a server whose certificate nobody knows: %d %s", code, errOut)
	}
	impersonating, err := os.ReadFile(w.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, bytes.ReplaceAll(impersonating, []byte("token: "), []byte("as: bob, token: ")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errOut, code = execute(t, "kubectl-longhaul", "--kubeconfig", file, "--server", w.url, "get")
	if code != 1 || !strings.Contains(errOut, `impersonates "bob"`) {
		t.Errorf("as somebody else: %d %s", code, errOut)
	}
}

func TestKubectlIsToldWhatCompletes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, _, code := execute(t, "/usr/local/bin/kubectl_complete-longhaul", "--kubeconfig", w.kubeconfig, "--server", w.url, "describe", "tr")
	if code != 0 || !strings.Contains(out, "transcode\n") {
		t.Errorf("completing the name of a ScaledJob: %d %q", code, out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, errOut, code := execute(t, "kubectl-longhaul", "completion", shell); code != 0 || !strings.Contains(out, "longhaul") {
			t.Errorf("completion %s: %d %s", shell, code, errOut)
		}
	}
}
