package dispatcher

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/resolve"
)

// sources are the triggers of a ScaledJob, resolved.
type sources struct {
	generation int64
	// versions are the resource versions of the Secrets read, by name; empty for one that does not exist.
	versions map[string]string
	triggers []source
	// since is when they were resolved.
	since time.Time
}

// source is one trigger, resolved.
type source struct {
	name   string
	spec   *v1alpha1.Trigger
	source trigger.Source
	// queue tells its queue from others, as queueOf does.
	queue string
	// err says why the trigger's settings cannot be used.
	err error
}

// queued says whether the trigger is a queue that can be read.
func (s *source) queued() bool { return s.err == nil && s.source.Schedule == nil }

// live says whether decisions may rest on what an observation says is held.
func (s *source) live(o trigger.Observation) bool {
	return o.Backlog.HeldLive && s.spec.Acknowledge != v1alpha1.AcknowledgeOnReceipt
}

// queueOf tells one queue from another by the settings that name it, without what Secrets hold: a digest of 16 hexadecimal
// digits; empty for a schedule.
func queueOf(t *v1alpha1.Trigger) (string, error) {
	if t.Cron != nil {
		return "", nil
	}
	raw, err := json.Marshal([]any{t.RabbitMQ, t.RedisList, t.RedisStream})
	if err != nil {
		return "", fmt.Errorf("writing its settings as JSON: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8]), nil
}

// timetable is what a schedule's times follow from; empty for a queue.
func (s *source) timetable() string {
	if s.spec == nil || s.spec.Cron == nil {
		return ""
	}
	return s.spec.Cron.Schedule + " " + s.spec.Cron.TimeZone
}

func (s *source) perJob() int64 { return int64(*s.spec.MessagesPerJob) }

// resolveAll turns a ScaledJob's triggers into sources.
func resolveAll(kinds []resolve.Kind, sj *v1alpha1.ScaledJob, secrets trigger.Secrets) []source {
	resolved := make([]source, 0, len(sj.Spec.Triggers))
	for i := range sj.Spec.Triggers {
		t := &sj.Spec.Triggers[i]
		s := source{name: t.EffectiveName(), spec: t}
		if t.Cron != nil && sj.Spec.Combine != v1alpha1.CombineSum {
			// The API server refuses it now; one that was stored before would run its times over and over.
			s.err = fmt.Errorf("a schedule needs combine: Sum, and it is %s: remove combine, or give cron a ScaledJob of its own", sj.Spec.Combine)
		} else if s.queue, s.err = queueOf(t); s.err == nil {
			s.source, s.err = resolve.Source(kinds, t, secrets)
		}
		if s.err != nil {
			s.err = fmt.Errorf("trigger %s: %w", s.name, s.err)
		}
		resolved = append(resolved, s)
	}
	return resolved
}

// OwnerKind is the kind of the owners whose triggers the dispatcher has the meter read.
const OwnerKind = "ScaledJob"

// ownerOf is the name by which the meter knows a ScaledJob.
func ownerOf(name types.NamespacedName) trigger.Owner {
	return trigger.Owner{Kind: OwnerKind, Namespace: name.Namespace, Name: name.Name}
}
