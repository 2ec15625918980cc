// Package longpoll sizes the targets of ScaledDeployments to their backlogs, and never ends a pod that is busy.
//
// A target is what has replicas: a Deployment, a StatefulSet, or anything else with a scale subresource. Its pods are
// consumers: they long-poll a queue, and work for long on what they take. A pass reads the target and its pods from the API
// server and asks each pod for its state (a census), and sets a backlog read after that against it. Then it protects busy
// pods from others, admits new pods of a rollout as far as old ones are drained, and scales: up at once; down by fencing
// idle pods first and taking away exactly those (see package size, which decides).
//
// What a pass does follows from what it sees, so that a manager may be killed between any two of its writes: fences are the
// pods' own state, read back from them. A memory, kept between passes, holds what costs time only when lost: since when a
// pod is silent, and which wishes have lasted for how long.
package longpoll

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/resolve"
)

// OwnerKind is the kind of the owners whose triggers this package has the meter read.
const OwnerKind = "ScaledDeployment"

// Options are what a Controller works with. All are required but WatchNamespaces.
type Options struct {
	// Client reads ScaledDeployments and HorizontalPodAutoscalers from a cache, and writes.
	Client client.Client
	// Live reads targets and pods from the API server: what is to be ended is not decided on what a cache shows.
	Live client.Reader
	// Meter reads the triggers, and tells of changes through the Waker.
	Meter *trigger.Meter
	// Kinds are the kinds of triggers that this manager knows; of cron it takes the schedule.
	Kinds []resolve.Kind
	// Consumers makes what tells which pods hold messages of a trigger's virtual host; see BusySignal.RabbitMQConsumers.
	Consumers func(*v1alpha1.RabbitMQTrigger, trigger.Secrets) (Consumers, error)
	// Clock tells the time.
	Clock clock.Clock
	// HTTP asks pods. It follows no redirect and uses no proxy: see NewHTTP.
	HTTP *http.Client
	// Recorder takes events.
	Recorder events.EventRecorder
	// Metrics takes measurements.
	Metrics *Metrics
	// Selects says whether the ScaledDeployments of a namespace are this manager's. WatchNamespaces says that it may change its
	// mind when the namespace's labels do.
	Selects         func(ctx context.Context, namespace string) (bool, error)
	WatchNamespaces bool
}

// Consumers tells how many messages the clients of a broker hold.
type Consumers interface {
	// Held asks the broker. What it returns tells how many the client at an address, or under a connection's name, holds; false
	// where there is no such client.
	Held(ctx context.Context) (func(address, name string) (messages int64, known bool), error)
	// Close ends what connections there are.
	Close()
}

// Controller sizes the targets of ScaledDeployments.
type Controller struct {
	Options

	mu       sync.Mutex
	memories map[types.NamespacedName]*memory
}

// New returns a Controller. SetupWithManager has it run.
func New(o Options) *Controller {
	return &Controller{Options: o, memories: map[types.NamespacedName]*memory{}}
}

// Reconcile makes one pass over one ScaledDeployment.
func (c *Controller) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var sd v1alpha1.ScaledDeployment
	err := c.Client.Get(ctx, req.NamespacedName, &sd)
	gone := apierrors.IsNotFound(err)
	if err != nil && !gone {
		return reconcile.Result{}, fmt.Errorf("reading the ScaledDeployment: %w", err)
	}
	mine, err := c.Selects(ctx, req.Namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	if gone || !mine {
		c.forget(req.NamespacedName)
		return reconcile.Result{}, nil
	}
	if sd.DeletionTimestamp != nil {
		return reconcile.Result{}, c.takeBack(ctx, &sd)
	}
	if !controllerutil.ContainsFinalizer(&sd, v1alpha1.FinalizerManaged) {
		return reconcile.Result{}, c.finalize(ctx, &sd, true) // its change runs the next pass
	}
	return c.pass(ctx, &sd, c.recall(req.NamespacedName, sd.UID))
}

// takeBack undoes what was written to the target and its pods, and lets the ScaledDeployment go.
func (c *Controller) takeBack(ctx context.Context, sd *v1alpha1.ScaledDeployment) error {
	c.forget(client.ObjectKeyFromObject(sd))
	if !controllerutil.ContainsFinalizer(sd, v1alpha1.FinalizerManaged) {
		return nil
	}
	t, err := c.observeTarget(ctx, sd)
	if errors.Is(err, errNoTarget) {
		return c.finalize(ctx, sd, false)
	}
	if err != nil {
		return err
	}
	seen, err := c.takeCensus(ctx, sd, t, newMemory(sd.UID))
	if err != nil {
		return err
	}
	if err := errors.Join(c.release(ctx, sd, t, seen), c.unmanage(ctx, t)); err != nil {
		return err
	}
	return c.finalize(ctx, sd, false)
}

func (c *Controller) forget(name types.NamespacedName) {
	c.mu.Lock()
	if m := c.memories[name]; m != nil {
		m.sources.close()
	}
	delete(c.memories, name)
	c.mu.Unlock()
	c.Meter.Forget(ownerOf(name))
	c.Metrics.forget(name)
}

func (c *Controller) recall(name types.NamespacedName, uid types.UID) *memory {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.memories[name]
	if ok && old.uid == uid {
		return old
	}
	if ok {
		old.sources.close()
	}
	m := newMemory(uid)
	c.memories[name] = m
	return m
}

func ownerOf(name types.NamespacedName) trigger.Owner {
	return trigger.Owner{Kind: OwnerKind, Namespace: name.Namespace, Name: name.Name}
}

// pass looks, protects, rolls, scales and reports.
func (c *Controller) pass(ctx context.Context, sd *v1alpha1.ScaledDeployment, m *memory) (reconcile.Result, error) {
	p := &progress{}
	err := c.advance(ctx, sd, m, p)
	if err != nil && p.unready == nil {
		return reconcile.Result{}, err // a failed read or write of the cluster; it is tried again
	}
	return c.report(ctx, sd, m, p)
}

// progress is how far a pass came, and what it has to tell.
type progress struct {
	// unready says why the target cannot be scaled, as condition Ready tells it; nil where it can.
	unready *trouble
	target  *target
	census  *census
	// decided says that a backlog was set against the census, with decision.
	decided  bool
	decision decision
	// rollHold says what a rollout waits for.
	rollHold string
	again    time.Time
}

// sooner has the next pass run at a moment at the latest.
func (p *progress) sooner(at time.Time) {
	if !at.IsZero() && (p.again.IsZero() || at.Before(p.again)) {
		p.again = at
	}
}

// advance does what can be done. What users are to mend is in p.unready, and is no error.
func (c *Controller) advance(ctx context.Context, sd *v1alpha1.ScaledDeployment, m *memory, p *progress) error {
	if err := c.observeSources(ctx, sd, m); err != nil {
		return err
	}
	t, err := c.observeTarget(ctx, sd)
	if errors.Is(err, errNoTarget) {
		p.unready = &trouble{v1alpha1.ReasonTargetNotFound, err.Error()}
		return nil
	}
	if err != nil {
		return err
	}
	p.target = t
	if p.unready, err = c.rival(ctx, sd); err != nil || p.unready != nil {
		return err
	}
	if changed, err := c.manage(ctx, sd, t, m); err != nil || changed {
		p.sooner(c.Clock.Now().Add(soon))
		return err
	}
	if m.census == nil || m.census.version != t.version {
		if m.census, err = c.takeCensus(ctx, sd, t, m); err != nil {
			return err
		}
		if err := c.protect(ctx, sd, t, m, m.census); err != nil {
			return err
		}
	}
	p.census = m.census
	if replacing, err := c.roll(ctx, sd, m, p); err != nil || replacing {
		m.census = nil
		return err
	}
	return c.size(ctx, sd, m, p)
}
