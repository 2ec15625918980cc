package bench_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

const (
	// interval is the polling interval: the shortest there is. A message waits half of it on average until its queue is looked
	// at.
	interval = 100 * time.Millisecond
	// burst is how many messages come at once, and atOnce how many Jobs are created at a time, here and by the manager.
	burst, atOnce = 500, 32
	// singles is how many messages come one by one.
	singles = 40
)

var brokers brokertest.Shared

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // of the helpers that install the kinds
	os.Exit(brokers.Run(m))
}

// result is what a benchmark prints.
type result struct {
	Name string `json:"name"`
	// Milliseconds is the median of what was measured, and Limit that of what nothing can be quicker than.
	Milliseconds float64 `json:"milliseconds"`
	Limit        float64 `json:"limitMilliseconds"`
	Ratio        float64 `json:"ratio"`
	// P95 is what 95 of 100 take at most, where it was looked at.
	P95 float64 `json:"p95Milliseconds,omitempty"`
	Of  int     `json:"of"`
}

func report(b *testing.B, name string, measured, limit []time.Duration) {
	b.Helper()
	r := result{Name: name, Milliseconds: median(measured), Limit: median(limit), Of: len(measured)}
	r.Ratio = r.Milliseconds / r.Limit
	text, err := json.Marshal(r)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Println(string(text))
	b.ReportMetric(r.Ratio, "x-limit")
	b.ReportMetric(0, "ns/op")
}

func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Microseconds()) / 1000
}

// BenchmarkBurst is how long it takes from 500 messages until each has its Job. The limit is half the polling interval, and
// creating 500 Jobs, as many at a time as the manager does.
func BenchmarkBurst(b *testing.B) {
	s := begin(b)
	var measured, limit []time.Duration
	for b.Loop() {
		bare := s.namespace(b)
		created := s.follow(b, bare)
		began := time.Now()
		s.create(b, bare, burst)
		limit = append(limit, await(b, created, burst).Sub(began)+interval/2)

		ns := s.namespace(b)
		created = s.follow(b, ns)
		list := s.apply(b, ns)
		began = time.Now()
		s.push(b, list, burst)
		measured = append(measured, await(b, created, burst).Sub(began))
	}
	report(b, "burst of 500 messages", measured, limit)
}

// BenchmarkReaction is how long it takes from one message until it has its Job. The limit is half the polling interval, and
// creating a Job.
func BenchmarkReaction(b *testing.B) {
	s := begin(b)
	var measured, limit []time.Duration
	for b.Loop() {
		bare := s.namespace(b)
		created := s.follow(b, bare)
		for range singles {
			began := time.Now()
			s.create(b, bare, 1)
			limit = append(limit, await(b, created, 1).Sub(began)+interval/2)
		}
		ns := s.namespace(b)
		created = s.follow(b, ns)
		list := s.apply(b, ns)
		for i := range singles {
			// So that messages meet every part of the interval.
			time.Sleep(interval + interval*time.Duration(i)/singles)
			began := time.Now()
			s.push(b, list, 1)
			measured = append(measured, await(b, created, 1).Sub(began))
		}
	}
	report(b, "reaction to one message, polled every 100 ms", measured, limit)
}

// stage is an API server and a manager.
type stage struct {
	client client.WithWatch
}

func begin(b *testing.B) *stage {
	b.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		b.Skip("no API server: set KUBEBUILDER_ASSETS to what test/kube/build.sh prints")
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), batchv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		b.Fatal(err)
	}
	environment := &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	config, err := environment.Start()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = environment.Stop() })
	config.QPS, config.Burst = 5000, 5000
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	kubeconfig, program := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "longhaul")
	if err := os.WriteFile(kubeconfig, environment.KubeConfig, 0o600); err != nil {
		b.Fatal(err)
	}
	if output, err := exec.CommandContext(b.Context(), "go", "build", "-o", program, "../../cmd/longhaul").CombinedOutput(); err != nil {
		b.Fatalf("building the manager: %v: %s", err, output)
	}
	manager := exec.Command(program, "--kubeconfig", kubeconfig, "--metrics-bind-address", "0", "--health-probe-bind-address", "0",
		"--history-file", filepath.Join(dir, "history.db"), "--dashboard-bind-address", "0",
		"--kube-api-qps", "5000", "--kube-api-burst", "5000", "--creation-concurrency", fmt.Sprint(atOnce))
	if err := manager.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = manager.Process.Kill()
		_ = manager.Wait()
	})
	return &stage{client: c}
}

func (s *stage) namespace(b *testing.B) string {
	b.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	if err := s.client.Create(b.Context(), ns); err != nil {
		b.Fatal(err)
	}
	return ns.Name
}

// follow tells when each Job of a namespace was seen to be created.
func (s *stage) follow(b *testing.B, namespace string) <-chan time.Time {
	b.Helper()
	var jobs batchv1.JobList
	if err := s.client.List(b.Context(), &jobs, client.InNamespace(namespace)); err != nil {
		b.Fatal(err)
	}
	created := make(chan time.Time, burst)
	go func() {
		// The API server ends the watches of those who are slow; what it has not told then, it tells from here on.
		for seen := jobs.ResourceVersion; b.Context().Err() == nil; {
			w, err := s.client.Watch(b.Context(), &batchv1.JobList{}, client.InNamespace(namespace),
				&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: seen}})
			if err != nil {
				return // and await says what is missing
			}
			for e := range w.ResultChan() {
				if job, ok := e.Object.(*batchv1.Job); ok {
					seen = job.ResourceVersion
				}
				if e.Type == watch.Added {
					created <- time.Now()
				}
			}
		}
	}()
	return created
}

// await is when the last of so many Jobs was created.
func await(b *testing.B, created <-chan time.Time, jobs int) (last time.Time) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	for n := range jobs {
		select {
		case last = <-created:
		case <-ctx.Done():
			b.Fatalf("%d Jobs of %d after a minute", n, jobs)
		}
	}
	return last
}

func template() batchv1.JobTemplateSpec {
	return batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers:    []corev1.Container{{Name: "worker", Image: "none", Command: []string{"true"}}},
	}}}}
}

// create creates Jobs as directly as can be.
func (s *stage) create(b *testing.B, namespace string, jobs int) {
	b.Helper()
	creating, ctx := errgroup.WithContext(b.Context())
	creating.SetLimit(atOnce)
	for range jobs {
		creating.Go(func() error {
			return s.client.Create(ctx, &batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "bare-"}, Spec: template().Spec,
			})
		})
	}
	if err := creating.Wait(); err != nil {
		b.Fatal(err)
	}
}

// apply creates a ScaledJob, waits until it is ready, and returns the name of its list.
func (s *stage) apply(b *testing.B, namespace string) string {
	b.Helper()
	list := brokertest.Unique("bench")
	sj := &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bench"},
		Spec: v1alpha1.ScaledJobSpec{
			MaxParallelism: ptr.To[int32](burst), PollingInterval: &metav1.Duration{Duration: interval}, JobTemplate: template(),
			Triggers: []v1alpha1.Trigger{{RedisList: &v1alpha1.RedisListTrigger{
				RedisConnection: v1alpha1.RedisConnection{Addresses: []string{brokers.Redis(b).Address()}},
				List:            list, ProcessingList: list + ":processing",
			}}},
		},
	}
	if err := s.client.Create(b.Context(), sj); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	for {
		if err := s.client.Get(ctx, client.ObjectKeyFromObject(sj), sj); err != nil {
			b.Fatalf("waiting for the ScaledJob to be ready: %v", err)
		}
		if len(sj.Status.Triggers) > 0 && ptr.Deref(sj.Status.Triggers[0].Waiting, -1) == 0 {
			return list
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *stage) push(b *testing.B, list string, messages int) {
	b.Helper()
	c := brokers.Redis(b).Client()
	defer c.Close()
	values := make([]any, messages)
	for i := range values {
		values[i] = "message"
	}
	if err := c.RPush(b.Context(), list, values...).Err(); err != nil {
		b.Fatal(err)
	}
}
