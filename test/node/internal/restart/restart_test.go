package restart_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/test/node/internal/restart"
)

func TestWhetherAContainerRunsAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pod    corev1.RestartPolicy
		own    *corev1.ContainerRestartPolicy
		isInit bool
		code   int32
		want   bool
	}{
		"never, after a failure":            {pod: "Never", code: 1, want: false},
		"on failure, after a failure":       {pod: "OnFailure", code: 1, want: true},
		"on failure, after success":         {pod: "OnFailure", code: 0, want: false},
		"always, after success":             {pod: "Always", code: 0, want: true},
		"always, an init container":         {pod: "Always", isInit: true, code: 0, want: false},
		"always, a failed init container":   {pod: "Always", isInit: true, code: 1, want: true},
		"a sidecar, whatever the pod does":  {pod: "Never", own: ptr.To(corev1.ContainerRestartPolicyAlways), isInit: true, want: true},
		"a container that says never":       {pod: "Always", own: ptr.To(corev1.ContainerRestartPolicyNever), code: 1, want: false},
		"a container that says on failure":  {pod: "Never", own: ptr.To(corev1.ContainerRestartPolicyOnFailure), code: 1, want: true},
		"one that says so and ended well":   {pod: "Always", own: ptr.To(corev1.ContainerRestartPolicyOnFailure), want: false},
		"never, a failed init container":    {pod: "Never", isInit: true, code: 1, want: false},
		"on failure, a good init container": {pod: "OnFailure", isInit: true, code: 0, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod, container := &corev1.PodSpec{RestartPolicy: test.pod}, &corev1.Container{RestartPolicy: test.own}
			if got := restart.Needed(pod, container, test.isInit, test.code); got != test.want {
				t.Errorf("it runs again: %t, want %t", got, test.want)
			}
		})
	}
}

func TestTheBackOffDoublesUpToFiveMinutes(t *testing.T) {
	t.Parallel()
	b := restart.NewBackoff(10 * time.Second)
	var got []time.Duration
	for range 8 {
		got = append(got, b.After(time.Second)/time.Second)
	}
	if diff := cmp.Diff([]time.Duration{0, 10, 20, 40, 80, 160, 300, 300}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheBackOffBeginsAnewAfterALongRun(t *testing.T) {
	t.Parallel()
	b := restart.NewBackoff(10 * time.Second)
	for range 5 {
		b.After(time.Second)
	}
	if got := b.After(10 * time.Minute); got != 160*time.Second {
		t.Errorf("after ten minutes it is %s, want 2m40s", got)
	}
	if got := b.After(10*time.Minute + time.Second); got != 0 {
		t.Errorf("after more than ten minutes it is %s, want none", got)
	}
	if got := b.After(time.Second); got != 10*time.Second {
		t.Errorf("and then it is %s, want 10s", got)
	}
}
