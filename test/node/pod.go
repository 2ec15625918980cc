package node

import (
	"context"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/longhaul-dev/longhaul/test/node/internal/podstatus"
)

// pod is a pod that the node runs: its worker.
type pod struct {
	node    *node
	name    string // with its namespace, for the log
	folder  podFolder
	ending  *ending
	changed chan struct{}      // holds one token when there may be news to report
	over    chan struct{}      // closed when the worker has ended
	abandon context.CancelFunc // kills what runs and reports no more: the object is gone

	address netip.Addr // to be read by the worker and what it starts

	mu       sync.Mutex
	known    podstatus.Pod
	deadline *time.Timer // of activeDeadlineSeconds; nil without
}

func newPod(n *node, object *corev1.Pod) *pod {
	p := &pod{
		node:    n,
		name:    object.Namespace + "/" + object.Name,
		folder:  newPodFolder(n.podsFolder(), object),
		ending:  newEnding(),
		changed: make(chan struct{}, 1),
		over:    make(chan struct{}),
	}
	p.known = podstatus.Pod{Object: object, Before: object.Status.Conditions, Host: hostAddress, Started: metav1.Now()}
	if object.Status.StartTime != nil {
		p.known.Started = *object.Status.StartTime
	}
	p.heed(object)
	return p
}

// observe takes note of a change of the pod's object. The last is never older than the one before.
func (p *pod) observe(object *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.Object = object
	p.heed(object)
	if len(object.Spec.ReadinessGates) > 0 {
		p.poke()
	}
}

// heed begins the pod's ending if its object says so. It is called with the lock held, or before there is a worker.
func (p *pod) heed(object *corev1.Pod) {
	switch {
	case object.DeletionTimestamp != nil:
		p.ending.begin(time.Now().Add(seconds(object.DeletionGracePeriodSeconds)))
	case isTerminal(object) && !p.known.Over:
		// Somebody else has given the pod up.
		p.known.Verdict = &podstatus.Verdict{
			Phase: object.Status.Phase, Reason: object.Status.Reason, Message: object.Status.Message, Written: true,
		}
		p.ending.begin(time.Now().Add(seconds(object.Spec.TerminationGracePeriodSeconds)))
	}
	if limit := object.Spec.ActiveDeadlineSeconds; limit != nil && !p.known.Over {
		left := time.Until(p.known.Started.Add(seconds(limit)))
		if p.deadline == nil {
			p.deadline = time.AfterFunc(left, p.exceed)
		} else {
			p.deadline.Reset(left)
		}
	}
}

// exceed ends a pod whose time is up.
func (p *pod) exceed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known.Over || is(p.ending.begun) {
		return
	}
	p.known.Verdict = &podstatus.Verdict{
		Phase: corev1.PodFailed, Reason: "DeadlineExceeded",
		Message: "Pod was active on the node longer than the specified deadline",
	}
	p.ending.begin(time.Now().Add(seconds(p.known.Object.Spec.TerminationGracePeriodSeconds)))
}

// run runs the pod until none of its containers will run again and the API server knows. It returns early when ctx ends:
// the process node ends, or the pod is gone.
func (p *pod) run(ctx context.Context) {
	defer close(p.over)
	defer p.disarm()
	defer context.AfterFunc(ctx, p.ending.kill)()
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		p.report(ctx)
	}()
	if err := p.takeUp(); err != nil {
		p.fail(err)
	} else {
		p.live(ctx)
		p.node.addresses.release(p.object().UID, p.address)
	}
	if ctx.Err() == nil {
		p.finish()
	}
	<-reported
}

// takeUp finds out what is known of the pod from before, and gives it an address.
func (p *pod) takeUp() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := makeFolder(p.folder.work()); err != nil {
		return err
	}
	before, found, err := p.folder.recall()
	if err != nil {
		return err
	}
	if !found {
		before = fromStatus(p.known.Object)
	}
	if p.address, err = p.takeAddress(p.known.Object.Status.PodIP, before.Address); err != nil {
		return err
	}
	p.known.Address = p.address.String()
	if found {
		p.known.Started = before.Started
	}
	spec, now := &p.known.Object.Spec, metav1.Now()
	waits := podstatus.ReasonCreating
	if len(spec.InitContainers) > 0 {
		waits = podstatus.ReasonInitializing
	}
	p.known.Init = continued(spec.InitContainers, before.Init, waits, now)
	p.known.Main = continued(spec.Containers, before.Main, waits, now)
	return nil
}

// takeAddress returns one of the addresses that the pod had before, or else another.
func (p *pod) takeAddress(before ...string) (netip.Addr, error) {
	for _, text := range before {
		if address, ok := p.node.addresses.claim(p.known.Object.UID, text); ok {
			return address, nil
		}
	}
	return p.node.addresses.take(p.known.Object.UID)
}

// continued returns a record for each container: what is known of it from before, where a run's end that was not seen is
// a loss, or a new one.
func continued(containers []corev1.Container, before []podstatus.Record, waits string, now metav1.Time) []podstatus.Record {
	records := make([]podstatus.Record, 0, len(containers))
	for i := range containers {
		record := podstatus.NewRecord(containers[i].Name, waits)
		for _, known := range before {
			if known.Name == record.Name {
				record = known
			}
		}
		record.Lose(now)
		records = append(records, record)
	}
	return records
}

// fromStatus is what the API server knows of a pod that left no trace in the node's folder: one that an earlier process
// node ran in another.
func fromStatus(object *corev1.Pod) memory {
	return memory{
		Init: fromStatuses(object.Status.InitContainerStatuses), Main: fromStatuses(object.Status.ContainerStatuses),
	}
}

func fromStatuses(statuses []corev1.ContainerStatus) []podstatus.Record {
	var records []podstatus.Record
	for i := range statuses {
		s := &statuses[i]
		if s.ContainerID != "" {
			records = append(records, podstatus.Record{
				Name: s.Name, ID: s.ContainerID, Restarts: s.RestartCount, State: s.State, Last: s.LastTerminationState,
			})
		}
	}
	return records
}

// fail gives the pod up before anything of it ran.
func (p *pod) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.node.log.Error("the pod cannot be run", "pod", p.name, "error", err)
	p.known.Verdict = &podstatus.Verdict{Phase: corev1.PodFailed, Reason: "ProcessNodeError", Message: err.Error()}
	p.ending.begin(time.Now())
}

// finish records that none of the pod's containers will run again.
func (p *pod) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.Over = true
	p.poke()
}

// disarm stops the clock of activeDeadlineSeconds.
func (p *pod) disarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deadline != nil {
		p.deadline.Stop()
	}
}

// update changes what is known, and has it reported.
func (p *pod) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.poke()
}

// note changes what is known, writes it down, and has it reported.
func (p *pod) note(change func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.poke()
	return p.folder.save(memory{
		Started: p.known.Started, Address: p.known.Address, Init: p.known.Init, Main: p.known.Main,
	})
}

// poke has the reporter look for news.
func (p *pod) poke() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// object returns the pod's object as last seen.
func (p *pod) object() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known.Object
}

// isTerminal tells whether a pod's object says that it is over.
func isTerminal(object *corev1.Pod) bool {
	return object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed
}

// seconds is a duration that the API gives as a number of seconds, or none.
func seconds(n *int64) time.Duration {
	if n == nil {
		return 0
	}
	return time.Duration(*n) * time.Second
}
