package integration_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

func TestSamplesAreTakenAsTheyAre(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	files, err := filepath.Glob(filepath.Join(root, "config", "samples", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples (%v)", err)
	}
	for _, way := range [][]string{{"apply"}, {"apply", "--server-side"}} {
		t.Run(strings.Join(way, " "), func(t *testing.T) {
			t.Parallel()
			namespace := p.namespace(t)
			args := slices.Concat(way, []string{"-n", namespace, "-f", "config/samples"})
			if out, err := p.kubectl(t, args...); err != nil || strings.Contains(out, "Warning") {
				t.Fatalf("%v\n%s", err, out)
			}
			stored := map[string]*unstructured.Unstructured{}
			for _, file := range files {
				sample := manifests(t, file)[0]
				stored[file] = p.get(t, namespace, sample)
				if diff := cmp.Diff(sample.Object["spec"], within(sample.Object["spec"], stored[file].Object["spec"])); diff != "" {
					t.Errorf("%s was changed (-sample +stored):\n%s", filepath.Base(file), diff)
				}
			}
			if _, err := p.kubectl(t, args...); err != nil {
				t.Fatalf("applying them again: %v", err)
			}
			for _, file := range files {
				again := p.get(t, namespace, stored[file])
				if diff := cmp.Diff(stored[file].Object, again.Object); diff != "" {
					t.Errorf("%s was changed by applying it again (-before +after):\n%s", filepath.Base(file), diff)
				}
			}
		})
	}
}

// get is an object as the API server has it.
func (p *plane) get(t *testing.T, namespace string, like *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(like.GroupVersionKind())
	if err := p.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: like.GetName()}, o); err != nil {
		t.Fatal(err)
	}
	return o
}

// manifests are the objects in a file.
func manifests(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		raw, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var o unstructured.Unstructured
		if err := o.UnmarshalJSON(raw); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, &o)
	}
	return all
}

// within is what b has of the fields of a: without what was filled in.
func within(a, b any) any {
	switch a := a.(type) {
	case map[string]any:
		of, ok := b.(map[string]any)
		if !ok {
			return b
		}
		out := map[string]any{}
		for key := range a {
			if value, ok := of[key]; ok {
				out[key] = within(a[key], value)
			}
		}
		return out
	case []any:
		of, ok := b.([]any)
		if !ok || len(of) != len(a) {
			return b
		}
		out := make([]any, len(of))
		for i := range of {
			out[i] = within(a[i], of[i])
		}
		return out
	default:
		return b
	}
}

// terse is a ScaledJob that leaves out what can be left out: the whole of it, or what is in each part.
func terse() map[string]string {
	return map[string]string{
		"all that can be": `
spec:
  triggers:
  - {name: a, rabbitmq: {queue: videos, uri: {value: "amqp://rabbitmq:5672"}}}
  - {redisList: {addresses: ["redis:6379"], list: videos}}
  - {redisStream: {addresses: ["redis:6379"], stream: videos, consumerGroup: workers}}
  - {cron: {schedule: "0 17 * * 5"}}
`,
		"what is in each part": `
spec:
  triggers:
  - {rabbitmq: {queue: videos, uri: {secretKeyRef: {name: rabbitmq, key: uri}}, managementURI: {value: "http://rabbitmq"}, tls: {}}}
  - {redisList: {addresses: ["redis:6379"], list: videos, tls: {}}}
  strategy: {}
  rollout: {}
`,
		"a number of a Custom strategy": "spec: {strategy: {type: Custom, custom: {queueLengthDeduction: 2}}}",
	}
}

func TestWhatIsLeftOutIsFilledIn(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	namespace := p.namespace(t)
	var all strings.Builder
	inputs := terse()
	for _, title := range slices.Sorted(maps.Keys(inputs)) {
		o := object(t, namespace, inputs[title])
		if err := p.client.Create(t.Context(), o, client.DryRunAll); err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		o.SetNamespace("")
		for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields"} {
			unstructured.RemoveNestedField(o.Object, "metadata", field)
		}
		out, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "# Left out: %s.\n%s---\n", title, out)
	}
	golden(t, "defaults.golden.yaml", all.String())
}

// row is one field of the table at the beginning of docs/scaledjob.md.
type row struct {
	field, value, limits string
}

func documented(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "scaledjob.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for _, m := range regexp.MustCompile("(?m)^[|] \\[`(\\w+)`\\]\\(#\\w+\\) [|] (.*?) [|] (.*?) ?[|]$").FindAllStringSubmatch(string(text), -1) {
		rows = append(rows, row{field: m[1], value: strings.Trim(m[2], "`"), limits: m[3]})
	}
	if len(rows) < 10 {
		t.Fatalf("docs/scaledjob.md has a table of %d fields only: has its form changed?", len(rows))
	}
	return rows
}

func TestDefaultsAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	o := object(t, p.namespace(t), "{}")
	if err := p.client.Create(t.Context(), o, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	spec := o.Object["spec"].(map[string]any)
	told := map[string]bool{}
	for _, r := range documented(t) {
		told[r.field] = true
		if r.value == "required" {
			continue
		}
		var want any
		if err := yaml.Unmarshal([]byte(r.value), &want); err != nil {
			t.Fatalf("default of %s: %v", r.field, err)
		}
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(spec[r.field])); diff != "" {
			t.Errorf("%s (-document +API server):\n%s", r.field, diff)
		}
	}
	for field := range spec {
		if !told[field] {
			t.Errorf("%s is filled in, and not in the table", field)
		}
	}
}

func TestWhatTheDocumentAllowsIsTaken(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	namespace := p.namespace(t)
	tried := 0
	for _, r := range documented(t) {
		for _, value := range limits(r) {
			tried++
			patch := fmt.Sprintf("spec: {triggers: [{redisList: {addresses: [\"redis:6379\"], list: videos}}], %s: %s}", r.field, value)
			if err := p.client.Create(t.Context(), object(t, namespace, patch), client.DryRunAll); err != nil {
				t.Errorf("%s: %v", patch, err)
			}
		}
	}
	if tried < 15 {
		t.Errorf("only %d values were tried", tried)
	}
}

// limits are the values that a row of the table names as allowed: the ends of a range, or all there are.
func limits(r row) []string {
	if r.field == "triggers" { // a number of them, tried below
		return nil
	}
	var values []string
	for _, word := range regexp.MustCompile("[`\\w]+").FindAllString(r.limits, -1) {
		if _, err := strconv.Atoi(word); err == nil || strings.HasPrefix(word, "`") && word != "`maxParallelism`" {
			values = append(values, strings.Trim(word, "`"))
		}
	}
	return values
}

func TestGoodInputIsTaken(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	namespace := p.namespace(t)
	c := client.WithFieldValidation(p.client, metav1.FieldValidationStrict)
	var sixteen []string
	for i := range 16 {
		sixteen = append(sixteen, fmt.Sprintf(`{name: t%d, cron: {schedule: "0 17 * * 5"}}`, i))
	}
	trigger := func(s string) string { return "spec: {triggers: [{" + s + "}]}" }
	cron := func(schedule, zone string) string {
		return trigger(fmt.Sprintf("cron: {schedule: %q, timeZone: %q}", schedule, zone))
	}
	for title, patch := range map[string]string{
		"a name of 52 characters":               "metadata: {name: " + strings.Repeat("x", 52) + "}",
		"16 triggers":                           "spec: {triggers: [" + strings.Join(sixteen, ", ") + "]}",
		"a name of a trigger of one letter":     trigger(`name: A, cron: {schedule: "0 17 * * 5"}`),
		"two triggers of one kind with names":   "spec: {triggers: [" + strings.Join(sixteen[:2], ", ") + "]}",
		"one with a name, one without":          "spec: {triggers: [" + sixteen[0] + `, {cron: {schedule: "0 17 * * 5"}}]}`,
		"many messages per Job":                 trigger(`messagesPerJob: 1000000, acknowledge: OnReceipt, activationThreshold: 5, cron: {schedule: "0 17 * * 5"}`),
		"a URI with a user and no password":     trigger(`rabbitmq: {queue: videos, uri: {value: "amqps://longhaul@rabbitmq.default.svc:5671/video"}}`),
		"a URI with an IPv6 address":            trigger(`rabbitmq: {queue: videos, uri: {value: "amqp://[fd00::1]:5672/video?heartbeat=10"}}`),
		"a URI with a port and a far @":         trigger(`rabbitmq: {queue: videos, uri: {value: "amqp://rabbitmq/video"}, managementURI: {value: "https://longhaul@rabbitmq:15671/api"}}`),
		"client certificates":                   trigger(`rabbitmq: {queue: a, uri: {value: "amqps://r"}, tls: {ca: {name: a, key: b}, certificate: {name: a, key: c}, key: {name: a, key: d}, serverName: r}}`),
		"Sentinels with a database":             trigger(`redisList: {addresses: ["a:26379", "b:26379"], sentinelMaster: main, database: 3, list: videos}`),
		"a cluster":                             trigger(`redisList: {addresses: ["a:6379", "b:6379"], cluster: true, list: "{videos}", processingList: "{videos}:processing"}`),
		"a cluster that says its database is 0": trigger(`redisList: {addresses: ["a:6379"], cluster: true, database: 0, list: videos}`),
		"a Redis with an IPv6 address":          trigger(`redisList: {addresses: ["[fd00::1]:6379"], list: videos}`),
		"a Redis with a user and TLS":           trigger(`redisStream: {addresses: ["a:6379"], username: {name: r, key: u}, password: {name: r, key: p}, tls: {}, stream: v, consumerGroup: w}`),
		"a schedule with names":                 cron("*/15 8-18 1,15 JAN-MAR Mon-Fri", "America/Argentina/Buenos_Aires"),
		"a schedule with spaces":                cron(" 0  17 ? *   FRI ", "America/Port-au-Prince"),
		"a time zone with a sign":               cron("0 17 * * 5", "Etc/GMT+5"),
		"a time zone of three letters":          cron("0 17 * * 5", "UTC"),
		"a deadline of 10 s":                    trigger(`cron: {schedule: "0 17 * * 5", startingDeadline: 10s, jobs: 100000}`),
		"a deadline of a year":                  trigger(`cron: {schedule: "0 17 * * 5", startingDeadline: 8760h}`),
		"a floor that is the cap":               "spec: {minParallelism: 7, maxParallelism: 7}",
		"durations of several units":            "spec: {pollingInterval: 1m30s500ms, settlingTime: 1.5h}",
		"the Default strategy":                  "spec: {strategy: {type: Default}}",
		"the Accurate strategy":                 "spec: {strategy: {type: Accurate, pendingPodConditions: [Ready, example.com/taken]}}",
		"the Custom strategy":                   "spec: {strategy: {type: Custom, custom: {queueLengthDeduction: 0, runningJobPercentage: 100}}}",
		"the Eager strategy":                    "spec: {strategy: {type: Eager}, rollout: {strategy: Immediate}, suspend: true}",
	} {
		if err := c.Create(t.Context(), object(t, namespace, patch), client.DryRunAll); err != nil {
			t.Errorf("%s: %v", title, err)
		}
	}
}

func TestAJobTemplateComesBackWhole(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	c := client.WithFieldValidation(p.client, metav1.FieldValidationStrict)
	o := object(t, p.namespace(t), "{}")
	template := templateOf(t, 1)
	setTemplate(t, o, template)
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(template, o.Object["spec"].(map[string]any)["jobTemplate"]); diff != "" {
		t.Errorf("the template was changed (-sent +stored):\n%s", diff)
	}

	edited := templateOf(t, 2)
	setTemplate(t, o, edited)
	if err := c.Update(t.Context(), o); err != nil {
		t.Fatalf("a template may be edited, in each field: %v", err)
	}
	if diff := cmp.Diff(edited, o.Object["spec"].(map[string]any)["jobTemplate"]); diff != "" {
		t.Errorf("the edited template was changed (-sent +stored):\n%s", diff)
	}
}

func setTemplate(t *testing.T, o *unstructured.Unstructured, template map[string]any) {
	t.Helper()
	if err := unstructured.SetNestedMap(o.Object, template, "spec", "jobTemplate"); err != nil {
		t.Fatal(err)
	}
}

// templateOf is a Job template that has every field there is, as JSON. Its values are made of a number.
func templateOf(t *testing.T, n int64) map[string]any {
	t.Helper()
	var template batchv1.JobTemplateSpec
	fill(reflect.ValueOf(&template).Elem(), n)
	template.Spec.ManualSelector = new(bool) // which is refused otherwise
	raw, err := json.Marshal(template)
	if err != nil {
		t.Fatal(err)
	}
	var o unstructured.Unstructured // whose numbers are whole ones
	if err := o.UnmarshalJSON([]byte(`{"apiVersion": "v1", "kind": "X", "template": ` + string(raw) + "}")); err != nil {
		t.Fatal(err)
	}
	return o.Object["template"].(map[string]any)
}

// fill gives every field of v a value.
func fill(v reflect.Value, n int64) {
	switch special := v.Addr().Interface().(type) {
	case *metav1.ObjectMeta: // of which only this means something in a template
		name := strconv.FormatInt(n, 10)
		special.Labels, special.Annotations = map[string]string{"label": name}, map[string]string{"annotation": name}
		return
	case *resource.Quantity:
		*special = *resource.NewQuantity(n, resource.DecimalSI)
		return
	case *intstr.IntOrString:
		*special = intstr.FromInt32(int32(n))
		return
	case *metav1.Time:
		*special = metav1.NewTime(time.Unix(n, 0))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, 1)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(fmt.Sprintf("text-%d", n))
	case reflect.Bool:
		v.SetBool(n%2 == 1)
	default:
		v.SetInt(n)
	}
}
