package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// schemaOfScaledJob is the schema in the CustomResourceDefinition.
func schemaOfScaledJob(t *testing.T) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	return schemaOf(t, "longhaul.dev_scaledjobs.yaml")
}

// schemaOf is the schema in a file of a CustomResourceDefinition.
func schemaOf(t *testing.T, file string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "config", "crd", "bases", file))
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(raw, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// typed makes a ScaledJob in the namespace, and returns it as the manager's code has it.
func (p *plane) typed(t *testing.T, namespace, patch string) *v1alpha1.ScaledJob {
	t.Helper()
	o := object(t, namespace, patch)
	if err := p.client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	sj := &v1alpha1.ScaledJob{}
	if err := p.client.Get(t.Context(), client.ObjectKeyFromObject(o), sj); err != nil {
		t.Fatal(err)
	}
	return sj
}

// status is one with every field set.
func status(now time.Time) v1alpha1.ScaledJobStatus {
	at := ptr.To(metav1.NewTime(now.Truncate(time.Second)))
	var conditions []metav1.Condition
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionActive, v1alpha1.ConditionSuspended} {
		conditions = append(conditions, metav1.Condition{
			Type: kind, Status: metav1.ConditionTrue, Reason: "ReasonOf" + kind, Message: "message of " + kind,
			ObservedGeneration: 1, LastTransitionTime: *at,
		})
	}
	return v1alpha1.ScaledJobStatus{
		Conditions:         conditions,
		ObservedGeneration: 1,
		Waiting:            ptr.To[int64](21),
		Held:               ptr.To[int64](22),
		Starting:           ptr.To[int32](23),
		Running:            ptr.To[int32](24),
		Succeeded:          ptr.To[int32](25),
		Failed:             ptr.To[int32](26),
		LastDispatchTime:   at,
		LastSequence:       27,
		Triggers: []v1alpha1.TriggerStatus{{
			Name: "redisList", Waiting: ptr.To[int64](21), Held: ptr.To[int64](22), LastReadTime: at, LastScheduleTime: at, Message: "why not",
		}},
	}
}

func TestColumnsShowWhatAScaledJobDoes(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	namespace := p.namespace(t)
	p.typed(t, namespace, "metadata: {name: a-new-one}")
	sj := p.typed(t, namespace, "metadata: {name: busy}\nspec: {minParallelism: 3}")
	sj.Status = status(time.Now())
	if err := p.client.Status().Update(t.Context(), sj); err != nil {
		t.Fatal(err)
	}

	rest, err := discovery.NewDiscoveryClientForConfig(p.config)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := rest.RESTClient().Get().AbsPath("/apis/longhaul.dev/v1alpha1/namespaces", namespace, "scaledjobs").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	for i, column := range table.ColumnDefinitions {
		fmt.Fprintf(&shown, "%s (%s, priority %d): %s\n", column.Name, column.Type, column.Priority, column.Description)
		for _, r := range table.Rows {
			cell := r.Cells[i]
			if column.Type == "date" && cell != nil {
				cell = "a time ago"
			}
			fmt.Fprintf(&shown, "    %v\n", cell)
		}
	}
	golden(t, "columns.golden", shown.String())
}

func TestScaledJobsHaveAShortNameAndAreAmongAll(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	d, err := discovery.NewDiscoveryClientForConfig(p.config)
	if err != nil {
		t.Fatal(err)
	}
	resources, err := d.ServerResourcesForGroupVersion(v1alpha1.GroupVersion().String())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range resources.APIResources {
		got = append(got, fmt.Sprintf("%s %s %v %v namespaced:%v", r.Name, r.SingularName, r.ShortNames, r.Categories, r.Namespaced))
	}
	slices.Sort(got)
	want := []string{
		"scaleddeployments scaleddeployment [lsd] [all] namespaced:true", "scaleddeployments/status  [] [] namespaced:true",
		"scaledjobs scaledjob [lsj] [all] namespaced:true", "scaledjobs/status  [] [] namespaced:true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}

	namespace := p.namespace(t)
	p.typed(t, namespace, "{}")
	out, err := p.kubectl(t, "get", "lsj", "-n", namespace)
	if err != nil || !strings.Contains(out, "transcode") {
		t.Errorf("kubectl get lsj: %v\n%s", err, out)
	}
}

func TestStatusAndSpecAreWrittenApart(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	sj := p.typed(t, p.namespace(t), "{}")
	now := time.Now()

	sj.Status = status(now)
	sj.Spec.MaxParallelism = ptr.To[int32](7)
	if err := p.client.Status().Update(t.Context(), sj); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(status(now), sj.Status); diff != "" {
		t.Errorf("the status was changed (-written +stored):\n%s", diff)
	}
	if *sj.Spec.MaxParallelism != 100 || sj.Generation != 1 {
		t.Errorf("a write of the status changed the spec: cap %d, generation %d", *sj.Spec.MaxParallelism, sj.Generation)
	}

	sj.Spec.MaxParallelism = ptr.To[int32](7)
	sj.Status.Waiting = ptr.To[int64](1000)
	if err := p.client.Update(t.Context(), sj); err != nil {
		t.Fatal(err)
	}
	if *sj.Status.Waiting != 21 {
		t.Errorf("a write of the spec changed the status: %d messages wait", *sj.Status.Waiting)
	}
	if *sj.Spec.MaxParallelism != 7 || sj.Generation != 2 {
		t.Errorf("a write of the spec: cap %d, generation %d", *sj.Spec.MaxParallelism, sj.Generation)
	}
}

func TestEveryFieldOfOursIsExplained(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	d, err := discovery.NewDiscoveryClientForConfig(p.config)
	if err != nil {
		t.Fatal(err)
	}
	var raw []byte
	eventually(t, "the API server publishes the descriptions", func() (bool, string) {
		raw, err = d.RESTClient().Get().AbsPath("/openapi/v3/apis/longhaul.dev/v1alpha1").DoRaw(t.Context())
		return err == nil, fmt.Sprint(err)
	})
	var published struct {
		Components struct {
			Schemas map[string]apiextensionsv1.JSONSchemaProps `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &published); err != nil {
		t.Fatal(err)
	}
	schema := published.Components.Schemas["dev.longhaul.v1alpha1.ScaledJob"]
	delete(schema.Properties, "metadata") // Kubernetes'
	explained := explain(t, "scaledjob", &schema)
	if explained < 80 {
		t.Errorf("only %d fields were looked at", explained)
	}

	out, err := p.kubectl(t, "explain", "scaledjob.spec.triggers.redisList.processingList")
	if err != nil || !strings.Contains(out, "With it, held") {
		t.Errorf("kubectl explain: %v\n%s", err, out)
	}
}

// explain counts the fields, all of which must have a description that is more than their name.
func explain(t *testing.T, path string, s *apiextensionsv1.JSONSchemaProps) int {
	t.Helper()
	n := 0
	for name, field := range s.Properties {
		path := path + "." + name
		n++
		if len(field.Description) < len(name)+10 {
			t.Errorf("kubectl explain %s says %q", path, field.Description)
		}
		if path != "scaledjob.spec.jobTemplate" { // below it are batch/v1's, which kubectl explain job.spec tells
			n += explain(t, path, &field)
		}
	}
	if s.Items != nil {
		n += explain(t, path, s.Items.Schema)
	}
	return n
}
