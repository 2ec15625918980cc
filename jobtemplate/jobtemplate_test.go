package jobtemplate_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

var update = flag.Bool("update", false, "write the golden files anew")

// scaledJob reads a ScaledJob as a user wrote it.
func scaledJob(t *testing.T, name string) *v1alpha1.ScaledJob {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var sj v1alpha1.ScaledJob
	if err := yaml.UnmarshalStrict(raw, &sj); err != nil {
		t.Fatal(err)
	}
	return &sj
}

func revision(t *testing.T, template *batchv1.JobTemplateSpec) string {
	t.Helper()
	r, err := jobtemplate.Revision(template)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestJobsAreAsTheGoldenFilesShow(t *testing.T) {
	t.Parallel()
	friday := time.Date(2026, 7, 3, 17, 0, 0, 0, time.FixedZone("CEST", 2*60*60))
	for name, order := range map[string]jobtemplate.Order{
		"message":  {Sequence: 42, Trigger: "videos"},
		"schedule": {Sequence: 1234567, Trigger: "cron", ScheduledTime: friday},
		"combined": {Sequence: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sj := scaledJob(t, name)
			got, err := yaml.Marshal(jobtemplate.Job(sj, revision(t, &sj.Spec.JobTemplate), order))
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the Job is not as %s shows (-want +got); if it is right, run go test ./jobtemplate -update\n%s", golden, diff)
			}
		})
	}
}

func TestWhatAUserSetStays(t *testing.T) {
	t.Parallel()
	sj := scaledJob(t, "message")
	job := jobtemplate.Job(sj, "r", jobtemplate.Order{Sequence: 42, Trigger: "videos"})
	pod := job.Spec.Template

	if got := job.Labels["team"]; got != "media" {
		t.Errorf("the template's label team is %q on the Job, want media", got)
	}
	if got := job.Annotations["cost-centre"]; got != "42" {
		t.Errorf("the template's annotation cost-centre is %q on the Job, want 42", got)
	}
	if got := pod.Labels["app"]; got != "ffmpeg" {
		t.Errorf("the pod template's label app is %q, want ffmpeg", got)
	}
	if diff := cmp.Diff(map[string]string{"sidecar": "no"}, pod.Annotations); diff != "" {
		t.Errorf("the pod template's annotations changed (-want +got)\n%s", diff)
	}
	if pod.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		t.Errorf("restartPolicy is %s, want the template's OnFailure", pod.Spec.RestartPolicy)
	}
	if diff := cmp.Diff(ptr.To[int32](2), job.Spec.BackoffLimit); diff != "" {
		t.Errorf("backoffLimit changed (-want +got)\n%s", diff)
	}
	// Of two variables with one name, the container sees the last.
	effective := map[string]string{}
	for _, e := range pod.Spec.Containers[0].Env {
		effective[e.Name] = e.Value
	}
	if got := effective["LONGHAUL_TRIGGER"]; got != "the user's own" {
		t.Errorf("LONGHAUL_TRIGGER is %q in the container, want the user's own", got)
	}
}

func TestMarksThatAUserSetAreNotBelieved(t *testing.T) {
	t.Parallel()
	job := jobtemplate.Job(scaledJob(t, "message"), "r", jobtemplate.Order{Sequence: 42, Trigger: "videos"})
	for where, labels := range map[string]map[string]string{"Job": job.Labels, "pod": job.Spec.Template.Labels} {
		if labels[jobtemplate.LabelScaledJob] != "transcode" || labels[jobtemplate.LabelTrigger] != "videos" {
			t.Errorf("the %s is marked %v, want ScaledJob transcode and trigger videos", where, labels)
		}
	}
	if n, ok := jobtemplate.Sequence(job); n != 42 || !ok {
		t.Errorf("the Job's sequence reads %d, %t; want 42, true", n, ok)
	}
}

func TestTheOrderReadsBackFromTheJob(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 10, 25, 2, 30, 0, 0, time.FixedZone("CET", 60*60))
	sj := scaledJob(t, "schedule")
	job := jobtemplate.Job(sj, "r", jobtemplate.Order{Sequence: 9, Trigger: "cron", ScheduledTime: at})
	if n, ok := jobtemplate.Sequence(job); n != 9 || !ok {
		t.Errorf("the sequence reads %d, %t; want 9, true", n, ok)
	}
	if got, ok := jobtemplate.ScheduledTime(job); !got.Equal(at) || !ok {
		t.Errorf("the scheduled time reads %s, %t; want %s, true", got, ok, at)
	}
	if got := job.Annotations[jobtemplate.AnnotationRevision]; got != "r" {
		t.Errorf("the revision is %q, want r", got)
	}
	forMessage := jobtemplate.Job(sj, "r", jobtemplate.Order{Sequence: 9, Trigger: "cron"})
	if got, ok := jobtemplate.ScheduledTime(forMessage); ok {
		t.Errorf("a Job for a message has the scheduled time %s", got)
	}
}

func TestJobsThatLonghaulDidNotNumberHaveNoSequence(t *testing.T) {
	t.Parallel()
	for name, annotations := range map[string]map[string]string{
		"none":     nil,
		"empty":    {jobtemplate.AnnotationSequence: ""},
		"words":    {jobtemplate.AnnotationSequence: "first"},
		"zero":     {jobtemplate.AnnotationSequence: "0"}, // of a dry run
		"negative": {jobtemplate.AnnotationSequence: "-1"},
		"too long": {jobtemplate.AnnotationSequence: "9223372036854775808"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "transcode-000042", Annotations: annotations}}
			if n, ok := jobtemplate.Sequence(job); ok {
				t.Errorf("the sequence reads %d, want none", n)
			}
			if at, ok := jobtemplate.ScheduledTime(job); ok {
				t.Errorf("the scheduled time reads %s, want none", at)
			}
		})
	}
}

func TestNamesCarryTheSequenceInSixDigitsOrMore(t *testing.T) {
	t.Parallel()
	for sequence, want := range map[int64]string{
		0:         "transcode-000000",
		1:         "transcode-000001",
		42:        "transcode-000042",
		999_999:   "transcode-999999",
		1_000_000: "transcode-1000000",
	} {
		if got := jobtemplate.Name("transcode", sequence); got != want {
			t.Errorf("Job %d is called %s, want %s", sequence, got, want)
		}
	}
}

// A ScaledJob's name has at most 52 characters. The Job controller labels pods with the Job's name, which a label's 63
// characters must hold, through ten thousand million Jobs.
func TestTheLongestNamesAreValid(t *testing.T) {
	t.Parallel()
	sj := scaledJob(t, "schedule")
	sj.Name = strings.Repeat("n", 52)
	trigger := strings.Repeat("t", 63)
	for _, sequence := range []int64{1, 999_999, 9_999_999_999} {
		job := jobtemplate.Job(sj, "r", jobtemplate.Order{Sequence: sequence, Trigger: trigger})
		if wrong := validation.IsDNS1123Label(job.Name); wrong != nil {
			t.Errorf("Job %d cannot be called %s: %v", sequence, job.Name, wrong)
		}
		if !strings.HasPrefix(job.Name, sj.Name+"-") {
			t.Errorf("Job %d is called %s, which does not say whose it is", sequence, job.Name)
		}
		if got, ok := jobtemplate.Sequence(job); got != sequence || !ok {
			t.Errorf("the sequence of Job %d reads %d, %t", sequence, got, ok)
		}
		for key, value := range job.Labels {
			if wrong := validation.IsValidLabelValue(value); wrong != nil {
				t.Errorf("Job %d cannot have the label %s: %s: %v", sequence, key, value, wrong)
			}
		}
	}
}

func TestJobsShareNothingWithTheirScaledJob(t *testing.T) {
	t.Parallel()
	sj := scaledJob(t, "message")
	before := sj.DeepCopy()
	first := jobtemplate.Job(sj, "r", jobtemplate.Order{Sequence: 1, Trigger: "videos"})
	second := jobtemplate.Job(sj, "r", jobtemplate.Order{Sequence: 1, Trigger: "videos"})

	untouched := second.DeepCopy()
	first.Labels["team"] = "scribbled"
	first.Annotations["cost-centre"] = "scribbled"
	*first.Spec.BackoffLimit = 99
	pod := &first.Spec.Template
	pod.Labels["app"] = "scribbled"
	pod.Annotations["sidecar"] = "scribbled"
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			containers[i].Image = "scribbled"
			for j := range containers[i].Env {
				containers[i].Env[j].Value = "scribbled"
			}
		}
	}
	if diff := cmp.Diff(before, sj); diff != "" {
		t.Errorf("writing on a Job changed its ScaledJob (-before +after)\n%s", diff)
	}
	if diff := cmp.Diff(untouched, second); diff != "" {
		t.Errorf("writing on a Job changed another (-before +after)\n%s", diff)
	}
}

func TestTheRevisionTellsTemplatesApart(t *testing.T) {
	t.Parallel()
	base := revision(t, &scaledJob(t, "message").Spec.JobTemplate)
	for name, c := range map[string]struct {
		edit    func(*v1alpha1.ScaledJob)
		changes bool
	}{
		"an image":                   {func(sj *v1alpha1.ScaledJob) { containerOf(sj).Image = "ffmpeg:7" }, true},
		"a variable":                 {func(sj *v1alpha1.ScaledJob) { containerOf(sj).Env[0].Value = "elsewhere" }, true},
		"the order of the variables": {func(sj *v1alpha1.ScaledJob) { e := containerOf(sj).Env; e[0], e[1] = e[1], e[0] }, true},
		"a label of the Jobs":        {func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTemplate.Labels["team"] = "audio" }, true},
		"an annotation of the Jobs":  {func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTemplate.Annotations["cost-centre"] = "43" }, true},
		"a label of the pods":        {func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTemplate.Spec.Template.Labels["app"] = "sox" }, true},
		"backoffLimit":               {func(sj *v1alpha1.ScaledJob) { sj.Spec.JobTemplate.Spec.BackoffLimit = ptr.To[int32](3) }, true},

		"nothing":                      {func(*v1alpha1.ScaledJob) {}, false},
		"the cap":                      {func(sj *v1alpha1.ScaledJob) { sj.Spec.MaxParallelism = ptr.To[int32](7) }, false},
		"the triggers":                 {func(sj *v1alpha1.ScaledJob) { sj.Spec.Triggers = sj.Spec.Triggers[:1] }, false},
		"a label of the ScaledJob":     {func(sj *v1alpha1.ScaledJob) { sj.Labels["team"] = "audio" }, false},
		"its generation":               {func(sj *v1alpha1.ScaledJob) { sj.Generation++ }, false},
		"an empty list instead of nil": {func(sj *v1alpha1.ScaledJob) { containerOf(sj).Args = []string{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sj := scaledJob(t, "message")
			c.edit(sj)
			if got := revision(t, &sj.Spec.JobTemplate); (got != base) != c.changes {
				t.Errorf("the revision was %s and is %s; changed should be %t", base, got, c.changes)
			}
		})
	}
}

func containerOf(sj *v1alpha1.ScaledJob) *corev1.Container {
	return &sj.Spec.JobTemplate.Spec.Template.Spec.Containers[0]
}

// With a rollout of Immediate, a revision that a restart or an upgrade of the manager changes ends running Jobs.
func TestTheRevisionStaysTheSameThroughReadingAndWriting(t *testing.T) {
	t.Parallel()
	template := &scaledJob(t, "message").Spec.JobTemplate
	const known = "527e950b1178bff8"
	for range 20 { // maps are written in no order of their own
		if got := revision(t, template); got != known {
			t.Fatalf("the revision is %s; of this template it has always been %s", got, known)
		}
		raw, err := json.Marshal(template)
		if err != nil {
			t.Fatal(err)
		}
		template = new(batchv1.JobTemplateSpec)
		if err := json.Unmarshal(raw, template); err != nil {
			t.Fatal(err)
		}
	}
}
