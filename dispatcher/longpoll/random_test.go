package longpoll_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// seedsWanted is how many courses of things are tried of each kind; LONGHAUL_TEST_SEEDS asks for more.
const seedsWanted = 5

// nature has things happen at random whenever the manager asks or writes anything, and between its passes.
type nature struct {
	*world

	random *rand.Rand
	// edits, deaths and faults say whether templates are edited, pods die by themselves, and requests fail.
	edits, deaths, faults bool
	calm                  bool
	// pause is how many seconds may go by between two passes; 1 where nothing is said.
	pause int
	// demand says that messages come: they do so in waves.
	demand bool
}

var errFault = errors.New("the request is lost")

// interrupt is what comes before a request of the manager.
func (n *nature) interrupt(string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.calm {
		return nil
	}
	for n.random.IntN(3) == 0 {
		n.happen()
	}
	if n.faults && n.random.IntN(40) == 0 {
		return errFault
	}
	return nil
}

// happen has one thing happen.
func (n *nature) happen() {
	switch i := n.random.IntN(20); {
	case i < 2:
		if n.demand && n.waiting < 6 {
			n.waiting++
		}
	case i < 6:
		if k := n.anyone(); k != nil {
			n.take(k)
		}
	case i < 9:
		if k := n.anyone(); k != nil {
			n.finish(k)
		}
	case i < 12:
		n.moveDeployment()
	case i < 15:
		n.moveSets()
	case i < 18:
		n.moveKubelet()
	case i < 19 && n.deaths:
		if _, pods := n.list(); len(pods) > 0 {
			pod := &pods[n.random.IntN(len(pods))]
			if k := n.consumers[pod.Status.PodIP]; k == nil || !k.busy {
				n.die(pod)
			}
		}
	case i < 20 && n.edits && n.random.IntN(4) == 0:
		n.edit()
	}
}

// anyone is a consumer that runs, being ended or not; nil where there is none.
func (n *nature) anyone() *consumer {
	var alive []*consumer
	for i := range n.pods {
		if k := n.consumers[fmt.Sprint("10.0.0.", i+1)]; k != nil && !k.silent {
			alive = append(alive, k)
		}
	}
	if len(alive) == 0 {
		return nil
	}
	return alive[n.random.IntN(len(alive))]
}

// quiet lets the work be done, and nothing else happen.
func (n *nature) quiet() {
	n.t.Helper()
	n.calm = true
	for range 60 {
		if err := n.pass(); err != nil {
			n.t.Fatal(err)
		}
		n.act()
		_, pods := n.list()
		for i := range pods {
			if k := n.consumers[pods[i].Status.PodIP]; k != nil {
				n.finish(k)
				n.take(k)
			}
		}
		n.step(time.Second)
	}
}

func TestNoBusyConsumerIsEndedWhateverHappensMeanwhile(t *testing.T) {
	t.Parallel()
	seeds := seedsWanted
	if asked := os.Getenv("LONGHAUL_TEST_SEEDS"); asked != "" {
		var err error
		if seeds, err = strconv.Atoi(asked); err != nil {
			t.Fatalf("LONGHAUL_TEST_SEEDS=%q: give a number", asked)
		}
	}
	for _, test := range []struct {
		name    string
		nature  nature
		hold    bool
		changes []func(*v1alpha1.ScaledDeploymentSpec)
	}{
		{name: "messages come and go"},
		{name: "requests fail, and managers are killed", nature: nature{faults: true}},
		{name: "pods die by themselves, and consumers begin fenced", nature: nature{deaths: true}, hold: true},
		{name: "the template is edited, and consumers begin fenced", nature: nature{edits: true}, hold: true},
		{name: "a broker tells which are busy", nature: nature{faults: true, pause: 5}, changes: []func(*v1alpha1.ScaledDeploymentSpec){told, fenceable}},
		{name: "all of it", nature: nature{edits: true, deaths: true, faults: true}, hold: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			shrinks := 0
			for seed := range uint64(seeds) {
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						n := test.nature
						n.world, n.random = newWorld(t, test.changes...), chance(seed)
						n.hold = test.hold
						shrinks += n.live()
					})
				})
			}
			if shrinks < seeds/3 {
				t.Errorf("only %d times were there fewer replicas: little was tried", shrinks)
			}
		})
	}
}

// live makes passes while things happen, and then until nothing is left to do. It returns how often there were fewer replicas.
func (n *nature) live() int {
	n.before = n.interrupt
	shrinks, last := 0, int32(0)
	for i := range 120 {
		n.demand = i%20 < 8
		if err := n.pass(); err != nil && !errors.Is(err, errFault) {
			n.t.Error(err)
		}
		if n.faults && n.random.IntN(12) == 0 {
			n.start()
		}
		_ = n.interrupt("")
		now := *n.deployment().Spec.Replicas
		if now < last {
			shrinks++
		}
		last = now
		if most := *n.scaledDeployment().Spec.MaxReplicas; now > most {
			n.t.Errorf("there are %d replicas, and %d are the most", now, most)
		}
		n.step(time.Duration(n.random.IntN(1000*max(1, n.pause))) * time.Millisecond)
	}
	n.quiet()
	n.wantNoneEnded()
	_, pods := n.list()
	if replicas := *n.deployment().Spec.Replicas; len(pods) > 0 || replicas > 0 || n.waiting > 0 || n.held() > 0 {
		n.t.Errorf("with nothing left to do there are %d replicas and %d pods, %d messages wait, and %d are held; %s",
			replicas, len(pods), n.waiting, n.held(), n.scaledDeployment().Status.LastDecision)
		n.wantNoneEnded()
	}
	var budgets policyv1.PodDisruptionBudgetList
	n.must(n.api.List(n.t.Context(), &budgets, client.InNamespace(namespace)))
	if len(budgets.Items) > 0 {
		n.t.Error("no pod is busy, and a PodDisruptionBudget is there")
	}
	if ended := n.events.of("BusyPodEnded"); len(ended) > 0 {
		n.t.Errorf("events tell of ended pods: %q", ended)
	}
	return shrinks
}
