package node_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/test/node"
)

func TestAnAddressIsGivenAgainAsLateAsPossible(t *testing.T) {
	t.Parallel()
	pool := node.NewAddressPool(netip.MustParsePrefix("127.64.0.0/29"))
	var got []string
	take := func(pod types.UID) netip.Addr {
		t.Helper()
		address, err := pool.Take(pod)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, address.String())
		return address
	}
	first := take("a")
	take("b")
	pool.Release("a", first)
	for i := range 6 {
		take(types.UID(fmt.Sprint(i)))
	}
	want := []string{
		"127.64.0.1", "127.64.0.2", "127.64.0.3", "127.64.0.4", "127.64.0.5", "127.64.0.6", "127.64.0.7", "127.64.0.1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := pool.Take("more"); !errors.Is(err, node.ErrNoAddress) {
		t.Errorf("a pool that is used up says %v", err)
	}
}

func TestAnAddressIsOnePodsAtATime(t *testing.T) {
	t.Parallel()
	pool := node.NewAddressPool(netip.MustParsePrefix("127.64.0.0/24"))
	address, ok := pool.Claim("a", "127.64.0.1")
	if !ok {
		t.Fatal("a free address was refused")
	}
	if _, ok := pool.Claim("a", "127.64.0.1"); !ok {
		t.Error("a pod was refused its own address")
	}
	for _, text := range []string{"127.64.0.1", "10.0.0.1", "", "none"} {
		if got, ok := pool.Claim("b", text); ok {
			t.Errorf("claiming %q gave %s", text, got)
		}
	}
	if got, err := pool.Take("b"); got == address || err != nil {
		t.Errorf("another pod got %s (%v)", got, err)
	}
	pool.Release("b", address) // is not its own
	if _, ok := pool.Claim("c", "127.64.0.1"); ok {
		t.Error("a pod gave back another's address")
	}
	pool.Release("a", address)
	if _, ok := pool.Claim("c", "127.64.0.1"); !ok {
		t.Error("an address that was given back was refused")
	}
}

func TestTwoNodesHaveAddressesOfTheirOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, lock, err := node.ReserveBlock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	second, lock2, err := node.ReserveBlock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock2.Close()
	if first.Overlaps(second) {
		t.Errorf("both have addresses of %s", first)
	}
	lock.Close()
	// Processes that other tests are starting have copies of the lock until they run: it may be free a moment later.
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		again, lock3, err := node.ReserveBlock(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		lock3.Close()
		if again == first {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a folder had %s and has %s now that it is free again", first, again)
		}
	}
	if whole := netip.MustParsePrefix("127.64.0.0/10"); !whole.Contains(first.Addr()) || first.Bits() != 18 {
		t.Errorf("%s is no part of %s", first, whole)
	}
}

func TestAFolderIsFreeAsSoonAsItIsGivenBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var starting sync.WaitGroup
	defer starting.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range 4 { // processes that have copies of all files until they run
		starting.Go(func() {
			for ctx.Err() == nil {
				_ = exec.CommandContext(ctx, "true").Run()
			}
		})
	}
	for range 1000 {
		lock, err := node.Lock(dir)
		if err != nil {
			t.Fatal(err)
		}
		lock.Close()
	}
}

func TestAFoldersNameIsNeverTooLong(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: strings.Repeat("n", 63), Name: strings.Repeat("p", 253), UID: "0b7e4f2e-7f6b-4a51-9d2e-6c3f5f3a9d10",
	}}
	name := filepath.Base(node.Folder("/pods", pod))
	if len(name) > 255 || !strings.HasSuffix(name, "_"+string(pod.UID)) {
		t.Errorf("the name has %d bytes: %s", len(name), name)
	}
	pod.Namespace, pod.Name = "video", "worker"
	if got, want := node.Folder("/pods", pod), "/pods/video_worker_"+string(pod.UID); got != want {
		t.Errorf("the folder is %s, want %s", got, want)
	}
}

func TestTheEndOfALogIsItsLastLines(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log")
	for name, test := range map[string]struct {
		content string
		most    int64
		lines   int
		want    string
	}{
		"all of a short one":        {"a\nb\n", 100, 10, "a\nb\n"},
		"so many lines":             {"a\nb\nc\n", 100, 2, "b\nc\n"},
		"so many bytes":             {"abc\ndef\n", 6, 10, "c\ndef\n"},
		"with a line that goes on":  {"a\nb\nc", 100, 2, "b\nc"},
		"nothing of an empty one":   {"", 100, 10, ""},
		"without half a character ": {"aü\n", 2, 10, "?\n"},
	} {
		writeFile(t, file, test.content)
		if got := node.ReadTail(file, test.most, test.lines); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := node.ReadHead(filepath.Join(t.TempDir(), "none"), 10); got != "" {
		t.Errorf("a message that is not there is %q", got)
	}
}

func TestReadinessDoesNotFlutter(t *testing.T) {
	t.Parallel()
	const no, yes = false, true
	probe := &corev1.Probe{SuccessThreshold: 2, FailureThreshold: 3}
	got := node.Believe(probe, []bool{yes, no, yes, yes, no, no, yes, no, no, no, yes, yes})
	if diff := cmp.Diff([]bool{no, no, no, yes, yes, yes, yes, yes, yes, no, no, yes}, got); diff != "" {
		t.Error(diff)
	}
}
