package command_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longhaul-dev/longhaul/test/node/command"
)

func TestACommandThatCannotBeUnderstoodSaysWhatToDo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"without a folder":        {nil, "process-node: --dir is missing: a folder for state and logs\n"},
		"with an argument":        {[]string{"--dir", dir, "start"}, "process-node: there is no \"start\" to do; --help tells what there is\n"},
		"with an unknown flag":    {[]string{"--folder", dir}, "process-node: flag provided but not defined: -folder\n"},
		"with others' addresses":  {[]string{"--dir", dir, "--address-base", "10.0.0.0/8"}, "process-node: --address-base \"10.0.0.0/8\" is no block of 127.0.0.0/8 such as 127.64.0.0/18\n"},
		"without an API server":   {[]string{"--dir", dir, "--kubeconfig", "/there/is/none"}, "process-node: reading the kubeconfig: stat /there/is/none: no such file or directory\n"},
		"with too few addresses":  {[]string{"--dir", dir, "--address-base", "127.64.0.1/32"}, "process-node: --address-base \"127.64.0.1/32\" is no block of 127.0.0.0/8 such as 127.64.0.0/18\n"},
		"with a time that is not": {[]string{"--restart-backoff", "soon"}, "process-node: invalid value \"soon\" for flag -restart-backoff: parse error\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			if code := command.Main(t.Context(), test.args, &stdout, &stderr); code != command.Misused {
				t.Errorf("the exit code is %d, want %d", code, command.Misused)
			}
			if stderr.String() != test.want || stdout.Len() > 0 {
				t.Errorf("it said %q and %q, want %q", stderr.String(), stdout.String(), test.want)
			}
		})
	}
}

func TestTheHelpTellsEachFlag(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := command.Main(t.Context(), []string{"--help"}, &stdout, &stderr); code != command.Succeeded || stderr.Len() > 0 {
		t.Errorf("the exit code is %d and it complains %q", code, stderr.String())
	}
	for _, flag := range []string{"kubeconfig", "dir", "name", "path", "address-base", "restart-backoff", "keep-logs", "verbose"} {
		if !strings.Contains(stdout.String(), "  -"+flag) {
			t.Errorf("the help lacks --%s", flag)
		}
	}
}

func TestANodeThatIsNotWelcomeEnds(t *testing.T) {
	t.Parallel()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := `{"apiVersion":"v1","kind":"Config","current-context":"c",
		"contexts":[{"name":"c","context":{"cluster":"c"}}],"clusters":[{"name":"c","cluster":{"server":"` + refuse(t) + `"}}]}`
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := command.Main(t.Context(), []string{"--dir", t.TempDir(), "--kubeconfig", kubeconfig}, &stdout, &stderr)
	if code != command.Failed || stdout.Len() > 0 {
		t.Errorf("the exit code is %d, and it said %q", code, stdout.String())
	}
	want := "process-node: registering the node process-node: creating the Node: Forbidden"
	if !strings.Contains(stderr.String(), want) {
		t.Errorf("it complained %q, want %q", stderr.String(), want)
	}
}

// refuse starts an API server that allows nothing, and returns its URL.
func refuse(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"Forbidden"}`))
	}))
	t.Cleanup(server.Close)
	return server.URL
}
