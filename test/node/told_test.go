package node_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestAContainerGetsItsVariables(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.makeSecret("broker", map[string]string{"password": "s3cret", "user": "worker"})
	b.makeConfigMap("settings", map[string]string{"SPEED": "2", "SIZE": "big"})
	pod := b.pod("env")
	pod.Labels = map[string]string{"app": "transcode"}
	c := &pod.Spec.Containers[0]
	c.EnvFrom = []corev1.EnvFromSource{
		{Prefix: "SET_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("settings")}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("missing"), Optional: ptr.To(true)}},
	}
	c.Env = []corev1.EnvVar{
		{Name: "PLAIN", Value: "value"},
		{Name: "REFERS", Value: "$(PLAIN) $(SET_SPEED) $(LATER) $$(PLAIN)"},
		{Name: "LATER", Value: "x"},
		{Name: "POD", ValueFrom: field("metadata.name")},
		{Name: "LABEL", ValueFrom: field("metadata.labels['app']")},
		{Name: "NODE", ValueFrom: field("spec.nodeName")},
		{Name: "ADDRESS", ValueFrom: field("status.podIP")},
		{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: named("broker"), Key: "password",
		}}},
		{Name: "SIZE", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: named("settings"), Key: "SIZE",
		}}},
		{Name: "NONE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: named("broker"), Key: "token", Optional: ptr.To(true),
		}}},
	}
	pod = b.awaitPhase(b.create(pod), corev1.PodSucceeded)
	got := map[string]string{}
	for line := range strings.Lines(b.log(pod, "main", 0)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[name] = value
	}
	for _, shells := range []string{"PATH", "PWD", "OLDPWD", "SHLVL", "_"} {
		delete(got, shells)
	}
	work := filepath.Join(b.folder(pod), "_work")
	if diff := cmp.Diff(map[string]string{
		"PLAIN": "value", "REFERS": "value 2 $(LATER) $(PLAIN)", "LATER": "x",
		"POD": pod.Name, "LABEL": "transcode", "NODE": b.name, "ADDRESS": pod.Status.PodIP,
		"PASSWORD": "s3cret", "SIZE": "big", "SET_SPEED": "2", "SET_SIZE": "big",
		"HOSTNAME": pod.Name, "HOME": work, "TMPDIR": work, "LONGHAUL_POD_IP": pod.Status.PodIP,
		"LONGHAUL_TERMINATION_LOG": filepath.Join(b.folder(pod), "main", "0.message"),
		"LONGHAUL_NODE_DIR":        b.dir,
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestArgumentsReferToVariables(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("")
	c := &pod.Spec.Containers[0]
	c.Command, c.Args = []string{"echo", "$(NAME)"}, []string{"and", "$$(NAME)", "$(UNKNOWN)"}
	c.Env = []corev1.EnvVar{{Name: "NAME", Value: "8141"}}
	pod = b.awaitPhase(b.create(pod), corev1.PodSucceeded)
	if got, want := b.log(pod, "main", 0), "8141 and $(NAME) $(UNKNOWN)\n"; got != want {
		t.Errorf("it wrote %q, want %q", got, want)
	}
}

func TestAContainerWaitsForWhatItRefersTo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("echo $PASSWORD")
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: named("late"), Key: "password"},
	}}}
	pod = b.await(b.create(pod), "waiting", func(p *corev1.Pod) bool { return waitsFor(p) == "CreateContainerConfigError" })
	want := `variable PASSWORD: Secret "late" not found`
	if got := pod.Status.ContainerStatuses[0].State.Waiting.Message; got != want {
		t.Errorf("the message is %q, want %q", got, want)
	}
	b.makeSecret("late", map[string]string{"password": "s3cret"})
	b.awaitPhase(pod, corev1.PodSucceeded)
	if got := b.log(pod, "main", 0); got != "s3cret\n" {
		t.Errorf("it wrote %q", got)
	}
}

func TestATerminationMessageIsReported(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, test := range map[string]struct {
		script string
		path   string // the container's terminationMessagePath, which its variable FILE names
		policy corev1.TerminationMessagePolicy
		want   string
	}{
		"from its path":                 {script: "echo 12 frames > $FILE", path: "/dev/termination-log", want: "12 frames\n"},
		"from a path of its own":        {script: "echo 12 frames > $FILE", path: "/run/outcome", want: "12 frames\n"},
		"from its file":                 {script: "echo 12 frames > $LONGHAUL_TERMINATION_LOG", want: "12 frames\n"},
		"not from the log unless asked": {script: "echo broken; exit 1", want: ""},
		"from the log if asked": {
			script: "echo starting; echo broken >&2; exit 1", policy: corev1.TerminationMessageFallbackToLogsOnError,
			want: "starting\nbroken\n",
		},
		"not from the log if all went well": {
			script: "echo fine", policy: corev1.TerminationMessageFallbackToLogsOnError, want: "",
		},
		"up to 4096 bytes": {
			script: "head -c 5000 /dev/zero | tr '\\0' a > $LONGHAUL_TERMINATION_LOG", want: strings.Repeat("a", 4096),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := b.with(t)
			pod := b.pod(test.script)
			c := &pod.Spec.Containers[0]
			c.TerminationMessagePolicy, c.TerminationMessagePath = test.policy, test.path
			c.Env = []corev1.EnvVar{{Name: "FILE", Value: test.path}}
			pod = b.await(b.create(pod), "over", isOver)
			if diff := cmp.Diff(test.want, pod.Status.ContainerStatuses[0].State.Terminated.Message); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestContainersShareFolders(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.makeSecret("certificates", map[string]string{"tls.crt": "certificate"})
	pod := b.pod("")
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "my-videos", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "certificates"}}},
	}
	first := shell("first", `echo clip > "$FOLDER/1.y4m"; echo "$FOLDER" "$LONGHAUL_VOLUME_MY_VIDEOS"`)
	first.Env = []corev1.EnvVar{{Name: "FOLDER", Value: "/videos/in"}}
	first.VolumeMounts = []corev1.VolumeMount{{Name: "my-videos", MountPath: "/videos/in", SubPath: "new"}}
	second := corev1.Container{Name: "main", Image: "none", Command: []string{"cat", "/all/new/1.y4m", "/etc/tls/tls.crt"}}
	second.VolumeMounts = []corev1.VolumeMount{
		{Name: "my-videos", MountPath: "/all"}, {Name: "tls", MountPath: "/etc/tls"},
	}
	pod.Spec.InitContainers, pod.Spec.Containers = []corev1.Container{first}, []corev1.Container{second}
	pod = b.awaitPhase(b.create(pod), corev1.PodSucceeded)
	if got := b.log(pod, "main", 0); got != "clip\ncertificate" {
		t.Errorf("it read %q", got)
	}
	folder := filepath.Join(b.folder(pod), "_volumes", "my-videos", "new")
	if got, want := b.log(pod, "first", 0), fmt.Sprintf("%s %s\n", folder, folder); got != want {
		t.Errorf("it was told of %q, want %q", got, want)
	}
}

func TestAVolumeThatCannotBeHadIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.pod("true")
	pod.Spec.Volumes = []corev1.Volume{{Name: "disk", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"},
	}}}
	pod = b.await(b.create(pod), "refused", func(p *corev1.Pod) bool { return waitsFor(p) == "CreateContainerError" })
	want := "volume disk: the process node does not support this: " +
		"a volume that is not emptyDir, hostPath, secret or configMap"
	if got := pod.Status.ContainerStatuses[0].State.Waiting.Message; got != want {
		t.Errorf("the message is %q, want %q", got, want)
	}
}

func isOver(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func named(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func field(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}

func (b *bench) makeSecret(name string, data map[string]string) {
	b.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}
	if _, err := b.client.CoreV1().Secrets(b.name).Create(b.t.Context(), secret, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) makeConfigMap(name string, data map[string]string) {
	b.t.Helper()
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
	if _, err := b.client.CoreV1().ConfigMaps(b.name).Create(b.t.Context(), made, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}
