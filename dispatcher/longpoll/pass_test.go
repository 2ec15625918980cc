package longpoll_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// working has so many pods come up, and each take a message.
func (w *world) working(pods ...string) {
	w.t.Helper()
	w.put(int64(len(pods)))
	w.settle()
	w.work(pods...)
	w.settle()
}

func TestReplicasFollowTheBacklog(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1", "pod-2", "pod-3")
		w.wantReplicas(3, "for three messages")
		w.put(1)
		w.settle()
		w.wantReplicas(4, "for one more beside three busy pods")
		w.put(9)
		w.settle()
		w.wantReplicas(4, "whatever waits")
		w.put(-9)
		w.work("pod-4", "pod-1", "pod-3")
		w.settle()
		w.wantReplicas(2, "with two busy pods")
		w.work("pod-2", "pod-4")
		w.settle()
		w.wantReplicas(0, "with nothing to do")
		w.wantNoneEnded()
	})
}

func TestAShrinkThatDemandOvertakesIsTakenBack(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1", "pod-2", "pod-3")
		w.before = func(doing string) error {
			if doing == "scale" {
				return apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, name, errors.New("the object has been modified"))
			}
			return nil
		}
		w.work("pod-1", "pod-2")
		w.passes(4)
		if !w.of("pod-1").fenced || !w.of("pod-2").fenced {
			w.t.Fatalf("the idle ones are not fenced:\n%s", strings.Join(w.chronicle, "\n"))
		}
		w.wantReplicas(3, "as long as the Deployment has changed since it was read")
		w.put(3)
		w.passes(4)
		w.before = func(string) error { return nil }
		w.settle()
		if w.of("pod-1").fenced || w.of("pod-2").fenced {
			w.t.Error("demand is back, and idle pods are fenced still")
		}
		w.wantReplicas(4, "with three messages and a busy pod")
		if w.pods != 4 {
			w.t.Errorf("%d pods were created, not one more than the three", w.pods)
		}
		w.wantNoneEnded()
	})
}

// whileCosts has something happen once, between the fences of a shrink and the last look before it: when the first cost of a pod
// is written.
func (w *world) whileCosts(happens func()) {
	fences, happened := 0, false
	w.before = func(doing string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case doing == "POST fence":
			fences++
		case doing == "patch Pod" && fences > 0 && !happened:
			happened = true
			happens()
		}
		return nil
	}
	w.passes(6)
	w.before = func(string) error { return nil }
	if !happened {
		w.t.Error("there was no shrink in which it could happen")
	}
}

func TestAConsumerThatForgetsItsFenceIsNotEndedWithAMessage(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1", "pod-2")
		w.work("pod-1")
		w.whileCosts(func() { // its container restarts, and takes a message
			w.consumers["10.0.0.1"].fenced = false
			w.waiting++
			w.take(w.consumers["10.0.0.1"])
		})
		w.wantReplicas(2, "with two busy pods")
		w.wantNoneEnded()
	})
}

func TestASuccessorOfAFencedPodThatDiedIsNotEndedWithAMessage(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1", "pod-2")
		w.work("pod-1")
		w.whileCosts(func() {
			_, pods := w.list()
			for i := range pods {
				if pods[i].Name == "pod-1" {
					w.die(&pods[i])
				}
			}
			w.moveSets()
			w.moveKubelet()
			w.moveKubelet()
			w.waiting++
			w.take(w.consumers["10.0.0.3"]) // which did not begin fenced
		})
		w.wantReplicas(2, "with two busy pods")
		w.wantNoneEnded()
	})
}

func TestABusyPodThatIsNotReadyHoldsAShrink(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1", "pod-2")
		var pod corev1.Pod
		w.must(w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: "pod-1"}, &pod))
		for i := range pod.Status.Conditions {
			if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
				c.Status = corev1.ConditionFalse
			}
		}
		w.must(w.api.Status().Update(w.t.Context(), &pod))
		w.work("pod-2")
		for range 6 {
			w.must(w.pass())
			w.step(time.Second)
		}
		w.wantReplicas(2, "while the busy pod would be ended first")
		if said := w.scaledDeployment().Status.LastDecision; !strings.Contains(said, "pod pod-1 is not ready, would be ended first, and is busy") {
			w.t.Errorf("the last decision does not say why: %s", said)
		}
	})
}

func TestNothingIsTakenAwayOnAFailedReading(t *testing.T) {
	t.Parallel()
	for _, doing := range []string{"list Pod", "get Deployment", "list ReplicaSet", "list HorizontalPodAutoscaler", "patch Pod"} {
		story(t, func(w *world) {
			w.working("pod-1", "pod-2")
			w.work("pod-1")
			w.before = func(is string) error {
				if is == doing {
					return errFault
				}
				return nil
			}
			failed := 0
			for range 6 {
				if errors.Is(w.pass(), errFault) {
					failed++
				}
			}
			if failed < 2 {
				w.t.Errorf("%s fails, and %d of 6 passes say so", doing, failed)
			}
			w.wantReplicas(2, "after "+doing+" failed")
		})
	}
}

func TestATriggerThatCannotBeReadTakesNothingAway(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection refused")
	for _, test := range []struct {
		name     string
		fallback *v1alpha1.Fallback
		want     int32
	}{
		{"as many as there are", nil, 2},
		{"as many as there are, said so", &v1alpha1.Fallback{AfterFailures: ptr.To[int32](2), Behavior: v1alpha1.FallbackCurrentReplicas}, 2},
		{"more", &v1alpha1.Fallback{AfterFailures: ptr.To[int32](2), Behavior: v1alpha1.FallbackReplicas, Replicas: ptr.To[int32](3)}, 3},
		{"fewer, but none that is busy", &v1alpha1.Fallback{AfterFailures: ptr.To[int32](2), Behavior: v1alpha1.FallbackReplicas, Replicas: ptr.To[int32](0)}, 1},
	} {
		story(t, func(w *world) {
			w.working("pod-1", "pod-2")
			w.mu.Lock()
			w.broken = broken
			w.mu.Unlock()
			w.work("pod-1")
			for range 5 {
				w.step(time.Second)
				w.settle()
			}
			w.wantReplicas(test.want, test.name+":")
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTriggerUnreadable, "trigger videos", "connection refused")
			w.wantNoneEnded()
			w.mu.Lock()
			w.broken = nil
			w.mu.Unlock()
			w.step(time.Second)
			w.settle()
			w.wantReplicas(1, "when it can be read again")
			if w.t.Failed() {
				w.t.Log(test.name)
			}
		}, func(spec *v1alpha1.ScaledDeploymentSpec) { spec.Fallback = test.fallback })
	}
}

func TestSuspendedNothingIsScaledAndBusyPodsAreProtected(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1", "pod-2")
		w.change(func(spec *v1alpha1.ScaledDeploymentSpec) { spec.Suspend = ptr.To(true) })
		w.work("pod-1")
		w.settle()
		w.wantReplicas(2, "suspended, with an idle pod,")
		w.put(3)
		w.settle()
		w.wantReplicas(2, "suspended, with three messages waiting,")
		var pod corev1.Pod
		w.must(w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: "pod-2"}, &pod))
		if pod.Labels[v1alpha1.LabelBusy] != name {
			w.t.Errorf("the busy pod has the labels %v", pod.Labels)
		}
		w.wantCondition(v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspendedBySpec)
		w.change(func(spec *v1alpha1.ScaledDeploymentSpec) { spec.Suspend = ptr.To(false) })
		w.settle()
		w.wantReplicas(4, "when it is no longer suspended")
	})
}

func TestAWindowOfTimeHasALeastNumberOfReplicas(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) { // it is Monday, 9:00
		w.settle()
		w.wantReplicas(2, "in the window")
		w.step(8 * time.Hour)
		w.settle()
		w.wantReplicas(2, "at 17:00")
		w.step(time.Hour)
		w.settle()
		w.wantReplicas(0, "after 18:00")
		w.step(14 * time.Hour)
		w.settle()
		w.wantReplicas(2, "on Tuesday after 8:00")
	}, func(spec *v1alpha1.ScaledDeploymentSpec) {
		spec.Cron = []v1alpha1.ReplicaWindow{{Start: "0 8 * * 1-5", End: "0 18 * * 1-5", TimeZone: "Etc/UTC", MinReplicas: 2}}
	})
}

func TestAConsumerThatHangsIsLostAfterItsTime(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1", "pod-2")
		k := w.of("pod-1")
		w.mu.Lock()
		w.finish(k)
		k.silent = true
		w.mu.Unlock()
		w.step(50 * time.Second)
		w.settle()
		w.wantReplicas(2, "as long as it may work")
		w.step(15 * time.Second)
		w.settle()
		w.wantReplicas(1, "when it is lost")
		if lost := w.events.of("PodLost"); len(lost) != 1 || !strings.Contains(lost[0], "Pod pod-1 has not said for 1m0s what it does") {
			w.t.Errorf("the events are %q", lost)
		}
		w.wantNoneEnded()
	})
}

func TestPodsThatNobodyEverHeardAreNotLost(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.change(func(spec *v1alpha1.ScaledDeploymentSpec) { spec.Termination.Busy.HTTPGet.Port = 9090 })
		w.put(2)
		w.settle()
		w.work("pod-1")
		w.put(-1)
		for range 4 {
			w.step(time.Minute)
			w.settle()
		}
		w.wantReplicas(2, "while the question is wrong")
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPodsSilent, "no pod like pod-1 has ever answered", "connection refused", "termination.busy")
		if lost := w.events.of("PodLost"); len(lost) > 0 {
			w.t.Errorf("the events are %q", lost)
		}
		w.change(func(spec *v1alpha1.ScaledDeploymentSpec) { spec.Termination.Busy.HTTPGet.Port = 8081 })
		w.settle()
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonScaling)
		w.wantReplicas(1, "when it is right")
		w.wantNoneEnded()
	})
}

func TestALeaseInAnAnnotationIsBusyUntilItEnds(t *testing.T) {
	t.Parallel()
	const key = "longhaul.dev/busy-until"
	story(t, func(w *world) {
		w.put(1)
		w.settle()
		w.put(-1)
		says := func(value string, state v1alpha1.ConsumerState, replicas int32) {
			w.t.Helper()
			var pod corev1.Pod
			w.must(w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: "pod-1"}, &pod))
			if value != "" {
				pod.Annotations = map[string]string{key: value}
				w.must(w.api.Update(w.t.Context(), &pod))
			}
			w.passes(6)
			w.step(time.Second)
			w.passes(2)
			w.wantReplicas(replicas, "with the annotation "+value)
			if pods := w.scaledDeployment().Status.Pods; replicas > 0 && (len(pods) != 1 || pods[0].State != state) {
				w.t.Errorf("with the annotation %s the pods are %+v", value, pods)
			}
		}
		until := w.clock.Now().Add(10 * time.Minute).Format(time.RFC3339)
		says(until, v1alpha1.ConsumerBusy, 1)
		w.step(9 * time.Minute)
		says("", v1alpha1.ConsumerBusy, 1)
		says("soon", v1alpha1.ConsumerSilent, 1)
		says(until, v1alpha1.ConsumerBusy, 1)
		w.step(time.Minute)
		says("", v1alpha1.ConsumerIdle, 0)
	}, func(spec *v1alpha1.ScaledDeploymentSpec) {
		spec.Termination.Busy = v1alpha1.BusySignal{PodAnnotation: key}
		spec.Termination.Fence = nil
		spec.MinReplicas = ptr.To[int32](0)
		spec.ScaleDown.Stabilization = &metav1.Duration{Duration: time.Second}
	})
}

func TestWhatAManagerHeardTheNextOneKnows(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1")
		w.start()
		k := w.of("pod-1")
		w.mu.Lock()
		w.finish(k)
		k.silent = true
		w.mu.Unlock()
		w.settle()
		w.step(2 * time.Minute)
		w.settle()
		w.wantReplicas(0, "when the only pod has hung since before the manager began")
	})
}

// told has a broker tell which pods are busy, and the trigger be that broker's.
func told(spec *v1alpha1.ScaledDeploymentSpec) {
	t := list("videos")
	t.RedisList, t.RabbitMQ = nil, &v1alpha1.RabbitMQTrigger{Queue: "videos"}
	spec.Triggers = []v1alpha1.ReplicaTrigger{t}
	spec.Termination.Busy = v1alpha1.BusySignal{RabbitMQConsumers: &v1alpha1.RabbitMQConsumers{}}
	spec.Termination.Fence = nil
}

func TestABrokerTellsWhichPodsAreBusy(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1", "pod-2")
		w.wantReplicas(2, "with two messages")
		w.work("pod-1")
		w.settle()
		w.wantReplicas(2, "as long as what the broker says may be old")
		w.step(10 * time.Second)
		w.settle()
		w.wantReplicas(2, "ten seconds after the work was done")
		w.step(6 * time.Second)
		w.settle()
		w.wantReplicas(1, "when it has been idle for long enough")
		w.wantNoneEnded()
	}, told)
}

// fenceable has consumers be fenced, too.
func fenceable(spec *v1alpha1.ScaledDeploymentSpec) {
	spec.Termination.Fence = &v1alpha1.Fence{HTTPPost: v1alpha1.PodHTTP{Path: "/fence", Port: 8081}}
}

func TestConsumersThatCannotBeAskedForTheirFenceAreLetWork(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		happens func(w *world)
	}{
		{"they begin fenced", func(*world) {}},
		{"a manager that fenced them is killed", func(w *world) {
			w.of("pod-1").fenced = true
			w.start()
		}},
		{"demand overtakes the shrink that they were fenced for", func(w *world) {
			w.settle()
			w.step(16 * time.Second)
			w.settle()
			if w.of("pod-1").fenced {
				w.t.Fatalf("it is not let:\n%s", strings.Join(w.chronicle, "\n"))
			}
			w.before = func(doing string) error {
				if doing == "scale" {
					return apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, name, errors.New("the object has been modified"))
				}
				return nil
			}
			w.put(-2)
			w.passes(6)
			if !w.of("pod-1").fenced {
				w.t.Fatalf("it is not fenced:\n%s", strings.Join(w.chronicle, "\n"))
			}
			w.put(2)
			w.passes(4)
			w.before = func(string) error { return nil }
		}},
	} {
		story(t, func(w *world) {
			w.hold = true
			w.put(2)
			w.settle()
			test.happens(w)
			w.settle()
			w.step(16 * time.Second) // before that what the broker says may be old
			w.settle()
			for _, pod := range []string{"pod-1", "pod-2"} {
				if w.of(pod).fenced {
					w.t.Errorf("%s: %s is fenced, and two messages wait", test.name, pod)
				}
			}
			w.work("pod-1", "pod-2")
			w.settle()
			w.work("pod-1", "pod-2")
			w.step(16 * time.Second)
			w.settle()
			w.step(16 * time.Second)
			w.settle()
			w.wantReplicas(0, test.name+": with nothing left to do")
			w.wantNoneEnded()
		}, told, fenceable)
	}
}

func TestABrokerThatTellsNothingLosesNoPod(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1", "pod-2")
		w.mu.Lock()
		w.broken = errors.New("connection refused")
		w.mu.Unlock()
		w.work("pod-1")
		for range 5 {
			w.step(time.Minute)
			w.settle()
		}
		w.wantReplicas(2, "whatever the fallback")
		if lost := w.events.of("PodLost"); len(lost) > 0 {
			w.t.Errorf("the events are %q", lost)
		}
		w.wantNoneEnded()
	}, told, func(spec *v1alpha1.ScaledDeploymentSpec) {
		spec.Fallback = &v1alpha1.Fallback{AfterFailures: ptr.To[int32](1), Behavior: v1alpha1.FallbackReplicas, Replicas: ptr.To[int32](0)}
	})
}

func TestABrokerThatNobodyNamedCannotBeAsked(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.settle()
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTriggerInvalid, `there is no rabbitmq trigger "other"`)
	}, told, func(spec *v1alpha1.ScaledDeploymentSpec) { spec.Termination.Busy.RabbitMQConsumers.Trigger = "other" })
}

func TestABusyPodThatSomebodyEndsIsToldOf(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1", "pod-2")
		var pod corev1.Pod
		w.must(w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: "pod-2"}, &pod))
		w.end(&pod)
		w.settle()
		if ended := w.events.of("BusyPodEnded"); len(ended) != 1 || !strings.Contains(ended[0], `Pod pod-2 is being ended while it works on "8142"`) {
			w.t.Errorf("the events are %q", ended)
		}
		families, err := w.metrics.Gather()
		w.must(err)
		counted := 0.0
		for _, f := range families {
			if f.GetName() == "longhaul_scaleddeployment_busy_pods_ended_total" {
				counted += f.GetMetric()[0].GetCounter().GetValue()
			}
		}
		if counted != 1 {
			w.t.Errorf("%v are counted", counted)
		}
	})
}

func TestATargetThatAnotherScalesIsLeftAlone(t *testing.T) {
	t.Parallel()
	older := newScaledDeployment()
	older.Name, older.UID, older.Finalizers = "another", "older", nil
	for what, other := range map[string]client.Object{
		`HorizontalPodAutoscaler "keda"`: &autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "keda"},
			Spec:       autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name}},
		},
		`ScaledDeployment "another", which is older,`: older,
	} {
		story(t, func(w *world) {
			w.must(w.api.Create(w.t.Context(), other.DeepCopyObject().(client.Object)))
			w.put(2)
			w.settle()
			w.wantReplicas(0, "beside "+what)
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonReplicasOwned, what)
			w.must(w.api.Delete(w.t.Context(), other))
			w.settle()
			w.wantReplicas(2, "without "+what)
		})
	}
}

func TestATargetThatDoesNotExistIsNamed(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.must(w.api.Delete(w.t.Context(), w.deployment()))
		w.put(2)
		w.must(w.pass())
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTargetNotFound, `Deployment "encoder"`, "create it, or correct scaleTargetRef")
	})
}

func TestFieldsThatSomebodyElseOwnsAreNotFoughtOver(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		tried := 0
		w.conflict = apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, name, errors.New(`conflict with "helm": .spec.template.spec.terminationGracePeriodSeconds`))
		w.before = func(doing string) error {
			if doing == "apply" {
				tried++
			}
			return nil
		}
		d := w.deployment()
		d.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](7) // not as the API server fills it in
		w.must(w.api.Update(w.t.Context(), d))
		w.put(2)
		w.settle()
		w.wantReplicas(2, "though fields are somebody else's")
		w.wantCondition(v1alpha1.ConditionManaged, metav1.ConditionFalse, v1alpha1.ReasonFieldConflict, "helm", "terminationGracePeriodSeconds")
		w.wantCondition(v1alpha1.ConditionRolloutGuarded, metav1.ConditionFalse, v1alpha1.ReasonRolloutUnguarded)
		if tried != 1 {
			w.t.Errorf("it is tried %d times at once", tried)
		}
		w.conflict = nil
		w.step(31 * time.Second)
		w.settle()
		w.wantCondition(v1alpha1.ConditionManaged, metav1.ConditionTrue, v1alpha1.ReasonFieldsManaged)
	})
}

func TestFewMessagesWaitWithoutAReplica(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.put(2)
		w.settle()
		w.wantReplicas(0, "at the threshold")
		w.put(1)
		w.settle()
		w.wantReplicas(3, "above it")
		w.work("pod-1", "pod-2")
		w.settle()
		w.wantReplicas(3, "with one message left and replicas there")
	}, func(spec *v1alpha1.ScaledDeploymentSpec) { spec.Triggers[0].ActivationThreshold = ptr.To[int64](2) })
}

func TestADeploymentThatSomebodyResumesIsPausedAgain(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.working("pod-1")
		d := w.deployment()
		d.Spec.Paused = false // kubectl rollout resume
		d.Generation++
		w.must(w.api.Update(w.t.Context(), d))
		w.must(w.pass())
		if !w.deployment().Spec.Paused {
			w.t.Error("it is not paused: an edit would end the busy pod")
		}
	})
}

// TestTheCourseOfAnHour is what a user would have seen, move by move.
func TestTheCourseOfAnHour(t *testing.T) {
	t.Parallel()
	story(t, func(w *world) {
		w.hold = true
		w.put(2)
		w.settle()
		w.work("pod-1", "pod-2")
		w.step(20 * time.Minute)
		w.settle()
		w.work("pod-2")
		w.settle()
		w.step(time.Minute)
		w.settle()
		w.edit()
		w.settle()
		w.work("pod-1")
		w.settle()
		w.step(time.Minute)
		w.settle()
		w.wantNoneEnded()
		want := []string{
			"the manager sets replicas from 0 to 2", "the Deployment's controller sets encoder-v1 to 2",
			"pod-1 of encoder-v1 is created", "pod-2 of encoder-v1 is created",
			"pod-1 takes message 8141", "pod-2 takes message 8142",
			"pod-2 is done with message 8142", "pod-2 is fenced", "the manager sets replicas from 2 to 1",
			"the Deployment's controller sets encoder-v1 to 1", "pod-2 is ended: busy false, fenced true",
			"the template is edited", "pod-1 is done with message 8141", "pod-1 is fenced",
			"the manager applies paused false", "the Deployment's controller sets encoder-v1 to 0", "pod-1 is ended: busy false, fenced true",
			"the Deployment's controller sets encoder-v2 to 1", "pod-3 of encoder-v2 is created", "the manager applies paused true", "pod-3 is let work",
			"pod-3 is fenced", "the manager sets replicas from 1 to 0", "pod-3 is ended: busy false, fenced true",
		}
		w.wantCourse(want)
	}, func(spec *v1alpha1.ScaledDeploymentSpec) {
		spec.ScaleDown.Stabilization = &metav1.Duration{Duration: 30 * time.Second}
	})
}

// wantCourse checks that these happened in this order; what else happened between them does not matter.
func (w *world) wantCourse(want []string) {
	w.t.Helper()
	left := want
	for _, happened := range w.chronicle {
		if len(left) > 0 && strings.HasPrefix(happened, left[0]) {
			left = left[1:]
		}
	}
	if len(left) > 0 {
		w.t.Errorf("%q did not happen in its turn; this did:\n%s", left[0], strings.Join(w.chronicle, "\n"))
	}
}
