package history_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/longhaul-dev/longhaul/history"
)

var epoch = time.Date(2026, 7, 3, 17, 0, 0, 0, time.UTC)

// running is a Job that has not finished, with conditions that are no end.
func running(name string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(epoch)},
		Status:     batchv1.JobStatus{StartTime: &metav1.Time{Time: epoch}},
	}
}

// succeeded is a Job as the Job controller leaves it after a success, some seconds past the epoch.
func succeeded(name string, second int) *batchv1.Job {
	at := metav1.NewTime(epoch.Add(time.Duration(second) * time.Second))
	j := running(name)
	j.Status.Succeeded = 1
	j.Status.CompletionTime = &at
	j.Status.Conditions = []batchv1.JobCondition{
		{Type: batchv1.JobSuccessCriteriaMet, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at.Add(-2 * time.Second))},
		{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: at},
	}
	return j
}

// failed is a Job as the Job controller leaves it after a failure: without a completion time.
func failed(name string, second int) *batchv1.Job {
	at := metav1.NewTime(epoch.Add(time.Duration(second) * time.Second))
	j := running(name)
	j.Status.Failed = 1
	j.Status.Conditions = []batchv1.JobCondition{
		{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at.Add(-2 * time.Second))},
		{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, LastTransitionTime: at},
	}
	return j
}

func deleting(j *batchv1.Job) *batchv1.Job {
	j.DeletionTimestamp = &metav1.Time{Time: epoch.Add(time.Hour)}
	return j
}

func names(jobs []*batchv1.Job) []string {
	names := []string{}
	for _, j := range jobs {
		names = append(names, j.Name)
	}
	return names
}

func TestAJobIsFinishedWhenItsConditionSaysSo(t *testing.T) {
	t.Parallel()
	condition := func(kind batchv1.JobConditionType, status corev1.ConditionStatus) *batchv1.Job {
		j := running("j")
		j.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(epoch)}}
		return j
	}
	type finished struct {
		Outcome  history.Outcome
		At       time.Time
		Finished bool
	}
	for name, c := range map[string]struct {
		job  *batchv1.Job
		want finished
	}{
		"complete":                     {succeeded("j", 3), finished{history.Succeeded, epoch.Add(3 * time.Second), true}},
		"failed, no completion time":   {failed("j", 4), finished{history.Failed, epoch.Add(4 * time.Second), true}},
		"no condition":                 {running("j"), finished{}},
		"complete is false":            {condition(batchv1.JobComplete, corev1.ConditionFalse), finished{}},
		"failed is unknown":            {condition(batchv1.JobFailed, corev1.ConditionUnknown), finished{}},
		"suspended":                    {condition(batchv1.JobSuspended, corev1.ConditionTrue), finished{}},
		"about to fail":                {condition(batchv1.JobFailureTarget, corev1.ConditionTrue), finished{}},
		"about to be complete":         {condition(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue), finished{}},
		"being deleted, but it failed": {deleting(failed("j", 4)), finished{history.Failed, epoch.Add(4 * time.Second), true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got finished
			got.Outcome, got.At, got.Finished = history.Finished(c.job)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTheNewestFinishedJobsAreKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		jobs   []*batchv1.Job
		limits history.Limits
		want   []string
	}{
		"fewer than the limit: none goes": {
			jobs:   []*batchv1.Job{succeeded("a", 1), succeeded("b", 2)},
			limits: history.Limits{Succeeded: 3},
			want:   []string{},
		},
		"as many as the limit: none goes": {
			jobs:   []*batchv1.Job{succeeded("a", 1), succeeded("b", 2), failed("c", 3)},
			limits: history.Limits{Succeeded: 2, Failed: 1},
			want:   []string{},
		},
		"the first to finish go, whatever their number and the order of the list": {
			jobs:   []*batchv1.Job{succeeded("j-000001", 50), succeeded("j-000002", 10), succeeded("j-000003", 90), succeeded("j-000004", 30)},
			limits: history.Limits{Succeeded: 2},
			want:   []string{"j-000002", "j-000004"},
		},
		"failed Jobs too, which have no completion time": {
			jobs:   []*batchv1.Job{failed("j-000001", 50), failed("j-000002", 10), failed("j-000003", 90), failed("j-000004", 30)},
			limits: history.Limits{Failed: 1},
			want:   []string{"j-000002", "j-000004", "j-000001"},
		},
		"each outcome has a limit of its own": {
			jobs:   []*batchv1.Job{failed("f1", 1), succeeded("s1", 2), failed("f2", 3), succeeded("s2", 4), succeeded("s3", 5)},
			limits: history.Limits{Succeeded: 1, Failed: 2},
			want:   []string{"s1", "s2"},
		},
		"with limits of 0 all finished ones go": {
			jobs: []*batchv1.Job{failed("f1", 1), succeeded("s1", 2), running("r"), failed("f2", 3)},
			want: []string{"s1", "f1", "f2"},
		},
		"unfinished ones never go": {
			jobs: []*batchv1.Job{running("a"), running("b"), running("c")},
			want: []string{},
		},
		"one that is being deleted is neither kept nor deleted again": {
			jobs:   []*batchv1.Job{succeeded("a", 1), deleting(succeeded("b", 2)), succeeded("c", 3)},
			limits: history.Limits{Succeeded: 1},
			want:   []string{"a"},
		},
		"of those of one second, the greater number is newer": {
			jobs:   []*batchv1.Job{succeeded("j-000012", 1), succeeded("j-000002", 1), succeeded("j-000110", 1), succeeded("j-000009", 1)},
			limits: history.Limits{Succeeded: 1},
			want:   []string{"j-000002", "j-000009", "j-000012"},
		},
		"also where the number outgrew its six digits": {
			jobs:   []*batchv1.Job{succeeded("j-1000000", 1), succeeded("j-999999", 1), succeeded("j-1000001", 1)},
			limits: history.Limits{Succeeded: 1},
			want:   []string{"j-999999", "j-1000000"},
		},
		"no Jobs at all": {want: []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, names(history.Beyond(c.jobs, c.limits))); diff != "" {
				t.Errorf("to forget (-want +got)\n%s", diff)
			}
		})
	}
}

func TestForgettingDoesNotReorderTheListItIsGiven(t *testing.T) {
	t.Parallel()
	jobs := []*batchv1.Job{succeeded("c", 3), succeeded("a", 1), failed("b", 2)}
	history.Beyond(jobs, history.Limits{})
	if diff := cmp.Diff([]string{"c", "a", "b"}, names(jobs)); diff != "" {
		t.Errorf("the list was changed (-before +after)\n%s", diff)
	}
}

func FuzzExactlyTheOldestBeyondTheLimitGo(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, uint8(seed), uint8(seed%7), uint8(seed%5))
	}
	f.Fuzz(func(t *testing.T, seed uint64, n, keepSucceeded, keepFailed uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		var jobs []*batchv1.Job
		ended := map[history.Outcome]int{}
		for i := range int(n) {
			name, second := fmt.Sprintf("j-%06d", i), r.IntN(20) // so that some finish in the same second
			switch r.IntN(4) {
			case 0:
				jobs = append(jobs, running(name))
			case 1:
				jobs = append(jobs, deleting(succeeded(name, second)))
			case 2:
				jobs = append(jobs, succeeded(name, second))
				ended[history.Succeeded]++
			case 3:
				jobs = append(jobs, failed(name, second))
				ended[history.Failed]++
			}
		}
		r.Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
		limits := map[history.Outcome]int{history.Succeeded: int(keepSucceeded), history.Failed: int(keepFailed)}
		beyond := history.Beyond(jobs, history.Limits{Succeeded: int(keepSucceeded), Failed: int(keepFailed)})

		gone := map[string]bool{}
		count := map[history.Outcome]int{}
		newestGone := map[history.Outcome]*batchv1.Job{}
		for _, j := range beyond {
			outcome, _, finished := history.Finished(j)
			switch {
			case !finished || j.DeletionTimestamp != nil:
				t.Fatalf("%s is to be forgotten, but has not finished or is being deleted already", j.Name)
			case gone[j.Name]:
				t.Fatalf("%s is to be forgotten twice", j.Name)
			}
			if before := newestGone[outcome]; before != nil && !older(before, j) {
				t.Fatalf("%s is to be forgotten before %s, which is older", before.Name, j.Name)
			}
			gone[j.Name], newestGone[outcome] = true, j
			count[outcome]++
		}
		for outcome, limit := range limits {
			if want := max(0, ended[outcome]-limit); count[outcome] != want {
				t.Errorf("of %d Jobs that %s, %d are to be forgotten; %d are to be kept", ended[outcome], outcome, count[outcome], limit)
			}
		}
		for _, j := range jobs {
			outcome, _, finished := history.Finished(j)
			if !finished || j.DeletionTimestamp != nil || gone[j.Name] || newestGone[outcome] == nil {
				continue
			}
			if older(j, newestGone[outcome]) {
				t.Errorf("%s is kept, and %s, which is newer, is to be forgotten", j.Name, newestGone[outcome].Name)
			}
		}
	})
}

// older compares by when the Jobs finished, then by number: names are of one length here.
func older(a, b *batchv1.Job) bool {
	_, at, _ := history.Finished(a)
	_, bt, _ := history.Finished(b)
	if !at.Equal(bt) {
		return at.Before(bt)
	}
	return a.Name < b.Name
}
