package longpoll

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll/size"
)

// asking is how many pods are asked at a time.
const asking = 64

// census is what the pods of a target were, and what they said.
type census struct {
	// at is when the last of them had answered: a backlog read then or later may be set against it.
	at time.Time
	// version is the target's that was read before.
	version string
	// staying are the pods that are not being ended, and leaving those that are.
	staying, leaving []consumer
	order            size.Order
	settled          bool
	// sets is how many ReplicaSets ask for pods, or have some.
	sets int
	// let is the memory's.
	let map[types.UID]bool
}

// consumer is one pod.
type consumer struct {
	pod    *corev1.Pod
	state  size.State
	fenced bool
	answer answer
	// since is when it was first seen in this state, with this message; known whether it has ever answered.
	since time.Time
	known bool
	// err says why it is silent.
	err error
	// old says that a rollout is to replace it, and set names its ReplicaSet, as package size wants it.
	old bool
	set string
}

// takeCensus lists the pods, and asks each.
func (c *Controller) takeCensus(ctx context.Context, sd *v1alpha1.ScaledDeployment, t *target, m *memory) (*census, error) {
	var list corev1.PodList
	if err := c.Live.List(ctx, &list, client.InNamespace(t.namespace), client.MatchingLabelsSelector{Selector: t.selector}); err != nil {
		return nil, fmt.Errorf("listing the pods of %s %s: %w", t.ref.Kind, t.ref.Name, err)
	}
	staying, leaving := t.sort(list.Items)
	seen := &census{version: t.version, order: t.order(staying), settled: t.settled(staying), sets: t.alive(staying), let: m.let}
	all := slices.Concat(staying, leaving)
	consumers := make([]consumer, len(all))
	answers := make([]answer, len(all))
	errs := make([]error, len(all))
	quiet := make([]time.Time, len(all))
	var noBroker error
	if asksBroker(sd) {
		noBroker = c.askBroker(ctx, m, all, answers, errs, quiet)
	} else {
		group, asked := errgroup.WithContext(ctx)
		group.SetLimit(asking)
		for i := range all {
			group.Go(func() error {
				answers[i], errs[i] = c.stateOf(asked, sd, &all[i])
				return nil
			})
		}
		_ = group.Wait() // what goes wrong is each pod's own
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("asking the pods of %s %s: %w", t.ref.Kind, t.ref.Name, err)
	}
	seen.at = c.Clock.Now()
	sightings := make(map[types.UID]sighting, len(all))
	for i := range all {
		if errs[i] == nil || saidBefore(sd, m, &all[i]) {
			m.heard[voice(sd, &all[i])] = true
		}
	}
	for i := range all {
		pod := &all[i]
		timeout := sd.Spec.Termination.BusyTimeout.Duration
		if noBroker != nil || !m.heard[voice(sd, pod)] && runs(pod) {
			timeout = never
		}
		s := m.consumers[pod.UID].judge(answers[i], errs[i], seen.at, timeout)
		s.quiet = quiet[i]
		sightings[pod.UID] = s
		consumers[i] = consumer{
			pod: pod, state: s.state, fenced: s.state == size.Idle && (answers[i].Fenced || mayBeFenced(sd, m, pod)), answer: answers[i],
			since: s.since, known: !s.answered.IsZero(), err: errs[i],
		}
		consumers[i].old, consumers[i].set = t.isOld(pod, guardsRollout(sd, t) && m.managed.err == nil)
	}
	m.consumers = sightings
	maps.DeleteFunc(m.let, func(uid types.UID, _ bool) bool { _, there := sightings[uid]; return !there })
	seen.staying, seen.leaving = consumers[:len(staying)], consumers[len(staying):]
	return seen, nil
}

// mayBeFenced says whether a pod is to be taken for fenced: where only a pod's HTTP tells whether it is, and is not asked, any is
// that nobody has told to work. Too much is no harm: each that goes is fenced once more, and each that stays is told to work.
func mayBeFenced(sd *v1alpha1.ScaledDeployment, m *memory, pod *corev1.Pod) bool {
	return sd.Spec.Termination.Fence != nil && sd.Spec.Termination.Busy.HTTPGet == nil && !m.let[pod.UID]
}

// never is a timeout that does not run out.
const never = time.Duration(math.MaxInt64)

// voice is what pods answer alike by: how they are asked, and their template. Where none of a voice has ever answered, more
// likely the question is wrong than each pod hangs: such a pod may work, and is not lost while it runs.
func voice(sd *v1alpha1.ScaledDeployment, pod *corev1.Pod) string {
	at := sd.Spec.Termination.Busy.HTTPGet
	if at == nil {
		at = &v1alpha1.PodHTTP{}
	}
	return fmt.Sprint(at.Port, at.Path, " ", pod.Labels[hashLabel], pod.Labels[appsv1.ControllerRevisionHashLabelKey])
}

// saidBefore says whether a manager before this one has had an answer of a pod, as the status tells.
func saidBefore(sd *v1alpha1.ScaledDeployment, m *memory, pod *corev1.Pod) bool {
	return len(m.consumers) == 0 && sd.Status.ObservedGeneration == sd.Generation &&
		slices.ContainsFunc(sd.Status.Pods, func(s v1alpha1.ConsumerStatus) bool {
			return s.Name == pod.Name && s.State != v1alpha1.ConsumerStarting && s.State != v1alpha1.ConsumerLeaving
		})
}

// runs says whether a container of a pod runs.
func runs(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running != nil })
}

// mute is a pod that runs, and has not answered for a time that is enough for others; nil where there is none.
func (seen *census) mute(now time.Time, timeout time.Duration) *consumer {
	for i := range seen.staying {
		if k := &seen.staying[i]; !k.known && k.state == size.Silent && now.Sub(k.since) >= timeout {
			return k
		}
	}
	return nil
}

// stands says whether the pods that stay are still those of a census. A fenced one may have died by itself meanwhile: what
// was to go in its place would be another.
func (c *Controller) stands(ctx context.Context, t *target, seen *census) (bool, error) {
	var list corev1.PodList
	if err := c.Live.List(ctx, &list, client.InNamespace(t.namespace), client.MatchingLabelsSelector{Selector: t.selector}); err != nil {
		return false, fmt.Errorf("listing the pods of %s %s again: %w", t.ref.Kind, t.ref.Name, err)
	}
	staying, _ := t.sort(list.Items)
	known := map[types.UID]bool{}
	for i := range seen.staying {
		known[seen.staying[i].pod.UID] = true
	}
	for i := range staying {
		if !known[staying[i].UID] {
			return false, nil
		}
	}
	return len(staying) == len(known), nil
}

// sort parts the pods that are the target's, and have not ended by themselves, by whether they are being ended.
func (t *target) sort(pods []corev1.Pod) (staying, leaving []corev1.Pod) {
	sets := map[types.UID]bool{}
	for i := range t.sets {
		sets[t.sets[i].UID] = true
	}
	for i := range pods {
		pod := &pods[i]
		owner := metav1.GetControllerOf(pod)
		switch {
		case pod.Status.Phase == corev1.PodSucceeded, pod.Status.Phase == corev1.PodFailed:
		case t.ref.Kind == kindDeployment && (owner == nil || !sets[owner.UID]):
		case t.ref.Kind == kindStatefulSet && (owner == nil || owner.Kind != kindStatefulSet || owner.Name != t.ref.Name):
		case pod.DeletionTimestamp != nil:
			leaving = append(leaving, *pod)
		default:
			staying = append(staying, *pod)
		}
	}
	return staying, leaving
}

// isOld says whether a rollout that is held is to replace a pod, and names its ReplicaSet, the older first.
func (t *target) isOld(pod *corev1.Pod, held bool) (bool, string) {
	if t.ref.Kind == kindStatefulSet {
		return held && t.revision != "" && pod.Labels[appsv1.ControllerRevisionHashLabelKey] != t.revision, ""
	}
	owner := metav1.GetControllerOf(pod)
	for i := range t.sets {
		if s := &t.sets[i]; owner != nil && s.UID == owner.UID {
			// Their times are whole seconds, and of those of one second their controller takes the names in order.
			return held && s.UID != t.newest, s.CreationTimestamp.UTC().Format(time.RFC3339) + "/" + s.Name
		}
	}
	return false, ""
}

// consumerQuiet is for how long a broker must have said that a pod holds nothing, before it is taken for idle: what it says is up
// to 5 s old, twice over where it tells of a channel and its messages apart.
const consumerQuiet = 15 * time.Second

// asksBroker says whether a broker is to tell which pods are busy.
func asksBroker(sd *v1alpha1.ScaledDeployment) bool {
	busy := &sd.Spec.Termination.Busy
	return busy.RabbitMQConsumers != nil && busy.HTTPGet == nil && busy.PodAnnotation == ""
}

// askBroker finds out from a broker which pods hold messages. One that it does not know yet, or no longer, is silent. Its error
// says why the broker cannot tell, which is no pod's fault.
func (c *Controller) askBroker(ctx context.Context, m *memory, pods []corev1.Pod, answers []answer, errs []error, quiet []time.Time) error {
	if len(pods) == 0 {
		return nil
	}
	err := m.sources.consumersErr
	var held func(address, name string) (int64, bool)
	switch {
	case err != nil:
	case m.sources.consumers == nil:
		err = errSilent
	default:
		asking, cancel := context.WithTimeout(ctx, fenceTimeout)
		defer cancel()
		held, err = m.sources.consumers.Held(asking)
	}
	now := c.Clock.Now()
	for i := range pods {
		pod := &pods[i]
		if err != nil {
			errs[i] = fmt.Errorf("whether pod %s holds a message cannot be told: %w", pod.Name, err)
			quiet[i] = m.consumers[pod.UID].quiet
			continue
		}
		n, known := held(pod.Status.PodIP, pod.Name)
		if !known {
			errs[i] = fmt.Errorf("pod %s %w: RabbitMQ knows no channel from %s, and none of a connection of its name", pod.Name, errSilent, pod.Status.PodIP)
			continue
		}
		if n == 0 {
			quiet[i] = cmp.Or(m.consumers[pod.UID].quiet, now)
		}
		busy := n > 0 || now.Sub(quiet[i]) < consumerQuiet
		answers[i] = answer{Busy: &busy, presumed: n == 0}
	}
	return err
}

// stateOf finds out whether a pod is busy, in the way that is set.
func (c *Controller) stateOf(ctx context.Context, sd *v1alpha1.ScaledDeployment, pod *corev1.Pod) (answer, error) {
	if at := sd.Spec.Termination.Busy.HTTPGet; at != nil {
		return c.askState(ctx, pod, *at)
	}
	return annotated(pod, sd.Spec.Termination.Busy.PodAnnotation, c.Clock.Now())
}

// annotated reads a lease from a pod's annotation. A pod that does not run has none yet.
func annotated(pod *corev1.Pod, key string, now time.Time) (answer, error) {
	if pod.Status.Phase != corev1.PodRunning {
		return answer{}, fmt.Errorf("pod %s %w: it does not run yet", pod.Name, errSilent)
	}
	busy := false
	value := pod.Annotations[key]
	if value == "" {
		return answer{Busy: &busy}, nil
	}
	until, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return answer{}, fmt.Errorf("pod %s %w with a time such as 2006-01-02T15:04:05Z in its annotation %s: %w", pod.Name, errSilent, key, err)
	}
	busy = now.Before(until)
	return answer{Busy: &busy, Until: until}, nil
}

// judge says what a pod is, from what it answered now and what was known before. One that is silent, or whose lease has run
// out, for as long as timeout is lost.
func (s sighting) judge(a answer, err error, now time.Time, timeout time.Duration) sighting {
	if s.first.IsZero() {
		s.first = now
	}
	next := size.Silent
	switch {
	case err != nil:
		last := s.answered
		if last.IsZero() {
			last = s.first
		}
		if now.Sub(last) >= timeout {
			next = size.Lost
		}
		a.MessageID = s.messageID
	case !*a.Busy:
		s.answered, next = now, size.Idle
	case !a.Until.IsZero() && now.Sub(a.Until) >= timeout:
		s.answered, next = now, size.Lost
	default:
		s.answered, next = now, size.Busy
	}
	if next != s.state || a.MessageID != s.messageID || s.since.IsZero() {
		s.since = now
	}
	s.state, s.messageID = next, a.MessageID
	return s
}

// input is the census as size knows it.
func (seen *census) input(current, wanted int) size.Input {
	in := size.Input{Current: current, Wanted: wanted, Order: seen.order, Sets: seen.sets, Settled: seen.settled}
	for i := range seen.staying {
		in.Pods = append(in.Pods, seen.staying[i].sized())
	}
	return in
}

// sized is a pod as size knows it.
func (k *consumer) sized() size.Pod {
	p := size.Pod{
		Name: k.pod.Name, State: k.state, Fenced: k.fenced, Stage: size.Running, Ready: is(k.pod, corev1.PodReady),
		Ordinal: ordinal(k.pod.Name), Cost: cost(k.pod), Created: k.pod.CreationTimestamp.Time, Old: k.old, Set: k.set,
	}
	switch {
	case k.pod.Spec.NodeName == "":
		p.Stage = size.Unassigned
	case k.pod.Status.Phase == corev1.PodPending:
		p.Stage = size.Pending
	case k.pod.Status.Phase == corev1.PodUnknown:
		p.Stage = size.Unknown
	}
	gated := slices.ContainsFunc(k.pod.Spec.ReadinessGates, func(g corev1.PodReadinessGate) bool { return g.ConditionType == v1alpha1.ConditionAdmitted })
	if gated && !is(k.pod, v1alpha1.ConditionAdmitted) {
		p.Gate = size.Closed
		if is(k.pod, corev1.ContainersReady) {
			p.Gate = size.Waited
		}
	}
	return p
}

// find finds a staying pod by its name.
func (seen *census) find(name string) *consumer {
	for i := range seen.staying {
		if seen.staying[i].pod.Name == name {
			return &seen.staying[i]
		}
	}
	return nil
}

// starts says whether a pod has begun to run, and is about to answer for the first time.
func (seen *census) starts(now time.Time) bool {
	return slices.ContainsFunc(seen.staying, func(k consumer) bool {
		return !k.known && k.pod.Status.Phase == corev1.PodRunning && now.Sub(k.since) < startingTime
	})
}

// occupied counts the pods that are busy, or may be: those that stay, and those that are being ended.
func (seen *census) occupied() (staying, leaving int) {
	for i := range seen.staying {
		if k := &seen.staying[i]; k.state == size.Busy || k.state == size.Silent && k.known {
			staying++
		}
	}
	for i := range seen.leaving {
		if seen.leaving[i].state == size.Busy {
			leaving++
		}
	}
	return staying, leaving
}

func is(pod *corev1.Pod, condition corev1.PodConditionType) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == condition && c.Status == corev1.ConditionTrue
	})
}

// ordinal is the number at the end of the name of a StatefulSet's pod; -1 where there is none.
func ordinal(name string) int {
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil {
		return -1
	}
	return n
}

// costAnnotation is by what a ReplicaSet chooses among ready pods.
const costAnnotation = corev1.PodDeletionCost

func cost(pod *corev1.Pod) int {
	n, err := strconv.ParseInt(pod.Annotations[costAnnotation], 10, 32)
	if err != nil {
		return 0 // as a ReplicaSet takes it
	}
	return int(n)
}

func sameTemplate(a, b *corev1.PodTemplateSpec) bool { return equality.Semantic.DeepEqual(a, b) }
