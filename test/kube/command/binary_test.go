package command_test

import (
	"regexp"
	"strings"
	"testing"
)

func TestEveryNameOfTheBinaryTellsThePinnedVersion(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	kubernetes, etcd := required(t, "k8s.io/kubernetes"), required(t, "go.etcd.io/etcd/server/v3")
	cases := map[string]struct {
		args []string
		want string
	}{
		"kube":                    {args: []string{"--version"}, want: "kube version Kubernetes " + kubernetes + ", etcd " + etcd},
		"etcd":                    {args: []string{"--version"}, want: "etcd Version: " + strings.TrimPrefix(etcd, "v")},
		"kube-apiserver":          {args: []string{"--version"}, want: "Kubernetes " + kubernetes},
		"kube-controller-manager": {args: []string{"--version"}, want: "Kubernetes " + kubernetes},
		"kubectl":                 {args: []string{"version", "--client"}, want: "Client Version: " + kubernetes},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := p.command(t.Context(), name, c.args...).CombinedOutput()
			if first, _, _ := strings.Cut(string(out), "\n"); err != nil || first != c.want {
				t.Errorf("%v: says %q, want %q", err, out, c.want)
			}
		})
	}
}

// The test of the command line alone cannot see this: it is compiled without Kubernetes.
func TestHelpOfTheBinaryShowsNoFlagsOfKubernetes(t *testing.T) {
	t.Parallel()
	out, err := newPlane(t).command(t.Context(), "kube", "start", "--help").CombinedOutput()
	if err != nil || strings.Contains(string(out), "Global Flags") {
		t.Errorf("%v: %s", err, out)
	}
}

// required is the version of a module that go.mod requires.
func required(t *testing.T, module string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^\t` + regexp.QuoteMeta(module) + ` (v\S+)`).FindStringSubmatch(readFile(t, "../go.mod"))
	if found == nil {
		t.Fatalf("go.mod does not require %s", module)
	}
	return found[1]
}
