package environment_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/longhaul-dev/longhaul/test/node/internal/environment"
)

var errUnreachable = errors.New("unreachable")

// source answers from a Secret "broker" and a ConfigMap "settings"; a Secret "slow" cannot be read.
func source() environment.Source {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "worker-1", Namespace: "video", UID: "a1", Labels: map[string]string{"app": "transcode"},
		Annotations: map[string]string{"longhaul.dev/note": "urgent"},
	}, Spec: corev1.PodSpec{ServiceAccountName: "worker"}}
	place := environment.Place{Node: "node", Address: "127.64.0.1", Host: "127.0.0.1"}
	return environment.Source{
		Mounts: environment.Mounts{"/videos": "/tmp/v"},
		Field:  func(path string) (string, error) { return environment.Field(pod, place, path) },
		Data: func(kind, name string) (map[string]string, bool, error) {
			switch kind + " " + name {
			case "Secret broker":
				return map[string]string{"password": "$(A)", "user": "u"}, true, nil
			case "ConfigMap settings":
				return map[string]string{"B": "from settings", "a=b": "no name of a variable"}, true, nil
			case "Secret slow":
				return nil, false, errUnreachable
			}
			return nil, false, nil
		},
	}
}

func named(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func secretKey(name, key string, optional *bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: named(name), Key: key, Optional: optional,
	}}
}

func field(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}

func TestVariablesAreResolvedInTheirOrder(t *testing.T) {
	t.Parallel()
	settings := corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("settings")}}
	for name, test := range map[string]struct {
		container corev1.Container
		want      []string
	}{
		"those before a variable are known to it": {
			container: corev1.Container{Env: []corev1.EnvVar{{Name: "A", Value: "$(B)"}, {Name: "B", Value: "$(BASE)"}}},
			want:      []string{"BASE=base", "A=$(B)", "B=base"},
		},
		"whole objects come before single ones": {
			container: corev1.Container{
				EnvFrom: []corev1.EnvFromSource{settings},
				Env:     []corev1.EnvVar{{Name: "C", Value: "$(B)"}, {Name: "B", Value: "own"}},
			},
			want: []string{"BASE=base", "B=own", "C=from settings"},
		},
		"a prefix is put before the keys": {
			container: corev1.Container{EnvFrom: []corev1.EnvFromSource{{
				Prefix: "P_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("broker")},
			}}},
			want: []string{"BASE=base", "P_password=$(A)", "P_user=u"},
		},
		"secrets are taken as they are": {
			container: corev1.Container{Env: []corev1.EnvVar{
				{Name: "A", Value: "x"}, {Name: "PASSWORD", ValueFrom: secretKey("broker", "password", nil)},
			}},
			want: []string{"BASE=base", "A=x", "PASSWORD=$(A)"},
		},
		"what may be missing is left out": {
			container: corev1.Container{
				EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
					LocalObjectReference: named("none"), Optional: ptr.To(true),
				}}},
				Env: []corev1.EnvVar{
					{Name: "A", ValueFrom: secretKey("none", "key", ptr.To(true))},
					{Name: "B", ValueFrom: secretKey("broker", "none", ptr.To(true))},
				},
			},
			want: []string{"BASE=base"},
		},
		"a mount path becomes its folder": {
			container: corev1.Container{Env: []corev1.EnvVar{{Name: "DIR", Value: "/videos"}, {Name: "IN", Value: "$(DIR)/new"}}},
			want:      []string{"BASE=base", "DIR=/tmp/v", "IN=/tmp/v/new"},
		},
		"a field may be missing": {
			container: corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: field("metadata.labels['none']")}}},
			want:      []string{"BASE=base", "A="},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var v environment.Variables
			v.Set("BASE", "base")
			if err := v.Resolve(&test.container, source()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, v.List()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatCannotBeResolvedIsNamed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		from *corev1.EnvVarSource
		want string
		is   error
	}{
		"a missing Secret": {from: secretKey("none", "key", nil), want: `variable A: Secret "none" not found`},
		"a missing key":    {from: secretKey("broker", "none", nil), want: `variable A: Secret "broker" has no key "none"`},
		"a Secret that cannot be read, although it may be missing": {
			from: secretKey("slow", "key", ptr.To(true)), want: `variable A: reading Secret "slow": unreachable`,
			is: errUnreachable,
		},
		"a limit": {
			from: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}},
			want: "variable A: the process node does not support this: resourceFieldRef (there are no limits to tell)",
			is:   environment.ErrUnsupported,
		},
		"an unknown field": {
			from: field("spec.priority"), want: "variable A: the process node does not support this: fieldRef spec.priority",
			is: environment.ErrUnsupported,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var v environment.Variables
			err := v.Resolve(&corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: test.from}}}, source())
			if err == nil || err.Error() != test.want {
				t.Errorf("the error is %v, want %s", err, test.want)
			}
			if errors.Is(err, environment.ErrUnsupported) != errors.Is(test.is, environment.ErrUnsupported) {
				t.Errorf("whether it may go away is told wrongly: %v", err)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
		})
	}
}

func TestFieldsOfThePod(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"metadata.name": "worker-1", "metadata.namespace": "video", "metadata.uid": "a1",
		"metadata.labels['app']": "transcode", "metadata.annotations['longhaul.dev/note']": "urgent",
		"spec.nodeName": "node", "spec.serviceAccountName": "worker",
		"status.podIP": "127.64.0.1", "status.hostIP": "127.0.0.1",
	} {
		if got, err := source().Field(path); got != want || err != nil {
			t.Errorf("%s is %q (%v), want %q", path, got, err, want)
		}
	}
}

func TestProgramsAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("first/worker", 0o600)
	write("second/worker", 0o700)
	path := filepath.Join(dir, "first") + ":" + filepath.Join(dir, "second")
	for name, test := range map[string]struct{ name, want, err string }{
		"the first that can be run": {name: "worker", want: "second/worker"},
		"one in the folder":         {name: "./second/worker", want: "second/worker"},
		"one by its whole path":     {name: filepath.Join(dir, "second", "worker"), want: "second/worker"},
		"one that is nowhere":       {name: "encoder", err: `exec: "encoder": executable file not found in $PATH`},
		"one that cannot be run":    {name: "first/worker", err: `exec: "first/worker": permission denied`},
		"one that is not there":     {name: "./encoder", err: `exec: "./encoder": no such file or directory`},
		"a folder":                  {name: "./first", err: `exec: "./first": is a directory`},
		"nothing":                   {name: "", err: `exec: "": executable file not found in $PATH`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := environment.FindProgram(test.name, path, dir)
			if err != nil || test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("the error is %v, want %s", err, test.err)
				}
			} else if strings.TrimPrefix(got, dir+"/") != test.want {
				t.Errorf("found %s, want %s", got, test.want)
			}
		})
	}
}
