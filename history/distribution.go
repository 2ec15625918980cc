package history

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

const (
	// bucketRatio is by what the bounds of a bucket of a Distribution differ. Half of it is the error of a quantile.
	bucketRatio = 1.02
	// leastDuration is what durations begin to differ at; all below count as nothing.
	leastDuration = time.Millisecond
)

// Distribution is how durations are spread, kept as counts in buckets whose bounds grow by a fixed ratio. So two can be
// added, and a quantile is within 1 % of a duration that was added at that rank; durations below a millisecond count as 0.
// Its zero value is empty and ready to use.
//
// Its JSON is {"zero": n, "buckets": [[bucket, count], …]}, buckets in order: bucket b holds durations above 1.02ᵇ⁻¹ and up
// to 1.02ᵇ milliseconds.
type Distribution struct { //nolint:recvcheck // writing JSON needs a copy
	zero    int64
	buckets map[int]int64
}

// Add counts a duration; one below 0 counts as 0.
func (d *Distribution) Add(v time.Duration) {
	if v < leastDuration {
		d.zero++
		return
	}
	if d.buckets == nil {
		d.buckets = map[int]int64{}
	}
	d.buckets[bucketOf(v)]++
}

// Merge counts all that another distribution has.
func (d *Distribution) Merge(other Distribution) {
	d.zero += other.zero
	if d.buckets == nil && len(other.buckets) > 0 {
		d.buckets = make(map[int]int64, len(other.buckets))
	}
	for b, n := range other.buckets {
		d.buckets[b] += n
	}
}

// Count is how many durations were added.
func (d *Distribution) Count() int64 {
	n := d.zero
	for _, c := range d.buckets {
		n += c
	}
	return n
}

// Quantile is a duration that the share q of all does not exceed: 0.5 for the median; false where there is none. A q outside
// 0 to 1 is taken for the nearer of them.
func (d *Distribution) Quantile(q float64) (time.Duration, bool) {
	count := d.Count()
	if count == 0 {
		return 0, false
	}
	rank := min(count, max(1, int64(math.Ceil(q*float64(count)))))
	if rank <= d.zero {
		return 0, true
	}
	seen := d.zero
	for _, b := range slices.Sorted(maps.Keys(d.buckets)) {
		if seen += d.buckets[b]; seen >= rank {
			return middle(b), true
		}
	}
	return 0, false // which the ranks do not allow
}

// Bucket is a part of a Distribution: how many durations are above From and at most To.
type Bucket struct {
	From, To time.Duration
	Count    int64
}

// Buckets are those that hold anything, the shortest first.
func (d *Distribution) Buckets() []Bucket {
	var all []Bucket
	if d.zero > 0 {
		all = append(all, Bucket{To: leastDuration, Count: d.zero})
	}
	for _, b := range slices.Sorted(maps.Keys(d.buckets)) {
		all = append(all, Bucket{From: bound(b - 1), To: bound(b), Count: d.buckets[b]})
	}
	return all
}

// MarshalJSON writes it as its comment says.
func (d Distribution) MarshalJSON() ([]byte, error) { return json.Marshal(d.sparse()) }

func (d *Distribution) sparse() sparseDistribution {
	s := sparseDistribution{Zero: d.zero}
	for b, n := range d.buckets {
		s.Buckets = append(s.Buckets, [2]int64{int64(b), n})
	}
	slices.SortFunc(s.Buckets, func(a, b [2]int64) int { return cmp.Compare(a[0], b[0]) })
	return s
}

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Distribution) UnmarshalJSON(text []byte) error {
	var s sparseDistribution
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("reading a distribution: %w", err)
	}
	read := Distribution{zero: s.Zero}
	if s.Zero < 0 {
		return errors.New("reading a distribution: a count is negative")
	}
	for _, b := range s.Buckets {
		if b[1] < 0 || b[0] < 0 || b[0] > int64(bucketOf(math.MaxInt64)) {
			return fmt.Errorf("reading a distribution: the bucket %v cannot be", b)
		}
		if read.buckets == nil {
			read.buckets = make(map[int]int64, len(s.Buckets))
		}
		read.buckets[int(b[0])] += b[1]
	}
	*d = read
	return nil
}

type sparseDistribution struct {
	Zero    int64      `json:"zero,omitempty"`
	Buckets [][2]int64 `json:"buckets,omitempty"`
}

func bucketOf(v time.Duration) int {
	return int(math.Ceil(math.Log(float64(v)/float64(leastDuration)) / math.Log(bucketRatio)))
}

// bound is the upper bound of a bucket.
func bound(b int) time.Duration { return duration(math.Pow(bucketRatio, float64(b))) }

// middle is the duration in a bucket that is off by the same ratio from both its bounds.
func middle(b int) time.Duration {
	return duration(2 * math.Pow(bucketRatio, float64(b)) / (1 + bucketRatio))
}

func duration(ms float64) time.Duration {
	ns := ms * float64(leastDuration)
	if ns >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(math.Round(ns))
}
