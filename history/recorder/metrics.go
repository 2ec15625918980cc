package recorder

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the measurements of recording.
type Metrics struct {
	records, losses prometheus.Counter
	duration        prometheus.Histogram
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "longhaul_history_saved_records_total", Help: "Records saved; one Job's is saved several times.",
		}),
		losses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "longhaul_history_lost_records_total", Help: "Records of Jobs that are gone, given up because too many waited for the store.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "longhaul_history_save_duration_seconds", Help: "How long the store took to save a batch of records.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
	}
	for _, c := range []prometheus.Collector{m.records, m.losses, m.duration} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) saved(records int, took time.Duration) {
	m.records.Add(float64(records))
	m.duration.Observe(took.Seconds())
}

func (m *Metrics) lost() { m.losses.Inc() }
