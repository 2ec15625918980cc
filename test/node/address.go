package node

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/netip"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// hostAddress is the node's address.
const hostAddress = "127.0.0.1"

// The range from which a process node takes its block of addresses, and the size of a block.
const (
	addressRange = "127.64.0.0/10"
	blockBits    = 18
	blocks       = 1 << (blockBits - 10)
)

// errNoAddress is returned when every address of the block is in use.
var errNoAddress = errors.New("every address is in use")

// addressPool gives each pod an address of its own for as long as its containers may run. One that was given back is
// given again as late as possible.
type addressPool struct {
	block netip.Prefix

	mu   sync.Mutex
	last netip.Addr
	used map[netip.Addr]types.UID
}

func newAddressPool(block netip.Prefix) *addressPool {
	block = block.Masked()
	return &addressPool{block: block, last: block.Addr(), used: map[netip.Addr]types.UID{}}
}

// take gives a pod an address that is not in use. The first of the block is never given.
func (a *addressPool) take(pod types.UID) (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for candidate, tried := a.after(a.last), 0; tried <= len(a.used); candidate, tried = a.after(candidate), tried+1 {
		if _, used := a.used[candidate]; !used {
			a.last, a.used[candidate] = candidate, pod
			return candidate, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("taking an address of %s: %w", a.block, errNoAddress)
}

// claim gives a pod the address that it had, of which block it may be, unless it was another's or is no loopback address.
func (a *addressPool) claim(pod types.UID, text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil || !address.IsLoopback() {
		return netip.Addr{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if owner, used := a.used[address]; used && owner != pod {
		return netip.Addr{}, false
	}
	a.used[address] = pod
	return address, true
}

// release takes an address back from a pod.
func (a *addressPool) release(pod types.UID, address netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.used[address] == pod {
		delete(a.used, address)
	}
}

func (a *addressPool) after(address netip.Addr) netip.Addr {
	if next := address.Next(); a.block.Contains(next) {
		return next
	}
	return a.block.Addr().Next()
}

// reserveBlock returns a block of addresses that no other process node on this machine has, and what to close to give it
// back. A folder gets the same block again if that is free.
func reserveBlock(ctx context.Context, dir string) (netip.Prefix, io.Closer, error) {
	hash := fnv.New32a()
	hash.Write([]byte(dir))
	start := hash.Sum32()
	base := netip.MustParsePrefix(addressRange).Addr().As4()
	for i := range uint32(blocks) {
		number := (start + i) % blocks
		block := base
		// Ten bits are the range's; eight say which block: six of them in the second byte, two in the third.
		block[1] += byte(number >> 2)
		block[2] = byte(number&3) << 6
		prefix := netip.PrefixFrom(netip.AddrFrom4(block), blockBits)
		// A name that no file stands behind, which the kernel frees however its owner ends.
		lock, err := (&net.ListenConfig{}).Listen(ctx, "unix", "@longhaul-process-node/"+prefix.String())
		if err == nil {
			return prefix, lock, nil
		}
	}
	return netip.Prefix{}, nil, fmt.Errorf("reserving addresses of %s: %w", addressRange, errNoAddress)
}
