package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history"
)

const (
	messages = 200
	// burst is how many of them come at once. The others come one by one, so slowly that the cap does not hide a Job too many.
	burst  = 140
	pace   = 400 * time.Millisecond
	atOnce = 10
	// takesMessage is how long a worker takes from its start until it asks for its message.
	takesMessage = "2s"
)

// The scenarios use one machine and restart the brokers that they share, so they come one after the other.

func TestEachMessageGetsOneJob(t *testing.T) { //nolint:paralleltest // see above
	s := stages.get(t)
	s.startManager(t, "a")
	s.scenario(t, func(context.Context, func(jobs int) error) error { return nil })
}

func TestEachMessageGetsOneJobThoughTheManagerIsKilled(t *testing.T) { //nolint:paralleltest // see above
	s := stages.get(t)
	m := s.startManager(t, "0")
	s.scenario(t, func(_ context.Context, until func(jobs int) error) error {
		for i, jobs := range []int{10, 45, 80, 120, 170} {
			if err := until(jobs); err != nil {
				return err
			}
			m.kill()
			m = s.startManager(t, fmt.Sprint(i+1))
		}
		return nil
	})
}

func TestEachMessageGetsOneJobThoughTheLeaderIsKilled(t *testing.T) { //nolint:paralleltest // see above
	s := stages.get(t)
	flags := []string{"--leader-elect", "--leader-election-namespace", "default", "--leader-election-id", "e2e"}
	managers := []*manager{s.startManager(t, "0", flags...), s.startManager(t, "1", flags...)}
	s.scenario(t, func(ctx context.Context, until func(jobs int) error) error {
		if err := until(60); err != nil {
			return err
		}
		var lease coordinationv1.Lease
		if err := s.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: "e2e"}, &lease); err != nil {
			return err
		}
		before := ptr.Deref(lease.Spec.HolderIdentity, "")
		for _, m := range managers {
			log, err := os.ReadFile(s.log(m.log))
			if err != nil {
				return err
			}
			if strings.Contains(string(log), "acquired lease") {
				m.kill()
			}
		}
		return wait(ctx, time.Minute, "the other manager to lead", func() (bool, error) {
			err := s.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: "e2e"}, &lease)
			after := ptr.Deref(lease.Spec.HolderIdentity, "")
			return after != "" && after != before, err
		})
	})
}

func TestEachMessageGetsOneJobThoughTheBrokersRestart(t *testing.T) { //nolint:paralleltest // see above
	s := stages.get(t)
	rabbit, redis := brokers.RabbitMQ(t), brokers.Redis(t)
	if rabbit.External() || redis.External() {
		t.Skip("the brokers are somebody else's and stay up; unset LONGHAUL_TEST_RABBITMQ_URI and LONGHAUL_TEST_REDIS_ADDRESS")
	}
	s.startManager(t, "a")
	s.scenario(t, func(ctx context.Context, until func(jobs int) error) error {
		if err := until(40); err != nil {
			return err
		}
		restarted := make(chan error, 1)
		go func() { restarted <- redis.Restart(ctx) }()
		if err := rabbit.Restart(ctx); err != nil {
			return err
		}
		return <-restarted
	})
}

// scenario runs the messages of all kinds through, while something happens, and checks each account. What happens may wait
// until each kind has so many Jobs.
func (s *stage) scenario(t *testing.T, happen func(ctx context.Context, until func(jobs int) error) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	type run struct {
		kind  string
		ended chan error
		*account
		namespace string
	}
	var runs []run
	for _, k := range kinds() {
		namespace := s.namespace(ctx, t, k.name)
		r := run{kind: k.name, namespace: namespace, account: follow(ctx, t, s.client, namespace), ended: make(chan error, 1)}
		runs = append(runs, r)
		q := k.queue(t)
		s.apply(ctx, t, namespace, q)
		go func() { r.ended <- s.feed(ctx, r.account, namespace, q) }()
	}
	err := happen(ctx, func(jobs int) error {
		return wait(ctx, 5*time.Minute, fmt.Sprintf("%d Jobs of each kind", jobs), func() (bool, error) {
			for _, r := range runs {
				if r.created() < jobs {
					return false, nil
				}
			}
			return true, nil
		})
	})
	if err != nil {
		t.Error(err)
	}
	records := s.openHistory(ctx, t)
	for _, r := range runs {
		t.Run(r.kind, func(t *testing.T) {
			if err := <-r.ended; err != nil {
				t.Error(err)
			}
			got, err := r.sum()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", got)
			want := summary{Jobs: messages, Succeeded: messages, Messages: messages}
			want.Retried = got.Retried - got.Empty
			if got.JobsAtOnce <= atOnce && got.PodsAtOnce <= atOnce {
				want.JobsAtOnce, want.PodsAtOnce = got.JobsAtOnce, got.PodsAtOnce
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what came of %d messages (-want +got):\n%s", messages, diff)
			}
			if got.JobsAtOnce != atOnce {
				t.Errorf("%d Jobs ran at once, so the cap of %d was not used", got.JobsAtOnce, atOnce)
			}
			err = wait(ctx, time.Minute, "each Job to be recorded", func() (bool, error) {
				return len(stored(ctx, t, records, r.namespace)) >= got.Jobs, nil
			})
			if err != nil {
				t.Errorf("%v: %d of %d are", err, len(stored(ctx, t, records, r.namespace)), got.Jobs)
			}
			done := map[string]bool{}
			for _, record := range stored(ctx, t, records, r.namespace) {
				done[record.MessageID] = record.Outcome == history.Succeeded
			}
			if len(done) != messages {
				t.Errorf("the records tell of %d messages, not %d", len(done), messages)
			}
			for message, succeeded := range done {
				if !succeeded {
					t.Errorf("the record of message %q does not say that its Job succeeded", message)
				}
			}
		})
	}
}

func (s *stage) namespace(ctx context.Context, t *testing.T, prefix string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}
	if err := s.client.Create(ctx, ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// apply creates what a user would.
func (s *stage) apply(ctx context.Context, t *testing.T, namespace string, q queue) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "broker"}, StringData: q.secret}
	if err := s.client.Create(ctx, secret); err != nil {
		t.Fatal(err)
	}
	env := append([]corev1.EnvVar{
		{Name: "QUEUE_URI", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "broker"}, Key: "uri",
		}}},
		{Name: "START_DELAY", Value: takesMessage},
		// Long enough for a busy machine, and so short that a Job too many ends before another message comes.
		{Name: "WAIT", Value: "1s"},
		{Name: "ENCODER", Value: "builtin"},
		{Name: "MAX_SPEED", Value: "1"},
	}, q.env...)
	sj := &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "transcode"},
		Spec: v1alpha1.ScaledJobSpec{
			MaxParallelism:             ptr.To[int32](atOnce),
			SuccessfulJobsHistoryLimit: ptr.To[int32](2 * messages),
			FailedJobsHistoryLimit:     ptr.To[int32](2 * messages),
			Triggers:                   []v1alpha1.Trigger{q.trigger},
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{
				BackoffLimit: ptr.To[int32](10),
				PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
					Action: batchv1.PodFailurePolicyActionFailJob,
					OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
						Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{3, 64, 65, 78},
					},
				}}},
				Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
					RestartPolicy:                 corev1.RestartPolicyNever,
					TerminationGracePeriodSeconds: ptr.To[int64](5),
					Containers:                    []corev1.Container{{Name: "worker", Image: "none", Command: []string{"transcode-worker"}, Env: env}},
				}},
			}},
		},
	}
	if err := s.client.Create(ctx, sj); err != nil {
		t.Fatal(err)
	}
}

// feed puts the messages, and returns when each has a Job and the manager knows that all have ended well.
func (s *stage) feed(ctx context.Context, a *account, namespace string, q queue) error {
	output := filepath.Join(s.dir, "out", namespace)
	if err := os.MkdirAll(output, 0o700); err != nil {
		return err
	}
	put := func(first, last int) error {
		texts, err := orders(s.clip, output, first, last)
		if err != nil {
			return err
		}
		if err := q.put(ctx, texts); err != nil {
			return fmt.Errorf("putting messages %d to %d: %w", first, last, err)
		}
		return nil
	}
	if err := put(1, burst); err != nil {
		return err
	}
	err := wait(ctx, 5*time.Minute, "Jobs for the burst", func() (bool, error) { return a.created() >= burst, nil })
	if err != nil {
		return err
	}
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for n := burst + 1; n <= messages; n++ {
		<-ticker.C
		if err := put(n, n); err != nil {
			return err
		}
	}
	var status v1alpha1.ScaledJobStatus
	err = wait(ctx, 5*time.Minute, "all to have ended", func() (bool, error) {
		var sj v1alpha1.ScaledJob
		if err := s.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "transcode"}, &sj); err != nil {
			return false, err
		}
		status = sj.Status
		ended := ptr.Deref(status.Succeeded, 0) + ptr.Deref(status.Failed, 0)
		return ended >= messages && ptr.Deref(status.Waiting, 0)+int64(ptr.Deref(status.Starting, 0)+ptr.Deref(status.Running, 0)) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%w; the last status: %+v", err, status)
	}
	return nil
}
