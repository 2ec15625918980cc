package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientfake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/store"
	"github.com/longhaul-dev/longhaul/history/web"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

// The tests ask a Server for what a caller would, with a real store, a cluster that is a fake client, and a clock that they
// step.

const index = "controller"

var now = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

// world is a Server and what it serves from.
type world struct {
	t         *testing.T
	cluster   client.Client
	informers *informertest.FakeInformers
	store     *store.Store
	clock     *clocktesting.FakeClock
	options   web.Options
	*httptest.Server
}

// newWorld has two ScaledJobs in media, one in audio and one in a namespace that is not this manager's.
func newWorld(t *testing.T, changes ...func(*web.Options)) *world {
	t.Helper()
	kept, err := store.Open(t.Context(), store.Options{SQLite: filepath.Join(t.TempDir(), "history.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close() })
	scheme := runtime.NewScheme()
	if err := errors.Join(batchv1.AddToScheme(scheme), corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	byOwner := func(o client.Object) []string {
		if owner := metav1.GetControllerOf(o); owner != nil {
			return []string{string(owner.UID)}
		}
		return nil
	}
	w := &world{t: t, store: kept, clock: clocktesting.NewFakeClock(now), informers: &informertest.FakeInformers{Scheme: scheme}}
	w.cluster = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.ScaledJob{}, &v1alpha1.ScaledDeployment{}).
		WithIndex(&batchv1.Job{}, index, byOwner).WithIndex(&corev1.Pod{}, index, byOwner).Build()
	for _, name := range []string{"media/transcode", "media/thumbnails", "audio/mix", "elsewhere/hidden"} {
		w.scaledJob(name)
	}
	w.options = web.Options{
		Store: kept, Cache: w.cluster, Informers: w.informers, Index: index, Access: web.Open{}, Version: "test", Log: logr.Discard(), Clock: w.clock,
		Keeps: func(_ context.Context, namespace string) (bool, error) { return namespace != "elsewhere", nil },
	}
	for _, change := range changes {
		change(&w.options)
	}
	server, err := web.New(w.options)
	if err != nil {
		t.Fatal(err)
	}
	w.Server = httptest.NewServer(server)
	t.Cleanup(w.Close)
	return w
}

func (w *world) scaledJob(name string) *v1alpha1.ScaledJob {
	w.t.Helper()
	namespace, name, _ := strings.Cut(name, "/")
	sj := &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID(namespace + "-" + name), CreationTimestamp: metav1.NewTime(now.Add(-24 * time.Hour)),
			Labels: map[string]string{"app": name},
		},
		Spec: v1alpha1.ScaledJobSpec{
			MaxParallelism: ptr.To[int32](20), Triggers: []v1alpha1.Trigger{{RedisList: &v1alpha1.RedisListTrigger{List: "videos"}}},
		},
	}
	if err := w.cluster.Create(w.t.Context(), sj); err != nil {
		w.t.Fatal(err)
	}
	sj.Status = v1alpha1.ScaledJobStatus{
		Waiting: ptr.To[int64](143), Starting: ptr.To[int32](1), Running: ptr.To[int32](19),
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDispatching}},
		Triggers:   []v1alpha1.TriggerStatus{{Name: "redisList", Waiting: ptr.To[int64](143)}},
	}
	if err := w.cluster.Status().Update(w.t.Context(), sj); err != nil {
		w.t.Fatal(err)
	}
	return sj
}

// job is one of a ScaledJob's in the cluster, which runs.
func (w *world) job(name string, sequence int64) *batchv1.Job {
	w.t.Helper()
	namespace, name, _ := strings.Cut(name, "/")
	var sj v1alpha1.ScaledJob
	if err := w.cluster.Get(w.t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &sj); err != nil {
		w.t.Fatal(err)
	}
	job := jobtemplate.Job(&sj, "revision", jobtemplate.Order{Sequence: sequence, Trigger: "redisList", Seen: now.Add(-time.Minute), Created: now.Add(-30 * time.Second)})
	job.UID, job.CreationTimestamp = types.UID(fmt.Sprintf("%s-%d", name, sequence)), metav1.NewTime(now.Add(-30*time.Second))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: job.Name + "-x7k2p", UID: types.UID("pod-" + job.Name), CreationTimestamp: job.CreationTimestamp,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))},
		},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "worker", Image: "worker:1"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "worker", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-20 * time.Second))}},
		}}},
	}
	if err := errors.Join(w.cluster.Create(w.t.Context(), job), w.cluster.Create(w.t.Context(), pod)); err != nil {
		w.t.Fatal(err)
	}
	return job
}

// ended is the record of a Job that ran for a minute and ended some minutes ago.
func ended(name string, sequence int64, minutesAgo int, outcome history.Outcome, category history.Category) history.Record {
	namespace, name, _ := strings.Cut(name, "/")
	finished := now.Add(-time.Duration(minutesAgo) * time.Minute)
	created, started := finished.Add(-62*time.Second), finished.Add(-60*time.Second)
	return history.Record{
		UID: fmt.Sprintf("%s-%s-%d", namespace, name, sequence), Namespace: namespace, ScaledJob: name, Sequence: sequence, Trigger: "redisList",
		Job: jobtemplate.Name(name, sequence), Outcome: outcome, Category: category, MessageID: fmt.Sprintf("video-%d", sequence),
		Seen: created.Add(-10 * time.Second), Created: created, Scheduled: &created, Started: &started, Finished: &finished,
		Attempts: []history.Attempt{{Pod: jobtemplate.Name(name, sequence) + "-x7k2p", UID: fmt.Sprint("pod-", sequence), Created: created, Started: &started, Finished: &finished, CPU: 2, Memory: 1 << 30}},
	}
}

func (w *world) save(records ...history.Record) {
	w.t.Helper()
	if err := w.store.Save(w.t.Context(), records); err != nil {
		w.t.Fatal(err)
	}
}

// get asks for a path, as who has a token, and returns the status and the body.
func (w *world) get(path, token string) (int, string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.URL+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return w.send(request)
}

func (w *world) send(request *http.Request) (int, string) {
	w.t.Helper()
	response, err := w.Client().Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var text strings.Builder
	if _, err := bufio.NewReader(response.Body).WriteTo(&text); err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, text.String()
}

// answer asks for a path and decodes the answer.
func answer[T any](w *world, path string) T {
	w.t.Helper()
	status, body := w.get(path, "")
	var a T
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != http.StatusOK {
		w.t.Fatalf("%s: %d %s (%v)", path, status, body, err)
	}
	return a
}

func TestAllScaledJobsAreShownWithTheReasonWhyTheyDispatchOrNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var finished []history.Record
	for n := range int64(420) {
		finished = append(finished, ended("media/transcode", n+1, 1+int(n)%59, history.Succeeded, history.CategorySucceeded))
	}
	w.save(finished...)
	w.save(ended("media/old", 1, 100, history.Failed, history.CategoryFailed))
	var got []string
	for _, sj := range answer[v1.ScaledJobList](w, "/api/v1/scaledjobs").Items {
		got = append(got, sj.Namespace+"/"+sj.Name)
	}
	if diff := cmp.Diff([]string{"audio/mix", "media/thumbnails", "media/transcode"}, got); diff != "" {
		t.Errorf("ScaledJobs (-want +got):\n%s", diff)
	}
	one := answer[v1.ScaledJob](w, "/api/v1/namespaces/media/scaledjobs/transcode")
	if want := "20 of 20 slots busy, 143 waiting; at the last hour's pace the last one starts in about 21 min."; one.Why != want {
		t.Errorf("why: %s, want %s", one.Why, want)
	}
	if one.LastHour.Succeeded != 420 || one.LastHour.PerMinute != 7 || one.Triggers[0].Kind != "redisList" || *one.Triggers[0].Waiting != 143 {
		t.Errorf("it is shown as %+v", one)
	}
	if n := len(answer[v1.ScaledJobList](w, "/api/v1/scaledjobs?labelSelector=app%3Dtranscode").Items); n != 1 {
		t.Errorf("%d have the label", n)
	}
	withOld := answer[v1.ScaledJobList](w, "/api/v1/scaledjobs?deleted=true&namespace=media").Items
	if len(withOld) != 3 || withOld[0].Name != "old" || !withOld[0].Deleted {
		t.Errorf("with those deleted: %+v", withOld)
	}
	if old := answer[v1.ScaledJob](w, "/api/v1/namespaces/media/scaledjobs/old"); !old.Deleted {
		t.Errorf("what is left of a ScaledJob that was deleted: %+v", old)
	}
}

func TestActiveJobsTellHowFarTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *web.Options) {
		o.Logs = func(_ context.Context, _, pod, _ string) (string, error) {
			if pod == "transcode-000002-x7k2p" {
				return "", errors.New("the node does not answer")
			}
			return "begin\nprogress 41%\n{\"progress\": 0.42}\nnot a number\n", nil
		}
	})
	w.job("media/transcode", 1)
	w.job("media/transcode", 2)
	jobs := answer[v1.JobList](w, "/api/v1/namespaces/media/scaledjobs/transcode/jobs?progress=true").Items
	if len(jobs) != 2 || jobs[0].State != v1.Running || ptr.Deref(jobs[0].Progress, 0) != 0.42 || jobs[1].Progress != nil {
		t.Errorf("Jobs: %+v", jobs)
	}
	if jobs[0].Node != "n1" || !jobs[0].Started.Equal(now.Add(-20*time.Second)) || !jobs[0].Seen.Equal(now.Add(-time.Minute)) {
		t.Errorf("the first: %+v", jobs[0])
	}
	if jobs := answer[v1.JobList](w, "/api/v1/namespaces/media/scaledjobs/transcode/jobs").Items; jobs[0].Progress != nil {
		t.Errorf("unasked: %+v", jobs[0])
	}
}

func TestPagesOfRecordsHaveEachRecordOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []history.Record
	for n := range int64(25) {
		all = append(all, ended("media/transcode", n+1, 100-int(n), history.Succeeded, history.CategorySucceeded))
	}
	w.save(all...)
	w.save(ended("media/thumbnails", 1, 5, history.Failed, history.CategoryOutOfMemory), ended("elsewhere/hidden", 1, 5, history.Succeeded, history.CategorySucceeded))
	var got []int64
	for cursor := ""; ; {
		page := answer[v1.RecordList](w, "/api/v1/namespaces/media/scaledjobs/transcode/records?limit=7&cursor="+cursor)
		for i := range page.Items {
			got = append(got, page.Items[i].Sequence)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	want := make([]int64, 25)
	for i := range want {
		want[i] = int64(25 - i)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sequences (-want +got):\n%s", diff)
	}
	for query, want := range map[string]int{
		"": 26, "scaledJob=thumbnails": 1, "outcome=failed": 1, "category=outofmemory": 1, "messageID=video-3": 1, "search=video": 26,
		"since=20m": 1, "since=2026-03-02T11:30:00Z&until=10m": 0, "namespace=audio": 0, "trigger=redisList": 26, "trigger=other": 0,
	} {
		if got := len(answer[v1.RecordList](w, "/api/v1/records?"+query).Items); got != want {
			t.Errorf("%q has %d records, want %d", query, got, want)
		}
	}
	record := answer[v1.Record](w, "/api/v1/namespaces/media/scaledjobs/transcode/records/3")
	if record.MessageID != "video-3" || *record.WaitSeconds != 10 || *record.StartUpSeconds != 2 || *record.RunSeconds != 60 || record.CPUSeconds != 120 {
		t.Errorf("a record: %+v", record)
	}
}

func TestStatisticsActivityAndTimeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.save(
		ended("media/transcode", 1, 30, history.Succeeded, history.CategorySucceeded),
		ended("media/transcode", 2, 30, history.Failed, history.CategoryOutOfMemory),
		ended("media/transcode", 3, 120, history.Succeeded, history.CategorySucceeded),
	)
	const path = "/api/v1/namespaces/media/scaledjobs/transcode/"
	stats := answer[v1.Stats](w, path+"stats?since=1h&buckets=2&histogram=true")
	if stats.Outcomes[history.Succeeded] != 1 || stats.Categories[history.CategoryOutOfMemory] != 1 || len(stats.Series) != 2 || stats.Series[1].Failed != 1 {
		t.Errorf("statistics: %+v", stats)
	}
	if p := *stats.Run.P50; p < 59 || p > 61 || stats.Run.Histogram[0].Count != 2 || stats.CPUSeconds != 240 {
		t.Errorf("how long they ran: %+v", stats.Run)
	}
	bars := answer[v1.Timeline](w, path+"timeline?since=1h")
	if len(bars.Items) != 2 || bars.More || bars.Items[0].Sequence != 2 || bars.Items[0].Category != history.CategoryOutOfMemory {
		t.Errorf("bars: %+v", bars)
	}
	if bars := answer[v1.Timeline](w, path+"timeline?since=3h&limit=2"); len(bars.Items) != 2 || !bars.More {
		t.Errorf("of more bars than asked for: %+v", bars)
	}
	// Both messages came at 11:28:48, their Jobs at 11:28:58, and ran from 11:29:00 to 11:30:00.
	points := answer[v1.Activity](w, path+"activity?since=35m&until=25m&points=601").Points
	for at, want := range map[string]v1.ActivityPoint{
		"11:28:49": {Waiting: 2}, "11:28:58": {Starting: 2}, "11:29:30": {Running: 2}, "11:30:01": {},
	} {
		i := slices.IndexFunc(points, func(p v1.ActivityPoint) bool { return p.Time.Format(time.TimeOnly) == at })
		want.Time = points[i].Time
		if diff := cmp.Diff(want, points[i]); diff != "" {
			t.Errorf("at %s (-want +got):\n%s", at, diff)
		}
	}
}

func TestBadRequestsAreToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const one = "/api/v1/namespaces/media/scaledjobs/transcode"
	for path, want := range map[string]string{
		one + "/records?limit=0":                       `limit="0": give a number from 1 to 1000`,
		one + "/records?since=yesterday":               `since="yesterday" is no time: give one such as 2026-03-02T09:00:00Z, or how long ago, such as 90m, 24h or 7d`,
		one + "/records?outcome=lost":                  `outcome="lost": give one of succeeded failed cancelled active`,
		one + "/records?cursor=x":                      `the cursor "x" is not one that came with a page`,
		one + "/records?outcom=failed":                 `parameter "outcom" is not known here`,
		one + "/records?limit=1&limit=2":               `parameter limit is given 2 times`,
		one + "/stats?since=1h&until=2h":               "is not before until",
		one + "/activity?points=1":                     `points="1": give a number from 2 to 1000`,
		one + "/jobs?progress=perhaps":                 `progress="perhaps": give true or false`,
		one + "/records/one":                           `the sequence "one" is no number above 0`,
		"/api/v1/scaledjobs?labelSelector=a%3D%3D%3Db": "labelSelector",
	} {
		status, body := w.get(path, "")
		var said v1.Error
		if err := json.Unmarshal([]byte(body), &said); err != nil || status != http.StatusBadRequest || !strings.Contains(said.Message, want) {
			t.Errorf("%s: %d %s, want %q", path, status, body, want)
		}
	}
	for path, want := range map[string]string{
		one + "/records/7": "there is no record 7", "/api/v1/namespaces/media/scaledjobs/nobody": `there is no ScaledJob \"nobody\"`,
		"/api/v2/things": "/api/v1/openapi.json", "/api/v1/namespaces/elsewhere/scaledjobs/hidden": "does not look after",
	} {
		if status, body := w.get(path, ""); status != http.StatusNotFound || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %q", path, status, body, want)
		}
	}
}

func TestWithoutAHistoryTheLiveStateIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *web.Options) { o.Store = nil })
	if n := len(answer[v1.ScaledJobList](w, "/api/v1/scaledjobs?deleted=true").Items); n != 3 {
		t.Errorf("%d ScaledJobs", n)
	}
	if status, body := w.get("/api/v1/records", ""); status != http.StatusNotFound || !strings.Contains(body, "--history") {
		t.Errorf("records: %d %s", status, body)
	}
	if u := answer[v1.User](w, "/api/v1/user"); u.History || !u.Anonymous || u.Version != "test" {
		t.Errorf("who asks: %+v", u)
	}
}

// authorised has a cluster say that bob may see all that is shown, ada what is in media, and eve of that only ScaledJobs.
func authorised(t *testing.T) (*clientfake.Clientset, func(*web.Options)) {
	t.Helper()
	clientset := clientfake.NewClientset()
	clientset.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		if name, ok := strings.CutPrefix(review.Spec.Token, "token-of-"); ok {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: name, Groups: []string{"people"}}}
		}
		return true, review, nil
	})
	clientset.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		r := review.Spec.ResourceAttributes
		jobs := r.Resource == "scaledjobs"
		review.Status.Allowed = r.Group == "longhaul.dev" && (jobs || r.Resource == "scaleddeployments") &&
			(review.Spec.User == "bob" || r.Namespace == "media" && (review.Spec.User == "ada" || review.Spec.User == "eve" && jobs))
		return true, review, nil
	})
	return clientset, func(o *web.Options) { o.Access = web.NewCluster(clientset, o.Clock) }
}

func TestNobodySeesWhatTheClusterDoesNotLetThemSee(t *testing.T) {
	t.Parallel()
	_, cluster := authorised(t)
	w := newWorld(t, cluster)
	w.save(ended("media/transcode", 1, 5, history.Succeeded, history.CategorySucceeded), ended("audio/mix", 1, 5, history.Succeeded, history.CategorySucceeded))
	for _, path := range []string{
		"/api/v1/scaledjobs", "/api/v1/scaledjobs?deleted=true", "/api/v1/records", "/api/v1/records?search=video", "/api/v1/records?scaledJob=mix",
	} {
		status, body := w.get(path, "token-of-ada")
		if status != http.StatusOK || strings.Contains(body, "audio") || strings.Contains(body, "hidden") {
			t.Errorf("ada is told by %s: %d %s", path, status, body)
		}
		if status, body := w.get(path, "token-of-bob"); status != http.StatusOK || !strings.Contains(body, "audio") || strings.Contains(body, "hidden") {
			t.Errorf("bob is told by %s: %d %s", path, status, body)
		}
	}
	const one = "/api/v1/namespaces/audio/scaledjobs/mix"
	for _, path := range []string{
		one, one + "/jobs", one + "/records", one + "/records/1", one + "/stats", one + "/activity", one + "/timeline",
		"/api/v1/namespaces/audio/scaledjobs/nobody", "/api/v1/scaledjobs?namespace=audio", "/api/v1/records?namespace=audio", "/api/v1/events?namespace=audio",
	} {
		if status, body := w.get(path, "token-of-ada"); status != http.StatusForbidden || !strings.Contains(body, "audio") || !strings.Contains(body, "scaledjobs.longhaul.dev") {
			t.Errorf("ada is told by %s: %d %s", path, status, body)
		}
		if status, body := w.get(path, ""); status != http.StatusUnauthorized {
			t.Errorf("nobody is told by %s: %d %s", path, status, body)
		}
		if status, body := w.get(path, "hunter2"); status != http.StatusUnauthorized || strings.Contains(body, "hunter2") {
			t.Errorf("who has a token that nobody knows is told by %s: %d %s", path, status, body)
		}
	}
	if status, body := w.get("/api/v1/namespaces/media/scaledjobs/transcode/records/1", "token-of-ada"); status != http.StatusOK {
		t.Errorf("ada is not told what she may see: %d %s", status, body)
	}
}

func TestWhatTheClusterSaysIsBelievedForAWhile(t *testing.T) {
	t.Parallel()
	clientset, cluster := authorised(t)
	w := newWorld(t, cluster)
	reviews := func() int { return len(clientset.Actions()) }
	ask := func(token string) { _, _ = w.get("/api/v1/namespaces/media/scaledjobs/transcode", token) }
	ask("token-of-ada")
	first := reviews()
	for range 5 {
		ask("token-of-ada")
	}
	if got := reviews(); got != first {
		t.Errorf("the cluster was asked %d times for the same", got-first)
	}
	w.clock.Step(61 * time.Second)
	ask("token-of-ada")
	if got := reviews(); got != 2*first {
		t.Errorf("after a minute it was asked %d times, want %d", got-first, first)
	}
}

func TestAClusterThatDoesNotAnswerLetsNobodyIn(t *testing.T) {
	t.Parallel()
	clientset, cluster := authorised(t)
	clientset.PrependReactor("create", "subjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API server does not answer: secret detail")
	})
	w := newWorld(t, cluster)
	for _, path := range []string{"/api/v1/scaledjobs", "/api/v1/namespaces/media/scaledjobs/transcode", "/api/v1/events"} {
		if status, body := w.get(path, "token-of-bob"); status != http.StatusInternalServerError || strings.Contains(body, "secret detail") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestATokenMayComeByThreeWays(t *testing.T) {
	t.Parallel()
	_, cluster := authorised(t)
	w := newWorld(t, cluster)
	for name, set := range map[string]func(*http.Request){
		"the usual header":                  func(r *http.Request) { r.Header.Set("Authorization", "bearer token-of-ada") },
		"the header that a proxy leaves in": func(r *http.Request) { r.Header.Set("Longhaul-Authorization", "Bearer token-of-ada") },
		"the page's cookie":                 func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "__Host-longhaul", Value: "token-of-ada"}) }, //nolint:gosec // a browser sends no more of it
	} {
		request := httptest.NewRequest(http.MethodGet, w.URL+"/api/v1/user", http.NoBody)
		request.RequestURI = ""
		set(request)
		if status, body := w.send(request); status != http.StatusOK || !strings.Contains(body, `"name":"ada"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := w.get("/api/v1/user", "token-of-"+strings.Repeat("x", 32<<10)); status != http.StatusUnauthorized || !strings.Contains(body, "longer than") {
		t.Errorf("a token that is longer than any: %d %s", status, body)
	}
}

func TestWithoutAuthenticationOnlyThisMachineIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for host, want := range map[string]int{
		"localhost:8443": 200, "127.0.0.1": 200, "[::1]:8443": 200, "127.8.8.8:1": 200, "evil.example.com": 403, "10.0.0.1:8443": 403, "127.0.0.1.example.com": 403,
	} {
		request := httptest.NewRequest(http.MethodGet, w.URL+"/api/v1/user", http.NoBody)
		request.RequestURI, request.Host = "", host
		if status, body := w.send(request); status != want {
			t.Errorf("%s: %d %s", host, status, body)
		}
	}
	for address, want := range map[string]bool{"127.0.0.1:8443": true, "localhost:1": true, "[::1]:1": true, ":8443": false, "0.0.0.0:1": false, "10.0.0.1:1": false, "x": false} {
		if web.IsLoopback(address) != want {
			t.Errorf("%s is loopback: %v", address, !want)
		}
	}
}

func TestBrowsersAreToldToTrustNothingElse(t *testing.T) {
	t.Parallel()
	_, cluster := authorised(t)
	w := newWorld(t, cluster)
	for _, path := range []string{"/", "/records", "/namespaces/media/scaledjobs/transcode", "/namespaces/media/scaledjobs/transcode/records/1", "/api/v1/user", "/assets/none", "/login"} {
		response, err := http.Get(w.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self';", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
		} {
			if got := response.Header.Get(header); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s is %q", path, header, got)
			}
		}
	}
}

func TestLoggingInKeepsTheTokenWhereNoScriptSeesIt(t *testing.T) {
	t.Parallel()
	_, cluster := authorised(t)
	w := newWorld(t, cluster)
	post := func(path, token, site string) (status int, cookies []*http.Cookie) {
		t.Helper()
		request := httptest.NewRequest(http.MethodPost, w.URL+path, strings.NewReader(url.Values{"token": {token}}.Encode()))
		request.RequestURI = ""
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Sec-Fetch-Site", site)
		response, err := w.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode, response.Cookies()
	}
	status, cookies := post("/login", " token-of-ada ", "same-origin")
	if status != http.StatusNoContent || len(cookies) != 1 {
		t.Fatalf("logging in: %d, %v", status, cookies)
	}
	if c := cookies[0]; c.Value != "token-of-ada" || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
		t.Errorf("the cookie: %+v", c)
	}
	for token, want := range map[string]int{"hunter2": http.StatusUnauthorized, "": http.StatusBadRequest} {
		if status, cookies := post("/login", token, "same-origin"); status != want || len(cookies) != 0 {
			t.Errorf("with the token %q: %d, %v", token, status, cookies)
		}
	}
	if status, _ := post("/login", "token-of-ada", "cross-site"); status != http.StatusForbidden {
		t.Errorf("from another site: %d", status)
	}
	if status, cookies := post("/logout", "", "same-origin"); status != http.StatusNoContent || cookies[0].MaxAge >= 0 {
		t.Errorf("logging out: %d, %v", status, cookies)
	}
}

// started has the Server run, and returns a function that has a second go by for it.
func (w *world) started() (second func()) {
	w.t.Helper()
	server, err := web.New(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	listener := httptest.NewUnstartedServer(server).Listener
	w.options.Listener = listener
	if server, err = web.New(w.options); err != nil {
		w.t.Fatal(err)
	}
	w.URL = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Start(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	return func() { w.clock.Step(time.Second) }
}

// listen opens a stream of events, and returns how the next is read.
func (w *world) listen(query, token string) (next func() string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.URL+"/api/v1/events"+query, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := w.Client().Do(request)
	if err != nil || response.StatusCode != http.StatusOK {
		w.t.Fatalf("%v: %v", response, err)
	}
	w.t.Cleanup(func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	return func() string {
		w.t.Helper()
		kind := ""
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kind = text
			}
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e v1.Event
				if err := json.Unmarshal([]byte(text), &e); err != nil {
					w.t.Fatal(err)
				}
				switch {
				case e.ScaledJob != nil:
					return fmt.Sprintf("%s %s/%s", kind, e.ScaledJob.Namespace, e.ScaledJob.Name)
				case e.Job != nil:
					return fmt.Sprintf("%s %s %s", kind, e.Job.Name, e.Job.State)
				default:
					return fmt.Sprintf("%s %s %s", kind, e.Record.Job, e.Record.Category)
				}
			}
			if lines.Text() == ": what happens from now on" {
				kind = ""
			}
		}
		w.t.Fatalf("the stream ended: %v", lines.Err())
		return ""
	}
}

func TestChangesAreToldToThoseWhoMaySeeThem(t *testing.T) {
	t.Parallel()
	_, cluster := authorised(t)
	w := newWorld(t, cluster)
	scaledJobs, err := w.informers.FakeInformerFor(t.Context(), &v1alpha1.ScaledJob{})
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := w.informers.FakeInformerFor(t.Context(), &batchv1.Job{})
	if err != nil {
		t.Fatal(err)
	}
	w.started()
	ada, bob := w.listen("", "token-of-ada"), w.listen("?scaledJob=mix", "token-of-bob")
	w.tell(scaledJobs, "audio/mix")
	w.tell(scaledJobs, "media/transcode")
	job := w.job("media/transcode", 1)
	expectNext(t, w, "scaledjob media/transcode", ada)
	jobs.Add(job)
	expectNext(t, w, "job transcode-000001 Running", ada)
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	jobs.Update(job, job)
	record := ended("media/transcode", 1, 0, history.Succeeded, history.CategorySucceeded)
	record.UID = string(job.UID)
	w.save(record)
	expectNext(t, w, "record transcode-000001 Succeeded", ada)
	expectNext(t, w, "scaledjob audio/mix", bob)
	var mix v1alpha1.ScaledJob
	if err := w.cluster.Get(t.Context(), types.NamespacedName{Namespace: "audio", Name: "mix"}, &mix); err != nil {
		t.Fatal(err)
	}
	scaledJobs.Delete(&mix)
	expectNext(t, w, "gone audio/mix", bob)
}

func TestAStreamTellsNoMoreOfWhatMayNotBeSeenAnyLonger(t *testing.T) {
	t.Parallel()
	clientset, cluster := authorised(t)
	moved := make(chan struct{}) // closed when ada's rights are in audio, and no longer in media
	var renewed atomic.Int32     // how often it was asked since whether ada may see all
	clientset.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		select {
		case <-moved:
			if review.Spec.ResourceAttributes.Namespace == "" {
				renewed.Add(1)
			}
			review.Status.Allowed = review.Spec.ResourceAttributes.Namespace == "audio"
			return true, review, nil
		default:
			return false, nil, nil
		}
	})
	w := newWorld(t, cluster)
	scaledJobs, err := w.informers.FakeInformerFor(t.Context(), &v1alpha1.ScaledJob{})
	if err != nil {
		t.Fatal(err)
	}
	w.started()
	ada := w.listen("", "token-of-ada")
	w.tell(scaledJobs, "media/transcode")
	expectNext(t, w, "scaledjob media/transcode", ada)
	close(moved)
	w.clock.Step(61 * time.Second) // what the cluster said is believed for a minute
	since := renewed.Load()
	for patience := time.After(20 * time.Second); renewed.Load() < since+2; w.clock.Step(time.Second) {
		select {
		case <-patience:
			t.Fatal("what may be seen is not asked for again")
		case <-time.After(5 * time.Millisecond):
		}
	}
	w.tell(scaledJobs, "media/transcode")
	w.tell(scaledJobs, "audio/mix")
	expectNext(t, w, "scaledjob audio/mix", ada)
}

func (w *world) tell(to *controllertest.FakeInformer, name string) {
	w.t.Helper()
	namespace, name, _ := strings.Cut(name, "/")
	var sj v1alpha1.ScaledJob
	if err := w.cluster.Get(w.t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &sj); err != nil {
		w.t.Fatal(err)
	}
	to.Add(&sj)
}

// expectNext has time go by until the next event comes.
func expectNext(t *testing.T, w *world, want string, next func() string) {
	t.Helper()
	came := make(chan string, 1)
	go func() { came <- next() }()
	patience := time.After(20 * time.Second)
	for {
		select {
		case got := <-came:
			if got != want {
				t.Errorf("the next event is %q, want %q", got, want)
			}
			return
		case <-patience:
			t.Fatalf("%q is not told", want)
		case <-time.After(5 * time.Millisecond):
			w.clock.Step(time.Second)
		}
	}
}
