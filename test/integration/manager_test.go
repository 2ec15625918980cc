package integration_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

// program is the manager's own, built as users build it and run beside the test.
type program struct {
	cmd     *exec.Cmd
	log     string
	health  string
	metrics string
	ended   chan struct{}
	err     error
}

// built is the manager's program, which the first test that needs it builds.
var built = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(shared.dir, "longhaul")
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/longhaul")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/longhaul: %w\n%s", err, out)
	}
	return binary, nil
})

func build(t *testing.T) string {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// startManager runs the manager as config/manager does, with flags added. It is killed at the end if it still runs.
func startManager(t *testing.T, binary, kubeconfig string, flags ...string) *program {
	t.Helper()
	m := &program{log: filepath.Join(t.TempDir(), "log"), health: freeAddress(t), metrics: freeAddress(t), ended: make(chan struct{})}
	log, err := os.Create(m.log)
	if err != nil {
		t.Fatal(err)
	}
	m.cmd = exec.Command(binary, append([]string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect", "--leader-election-namespace=" + system,
		"--metrics-bind-address=" + m.metrics, "--health-probe-bind-address=" + m.health,
		"--history-file=" + filepath.Join(t.TempDir(), "history.db"), "--dashboard-bind-address=127.0.0.1:0",
		"--log-format=json", "--log-level=debug",
	}, flags...)...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		m.err = m.cmd.Wait()
		close(m.ended)
	}()
	t.Cleanup(func() {
		_ = m.cmd.Process.Kill()
		<-m.ended
		log.Close()
		if t.Failed() {
			for line := range strings.Lines(m.logged(t)) {
				if !strings.Contains(line, `"reflector"`) {
					t.Log(strings.TrimSpace(line))
				}
			}
		}
	})
	return m
}

func (m *program) logged(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(m.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// freeAddress is a loopback address that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// page is what a URL answers.
func page(ctx context.Context, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	return answered(http.DefaultClient.Do(req))
}

func answered(resp *http.Response, err error) (int, string, error) {
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// dashboard is what the manager's dashboard answers to the bearer of a token.
func (m *program) dashboard(t *testing.T, path, token string) (int, string, error) {
	t.Helper()
	said := regexp.MustCompile(`"serving the dashboard".*?"address":"([^"]+)"`).FindStringSubmatch(m.logged(t))
	if said == nil {
		t.Fatal("the manager does not say where it serves the dashboard")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+said[1]+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	return answered((&http.Client{Transport: transport}).Do(req))
}

// becomesReady waits for the manager's readiness.
func (m *program) becomesReady(t *testing.T) {
	t.Helper()
	eventually(t, "/readyz says ok", func() (bool, string) {
		select {
		case <-m.ended:
			t.Fatalf("the manager ended: %v", m.err)
		default:
		}
		code, body, err := page(t.Context(), "http://"+m.health+"/readyz")
		return code == http.StatusOK, fmt.Sprint(code, body, err)
	})
}

// stops tells the manager to stop, and checks that it does so well.
func (m *program) stops(t *testing.T) {
	t.Helper()
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the manager does not end on SIGTERM")
	}
	if m.err != nil {
		t.Errorf("on SIGTERM the manager ends with %v", m.err)
	}
}

// lease is the one by which managers elect a leader.
func (p *plane) lease(t *testing.T) *coordinationv1.Lease {
	t.Helper()
	var lease coordinationv1.Lease
	if err := p.client.Get(t.Context(), client.ObjectKey{Namespace: system, Name: "longhaul"}, &lease); err != nil {
		t.Fatal(err)
	}
	return &lease
}

// awaitReady waits until the condition Ready of a ScaledJob has a reason and a message with some words.
func (p *plane) awaitReady(t *testing.T, namespace, name, reason string, words ...string) *v1alpha1.ScaledJob {
	t.Helper()
	sj := &v1alpha1.ScaledJob{}
	eventually(t, fmt.Sprintf("%s is Ready for reason %s with %q", name, reason, words), func() (bool, string) {
		if err := p.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, sj); err != nil {
			return false, err.Error()
		}
		ready := meta.FindStatusCondition(sj.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != reason || ready.ObservedGeneration != sj.Generation {
			return false, fmt.Sprintf("%+v", ready)
		}
		lacks := slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(ready.Message, w) })
		return !lacks, ready.Message
	})
	return sj
}

// jobs are those of a ScaledJob, without those being deleted.
func (p *plane) jobs(t *testing.T, sj *v1alpha1.ScaledJob) []batchv1.Job {
	t.Helper()
	var list batchv1.JobList
	if err := p.client.List(t.Context(), &list, client.InNamespace(sj.Namespace)); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(j batchv1.Job) bool {
		return !metav1.IsControlledBy(&j, sj) || j.DeletionTimestamp != nil
	})
}

func (p *plane) secret(t *testing.T, namespace, name string, data map[string]string) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: data}
	if err := p.client.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// ill is a ScaledJob that cannot work, and what the manager is to say of it.
type ill struct {
	name, patch, reason string
	words               []string
}

func illOnes() []ill {
	const nowhere = "127.0.0.1:1"
	all := []ill{
		{
			"bad-template", "spec: {jobTemplate: {spec: {template: {spec: {restartPolicy: Sometimes}}}}}",
			v1alpha1.ReasonTemplateInvalid,
			[]string{"restartPolicy", "Sometimes"},
		},
		{
			"redis-down", `spec: {triggers: [{redisList: {addresses: ["` + nowhere + `"], password: {name: broker, key: password}, list: videos}}]}`,
			v1alpha1.ReasonTriggerUnreadable,
			[]string{"redisList", nowhere},
		},
		{
			"rabbitmq-down", "spec: {triggers: [{rabbitmq: {queue: videos, uri: {secretKeyRef: {name: broker, key: uri}}}}]}",
			v1alpha1.ReasonTriggerUnreadable,
			[]string{"rabbitmq", nowhere},
		},
		{
			"no-key", "spec: {triggers: [{rabbitmq: {queue: videos, uri: {secretKeyRef: {name: broker, key: url}}}}]}",
			v1alpha1.ReasonTriggerInvalid,
			[]string{"broker", `no key "url"`},
		},
		{
			"no-secret", "spec: {triggers: [{rabbitmq: {queue: videos, uri: {secretKeyRef: {name: missing, key: uri}}}}]}",
			v1alpha1.ReasonTriggerInvalid,
			[]string{`"missing" does not exist`, "create it"},
		},
	}
	for i, title := range onlyTheManagerSees() {
		k := slices.IndexFunc(badInputs(), func(b bad) bool { return b.title == title })
		all = append(all, ill{
			fmt.Sprintf("bad-input-%d", i), badInputs()[k].patch,
			v1alpha1.ReasonTriggerInvalid,
			[]string{"cron.", "is not usable", "such as"},
		})
	}
	return all
}

// named is a patch with a name for the ScaledJob.
func named(t *testing.T, name, patch string) string {
	t.Helper()
	var o map[string]any
	if err := yaml.Unmarshal([]byte(patch), &o); err != nil {
		t.Fatal(err)
	}
	o["metadata"] = map[string]any{"name": name}
	out, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// withHistory does something with a history that no manager has open.
func withHistory(t *testing.T, file string, do func(*store.Store) error) {
	t.Helper()
	kept, err := store.Open(t.Context(), store.Options{SQLite: file})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(kept), kept.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestTheManager is the story of one manager, with the rights of its service account and no others.
func TestTheManager(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	namespace := p.namespace(t)
	broker := miniredis.RunT(t)
	broker.RequireAuth("hunter2")

	// The label tells this manager's namespace from those of other tests.
	ns := &corev1.Namespace{}
	if err := p.client.Get(t.Context(), client.ObjectKey{Name: namespace}, ns); err != nil {
		t.Fatal(err)
	}
	ns.Labels["longhaul-shard"] = "a"
	if err := p.client.Update(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	p.secret(t, namespace, "broker", map[string]string{"password": "hunter2", "uri": "amqp://longhaul:hunter2@127.0.0.1:1/"})
	for _, s := range illOnes() {
		p.typed(t, namespace, named(t, s.name, s.patch))
	}
	elsewhere := p.typed(t, p.namespace(t), "{}")

	file := filepath.Join(t.TempDir(), "history.db")
	unended := history.Record{
		UID: "gone", Namespace: namespace, ScaledJob: "gone", Sequence: 1, Job: "gone-000001", Created: time.Now().Add(-time.Minute), Seen: time.Now().Add(-time.Minute),
	}
	withHistory(t, file, func(kept *store.Store) error { return kept.Save(t.Context(), []history.Record{unended}) })
	manager := startManager(t, build(t), writeKubeconfig(t, p.managerConfig(t)), "--namespace-selector=longhaul-shard=a", "--history-file="+file)
	manager.becomesReady(t)

	t.Run("it says what ails a ScaledJob", func(t *testing.T) {
		for _, s := range illOnes() {
			p.awaitReady(t, namespace, s.name, s.reason, s.words...)
		}
	})

	t.Run("it learns of a Secret that is created", func(t *testing.T) {
		p.secret(t, namespace, "missing", map[string]string{"uri": "amqp://longhaul:hunter2@127.0.0.1:1/"})
		p.awaitReady(t, namespace, "no-secret", v1alpha1.ReasonTriggerUnreadable, "127.0.0.1:1")
	})

	t.Run("it learns of a password that changes", func(t *testing.T) {
		secret := p.secret(t, namespace, "rotated", map[string]string{"password": "hunter1"})
		p.typed(t, namespace, named(t, "rotated", `spec: {triggers: [{redisList: {addresses: ["`+broker.Addr()+`"], password: {name: rotated, key: password}, list: other}}]}`))
		p.awaitReady(t, namespace, "rotated", v1alpha1.ReasonTriggerUnreadable, "redisList")
		secret.StringData = map[string]string{"password": "hunter2"}
		if err := p.client.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		p.awaitReady(t, namespace, "rotated", v1alpha1.ReasonDispatching)
	})

	working := named(t, "working", `spec: {maxParallelism: 2, rollout: {strategy: Immediate}, triggers: [{redisList: {addresses: ["`+broker.Addr()+
		`"], password: {name: broker, key: password}, list: videos, processingList: "videos:processing"}}]}`)
	t.Run("it dispatches a Job per message up to the cap", func(t *testing.T) {
		for i := range 3 {
			if _, err := broker.Push("videos", fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		sj := p.typed(t, namespace, working)
		// Somebody has taken the first name: it is asked whose that is.
		taken := jobtemplate.Job(sj, "revision", jobtemplate.Order{Sequence: 1})
		taken.OwnerReferences = nil
		if err := client.IgnoreAlreadyExists(p.client.Create(t.Context(), taken)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "two Jobs for three messages, and a status that says so", func() (bool, string) {
			sj = p.awaitReady(t, namespace, "working", v1alpha1.ReasonDispatching)
			n := len(p.jobs(t, sj))
			s := sj.Status
			return n == 2 && ptr.Deref(s.Starting, 0) == 2 && ptr.Deref(s.Waiting, 0) == 3 && len(s.Triggers) == 1 &&
				s.Triggers[0].Name == "redisList" && s.LastDispatchTime != nil, fmt.Sprintf("%d Jobs, status %+v", n, s)
		})
	})

	t.Run("it replaces Jobs of an older template if asked to", func(t *testing.T) {
		sj := p.awaitReady(t, namespace, "working", v1alpha1.ReasonDispatching)
		// All slots are taken and nothing changes: nothing but the edit can bring a reading about.
		eventually(t, "the manager is at rest", func() (bool, string) {
			last := sj.Status.LastDispatchTime
			return time.Since(last.Time) > 4*time.Second, last.String()
		})
		before := sj.DeepCopy()
		sj.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image = "example/transcode:2"
		if err := p.client.Patch(t.Context(), sj, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the Jobs of the older template are deleted", func() (bool, string) {
			left := p.jobs(t, sj)
			return !slices.ContainsFunc(left, func(j batchv1.Job) bool {
				return j.Spec.Template.Spec.Containers[0].Image == "example/transcode:1"
			}), fmt.Sprintf("%d Jobs", len(left))
		})
	})

	t.Run("it sizes a Deployment and a StatefulSet", func(t *testing.T) {
		p.scales(t, namespace, broker)
	})

	t.Run("it shows a user what the cluster lets that user read", func(t *testing.T) {
		for _, who := range []struct {
			name   string
			role   string
			status int
			sees   bool
		}{{"viewer", "longhaul-scaledjob-viewer", http.StatusOK, true}, {"stranger", "", http.StatusOK, false}} {
			token := p.token(t, namespace, who.name, who.role)
			eventually(t, who.name+" is answered what is theirs to see", func() (bool, string) {
				status, body, err := manager.dashboard(t, "/api/v1/scaledjobs", token)
				sees := strings.Contains(body, `"working"`)
				return status == who.status && sees == who.sees && !strings.Contains(body, elsewhere.Namespace), fmt.Sprint(status, body, err)
			})
		}
		if status, body, err := manager.dashboard(t, "/api/v1/scaledjobs", "stranger"); status != http.StatusUnauthorized {
			t.Errorf("a token that the cluster does not know: %d %s %v", status, body, err)
		}
	})

	t.Run("it leaves other namespaces alone", func(t *testing.T) {
		sj := elsewhere.DeepCopy()
		if err := p.client.Get(t.Context(), client.ObjectKeyFromObject(elsewhere), sj); err != nil {
			t.Fatal(err)
		}
		if sj.ResourceVersion != elsewhere.ResourceVersion {
			t.Errorf("a ScaledJob in a namespace that the selector does not pick was changed: %+v", sj.Status)
		}
	})

	t.Run("it tells no password", func(t *testing.T) {
		_, metrics, err := page(t.Context(), "http://"+manager.metrics+"/metrics")
		if err != nil || !strings.Contains(metrics, `longhaul_trigger_waiting_messages`) {
			t.Errorf("the metrics lack what waits: %v", err)
		}
		var events eventsv1.EventList
		var scaledJobs v1alpha1.ScaledJobList
		for _, list := range []client.ObjectList{&events, &scaledJobs} {
			if err := p.client.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
				t.Fatal(err)
			}
		}
		if len(events.Items) == 0 {
			t.Error("there are no events")
		}
		for what, text := range map[string]string{
			"the log": manager.logged(t), "the metrics": metrics, "an event": fmt.Sprintf("%+v", events.Items), "a status": fmt.Sprintf("%+v", scaledJobs.Items),
		} {
			if i := strings.Index(text, "hunter"); i >= 0 {
				t.Errorf("%s tells the password: %s", what, text[max(0, i-200):i+20])
			}
		}
	})

	t.Run("it gives up the lease on SIGTERM", func(t *testing.T) {
		if holder := ptr.Deref(p.lease(t).Spec.HolderIdentity, ""); holder == "" {
			t.Error("it does not hold the lease while it runs")
		}
		manager.stops(t)
		if holder := ptr.Deref(p.lease(t).Spec.HolderIdentity, ""); holder != "" {
			t.Errorf("the lease is still held by %s", holder)
		}
	})

	t.Run("it ended the record of a Job that was gone when it came", func(t *testing.T) {
		withHistory(t, file, func(kept *store.Store) error {
			records, err := kept.Known(t.Context(), []string{unended.UID})
			if err == nil && (len(records) != 1 || records[0].Category != history.CategoryCancelled) {
				t.Errorf("its record is %+v", records)
			}
			return err
		})
	})

	t.Run("it has used all its rights, and asked for no others", func(t *testing.T) {
		p.checkRights(t, "longhaul")
	})
}

func TestTheManagerSaysWhichSettingsCannotWork(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	binary := build(t)
	for flag, words := range map[string]string{
		"--namespace-selector=a b":       "--namespace-selector",
		"--log-level=loud":               "debug, info, warn or error",
		"--creation-concurrency=0":       "--creation-concurrency is 0: give 1 or more",
		"--kubeconfig=no/such/file":      "finding the cluster",
		"--metrics-bind-address=nowhere": "nowhere",
		"--no-such-flag":                 "no-such-flag",
	} {
		cmd := exec.CommandContext(t.Context(), binary, "--kubeconfig="+p.kubeconfig, "--metrics-bind-address=0", "--health-probe-bind-address=0", flag)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), words) {
			t.Errorf("%s: %v\n%s", flag, err, out)
		}
	}
}
