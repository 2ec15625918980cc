package history_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/longhaul-dev/longhaul/history"
)

func at(second int) time.Time { return epoch.Add(time.Duration(second) * time.Second) }

// pod is one of a Job's, created at a second of the epoch, that requests half a core and 1 MiB.
func pod(name string, second int, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(at(second))},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "worker", Image: "worker:1",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Mi"),
			}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func on(node string, second int) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.NodeName = node
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at(second)),
		})
	}
}

func runs(since int) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "worker", ImageID: "worker@sha256:1", State: corev1.ContainerState{
			Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at(since))},
		}}}
	}
}

func exits(from, to int, code int32, reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodSucceeded
		if code != 0 {
			p.Status.Phase = corev1.PodFailed
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "worker", ImageID: "worker@sha256:1", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{
				ExitCode: code, Reason: reason, Message: message,
				StartedAt: metav1.NewTime(at(from)), FinishedAt: metav1.NewTime(at(to)),
			},
		}}}
	}
}

func waits(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "worker", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message},
		}}}
	}
}

func disrupted(reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: "made room",
		})
	}
}

func because(j *batchv1.Job, reason, message string) *batchv1.Job {
	for i := range j.Status.Conditions {
		if j.Status.Conditions[i].Type == batchv1.JobFailed {
			j.Status.Conditions[i].Reason, j.Status.Conditions[i].Message = reason, message
		}
	}
	return j
}

// fresh is a record of a Job that was created at the epoch for a message seen 3 s before.
func fresh() history.Record {
	return history.Record{UID: "job-uid", Namespace: "media", ScaledJob: "transcode", Sequence: 7, Job: "transcode-000007", Seen: at(-3), Created: at(0)}
}

func TestARecordTellsOfASuccess(t *testing.T) {
	t.Parallel()
	said := `{"messageID": 8141, "progress": 1, "result": {"frames": 90}}`
	r := fresh().Follow(running("a"), []*corev1.Pod{pod("a-1", 0, on("n1", 1), runs(2))}, at(3))
	if r.Ended() {
		t.Fatalf("the record of a Job that runs has ended: %+v", r)
	}
	r = r.Follow(succeeded("a", 14), []*corev1.Pod{pod("a-1", 0, on("n1", 1), exits(2, 12, 0, "Completed", said))}, at(14))
	want := fresh()
	want.Outcome, want.Category = history.Succeeded, history.CategorySucceeded
	want.MessageID, want.Result = "8141", json.RawMessage(`{"frames":90}`)
	want.Scheduled, want.Started, want.Finished = new(at(1)), new(at(2)), new(at(12))
	want.Attempts = []history.Attempt{{
		Pod: "a-1", UID: "uid-a-1", Node: "n1", Image: "worker:1", ImageID: "worker@sha256:1",
		Created: at(0), Scheduled: new(at(1)), Started: new(at(2)), Finished: new(at(12)),
		Succeeded: true, ExitCode: new(int32(0)), Reason: "Completed", Message: said, CPU: 0.5, Memory: 1 << 20,
	}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	startUp, _ := r.StartUp()
	run, _ := r.Run()
	cpu, memory := r.Requested()
	got := []any{r.Wait(), startUp, run, cpu, memory}
	if diff := cmp.Diff([]any{3 * time.Second, 2 * time.Second, 10 * time.Second, 5.0, 10.0 * (1 << 20)}, got); diff != "" {
		t.Errorf("wait, start-up, run, core-seconds and byte-seconds (-want +got):\n%s", diff)
	}
}

func TestTheCategorySaysWhyAJobFailed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		job  *batchv1.Job
		pods []*corev1.Pod
		want history.Category
	}{
		"its worker gave up": {
			because(failed("a", 9), "BackoffLimitExceeded", "too often"),
			[]*corev1.Pod{pod("a-1", 0, on("n1", 0), exits(1, 5, 1, "Error", ""))},
			history.CategoryFailed,
		},
		"its worker took too much memory at last": {
			because(failed("a", 9), "BackoffLimitExceeded", "too often"),
			[]*corev1.Pod{
				pod("a-1", 0, on("n1", 0), exits(1, 2, 1, "Error", "")),
				pod("a-2", 3, on("n1", 3), exits(4, 8, 137, "OOMKilled", "")),
			},
			history.CategoryOutOfMemory,
		},
		"it ran longer than it may": {
			because(failed("a", 9), batchv1.JobReasonDeadlineExceeded, "too long"),
			[]*corev1.Pod{pod("a-1", 0, on("n1", 0), exits(1, 8, 143, "Error", ""))},
			history.CategoryDeadlineExceeded,
		},
		"its pod ran longer than it may": {
			because(failed("a", 9), "BackoffLimitExceeded", ""),
			[]*corev1.Pod{pod("a-1", 0, on("n1", 0), exits(1, 8, 143, "Error", ""), func(p *corev1.Pod) { p.Status.Reason = "DeadlineExceeded" })},
			history.CategoryDeadlineExceeded,
		},
		"its node had no room left": {
			because(failed("a", 9), "BackoffLimitExceeded", ""),
			[]*corev1.Pod{pod("a-1", 0, on("n1", 0), exits(1, 8, 137, "Error", ""), func(p *corev1.Pod) { p.Status.Reason = "Evicted" })},
			history.CategoryEvicted,
		},
		"another pod took its place": {
			because(failed("a", 9), "BackoffLimitExceeded", ""),
			[]*corev1.Pod{pod("a-1", 0, on("n1", 0), exits(1, 8, 143, "Error", ""), disrupted("PreemptionByScheduler"))},
			history.CategoryEvicted,
		},
		"its node was lost before it ran": {
			because(failed("a", 9), "BackoffLimitExceeded", ""),
			[]*corev1.Pod{pod("a-1", 0, on("n1", 0), disrupted("DeletionByTaintManager"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })},
			history.CategoryEvicted,
		},
		"its image could not be had in time": {
			because(failed("a", 9), batchv1.JobReasonDeadlineExceeded, ""), nil, history.CategoryImageError,
		},
		"no node would take it in time": {
			because(failed("a", 9), batchv1.JobReasonDeadlineExceeded, ""), nil, history.CategoryNeverStarted,
		},
		"an init container failed": {
			because(failed("a", 9), "BackoffLimitExceeded", ""),
			[]*corev1.Pod{pod("a-1", 0, on("n1", 0), func(p *corev1.Pod) {
				p.Status.Phase = corev1.PodFailed
				p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "fetch", State: corev1.ContainerState{
					Terminated: &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error", FinishedAt: metav1.NewTime(at(3))},
				}}}
			})},
			history.CategoryFailed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := fresh()
			// These two have a pod that goes before the Job has failed.
			switch c.want {
			case history.CategoryImageError:
				r = r.PodGone(pod("a-1", 0, on("n1", 0), waits("ImagePullBackOff", "no such image")), at(8))
			case history.CategoryNeverStarted:
				r = r.PodGone(pod("a-1", 0, func(p *corev1.Pod) {
					p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes"}}
				}), at(8))
			default:
			}
			r = r.Follow(c.job, c.pods, at(10))
			if r.Outcome != history.Failed || r.Category != c.want {
				t.Errorf("it %s with category %s, not %s: %+v", r.Outcome, r.Category, c.want, r)
			}
		})
	}
}

func TestTheAttemptsOfPodsThatAreGoneStay(t *testing.T) {
	t.Parallel()
	first, second := pod("a-1", 0, on("n1", 0), exits(1, 2, 1, "Error", "no")), pod("a-2", 3, on("n2", 3), runs(4))
	r := fresh().Follow(running("a"), []*corev1.Pod{first}, at(2))
	r = r.PodGone(first, at(3))
	r = r.Follow(running("a"), []*corev1.Pod{second}, at(5))
	r = r.PodGone(second, at(6)) // deleted while it ran
	r = r.Follow(running("a"), []*corev1.Pod{pod("a-3", 7, on("n1", 7), exits(8, 9, 0, "Completed", ""))}, at(9))
	r = r.Follow(succeeded("a", 11), nil, at(11))
	var got []string
	for _, a := range r.Attempts {
		got = append(got, a.Pod+" "+a.Reason)
	}
	if diff := cmp.Diff([]string{"a-1 Error", "a-2 Deleted", "a-3 Completed"}, got); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	if r.Category != history.CategorySucceeded || !r.Finished.Equal(at(9)) {
		t.Errorf("it ended as %s at %v", r.Category, r.Finished)
	}
}

func TestARecordEndsOnlyWhenThePodsEndsAreKnown(t *testing.T) {
	t.Parallel()
	r := fresh().Follow(succeeded("a", 9), []*corev1.Pod{pod("a-1", 0, on("n1", 0), runs(1))}, at(9))
	if r.Ended() {
		t.Error("the Job was seen to finish before its pod was, and its record has ended without that pod's exit code")
	}
	if r = r.Follow(succeeded("a", 9), []*corev1.Pod{pod("a-1", 0, on("n1", 0), exits(1, 8, 0, "Completed", ""))}, at(10)); !r.Ended() {
		t.Error("the record has not ended though all is known")
	}
	r = fresh().Follow(succeeded("a", 9), []*corev1.Pod{pod("a-1", 0, on("n1", 0), runs(1))}, at(9))
	if r = r.Abandon(at(20)).Follow(succeeded("a", 9), nil, at(20)); !r.Ended() {
		t.Error("the record waits for ever for a pod of which nobody tells any more")
	}
}

func TestADeletedJobIsRecordedAsSuch(t *testing.T) {
	t.Parallel()
	r := fresh().Follow(running("a"), []*corev1.Pod{pod("a-1", 0, on("n1", 0), runs(1))}, at(2))
	gone := r.JobGone(running("a"), history.CategoryCancelled, "deleted by hand", at(5))
	if gone.Outcome != history.Cancelled || gone.Category != history.CategoryCancelled || !gone.Finished.Equal(at(5)) || gone.Message != "deleted by hand" {
		t.Errorf("a Job that was deleted while it ran is recorded as %+v", gone)
	}
	if !gone.Attempts[0].Ended() {
		t.Error("its attempt has no end")
	}
	// Deleted so soon after its end that only the deletion tells of it.
	gone = r.JobGone(succeeded("a", 4), history.CategoryCancelled, "deleted by hand", at(5))
	if gone.Outcome != history.Succeeded {
		t.Errorf("a Job that had succeeded is recorded as %s", gone.Outcome)
	}
	if again := gone.JobGone(nil, history.CategoryCancelled, "", at(9)); again.Outcome != history.Succeeded {
		t.Errorf("a record that had ended became %s", again.Outcome)
	}
}

func TestNoDurationIsNegativeWhateverTheClocksSay(t *testing.T) {
	t.Parallel()
	r := fresh()
	r.Seen = at(5) // a manager's clock that is ahead
	// A node's clock that is an hour behind.
	r = r.Follow(succeeded("a", 9), []*corev1.Pod{pod("a-1", 0, on("n1", -1), exits(-3600, -3590, 0, "Completed", ""))}, at(9))
	startUp, _ := r.StartUp()
	run, _ := r.Run()
	cpu, _ := r.Requested()
	if r.Wait() < 0 || startUp < 0 || run < 0 || cpu < 0 {
		t.Errorf("wait %v, start-up %v, run %v, %v core-seconds", r.Wait(), startUp, run, cpu)
	}
	for _, pair := range [][2]time.Time{{r.Seen, r.Created}, {r.Created, *r.Scheduled}, {*r.Scheduled, *r.Started}, {*r.Started, *r.Finished}} {
		if pair[1].Before(pair[0]) {
			t.Errorf("%v is before %v in %+v", pair[1], pair[0], r)
		}
	}
}

func TestMessagesAreWhatAStoreCanKeep(t *testing.T) {
	t.Parallel()
	bad := "nul \x00 and \xff" + strings.Repeat("é", history.MaxMessage)
	r := fresh().Follow(failed("a", 9), []*corev1.Pod{pod("a-1", 0, on("n1", 0), exits(1, 2, 1, "Error", bad))}, at(9))
	r = r.WithLogTail("uid-a-1", strings.Repeat("a line of the log\n", 1000)+"the end")
	a := r.Attempts[0]
	if len(a.Message) > history.MaxMessage || strings.ContainsRune(a.Message, 0) || strings.ToValidUTF8(a.Message, "") != a.Message {
		t.Errorf("%d bytes of message: %q…", len(a.Message), a.Message[:20])
	}
	if len(a.LogTail) > history.LogTail || !strings.HasPrefix(a.LogTail, "a line") || !strings.HasSuffix(a.LogTail, "the end") {
		t.Errorf("%d bytes of log: %q…", len(a.LogTail), a.LogTail[:20])
	}
}

func TestWhatAWorkerSaysIsReadWhereItIsJSON(t *testing.T) {
	t.Parallel()
	for message, want := range map[string][2]string{
		`{"messageID":"a b"}`:                          {"a b", ""},
		`{"messageID":8141}`:                           {"8141", ""},
		`{"messageID":12345678901234567890}`:           {"12345678901234567890", ""},
		` {"messageID":"x","result":[1, 2]}`:           {"x", "[1,2]"},
		`{"result":null}`:                              {"", ""},
		`{"messageID":{"no":1},"result":"done"}`:       {"", `"done"`},
		`{"messageID":"x"`:                             {"", ""},
		`all went well`:                                {"", ""},
		`["messageID"]`:                                {"", ""},
		`{"messageID":"x","progress":"half","more":1}`: {"x", ""},
	} {
		r := fresh().Follow(succeeded("a", 9), []*corev1.Pod{pod("a-1", 0, on("n1", 0), exits(1, 2, 0, "Completed", message))}, at(9))
		if got := [2]string{r.MessageID, string(r.Result)}; got != want {
			t.Errorf("%s: message ID and result are %q, not %q", message, got, want)
		}
	}
}

func TestWhatTheStoreKnowsAndTheClusterShowsIsPutTogether(t *testing.T) {
	t.Parallel()
	stored := fresh().Follow(running("a"), []*corev1.Pod{pod("a-1", 0, on("n1", 0), exits(1, 2, 1, "Error", ""))}, at(2)).WithLogTail("uid-a-1", "oh no")
	stored = stored.Follow(running("a"), []*corev1.Pod{pod("a-2", 3, on("n1", 3), runs(4))}, at(4))
	stored = stored.Follow(running("a"), []*corev1.Pod{pod("a-3", 5, on("n1", 5), runs(6))}, at(6))
	// The manager comes back, and of three pods one is left.
	r := fresh().Follow(running("a"), []*corev1.Pod{pod("a-3", 5, on("n1", 5), runs(6))}, at(20)).Merge(stored, at(20))
	var got []string
	for _, a := range r.Attempts {
		got = append(got, a.Pod+" "+a.Reason+" "+a.LogTail)
	}
	if diff := cmp.Diff([]string{"a-1 Error oh no", "a-2 Deleted ", "a-3  "}, got); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
}
