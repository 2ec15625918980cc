package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// scaledDeployment is one with a busy pod; its condition Ready is false where there is a complaint.
func (w *world) scaledDeployment(name, complaint string) {
	w.t.Helper()
	namespace, name, _ := strings.Cut(name, "/")
	sd := &v1alpha1.ScaledDeployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID(namespace + "-" + name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			Labels: map[string]string{"app": name},
		},
		Spec: v1alpha1.ScaledDeploymentSpec{
			ScaleTargetRef: v1alpha1.ScaleTargetRef{Kind: "StatefulSet", Name: name}, MaxReplicas: ptr.To[int32](5),
			Triggers: []v1alpha1.ReplicaTrigger{{RedisList: &v1alpha1.RedisListTrigger{List: "videos"}}},
		},
	}
	if err := w.cluster.Create(w.t.Context(), sd); err != nil {
		w.t.Fatal(err)
	}
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonScaling}
	if complaint != "" {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonTargetNotFound, complaint
	}
	sd.Status = v1alpha1.ScaledDeploymentStatus{
		Waiting: ptr.To[int64](2), DesiredReplicas: ptr.To[int32](3), Replicas: ptr.To[int32](1), Ready: ptr.To[int32](1), Busy: ptr.To[int32](1),
		LastDecision: "replicas wanted 3, set 1", Conditions: []metav1.Condition{ready}, Triggers: []v1alpha1.TriggerStatus{{Name: "redisList", Waiting: ptr.To[int64](2)}},
		Pods: []v1alpha1.ConsumerStatus{{Name: name + "-0", State: v1alpha1.ConsumerBusy, MessageID: "8141", Since: ptr.To(metav1.NewTime(now.Add(-time.Minute)))}},
	}
	if err := w.cluster.Status().Update(w.t.Context(), sd); err != nil {
		w.t.Fatal(err)
	}
}

func TestScaledDeploymentsAreShownWithWhatTheirPodsDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.scaledDeployment("media/encoder", "")
	w.scaledDeployment("audio/mixer", `StatefulSet "mixer" cannot be scaled`)
	w.scaledDeployment("elsewhere/hidden", "")
	why := map[string]string{}
	for _, sd := range answer[v1.ScaledDeploymentList](w, "/api/v1/scaleddeployments").Items {
		why[sd.Namespace+"/"+sd.Name] = sd.Why
	}
	want := map[string]string{"media/encoder": "replicas wanted 3, set 1", "audio/mixer": `StatefulSet "mixer" cannot be scaled`}
	if diff := cmp.Diff(want, why); diff != "" {
		t.Errorf("ScaledDeployments, and why they are so (-want +got):\n%s", diff)
	}
	for query, want := range map[string]int{"?namespace=media": 1, "?labelSelector=app%3Dmixer": 1, "?labelSelector=app%3Dnone": 0} {
		if n := len(answer[v1.ScaledDeploymentList](w, "/api/v1/scaleddeployments"+query).Items); n != want {
			t.Errorf("%s is answered with %d, want %d", query, n, want)
		}
	}
	one := answer[v1.ScaledDeployment](w, "/api/v1/namespaces/media/scaleddeployments/encoder")
	if one.TargetKind != "StatefulSet" || *one.Replicas != 1 || *one.DesiredReplicas != 3 || one.Busy != 1 || one.Ready != "True" || *one.Triggers[0].Waiting != 2 {
		t.Errorf("it is shown as %+v", one)
	}
	pods := []v1.Consumer{{Name: "encoder-0", State: "Busy", MessageID: "8141", Since: ptr.To(now.Add(-time.Minute))}}
	if diff := cmp.Diff(pods, one.Pods); diff != "" {
		t.Errorf("its pods (-want +got):\n%s", diff)
	}
	for path, words := range map[string]string{
		"/api/v1/namespaces/media/scaleddeployments/none":       `there is no ScaledDeployment \"none\"`,
		"/api/v1/namespaces/elsewhere/scaleddeployments/hidden": "does not look after",
	} {
		if status, body := w.get(path, ""); status != http.StatusNotFound || !strings.Contains(body, words) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, body := w.get("/api/v1/scaleddeployments?labelSelector=a%3D%3D%3Db", ""); status != http.StatusBadRequest || !strings.Contains(body, "labelSelector") {
		t.Errorf("%d %s", status, body)
	}
}

func TestWhoMaySeeScaledJobsSeesNoScaledDeploymentsForThat(t *testing.T) {
	t.Parallel()
	_, cluster := authorised(t)
	w := newWorld(t, cluster)
	w.scaledDeployment("media/encoder", "")
	w.scaledDeployment("audio/mixer", "")
	if status, body := w.get("/api/v1/scaleddeployments", "token-of-ada"); status != http.StatusOK || !strings.Contains(body, "encoder") || strings.Contains(body, "mixer") {
		t.Errorf("ada is told: %d %s", status, body)
	}
	if status, body := w.get("/api/v1/scaleddeployments", "token-of-eve"); status != http.StatusOK || strings.Contains(body, "encoder") {
		t.Errorf("eve, who may see ScaledJobs alone, is told: %d %s", status, body)
	}
	for _, path := range []string{"/api/v1/scaleddeployments?namespace=media", "/api/v1/namespaces/media/scaleddeployments/encoder"} {
		if status, body := w.get(path, "token-of-eve"); status != http.StatusForbidden || !strings.Contains(body, "scaleddeployments.longhaul.dev") {
			t.Errorf("eve is told by %s: %d %s", path, status, body)
		}
	}
	if status, _ := w.get("/api/v1/namespaces/media/scaledjobs/transcode", "token-of-eve"); status != http.StatusOK {
		t.Errorf("eve may see ScaledJobs, and is answered with %d", status)
	}
}
