package board_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/test/demo/internal/board"
)

// story is a board on which one thing happens each second.
type story struct {
	*board.Board
	second int
}

func newStory(messages ...string) *story {
	s := &story{Board: board.New()}
	for _, m := range messages {
		s.Queue(m, at(0))
	}
	return s
}

func at(second int) time.Time { return time.Unix(int64(1000+second), 0) }

func (s *story) now() time.Time {
	s.second++
	return at(s.second)
}

// job shows the Job, with a condition if that is not empty.
func (s *story) job(name string, condition batchv1.JobConditionType, message string) {
	s.SeeJob(newJob(name, condition, message), false, s.now())
}

func newJob(name string, condition batchv1.JobConditionType, message string) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	if condition != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: condition, Status: corev1.ConditionTrue, Message: message}}
	}
	return j
}

// pod shows a pod of the Job in a phase, with what its worker said at its end.
func (s *story) pod(job, name string, phase corev1.PodPhase, last string) {
	s.SeePod(newPod(job, name, phase, last), false, s.now())
}

func newPod(job, name string, phase corev1.PodPhase, last string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID(name),
			OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: job, UID: types.UID(job), Controller: ptr.To(true)}},
		},
		Status: corev1.PodStatus{Phase: phase},
	}
	if phase == corev1.PodSucceeded || phase == corev1.PodFailed {
		end := &corev1.ContainerStateTerminated{Message: last}
		if phase == corev1.PodFailed {
			end.ExitCode = 74
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "worker", State: corev1.ContainerState{Terminated: end}}}
	}
	return p
}

// all lets the Job run from start to end with one pod.
func (s *story) all(job, message string) {
	s.job(job, "", "")
	s.pod(job, job+"-x", corev1.PodPending, "")
	s.pod(job, job+"-x", corev1.PodRunning, "")
	s.pod(job, job+"-x", corev1.PodSucceeded, `{"messageID":"`+message+`","progress":1}`)
	s.job(job, batchv1.JobComplete, "")
}

func (s *story) want(t *testing.T, want ...board.Job) {
	t.Helper()
	if diff := cmp.Diff(want, s.Look(0, at(s.second)).Jobs, cmpopts.IgnoreUnexported(board.Job{})); diff != "" {
		t.Errorf("after %d s the board has other Jobs (-want +got):\n%s", s.second, diff)
	}
}

func TestAJobIsStartingUntilItsWorkerHasTakenAMessage(t *testing.T) {
	t.Parallel()
	s := newStory("m")
	s.job("a", "", "")
	s.want(t, board.Job{Name: "a", State: board.Starting, Created: at(1)})
	s.pod("a", "p", corev1.PodRunning, "")
	s.SeeReport("p", board.ParseReport(""), s.now())
	s.want(t, board.Job{Name: "a", State: board.Starting, Created: at(1), Began: at(2)})
	s.SeeReport("p", board.ParseReport(`{"messageID":"m","progress":0}`+"\n"), s.now())
	s.SeeReport("p", board.ParseReport(`{"messageID":"m","progress":0.5}`+"\n"), s.now())
	s.SeeReport("p", board.ParseReport(`{"messageID":"m","prog`), s.now())
	s.want(t, board.Job{Name: "a", State: board.Running, Message: "m", Progress: 0.5, Queued: at(0), Created: at(1), Began: at(4)})
	s.pod("a", "p", corev1.PodSucceeded, `{"messageID":"m","progress":1}`)
	s.want(t, board.Job{
		Name: "a", State: board.Succeeded, Message: "m", Progress: 1, Queued: at(0), Created: at(1), Began: at(4), Ended: at(7),
	})
}

func TestAPodMayBeSeenBeforeItsJob(t *testing.T) {
	t.Parallel()
	s := newStory("m")
	s.pod("a", "p", corev1.PodPending, "")
	s.job("a", "", "")
	s.want(t, board.Job{Name: "a", State: board.Starting, Created: at(1)})
}

func TestAJobWhosePodSucceededHasFinishedWhenItsStatusSaysSo(t *testing.T) {
	t.Parallel()
	s := newStory("m")
	s.job("a", "", "")
	s.pod("a", "p", corev1.PodSucceeded, `{"messageID":"m","progress":1}`)
	if s.Finished() {
		t.Error("its pod has ended, and its status does not say yet how it went")
	}
	s.job("a", batchv1.JobComplete, "")
	if !s.Finished() {
		t.Error("its status says that it is complete")
	}
}

func TestAMessageWithoutAJobLeavesItUnfinished(t *testing.T) {
	t.Parallel()
	s := newStory("m", "n")
	s.all("a", "m")
	if s.Finished() {
		t.Error("nothing has come of the message n")
	}
}

func TestAJobMoreThanMessagesIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	s := newStory("m")
	s.job("a", "", "")
	if s.TooMany() {
		t.Error("there is one Job for one message")
	}
	s.job("b", "", "")
	if !s.TooMany() {
		t.Error("there are two Jobs for one message")
	}
}

func TestAJobWhosePodFailedStartsAgainWithTheNext(t *testing.T) {
	t.Parallel()
	s := newStory("m")
	s.job("a", "", "")
	s.pod("a", "p", corev1.PodRunning, "")
	s.pod("a", "p", corev1.PodFailed, `{"messageID":"m","progress":0.4,"error":"disk full"}`)
	s.want(t, board.Job{
		Name: "a", State: board.Failed, Message: "m", Progress: 0.4, Why: "disk full",
		Queued: at(0), Created: at(1), Began: at(2), Ended: at(3),
	})
	s.pod("a", "q", corev1.PodPending, "")
	s.want(t, board.Job{Name: "a", State: board.Starting, Message: "m", Queued: at(0), Created: at(1), Began: at(2)})
	s.pod("a", "q", corev1.PodRunning, "")
	s.pod("a", "q", corev1.PodSucceeded, `{"messageID":"m","progress":1}`)
	s.job("a", batchv1.JobComplete, "")
	if diff := cmp.Diff("1 messages, 1 Jobs, 1 succeeded, at most 1 at once", s.Summary()); diff != "" {
		t.Error(diff)
	}
	if complaints := s.Complaints(1); len(complaints) > 0 {
		t.Errorf("a second try that does well is no reason to complain: %q", complaints)
	}
}

func TestHowManyAreAtOnceIsCountedInPodsThatHaveNotEnded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		happens func(*story)
		want    string
	}{
		"the next is created when the last has ended": {
			func(s *story) { s.all("a", "m"); s.all("b", "n") }, "at most 1 at once",
		},
		"the next is created before the last has ended": {
			func(s *story) {
				s.pod("a", "p", corev1.PodRunning, "")
				s.pod("b", "q", corev1.PodPending, "")
				s.pod("a", "p", corev1.PodSucceeded, "")
				s.pod("b", "q", corev1.PodSucceeded, "")
			}, "at most 2 at once",
		},
		"one that is deleted has ended": {
			func(s *story) {
				s.pod("a", "p", corev1.PodRunning, "")
				s.SeePod(newPod("a", "p", corev1.PodRunning, ""), true, s.now())
				s.pod("a", "q", corev1.PodRunning, "")
			}, "at most 1 at once",
		},
		"a pod of no Job does not count": {
			func(s *story) {
				s.pod("a", "p", corev1.PodRunning, "")
				foreign := newPod("x", "y", corev1.PodRunning, "")
				foreign.OwnerReferences = nil
				s.SeePod(foreign, false, s.now())
			}, "at most 1 at once",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory("m", "n")
			c.happens(s)
			if !strings.HasSuffix(s.Summary(), c.want) {
				t.Errorf("the summary is %q, not %q", s.Summary(), c.want)
			}
		})
	}
}

func TestWhatIsNotAsPromisedIsComplainedOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		happens func(*story)
		want    []string
	}{
		"all is as promised": {
			func(s *story) { s.all("a", "m"); s.all("b", "n") }, nil,
		},
		"a Job too many": {
			func(s *story) {
				s.all("a", "m")
				s.all("b", "n")
				s.job("c", "", "")
				s.pod("c", "r", corev1.PodFailed, "")
				s.job("c", batchv1.JobFailed, "no message")
			},
			[]string{"c failed: worker exited with code 74", "there were 3 Jobs for 2 messages"},
		},
		"a Job too few": {
			func(s *story) { s.all("a", "m") },
			[]string{"no Job took the message n", "there were 1 Jobs for 2 messages"},
		},
		"one message taken twice": {
			func(s *story) { s.all("a", "m"); s.all("b", "m") },
			[]string{"no Job took the message n", "the message m was taken by a and b"},
		},
		"too many at once": {
			func(s *story) {
				s.pod("a", "p", corev1.PodRunning, "")
				s.all("b", "n")
				s.pod("a", "p", corev1.PodSucceeded, `{"messageID":"m","progress":1}`)
				s.job("a", batchv1.JobComplete, "")
			},
			[]string{"2 Jobs had a pod at once, and maxParallelism is 1"},
		},
		"a Job that does not finish": {
			func(s *story) {
				s.all("a", "m")
				s.pod("b", "q", corev1.PodSucceeded, `{"messageID":"n","progress":1}`)
			},
			[]string{"b has not finished"},
		},
		"a Job deleted on the way": {
			func(s *story) {
				s.all("a", "m")
				s.pod("b", "q", corev1.PodRunning, "")
				s.SeeReport("q", board.Report{MessageID: "n"}, s.now())
				s.SeeJob(newJob("b", "", ""), true, s.now())
			},
			[]string{"b failed: deleted before it had finished"},
		},
		"a Job cleared away after it has finished": {
			func(s *story) {
				s.all("a", "m")
				s.all("b", "n")
				s.SeeJob(newJob("a", batchv1.JobComplete, ""), true, s.now())
			}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory("m", "n")
			c.happens(s)
			if diff := cmp.Diff(c.want, s.Complaints(1)); diff != "" {
				t.Errorf("other complaints (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWorkersAreAskedWhileTheirPodsRun(t *testing.T) {
	t.Parallel()
	s := newStory("m")
	s.pod("a", "p", corev1.PodPending, "")
	s.pod("b", "q", corev1.PodRunning, "")
	s.pod("c", "r", corev1.PodSucceeded, "")
	want := map[types.UID]types.NamespacedName{"q": {Namespace: "default", Name: "q"}}
	if diff := cmp.Diff(want, s.RunningPods()); diff != "" {
		t.Errorf("other pods run (-want +got):\n%s", diff)
	}
}
