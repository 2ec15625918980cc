package environment_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/test/node/internal/environment"
)

func TestReferencesAreReplacedByValues(t *testing.T) {
	t.Parallel()
	var v environment.Variables
	v.Set("NAME", "8141")
	v.Set("EMPTY", "")
	for name, test := range map[string]struct{ text, want string }{
		"no reference":                {"clip", "clip"},
		"a reference":                 {"clip-$(NAME).y4m", "clip-8141.y4m"},
		"two references":              {"$(NAME)$(NAME)", "81418141"},
		"a variable that is empty":    {"[$(EMPTY)]", "[]"},
		"a variable that is not set":  {"$(OTHER)", "$(OTHER)"},
		"an escaped reference":        {"$$(NAME)", "$(NAME)"},
		"an escape before a value":    {"$$$(NAME)", "$8141"},
		"a shell's variable":          {"$NAME", "$NAME"},
		"two dollars":                 {"$$", "$"},
		"a dollar at the end":         {"5$", "5$"},
		"a reference that never ends": {"$(NAME", "$(NAME"},
		"a name that is empty":        {"$()", "$()"},
		"a reference within another":  {"$(A$(NAME))", "$(A$(NAME))"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := v.Expand(test.text); got != test.want {
				t.Errorf("%q became %q, want %q", test.text, got, test.want)
			}
		})
	}
}

func TestAVariableThatIsSetAgainKeepsItsPlace(t *testing.T) {
	t.Parallel()
	var v environment.Variables
	v.Set("A", "1")
	v.Set("B", "2")
	v.Set("A", "3")
	if diff := cmp.Diff([]string{"A=3", "B=2"}, v.List()); diff != "" {
		t.Error(diff)
	}
}

func TestMountPathsBecomeFolders(t *testing.T) {
	t.Parallel()
	mounts := environment.Mounts{"/videos": "/tmp/v", "/videos/new/": "/tmp/n", "/": "/tmp/root"}
	for value, want := range map[string]string{
		"/videos":           "/tmp/v",
		"/videos/":          "/tmp/v",
		"/videos/8141.y4m":  "/tmp/v/8141.y4m",
		"/videos/new":       "/tmp/n",
		"/videos/new/1.y4m": "/tmp/n/1.y4m",
		"/videos/newer":     "/tmp/v/newer",
		"/videosphere":      "/videosphere",
		"/etc/hosts":        "/etc/hosts",
		"videos":            "videos",
		"--in=/videos":      "--in=/videos",
	} {
		if got := mounts.Translate(value); got != want {
			t.Errorf("%q became %q, want %q", value, got, want)
		}
	}
}
