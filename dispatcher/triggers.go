package dispatcher

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// Kind is one kind of trigger: how the settings of a trigger of that kind become a Source. Settings that cannot be used
// are an error that names the field, the value and the remedy, and shows no secret.
type Kind struct {
	// Name is the field of a trigger that the kind is called after.
	Name string
	// Source is called only for triggers that have that field set.
	Source func(t *v1alpha1.Trigger, secrets trigger.Secrets) (trigger.Source, error)
}

// KindOf makes a Kind of a driver's constructor and the field that holds its settings.
func KindOf[S any](name string, settings func(*v1alpha1.Trigger) *S, source func(*S, trigger.Secrets) (trigger.Source, error)) Kind {
	return Kind{Name: name, Source: func(t *v1alpha1.Trigger, secrets trigger.Secrets) (trigger.Source, error) {
		return source(settings(t), secrets)
	}}
}

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

// resolve turns a ScaledJob's triggers into sources.
func resolve(kinds []Kind, sj *v1alpha1.ScaledJob, secrets trigger.Secrets) []source {
	resolved := make([]source, 0, len(sj.Spec.Triggers))
	for i := range sj.Spec.Triggers {
		t := &sj.Spec.Triggers[i]
		s := source{name: t.EffectiveName(), spec: t}
		k := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == t.Kind() })
		switch {
		case k < 0:
			s.err = fmt.Errorf("this manager has no trigger of kind %q", t.Kind())
		case t.Cron != nil && sj.Spec.Combine != v1alpha1.CombineSum:
			// The API server refuses it now; one that was stored before would run its times over and over.
			s.err = fmt.Errorf("a schedule needs combine: Sum, and it is %s: remove combine, or give cron a ScaledJob of its own", sj.Spec.Combine)
		default:
			if s.queue, s.err = queueOf(t); s.err == nil {
				s.source, s.err = kinds[k].Source(t, secrets)
			}
		}
		if s.err != nil {
			s.err = fmt.Errorf("trigger %s: %w", s.name, s.err)
		}
		resolved = append(resolved, s)
	}
	return resolved
}

// SecretsOf lists the names of the Secrets that a ScaledJob's triggers refer to, each once, in order.
func SecretsOf(sj *v1alpha1.ScaledJob) []string {
	var names []string
	add := func(refs ...*v1alpha1.SecretKeyRef) {
		for _, r := range refs {
			if r != nil {
				names = append(names, r.Name)
			}
		}
	}
	encrypted := func(t *v1alpha1.TLS) {
		if t != nil {
			add(t.CA, t.Certificate, t.Key)
		}
	}
	redis := func(c *v1alpha1.RedisConnection) {
		add(c.Username, c.Password, c.SentinelUsername, c.SentinelPassword)
		encrypted(c.TLS)
	}
	for i := range sj.Spec.Triggers {
		t := &sj.Spec.Triggers[i]
		switch {
		case t.RabbitMQ != nil:
			add(t.RabbitMQ.URI.SecretKeyRef)
			if t.RabbitMQ.ManagementURI != nil {
				add(t.RabbitMQ.ManagementURI.SecretKeyRef)
			}
			encrypted(t.RabbitMQ.TLS)
		case t.RedisList != nil:
			redis(&t.RedisList.RedisConnection)
		case t.RedisStream != nil:
			redis(&t.RedisStream.RedisConnection)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}

// isUserError says whether reading a Secret failed for what the user wrote.
func isUserError(err error) bool {
	var s *secretError
	return errors.As(err, &s)
}

// ownerOf is the name by which the meter knows a ScaledJob.
func ownerOf(sj *v1alpha1.ScaledJob) trigger.Owner {
	return trigger.Owner{Namespace: sj.Namespace, Name: sj.Name}
}
