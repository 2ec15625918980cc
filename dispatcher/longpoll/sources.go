package longpoll

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll/size"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/resolve"
)

// triggersOf are a ScaledDeployment's triggers as those of a ScaledJob are written.
func triggersOf(sd *v1alpha1.ScaledDeployment) []v1alpha1.Trigger {
	triggers := make([]v1alpha1.Trigger, len(sd.Spec.Triggers))
	for i := range sd.Spec.Triggers {
		triggers[i] = sd.Spec.Triggers[i].Trigger()
	}
	return triggers
}

// observeSources resolves the triggers where they, or a Secret they refer to, have changed, and has the meter read them.
func (c *Controller) observeSources(ctx context.Context, sd *v1alpha1.ScaledDeployment, m *memory) error {
	cluster := resolve.Cluster{Cache: c.Client, Live: c.Live}
	triggers := triggersOf(sd)
	versions, err := cluster.Versions(ctx, sd.Namespace, resolve.SecretsOf(triggers))
	if err != nil {
		return err
	}
	if m.sources.triggers != nil && m.sources.generation == sd.Generation && maps.Equal(m.sources.versions, versions) {
		return nil
	}
	secrets, failed := cluster.Secrets(ctx, sd.Namespace)
	next := sources{generation: sd.Generation, versions: versions}
	for i := range triggers {
		s := source{name: triggers[i].EffectiveName(), spec: &sd.Spec.Triggers[i]}
		if s.source, s.err = resolve.Source(c.Kinds, &triggers[i], secrets); s.err != nil {
			s.err = fmt.Errorf("trigger %s: %w", s.name, s.err)
		}
		next.triggers = append(next.triggers, s)
	}
	next.consumers, next.consumersErr = c.consumersOf(sd, secrets)
	if err := failed(); err != nil {
		return err // not the user's fault: tried again, and the triggers stay as they were
	}
	next.windows, next.err = c.windows(sd)
	name := client.ObjectKeyFromObject(sd)
	for _, old := range m.sources.triggers {
		if !slices.ContainsFunc(next.triggers, func(s source) bool { return s.name == old.name }) {
			c.Metrics.forgetTrigger(name, old.name)
			delete(m.failures, old.name)
		}
	}
	m.sources.close()
	m.sources, m.census = next, nil
	var watches []trigger.Watch
	for _, s := range next.triggers {
		if s.err == nil {
			watches = append(watches, trigger.Watch{Trigger: s.name, Source: s.source, Interval: sd.Spec.PollingInterval.Duration})
		}
	}
	c.Meter.Watch(ownerOf(name), watches)
	return nil
}

func (s *sources) close() {
	if s.consumers != nil {
		s.consumers.Close()
	}
}

// consumersOf is what tells which pods hold messages; nil where that is not asked for.
func (c *Controller) consumersOf(sd *v1alpha1.ScaledDeployment, secrets trigger.Secrets) (Consumers, error) {
	if !asksBroker(sd) {
		return nil, nil //nolint:nilnil // see above
	}
	name := sd.Spec.Termination.Busy.RabbitMQConsumers.Trigger
	for _, t := range triggersOf(sd) {
		if t.RabbitMQ == nil || name != "" && name != t.EffectiveName() {
			continue
		}
		consumers, err := c.Consumers(t.RabbitMQ, secrets)
		if err != nil {
			return nil, fmt.Errorf("termination.busy.rabbitmqConsumers: trigger %s: %w", t.EffectiveName(), err)
		}
		return consumers, nil
	}
	return nil, fmt.Errorf("termination.busy.rabbitmqConsumers: there is no rabbitmq trigger %q: correct the name, or leave it out for the first", name)
}

// windows resolves the windows of time, with the schedules of the cron trigger.
func (c *Controller) windows(sd *v1alpha1.ScaledDeployment) ([]window, error) {
	var windows []window
	for i := range sd.Spec.Cron {
		spec := &sd.Spec.Cron[i]
		schedule := func(field, line string) (trigger.Schedule, error) {
			t := v1alpha1.Trigger{Cron: &v1alpha1.CronTrigger{Schedule: line, TimeZone: spec.TimeZone}}
			s, err := resolve.Source(c.Kinds, &t, nil)
			if err != nil {
				return nil, fmt.Errorf("cron[%d].%s: %w", i, field, err)
			}
			return s.Schedule, nil
		}
		start, err := schedule("start", spec.Start)
		if err != nil {
			return nil, err
		}
		end, err := schedule("end", spec.End)
		if err != nil {
			return nil, err
		}
		windows = append(windows, window{start: start, end: end, least: int(spec.MinReplicas)})
	}
	return windows, nil
}

// least is the number of replicas that the open windows ask for, and when the next window opens or closes; zero where none
// does.
func least(windows []window, now time.Time) (replicas int, next time.Time) {
	for _, w := range windows {
		starts, ends := w.start.Next(now), w.end.Next(now)
		if size.WindowOpen(starts, ends) {
			replicas = max(replicas, w.least)
		}
		for _, at := range []time.Time{starts, ends} {
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	return replicas, next
}
