package history_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/history"
)

func distribution(of ...time.Duration) history.Distribution {
	var d history.Distribution
	for _, v := range of {
		d.Add(v)
	}
	return d
}

func TestAnEmptyDistributionHasNoQuantile(t *testing.T) {
	t.Parallel()
	var d history.Distribution
	if v, ok := d.Quantile(0.5); ok || v != 0 || d.Count() != 0 || d.Buckets() != nil {
		t.Errorf("it says %s, %t, of %d", v, ok, d.Count())
	}
}

func TestQuantilesAreWithinOnePercentOfTheRightRank(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		values := make([]time.Duration, 1+random.IntN(500))
		scale := math.Pow(10, 3+random.Float64()*12)
		for i := range values {
			values[i] = time.Duration(random.ExpFloat64() * scale)
		}
		d := distribution(values...)
		slices.Sort(values)
		for _, q := range []float64{-1, 0, 0.01, 0.5, 0.9, 0.95, 0.99, 1, 2} {
			rank := min(len(values), max(1, int(math.Ceil(q*float64(len(values))))))
			want := values[rank-1]
			got, ok := d.Quantile(q)
			if want < time.Millisecond {
				want = 0
			}
			if !ok || math.Abs(float64(got-want)) > 0.0101*float64(want) {
				t.Fatalf("the quantile %v of %d values is %s, %t, want %s", q, len(values), got, ok, want)
			}
		}
	}
}

func TestMergedDistributionsAreThatOfAllValues(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		var all []time.Duration
		var merged history.Distribution
		for range random.IntN(5) {
			var part []time.Duration
			for range random.IntN(50) {
				part = append(part, time.Duration(random.ExpFloat64()*1e9)-time.Second/10)
			}
			all = append(all, part...)
			merged.Merge(distribution(part...))
		}
		if diff := cmp.Diff(text(t, distribution(all...)), text(t, merged)); diff != "" {
			t.Fatal(diff)
		}
		if merged.Count() != int64(len(all)) {
			t.Fatalf("%d of %d are counted", merged.Count(), len(all))
		}
	}
}

func TestMergingDoesNotTouchTheOther(t *testing.T) {
	t.Parallel()
	var sum history.Distribution
	one := distribution(time.Second)
	sum.Merge(one)
	sum.Add(time.Second)
	if one.Count() != 1 {
		t.Errorf("it has %d values now", one.Count())
	}
}

func TestADistributionComesBackFromItsJSON(t *testing.T) {
	t.Parallel()
	for _, d := range []history.Distribution{
		{}, distribution(0), distribution(-time.Second, time.Millisecond, time.Second, time.Second, math.MaxInt64),
	} {
		var back history.Distribution
		if err := json.Unmarshal([]byte(text(t, d)), &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text(t, d), text(t, back)); diff != "" {
			t.Error(diff)
		}
	}
	if got, want := text(t, distribution(0, time.Millisecond, 2*time.Millisecond)), `{"zero":1,"buckets":[[0,1],[36,1]]}`; got != want {
		t.Errorf("its JSON is %s, want %s", got, want)
	}
}

func TestJSONThatIsNoDistributionIsRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{`[]`, `{"zero":-1}`, `{"buckets":[[1,-1]]}`, `{"buckets":[[-1,1]]}`, `{"buckets":[[99999,1]]}`} {
		d := distribution(time.Second)
		if err := json.Unmarshal([]byte(bad), &d); err == nil {
			t.Errorf("%s is taken", bad)
		}
		if d.Count() != 1 {
			t.Errorf("%s changes it", bad)
		}
	}
}

func TestBucketsHoldWhatWasAdded(t *testing.T) {
	t.Parallel()
	d := distribution(0, time.Second, time.Second, math.MaxInt64)
	var n int64
	for _, b := range d.Buckets() {
		n += b.Count
		if b.From >= b.To {
			t.Errorf("a bucket is from %s to %s", b.From, b.To)
		}
	}
	if n != d.Count() {
		t.Errorf("they hold %d of %d", n, d.Count())
	}
}

func FuzzDistributionJSON(f *testing.F) {
	f.Add([]byte(`{"zero":1,"buckets":[[0,1],[36,1]]}`))
	f.Fuzz(func(t *testing.T, given []byte) {
		var d history.Distribution
		if json.Unmarshal(given, &d) != nil {
			return
		}
		var back history.Distribution
		if err := json.Unmarshal([]byte(text(t, d)), &back); err != nil {
			t.Fatal(err)
		}
		if d.Count() != back.Count() {
			t.Errorf("%s: %d, then %d", given, d.Count(), back.Count())
		}
		_, _ = d.Quantile(0.5)
	})
}

func text(t *testing.T, d history.Distribution) string {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
