package dispatcher_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// measured tells all series of the manager's metrics: the value, and of a histogram how many values it took and their sum.
func (m *manager) measured() map[string]string {
	m.t.Helper()
	families, err := m.metrics.Gather()
	m.must(err)
	series := map[string]string{}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			var marks []string
			for _, l := range one.GetLabel() {
				if l.GetName() != "namespace" && l.GetName() != "scaledjob" {
					marks = append(marks, l.GetName()+"="+l.GetValue())
				}
			}
			series[f.GetName()+"{"+strings.Join(marks, ",")+"}"] = value(one)
		}
	}
	return series
}

func value(m *dto.Metric) string {
	switch {
	case m.Counter != nil:
		return fmt.Sprint(m.GetCounter().GetValue())
	case m.Gauge != nil:
		return fmt.Sprint(m.GetGauge().GetValue())
	default:
		return fmt.Sprintf("%d, %.3f s in all", m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum())
	}
}

// burst has a manager dispatch four Jobs of which two succeed, one fails and one runs on; three messages come later.
func burst(w *world) *manager {
	m := w.manager()
	w.apply(newScaledJob(triggers(held(videos)), parallelism(0, 4)))
	m.arrive(4)
	m.clock.Step(between) // so long is it until the Jobs are made
	m.pass()
	all := w.wantJobs(4)
	m.step(2 * time.Second)
	m.passes(3)
	w.run(all[:3]...)
	w.broker.take(videos, 3)
	m.passes(3)
	m.step(time.Second)
	w.run(all[3])
	w.broker.take(videos, 1)
	m.passes(3)
	w.broker.fail("", errBroken)
	m.step(time.Second)
	w.broker.fail("", nil)
	m.step(time.Second)
	m.step(3 * time.Second)
	w.broker.acknowledge(videos, 3)
	w.finish(batchv1.JobComplete, all[:2]...)
	w.finish(batchv1.JobFailed, all[2])
	m.passes(4)
	w.broker.put(videos, 3)
	m.step(time.Second)
	m.passes(4)
	return m
}

func TestMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := burst(w)
		w.wantJobs(7)
		got := m.measured()
		// How often the queue was read is the meter's affair.
		reads := got["longhaul_trigger_read_duration_seconds{trigger=videos}"]
		delete(got, "longhaul_trigger_read_duration_seconds{trigger=videos}")
		if reads == "" || strings.HasPrefix(reads, "0,") {
			t.Errorf("readings measured: %q", reads)
		}
		want := map[string]string{
			"longhaul_trigger_waiting_messages{trigger=videos}":              "3",
			"longhaul_trigger_held_messages{trigger=videos}":                 "1",
			"longhaul_trigger_read_errors_total{trigger=videos}":             "1",
			"longhaul_jobs_dispatched_total{trigger=videos}":                 "7",
			"longhaul_jobs_active{state=starting}":                           "3",
			"longhaul_jobs_active{state=running}":                            "1",
			"longhaul_jobs_finished_total{outcome=succeeded,trigger=videos}": "2",
			"longhaul_jobs_finished_total{outcome=failed,trigger=videos}":    "1",
			"longhaul_message_seen_to_job_created_seconds{}":                 "7, 0.040 s in all",
			"longhaul_job_created_to_running_seconds{}":                      "4, 9.150 s in all",
			"longhaul_job_duration_seconds{}":                                "3, 24.000 s in all",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("series (-want +got):\n%s", diff)
		}
	})
}

func TestSeriesOfATriggerGoAwayWithItAndThoseOfHeldMessagesWithTheKnowledge(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(triggers(held("a"), held("b"))))
		m.settle()
		w.edit(triggers(list("a")))
		m.settle()
		m.step(2 * time.Second)
		m.settle()
		var left []string
		for series := range m.measured() {
			if strings.Contains(series, "trigger=b") || strings.Contains(series, "held") {
				left = append(left, series)
			}
		}
		if len(left) > 0 {
			t.Errorf("what nothing is known of any longer is still told: %v", left)
		}
	})
}

func TestMetricsAreThoseOfTheDocuments(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(longhaul_\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(document), -1) {
		if !strings.HasPrefix(row[1], "longhaul_history_") && !strings.HasPrefix(row[1], "longhaul_scaleddeployment_") { // others'
			want[row[1]] = row[2]
		}
	}
	story(t, func(t *testing.T, w *world) {
		families, err := burst(w).metrics.Gather()
		w.must(err)
		got := map[string]string{}
		for _, f := range families {
			got[f.GetName()] = strings.ToLower(f.GetType().String())
			for _, one := range f.GetMetric() {
				marks := map[string]string{}
				for _, l := range one.GetLabel() {
					marks[l.GetName()] = l.GetValue()
				}
				if marks["namespace"] != namespace || marks["scaledjob"] != name {
					t.Errorf("%s has labels %v, want namespace and scaledjob among them", f.GetName(), marks)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("metrics and their kinds (-documents +measured):\n%s", diff)
		}
	})
}

func TestARestartedManagerMeasuresWhatHappensFromThenOn(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := burst(w)
		m.kill()
		m = w.manager()
		m.settle()
		got := m.measured()
		for _, series := range slices.Sorted(maps.Keys(got)) {
			for _, past := range []string{"dispatched", "finished", "created", "job_duration"} {
				if strings.Contains(series, past) {
					t.Errorf("series %s is %s, of Jobs that came before", series, got[series])
				}
			}
		}
	})
}

func TestTheStatusTellsWhatIsSo(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := burst(w)
		m.settle()
		got := w.scaledJob().Status
		for i := range got.Conditions {
			got.Conditions[i].LastTransitionTime = metav1.Time{}
		}
		if got.LastDispatchTime == nil || got.Triggers[0].LastReadTime == nil {
			t.Error("lastDispatchTime or lastReadTime is missing")
		}
		got.LastDispatchTime, got.Triggers[0].LastReadTime = nil, nil
		want := v1alpha1.ScaledJobStatus{
			ObservedGeneration: 1,
			Waiting:            ptr.To[int64](3), Held: ptr.To[int64](1),
			Starting: ptr.To[int32](3), Running: ptr.To[int32](1), Succeeded: ptr.To[int32](2), Failed: ptr.To[int32](1),
			LastSequence: 7,
			Triggers:     []v1alpha1.TriggerStatus{{Name: videos, Waiting: ptr.To[int64](3), Held: ptr.To[int64](1)}},
			Conditions: []metav1.Condition{
				{
					Type: "Ready", Status: "True", ObservedGeneration: 1, Reason: "Dispatching",
					Message: "all triggers are read, and the API server takes the Jobs",
				},
				{Type: "Active", Status: "True", ObservedGeneration: 1, Reason: "JobsActive", Message: "Jobs are active"},
				{Type: "Suspended", Status: "False", ObservedGeneration: 1, Reason: "NotSuspended", Message: "spec.suspend is not set"},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
	})
}

func TestTheStatusIsWrittenAtMostOnceASecondAndOnlyWhenItChanged(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob(parallelism(0, 1)))
		w.broker.set(videos, 299, 0)
		m.settle()
		only := w.wantJobs(1)[0]
		before := m.statusWrites
		for range 150 { // three seconds in which it changes with each pass
			w.run(only)
			m.passes(1)
			w.pod(only, func(s *corev1.PodStatus) { s.Phase, s.ContainerStatuses = corev1.PodPending, nil })
			m.passes(1)
		}
		if got := m.statusWrites - before; got < 2 || got > 4 {
			t.Errorf("in 3 s of changes the status was written %d times, want 2 to 4", got)
		}
		m.settle()
		before = m.statusWrites
		m.follow(3 * time.Minute)
		if got := m.statusWrites - before; got != 0 {
			t.Errorf("in 3 minutes without a change the status was written %d times", got)
		}
		if got, want := *w.scaledJob().Status.Waiting, int64(299); got != want {
			t.Errorf("the status says that %d messages wait, want %d", got, want)
		}
	})
}

func TestABurstOfMessagesIsOneEvent(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		m.settle()
		for range 8 {
			w.broker.put(videos, 2)
			m.step(time.Second)
			m.passes(4)
		}
		w.wantJobs(16)
		got := m.events.of("Dispatched")
		if len(got) != 1 || !strings.HasPrefix(got[0].Note, "Dispatched 2 Jobs: 2 waiting") {
			t.Fatalf("events: %v", got)
		}
		m.step(time.Minute)
		w.broker.put(videos, 1)
		m.step(time.Second)
		m.passes(4)
		if got := m.events.of("Dispatched"); len(got) != 2 {
			t.Errorf("after a minute of rest, events: %v", got)
		}
		if got := m.events.of("Dispatching"); len(got) != 1 {
			t.Errorf("events about condition Ready: %v", got)
		}
	})
}

func TestFailedJobsAreToldTogether(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		w.broker.set(videos, 9, 0)
		m.settle()
		all := w.wantJobs(9)
		w.broker.set(videos, 0, 0)
		w.finish(batchv1.JobFailed, all[0])
		m.settle()
		for _, job := range all[1:] {
			w.finish(batchv1.JobFailed, job)
			m.step(500 * time.Millisecond)
			m.passes(1)
		}
		m.follow(30 * time.Second)
		want := []event{
			{"Warning", "JobsFailed", "transcode-000001 failed"},
			{
				"Warning", "JobsFailed",
				"transcode-000002, transcode-000003, transcode-000004, transcode-000005, transcode-000006 and 3 more Jobs failed",
			},
		}
		if diff := cmp.Diff(want, m.events.of("JobsFailed")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestAChangeOfReadyIsAnEvent(t *testing.T) {
	t.Parallel()
	story(t, func(t *testing.T, w *world) {
		m := w.manager()
		w.apply(newScaledJob())
		m.settle()
		w.broker.fail(videos, errBroken)
		m.follow(20 * time.Second)
		w.broker.fail(videos, nil)
		m.follow(20 * time.Second)
		want := []event{
			{"Normal", "Dispatching", "all triggers are read, and the API server takes the Jobs"},
			{"Warning", "TriggerUnreadable", "trigger videos: " + errBroken.Error()},
			{"Normal", "Dispatching", "all triggers are read, and the API server takes the Jobs"},
		}
		if diff := cmp.Diff(want, m.events.sent); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}
