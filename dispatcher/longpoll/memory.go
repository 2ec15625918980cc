package longpoll

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll/size"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// memory is what is remembered of one ScaledDeployment from pass to pass. Losing it costs time only. A ScaledDeployment has
// one pass at a time, so its memory needs no lock.
type memory struct {
	uid     types.UID
	sources sources
	// census is what pods said and no decision has used yet.
	census *census
	// consumers are the pods as they were when last asked.
	consumers map[types.UID]sighting
	// let are the pods that were told to work, and not fenced since. It matters where pods cannot be asked whether they are.
	let map[types.UID]bool
	// heard are the voices of which a pod has answered.
	heard   map[string]bool
	history size.History
	// failures counts the readings of each trigger that failed in a row, and failed is when the last of them began.
	failures map[string]failures
	managed  managed
	// replacing is how many pods a Deployment's controller may replace; it is paused where that is none.
	replacing int
	// guarded says whether there is a PodDisruptionBudget of ours; nil before that is known.
	guarded *bool
	// shrinks are pods that were taken away and are not gone yet, and since when.
	shrinks map[types.UID]time.Time
	// ended are the busy pods that were seen to be ended, so that each is told of once.
	ended map[types.UID]bool
	// statusAt is when the status was last written.
	statusAt time.Time
}

func newMemory(uid types.UID) *memory {
	return &memory{
		uid: uid, consumers: map[types.UID]sighting{}, heard: map[string]bool{}, let: map[types.UID]bool{}, failures: map[string]failures{},
		shrinks: map[types.UID]time.Time{}, ended: map[types.UID]bool{},
	}
}

// sighting is what is remembered of a pod.
type sighting struct {
	// first is when it was first seen, and answered when it last answered.
	first, answered time.Time
	// state, message and since are what it was last in, and since when.
	state     size.State
	messageID string
	since     time.Time
	lost      bool
	// quiet is since when it has held no message, as far as a broker tells; zero while it holds some.
	quiet time.Time
}

type failures struct {
	n    int
	last time.Time
}

// managed is what became of the fields that are managed.
type managed struct {
	// applied is the configuration last applied, as JSON.
	applied string
	// err says why the last could not be; nil where it was. No other attempt is made before again.
	err   error
	again time.Time
}

// sources are the triggers, resolved.
type sources struct {
	generation int64
	versions   map[string]string
	triggers   []source
	windows    []window
	// err says which window cannot be used.
	err error
	// consumers tells which pods hold messages, where termination.busy asks for that; consumersErr why it cannot.
	consumers    Consumers
	consumersErr error
}

// source is one trigger, resolved.
type source struct {
	name   string
	spec   *v1alpha1.ReplicaTrigger
	source trigger.Source
	err    error
}

// window is a window of time, resolved.
type window struct {
	start, end trigger.Schedule
	least      int
}

// trouble is what users are to mend, as a condition tells it.
type trouble struct{ reason, message string }
