package dispatcher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/history"
)

// Metrics are the measurements of all ScaledJobs. The series of a ScaledJob go away with it.
type Metrics struct {
	waiting, held    *prometheus.GaugeVec
	readDuration     *prometheus.HistogramVec
	readErrors       *prometheus.CounterVec
	jobsDispatched   *prometheus.CounterVec
	jobsActive       *prometheus.GaugeVec
	jobsFinished     *prometheus.CounterVec
	seenToCreated    *prometheus.HistogramVec
	createdToRunning *prometheus.HistogramVec
	duration         *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	object, ofTrigger := []string{"namespace", "scaledjob"}, []string{"namespace", "scaledjob", "trigger"}
	quick := prometheus.ExponentialBuckets(0.0005, 2, 15) // 0.5 ms to 8 s
	short := prometheus.ExponentialBuckets(0.001, 2, 18)  // 1 ms to 131 s
	waits := prometheus.ExponentialBuckets(0.001, 2, 28)  // 1 ms to 37 h
	long := prometheus.ExponentialBuckets(1, 2, 18)       // 1 s to 36 h
	m := &Metrics{
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "longhaul_trigger_waiting_messages", Help: "Messages that no one has taken.",
		}, ofTrigger),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "longhaul_trigger_held_messages", Help: "Messages taken and not yet acknowledged, where the broker can tell.",
		}, ofTrigger),
		readDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "longhaul_trigger_read_duration_seconds", Help: "How long a reading of the trigger took, with others of its endpoint.", Buckets: quick,
		}, ofTrigger),
		readErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "longhaul_trigger_read_errors_total", Help: "Readings of the trigger that failed.",
		}, ofTrigger),
		jobsDispatched: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "longhaul_jobs_dispatched_total", Help: "Jobs created.",
		}, ofTrigger),
		jobsActive: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "longhaul_jobs_active", Help: "Active Jobs, by state: starting or running.",
		}, append(object, "state")),
		jobsFinished: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "longhaul_jobs_finished_total", Help: "Jobs that finished while this manager followed them, by outcome: succeeded or failed.",
		}, append(ofTrigger, "outcome")),
		seenToCreated: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "longhaul_message_seen_to_job_created_seconds", Help: "From the reading that first showed a message to the creation of its Job.", Buckets: waits,
		}, object),
		createdToRunning: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "longhaul_job_created_to_running_seconds", Help: "From a Job's creation to its pod's running.", Buckets: short,
		}, object),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "longhaul_job_duration_seconds", Help: "From a Job's start to its finish, to the second.", Buckets: long,
		}, object),
	}
	for _, c := range []prometheus.Collector{
		m.waiting, m.held, m.readDuration, m.readErrors, m.jobsDispatched, m.jobsActive, m.jobsFinished,
		m.seenToCreated, m.createdToRunning, m.duration,
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Read takes a reading of a trigger. It may be called from any goroutine.
func (m *Metrics) Read(owner trigger.Owner, name string, o trigger.Observation) {
	m.readDuration.WithLabelValues(owner.Namespace, owner.Name, name).Observe(o.Took.Seconds())
	if o.Err != nil {
		m.readErrors.WithLabelValues(owner.Namespace, owner.Name, name).Inc()
	}
}

func (m *Metrics) backlog(of types.NamespacedName, name string, b trigger.Backlog) {
	m.waiting.WithLabelValues(of.Namespace, of.Name, name).Set(float64(b.Waiting))
	if b.HeldKnown {
		m.held.WithLabelValues(of.Namespace, of.Name, name).Set(float64(b.Held))
	} else {
		m.held.DeleteLabelValues(of.Namespace, of.Name, name)
	}
}

func (m *Metrics) active(of types.NamespacedName, starting, running int) {
	m.jobsActive.WithLabelValues(of.Namespace, of.Name, "starting").Set(float64(starting))
	m.jobsActive.WithLabelValues(of.Namespace, of.Name, "running").Set(float64(running))
}

func (m *Metrics) dispatched(of types.NamespacedName, name string) {
	m.jobsDispatched.WithLabelValues(of.Namespace, of.Name, name).Inc()
}

func (m *Metrics) waited(of types.NamespacedName, sinceSeen time.Duration) {
	m.seenToCreated.WithLabelValues(of.Namespace, of.Name).Observe(max(0, sinceSeen.Seconds()))
}

func (m *Metrics) started(of types.NamespacedName, sinceCreated time.Duration) {
	m.createdToRunning.WithLabelValues(of.Namespace, of.Name).Observe(max(0, sinceCreated.Seconds()))
}

func (m *Metrics) finished(of types.NamespacedName, name string, outcome history.Outcome, took time.Duration) {
	m.jobsFinished.WithLabelValues(of.Namespace, of.Name, name, string(outcome)).Inc()
	m.duration.WithLabelValues(of.Namespace, of.Name).Observe(max(0, took.Seconds()))
}

// forget removes the series of a ScaledJob.
func (m *Metrics) forget(of types.NamespacedName) {
	m.remove(prometheus.Labels{"namespace": of.Namespace, "scaledjob": of.Name})
}

// forgetTrigger removes the series of one trigger of a ScaledJob.
func (m *Metrics) forgetTrigger(of types.NamespacedName, name string) {
	m.remove(prometheus.Labels{"namespace": of.Namespace, "scaledjob": of.Name, "trigger": name})
}

// remove removes the series that have all of these labels.
func (m *Metrics) remove(labels prometheus.Labels) {
	for _, v := range []interface{ DeletePartialMatch(l prometheus.Labels) int }{
		m.waiting, m.held, m.readDuration, m.readErrors, m.jobsDispatched, m.jobsActive, m.jobsFinished,
		m.seenToCreated, m.createdToRunning, m.duration,
	} {
		v.DeletePartialMatch(labels)
	}
}
