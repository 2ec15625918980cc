package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

const (
	// system is the namespace that config/default installs to.
	system = "longhaul-system"
	// managerUser is who the manager is to the API server.
	managerUser = "system:serviceaccount:longhaul-system:longhaul"
)

// installed is what the first test that needs it found on installing.
var installed = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := shared.kubectlAs(ctx, shared.kubeconfig, "apply", "-k", "config/default")
	return err
})

// install applies all manifests, once, as docs/install.md says.
func (p *plane) install(t *testing.T) {
	t.Helper()
	if err := installed(); err != nil {
		t.Fatal(err)
	}
}

// managerConfig is the manager's: that of its service account, with a token as its pods have one.
func (p *plane) managerConfig(t *testing.T) *rest.Config {
	t.Helper()
	p.install(t)
	config := rest.AnonymousClientConfig(p.config)
	config.BearerToken = p.tokenOf(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "longhaul"}})
	return config
}

func (p *plane) tokenOf(t *testing.T, account *corev1.ServiceAccount) string {
	t.Helper()
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](3600)}}
	if err := p.client.SubResource("token").Create(t.Context(), account, token); err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// token is that of a new service account that has a cluster's role in its namespace, or none.
func (p *plane) token(t *testing.T, namespace, name, role string) string {
	t.Helper()
	p.install(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := p.client.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if role != "" {
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
		}
		if err := p.client.Create(t.Context(), binding); err != nil {
			t.Fatal(err)
		}
	}
	return p.tokenOf(t, account)
}

// writeKubeconfig writes a kubeconfig for such a configuration.
func writeKubeconfig(t *testing.T, config *rest.Config) string {
	t.Helper()
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["test"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	kubeconfig.AuthInfos["test"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	kubeconfig.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	kubeconfig.CurrentContext = "test"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAllManifestsCanBeApplied(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	p.install(t)
	if _, err := p.kubectl(t, "apply", "-k", "config/default"); err != nil {
		t.Fatalf("applying them again, as an upgrade does: %v", err)
	}
	if _, err := p.kubectl(t, "diff", "-k", "config/default"); err != nil {
		t.Errorf("what is applied is not what is there: %v", err)
	}
}

// errand is one request to the API server.
type errand struct {
	what string
	do   func() error
}

func TestTheManagerMayDoItsWorkAndNothingElse(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	ctx, namespace := t.Context(), p.namespace(t)
	config := p.managerConfig(t)
	c, err := newClient(config)
	if err != nil {
		t.Fatal(err)
	}
	sets, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	sj := p.typed(t, namespace, "{}")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "broker"}}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "worker"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "worker", Image: "example/transcode:1"}}},
	}
	for _, o := range []client.Object{secret, pod} {
		if err := p.client.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	job := func(sequence int64) *batchv1.Job {
		return jobtemplate.Job(sj, "revision", jobtemplate.Order{Sequence: sequence})
	}
	metadataOf := func(kind string) *metav1.PartialObjectMetadataList {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind + "List"))
		return list
	}
	watching, err := client.NewWithWatch(config, client.Options{Scheme: c.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	watch := func(list client.ObjectList) func() error {
		return func() error {
			w, err := watching.Watch(ctx, list)
			if err == nil {
				w.Stop()
			}
			return err
		}
	}
	list := func(list client.ObjectList) func() error { return func() error { return c.List(ctx, list) } }
	lease := func(name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name}}
	}
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "event"}, EventTime: metav1.NowMicro(), Type: corev1.EventTypeNormal,
		ReportingController: "longhaul", ReportingInstance: "a", Action: "Check", Reason: "Dispatching",
		Regarding: corev1.ObjectReference{Kind: "ScaledJob", Namespace: namespace, Name: sj.Name},
	}
	first := job(1)

	for _, e := range []errand{
		{"list ScaledJobs", list(&v1alpha1.ScaledJobList{})},
		{"watch ScaledJobs", watch(&v1alpha1.ScaledJobList{})},
		{"patch the status of a ScaledJob", func() error {
			before := sj.DeepCopy()
			sj.Status.Waiting = ptr.To[int64](1)
			return c.Status().Patch(ctx, sj, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		}},
		{"list Jobs", list(&batchv1.JobList{})},
		{"watch Jobs", watch(&batchv1.JobList{})},
		{"try a Job", func() error { return c.Create(ctx, job(2), client.DryRunAll) }},
		{"create a Job that blocks the deletion of its ScaledJob", func() error { return c.Create(ctx, first) }},
		{"get a Job", func() error { return c.Get(ctx, client.ObjectKeyFromObject(first), &batchv1.Job{}) }},
		{"delete a Job", func() error {
			return c.Delete(ctx, first, client.PropagationPolicy(metav1.DeletePropagationForeground))
		}},
		{"list Pods", list(&corev1.PodList{})},
		{"watch Pods", watch(&corev1.PodList{})},
		{"read a Pod's log", func() error {
			err := sets.CoreV1().Pods(namespace).GetLogs("worker", &corev1.PodLogOptions{}).Do(ctx).Error()
			if apierrors.IsForbidden(err) {
				return err
			}
			return nil // there is no node to read it from
		}},
		{"get a Secret", func() error { return c.Get(ctx, client.ObjectKeyFromObject(secret), &corev1.Secret{}) }},
		{"list the metadata of Secrets", list(metadataOf("Secret"))},
		{"watch the metadata of Secrets", watch(metadataOf("Secret"))},
		{"list the metadata of namespaces", list(metadataOf("Namespace"))},
		{"watch the metadata of namespaces", watch(metadataOf("Namespace"))},
		{"create an event", func() error { return c.Create(ctx, event) }},
		{"count an event once more", func() error {
			before := event.DeepCopy()
			event.Series = &eventsv1.EventSeries{Count: 2, LastObservedTime: metav1.NowMicro()}
			return c.Patch(ctx, event, client.MergeFrom(before))
		}},
		{"ask whose a token is", func() error {
			return c.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "none"}})
		}},
		{"ask what a user may see", func() error {
			return c.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "somebody", ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Group: "longhaul.dev", Resource: "scaledjobs"},
			}})
		}},
		{"create its lease", func() error { return client.IgnoreAlreadyExists(c.Create(ctx, lease("longhaul"), client.DryRunAll)) }},
		{"get its lease", func() error {
			return client.IgnoreNotFound(c.Get(ctx, client.ObjectKeyFromObject(lease("longhaul")), &coordinationv1.Lease{}))
		}},
	} {
		if err := e.do(); err != nil {
			t.Errorf("it may not %s: %v", e.what, err)
		}
	}

	other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other"}}
	for _, e := range []errand{
		{"create a ScaledJob", func() error { return c.Create(ctx, object(t, namespace, "metadata: {name: other}"), client.DryRunAll) }},
		{"change a ScaledJob", func() error { return c.Update(ctx, sj) }},
		{"delete a ScaledJob", func() error { return c.Delete(ctx, sj, client.DryRunAll) }},
		{"change a Job", func() error { return c.Update(ctx, first) }},
		{"patch the status of a Job", func() error {
			return c.Status().Patch(ctx, first, client.RawPatch("application/merge-patch+json", []byte("{}")))
		}},
		{"delete all Jobs", func() error { return c.DeleteAllOf(ctx, first, client.InNamespace(namespace)) }},
		{"create a Pod", func() error { return c.Create(ctx, pod.DeepCopy()) }},
		{"delete all Pods", func() error { return c.DeleteAllOf(ctx, pod, client.InNamespace(namespace)) }},
		{"create a Deployment", func() error {
			return c.Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other"}})
		}},
		{"delete a Deployment", func() error {
			return c.Delete(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other"}})
		}},
		{"delete a ReplicaSet", func() error {
			return c.Delete(ctx, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other"}})
		}},
		{"change a Pod", func() error { return c.Update(ctx, pod) }},
		{"run a command in a Pod", func() error {
			return sets.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name("worker").SubResource("exec").
				Param("command", "true").Do(ctx).Error()
		}},
		{"create a Secret", func() error { return c.Create(ctx, other) }},
		{"change a Secret", func() error { return c.Update(ctx, secret) }},
		{"delete a Secret", func() error { return c.Delete(ctx, secret, client.DryRunAll) }},
		{"list ConfigMaps", list(&corev1.ConfigMapList{})},
		{"list nodes", list(&corev1.NodeList{})},
		{"list service accounts", list(&corev1.ServiceAccountList{})},
		{"create a namespace", func() error { return c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}}) }},
		{"see the ScaledJobs that a user impersonated may see", func() error {
			other := rest.CopyConfig(config)
			other.Impersonate = rest.ImpersonationConfig{UserName: "somebody"}
			imposter, err := newClient(other)
			if err != nil {
				return err
			}
			return imposter.List(ctx, &v1alpha1.ScaledJobList{})
		}},
		{"read a role", func() error { return c.Get(ctx, client.ObjectKey{Name: "longhaul-manager"}, &rbacv1.ClusterRole{}) }},
		{"change its role", func() error {
			return c.Patch(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "longhaul-manager"}}, client.RawPatch("application/merge-patch+json", []byte(`{"rules": []}`)))
		}},
		{"get another lease", func() error { return c.Get(ctx, client.ObjectKeyFromObject(lease("other")), &coordinationv1.Lease{}) }},
		{"get a lease elsewhere", func() error {
			return c.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: "longhaul"}, &coordinationv1.Lease{})
		}},
		{"delete its lease", func() error { return c.Delete(ctx, lease("longhaul"), client.DryRunAll) }},
		{"delete an event", func() error { return c.Delete(ctx, event, client.DryRunAll) }},
	} {
		if err := e.do(); !apierrors.IsForbidden(err) {
			t.Errorf("it may %s (%v)", e.what, err)
		}
	}
}

func TestUsersMayWhatTheirRolesSay(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	p.install(t)
	namespace := p.namespace(t)
	sj := p.typed(t, namespace, "{}")
	for _, role := range []struct {
		name  string
		write bool
	}{{"longhaul-scaledjob-viewer", false}, {"longhaul-scaledjob-editor", true}} {
		t.Run(role.name, func(t *testing.T) {
			t.Parallel()
			user := "a user with " + role.name
			binding := &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role.name},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.name},
				Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
			}
			if err := p.client.Create(t.Context(), binding); err != nil {
				t.Fatal(err)
			}
			config := rest.CopyConfig(p.config)
			config.Impersonate = rest.ImpersonationConfig{UserName: user}
			c, err := newClient(config)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the role holds", func() (bool, string) {
				err := c.List(t.Context(), &v1alpha1.ScaledJobList{}, client.InNamespace(namespace))
				return err == nil, fmt.Sprint(err)
			})
			mine := sj.DeepCopy()
			for what, err := range map[string]error{
				"create": c.Create(t.Context(), object(t, namespace, "metadata: {name: mine}"), client.DryRunAll),
				"change": c.Update(t.Context(), mine, client.DryRunAll),
				"delete": c.Delete(t.Context(), sj, client.DryRunAll),
			} {
				if role.write && err != nil || !role.write && !apierrors.IsForbidden(err) {
					t.Errorf("%s a ScaledJob: %v", what, err)
				}
			}
			if err := c.Status().Update(t.Context(), mine, client.DryRunAll); !apierrors.IsForbidden(err) {
				t.Errorf("the status is the manager's to write: %v", err)
			}
		})
	}
}

// right is one verb on one kind of object.
type right struct{ group, resource, verb string }

func (r right) String() string { return fmt.Sprintf("%s %s.%s", r.verb, r.resource, r.group) }

// granted are the manager's rights in a file of config/rbac: those of users in it are left out.
func granted(t *testing.T, file string) []right {
	t.Helper()
	var all []right
	for _, o := range manifests(t, filepath.Join(root, "config", "rbac", file)) {
		if o.GetName() == "longhaul-user" {
			continue
		}
		var role rbacv1.ClusterRole // a Role has the same rules
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						all = append(all, right{group, resource, verb})
					}
				}
			}
		}
	}
	return all
}

// asked are the rights that the manager's program made use of, and those that it was refused, as the API server noted them.
// This package asks for things in the same user's name, but not with the same program.
func (p *plane) asked(t *testing.T, program string) (used, refused []right) {
	t.Helper()
	log, err := os.ReadFile(p.audit)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var entry struct {
			Verb      string `json:"verb"`
			UserAgent string `json:"userAgent"`
			User      struct {
				Username string `json:"username"`
			} `json:"user"`
			ObjectRef *struct {
				Resource    string `json:"resource"`
				Subresource string `json:"subresource"`
				APIGroup    string `json:"apiGroup"`
			} `json:"objectRef"`
			ResponseStatus struct {
				Code int `json:"code"`
			} `json:"responseStatus"`
		}
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Fatalf("audit log: %v", err)
		}
		if entry.ObjectRef == nil || entry.User.Username != managerUser || !strings.HasPrefix(entry.UserAgent, program+"/") {
			continue
		}
		r := right{entry.ObjectRef.APIGroup, entry.ObjectRef.Resource, entry.Verb}
		if entry.ObjectRef.Subresource != "" {
			r.resource += "/" + entry.ObjectRef.Subresource
		}
		switch {
		case entry.ResponseStatus.Code == 403:
			refused = append(refused, r)
		case !slices.Contains(used, r):
			used = append(used, r)
		}
	}
	return used, refused
}

// unused are the rights that the manager's program makes no use of in TestTheManager, or not always, each with the reason to have it.
func unused() map[string]string {
	const stream = "an API server that streams lists to watches is not asked for lists; one that does not is"
	return map[string]string{
		"list jobs.batch":              stream,
		"list namespaces.":             stream,
		"list pods.":                   stream,
		"list scaledjobs.longhaul.dev": stream,

		"list scaleddeployments.longhaul.dev":       stream,
		"list horizontalpodautoscalers.autoscaling": stream,
		"list secrets.": stream,

		"get pods/log.":                                    "asked for when a pod fails; here no pod runs",
		"patch events.events.k8s.io":                       "an event that occurs again is counted in the first",
		"update scaledjobs/finalizers.longhaul.dev":        "never asked for; looked up when a Job is created that blocks the deletion of its owner",
		"update scaleddeployments/finalizers.longhaul.dev": "never asked for; looked up when a PodDisruptionBudget is created that blocks the deletion of its owner",
	}
}

// checkRights compares what the roles of config/rbac grant with what the manager's program did.
func (p *plane) checkRights(t *testing.T, program string) {
	t.Helper()
	used, refused := p.asked(t, program)
	if len(refused) > 0 {
		t.Errorf("the manager asked for what it may not: %v", refused)
	}
	all, reasons := slices.Concat(granted(t, "manager_role.yaml"), granted(t, "leader_election_role.yaml"), granted(t, "dashboard_role.yaml")), unused()
	for _, r := range all {
		if _, ok := reasons[r.String()]; !ok && !slices.Contains(used, r) {
			t.Errorf("the manager may %s, and makes no use of it: take the right away, or say what it is for", r)
		}
		delete(reasons, r.String())
	}
	for r, reason := range reasons {
		t.Errorf("there is a reason for a right that the manager does not have: %s (%s)", r, reason)
	}
}
