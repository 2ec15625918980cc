package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/longhaul-dev/longhaul/test/node/internal/process"
)

// ErrInUse is returned by Run when another process node has the folder.
var ErrInUse = errors.New("another process node uses the folder")

// Options says how to run a process node.
type Options struct {
	// Config is how to reach the API server. Without limits of its own, the node asks at most 500 times a second.
	Config *rest.Config
	// Name is the Node object's name; process-node by default.
	Name string
	// Dir is the node's folder, which is made if it is not there: state and logs.
	Dir string
	// Path lists folders that come first in the containers' PATH, before this process's.
	Path []string
	// AddressBase is the block that the pods' addresses are taken from, such as 127.64.0.0/18. By default it is one of
	// 127.64.0.0/10 that no other process node on the machine has.
	AddressBase netip.Prefix
	// SchedulerName is the scheduler that the node plays: pods that name another are left to that one. It is
	// default-scheduler by default.
	SchedulerName string
	// RestartBackoff is how long a container that failed again waits; it doubles up to five minutes. 10s by default.
	RestartBackoff time.Duration
	// KeepLogs is of how many deleted pods the logs are kept; 500 by default.
	KeepLogs int
	// Log takes what the node has to tell; by default nothing does.
	Log *slog.Logger
	// Ready is called, if it is set, when the node is registered and knows its pods.
	Ready func()
}

// node is a running process node.
type node struct {
	Options
	client    kubernetes.Interface
	http      *http.Client // for probes and hooks
	log       *slog.Logger
	path      string
	addresses *addressPool
	spawner   *process.Spawner
	graves    *graveyard
	port      int // of the endpoint

	working sync.WaitGroup

	mu       sync.Mutex
	pods     map[types.UID]*pod // those that have a worker, or had one until a moment ago
	removing map[types.UID]bool // those whose objects are being deleted for good
}

// Run runs a process node until ctx ends. Then it kills what it runs and returns nil; the API server is told nothing, as
// when a machine is switched off.
func Run(ctx context.Context, options Options) error {
	n, err := newNode(options)
	if err != nil {
		return err
	}
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(n.log.Handler())) // the client's own messages
	unlock, err := lock(n.Dir)
	if err != nil {
		return err
	}
	defer unlock.Close()
	if !n.AddressBase.IsValid() {
		block, reserved, err := reserveBlock(ctx, n.Dir)
		if err != nil {
			return err
		}
		defer reserved.Close()
		n.AddressBase = block
	}
	n.addresses = newAddressPool(n.AddressBase)
	if left, err := process.EndLeftovers(variableNodeDir + "=" + n.Dir); err != nil {
		return fmt.Errorf("ending what an earlier process node left: %w", err)
	} else if left > 0 {
		n.log.Info("ended what an earlier process node left", "processes", left)
	}
	n.spawner = process.NewSpawner()
	defer n.spawner.Close()
	return n.serve(ctx)
}

func newNode(options Options) (*node, error) {
	n := &node{
		Options: options, http: newProbeClient(), log: options.Log,
		pods: map[types.UID]*pod{}, removing: map[types.UID]bool{},
	}
	if n.Name == "" {
		n.Name = "process-node"
	}
	if n.SchedulerName == "" {
		n.SchedulerName = corev1.DefaultSchedulerName
	}
	if n.RestartBackoff <= 0 {
		n.RestartBackoff = 10 * time.Second
	}
	if n.KeepLogs <= 0 {
		n.KeepLogs = 500
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if n.Dir, err = filepath.Abs(n.Dir); err != nil {
		return nil, fmt.Errorf("finding the folder: %w", err)
	}
	if err := makeFolder(n.podsFolder()); err != nil {
		return nil, err
	}
	n.graves = &graveyard{most: n.KeepLogs}
	if n.path, err = searchPath(n.Path); err != nil {
		return nil, err
	}

	config := rest.CopyConfig(options.Config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.UserAgent = "process-node"
	if config.QPS == 0 && config.RateLimiter == nil {
		config.QPS, config.Burst = 500, 1000
	}
	if n.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return n, nil
}

// searchPath is the containers' PATH: the given folders, then this process's.
func searchPath(first []string) (string, error) {
	var folders []string
	for _, folder := range first {
		folder, err := filepath.Abs(folder)
		if err != nil {
			return "", fmt.Errorf("finding a folder of the path: %w", err)
		}
		folders = append(folders, folder)
	}
	return strings.Join(append(folders, os.Getenv("PATH")), string(filepath.ListSeparator)), nil
}

// lock takes the node's folder. The kernel frees it however this process ends.
func lock(dir string) (io.Closer, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, ErrInUse)
	}
	return folderLock{file}, nil
}

// folderLock is the lock of a node's folder.
type folderLock struct{ *os.File }

// Close gives the folder back. To close the file alone would do so later at times: a process that is being started has a
// copy of it until it runs its program.
func (l folderLock) Close() error {
	return errors.Join(syscall.Flock(int(l.Fd()), syscall.LOCK_UN), l.File.Close())
}

func (n *node) podsFolder() string { return filepath.Join(n.Dir, "pods") }

// serve registers the node, watches pods, and returns when ctx has ended and everything with it.
func (n *node) serve(ctx context.Context) error {
	bound := newPodStore(func(p *corev1.Pod) { n.seen(ctx, p) }, n.gone)
	bound.first = n.claimAddresses
	endpoint, err := newEndpoint(ctx, n, bound)
	if err != nil {
		return err
	}
	defer endpoint.close(ctx)
	n.port = endpoint.port
	if err := n.register(ctx); err != nil {
		return err
	}
	var watching sync.WaitGroup
	binder := n.newBinder()
	unbound := newPodStore(binder.add, func(*corev1.Pod) {})
	watching.Go(func() { n.watch(ctx, "spec.nodeName="+n.Name, bound) })
	watching.Go(func() { n.watch(ctx, "spec.nodeName=,status.phase!=Succeeded,status.phase!=Failed", unbound) })
	watching.Go(func() { binder.run(ctx) })
	watching.Go(func() { n.keepAlive(ctx) })
	if awaitAll(ctx, bound.synced, unbound.synced) {
		living := func() map[podFolder]bool { return bound.folders(n.podsFolder()) }
		if err := n.graves.restore(n.podsFolder(), living); err != nil {
			n.log.Error("folders of deleted pods stay", "error", err)
		}
		n.log.Info("ready", "node", n.Name, "addresses", n.AddressBase.String())
		if n.Ready != nil {
			n.Ready()
		}
	}
	<-ctx.Done()
	watching.Wait() // from here on no worker is added
	n.working.Wait()
	return nil
}

// awaitAll returns true when all channels are closed, and false when ctx ends first.
func awaitAll(ctx context.Context, channels ...<-chan struct{}) bool {
	for _, c := range channels {
		select {
		case <-c:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// seen takes note of a pod of this node that has come or changed.
func (n *node) seen(ctx context.Context, object *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, known := n.pods[object.UID]
	switch {
	case known:
		p.observe(object)
		if !is(p.over) {
			return
		}
		if isTerminal(object) {
			delete(n.pods, object.UID) // from here on the object itself says that it is over
		}
		n.clearAway(ctx, object)
	case isTerminal(object):
		n.clearAway(ctx, object)
	default:
		n.take(ctx, object)
	}
}

// take starts a pod's worker. It is called with the lock held.
func (n *node) take(ctx context.Context, object *corev1.Pod) {
	p := newPod(n, object)
	n.pods[object.UID] = p
	running, abandon := context.WithCancel(ctx)
	p.abandon = abandon
	n.working.Go(func() {
		defer abandon()
		p.run(running)
		if running.Err() == nil {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.clearAway(ctx, p.object())
		}
	})
}

// clearAway deletes the object of a pod that is over, if somebody wants it deleted and the API server waits for the node
// to do so. It is called with the lock held.
func (n *node) clearAway(ctx context.Context, object *corev1.Pod) {
	if object.DeletionTimestamp == nil || seconds(object.DeletionGracePeriodSeconds) == 0 || n.removing[object.UID] {
		return
	}
	n.removing[object.UID] = true
	n.working.Go(func() { n.remove(ctx, object) })
}

// gone takes note of a pod whose object is gone: what runs is killed, and all but the logs removed.
func (n *node) gone(object *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, known := n.pods[object.UID]
	delete(n.pods, object.UID)
	delete(n.removing, object.UID)
	n.working.Go(func() {
		if known {
			p.abandon()
			<-p.over
		}
		if err := n.graves.bury(newPodFolder(n.podsFolder(), object)); err != nil {
			n.log.Error("the folder of a deleted pod stays", "pod", object.Namespace+"/"+object.Name, "error", err)
		}
	})
}

// claimAddresses gives those pods of an earlier process node that are not over the addresses that they are known by, before
// new pods take any.
func (n *node) claimAddresses(objects []*corev1.Pod) {
	for _, object := range objects {
		if !isTerminal(object) {
			n.addresses.claim(object.UID, object.Status.PodIP)
		}
	}
}
