package longpoll

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// Metrics are the measurements of all ScaledDeployments. The series of one go away with it.
type Metrics struct {
	waiting, held *prometheus.GaugeVec
	readDuration  *prometheus.HistogramVec
	readErrors    *prometheus.CounterVec
	replicas      *prometheus.GaugeVec
	pods          *prometheus.GaugeVec
	changes       *prometheus.CounterVec
	shrinking     *prometheus.HistogramVec
	busyEnded     *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	object, ofTrigger := []string{"namespace", "scaleddeployment"}, []string{"namespace", "scaleddeployment", "trigger"}
	quick := prometheus.ExponentialBuckets(0.0005, 2, 15)   // 0.5 ms to 8 s
	shrinking := prometheus.ExponentialBuckets(0.05, 2, 18) // 50 ms to 109 min
	m := &Metrics{
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "longhaul_scaleddeployment_waiting_messages", Help: "Messages that no one has taken.",
		}, ofTrigger),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "longhaul_scaleddeployment_held_messages", Help: "Messages taken and not yet acknowledged, where the broker can tell.",
		}, ofTrigger),
		readDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "longhaul_scaleddeployment_read_duration_seconds", Help: "How long a reading of the trigger took, with others of its endpoint.", Buckets: quick,
		}, ofTrigger),
		readErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "longhaul_scaleddeployment_read_errors_total", Help: "Readings of the trigger that failed.",
		}, ofTrigger),
		replicas: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "longhaul_scaleddeployment_replicas", Help: "Replicas of the target: desired, or current.",
		}, append(object, "kind")),
		pods: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "longhaul_scaleddeployment_pods", Help: "Pods of the target, by what they say of themselves.",
		}, append(object, "state")),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "longhaul_scaleddeployment_scales_total", Help: "Times that replicas were set, by direction: up or down.",
		}, append(object, "direction")),
		shrinking: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "longhaul_scaleddeployment_shrink_duration_seconds", Help: "From setting fewer replicas to a fenced pod's being gone.", Buckets: shrinking,
		}, object),
		busyEnded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "longhaul_scaleddeployment_busy_pods_ended_total", Help: "Pods that were being ended while they worked, whoever ended them.",
		}, object),
	}
	for _, c := range m.all() {
		if err := registry.Register(c.(prometheus.Collector)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// vector is a metric with labels.
type vector interface {
	DeletePartialMatch(l prometheus.Labels) int
}

func (m *Metrics) all() []vector {
	return []vector{m.waiting, m.held, m.readDuration, m.readErrors, m.replicas, m.pods, m.changes, m.shrinking, m.busyEnded}
}

// Read takes a reading of a trigger. It may be called from any goroutine.
func (m *Metrics) Read(owner trigger.Owner, name string, o trigger.Observation) {
	m.readDuration.WithLabelValues(owner.Namespace, owner.Name, name).Observe(o.Took.Seconds())
	if o.Err != nil {
		m.readErrors.WithLabelValues(owner.Namespace, owner.Name, name).Inc()
		return
	}
	m.waiting.WithLabelValues(owner.Namespace, owner.Name, name).Set(float64(o.Backlog.Waiting))
	if o.Backlog.HeldKnown {
		m.held.WithLabelValues(owner.Namespace, owner.Name, name).Set(float64(o.Backlog.Held))
	} else {
		m.held.DeleteLabelValues(owner.Namespace, owner.Name, name)
	}
}

func (m *Metrics) state(of types.NamespacedName, s *v1alpha1.ScaledDeploymentStatus) {
	for _, g := range []struct {
		vector *prometheus.GaugeVec
		label  string
		value  *int32
	}{
		{m.replicas, "desired", s.DesiredReplicas},
		{m.replicas, "current", s.Replicas},
		{m.pods, "busy", s.Busy},
		{m.pods, "idle", s.Idle},
		{m.pods, "fenced", s.Fenced},
		{m.pods, "leaving", s.Leaving},
		{m.pods, "lost", s.Lost},
	} {
		if g.value != nil {
			g.vector.WithLabelValues(of.Namespace, of.Name, g.label).Set(float64(*g.value))
		}
	}
}

func (m *Metrics) scaled(of types.NamespacedName, by int) {
	direction := "up"
	if by < 0 {
		direction = "down"
	}
	m.changes.WithLabelValues(of.Namespace, of.Name, direction).Inc()
}

func (m *Metrics) shrunk(of types.NamespacedName, took time.Duration) {
	m.shrinking.WithLabelValues(of.Namespace, of.Name).Observe(took.Seconds())
}

func (m *Metrics) endedBusy(of types.NamespacedName) {
	m.busyEnded.WithLabelValues(of.Namespace, of.Name).Inc()
}

// forget removes the series of a ScaledDeployment.
func (m *Metrics) forget(of types.NamespacedName) {
	for _, v := range m.all() {
		v.DeletePartialMatch(prometheus.Labels{"namespace": of.Namespace, "scaleddeployment": of.Name})
	}
}

// forgetTrigger removes the series of one of its triggers.
func (m *Metrics) forgetTrigger(of types.NamespacedName, name string) {
	for _, v := range m.all() {
		v.DeletePartialMatch(prometheus.Labels{"namespace": of.Namespace, "scaleddeployment": of.Name, "trigger": name})
	}
}
