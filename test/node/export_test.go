package node

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// AddressPool is exported for tests.
type AddressPool = addressPool

// NewAddressPool is exported for tests.
func NewAddressPool(block netip.Prefix) *AddressPool { return newAddressPool(block) }

// Take is exported for tests.
func (a *addressPool) Take(pod types.UID) (netip.Addr, error) { return a.take(pod) }

// Claim is exported for tests.
func (a *addressPool) Claim(pod types.UID, text string) (netip.Addr, bool) { return a.claim(pod, text) }

// Release is exported for tests.
func (a *addressPool) Release(pod types.UID, address netip.Addr) { a.release(pod, address) }

// For tests.
var (
	ErrNoAddress = errNoAddress
	ReserveBlock = reserveBlock
	Lock         = lock
	ReadTail     = readTail
	ReadHead     = readHead
)

// Folder is exported for tests.
func Folder(pods string, object *corev1.Pod) string { return string(newPodFolder(pods, object)) }

// Believe feeds a probe's answers to what keeps them from fluttering, and returns what it believes after each.
func Believe(probe *corev1.Probe, answers []bool) []bool {
	s := newStreak(probe)
	believed := make([]bool, 0, len(answers))
	for _, answer := range answers {
		believed = append(believed, s.next(answer))
	}
	return believed
}

// SendLog writes of a log what the parameters of a request ask for.
func SendLog(ctx context.Context, w http.ResponseWriter, path string, query url.Values, runs func() bool) error {
	q, err := parseLogQuery(query)
	if err != nil {
		return err
	}
	log, err := os.Open(path)
	if err != nil {
		return err
	}
	defer log.Close()
	return q.send(ctx, w, log, runs)
}
