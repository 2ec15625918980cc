package command_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longhaul-dev/longhaul/test/kube/command"
	"github.com/longhaul-dev/longhaul/test/kube/controlplane"
)

func TestCommandLine(t *testing.T) {
	t.Parallel()
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	cases := map[string]struct {
		args       []string
		wantCode   int
		wantStdout string
		wantStderr string
	}{
		"help names the commands":                          {args: []string{"--help"}, wantStdout: "status"},
		"the version is that of what it runs":              {args: []string{"--version"}, wantStdout: "Kubernetes v0"},
		"shells can complete it":                           {args: []string{"completion", "bash"}, wantStdout: "bash completion"},
		"a folder is required":                             {args: []string{"start"}, wantCode: 1, wantStderr: `required flag(s) "dir" not set`},
		"what is no argument is refused":                   {args: []string{"stop", "--dir", nowhere, "now"}, wantCode: 1, wantStderr: `"now"`},
		"a format that does not exist is refused":          {args: []string{"status", "--dir", nowhere, "-o", "yaml"}, wantCode: 1, wantStderr: "text or json"},
		"a folder that is not there is stopped, by code 1": {args: []string{"status", "--dir", nowhere}, wantCode: 1, wantStdout: "Stopped"},
		"stopping what does not run is no error":           {args: []string{"stop", "--dir", nowhere}, wantStderr: "not running"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			if code := command.Main(c.args, &stdout, &stderr, "Kubernetes v0"); code != c.wantCode {
				t.Errorf("exit code %d, want %d", code, c.wantCode)
			}
			if !strings.Contains(stdout.String(), c.wantStdout) {
				t.Errorf("stdout does not say %q:\n%s", c.wantStdout, &stdout)
			}
			if !strings.Contains(stderr.String(), c.wantStderr) || (c.wantStderr == "") != (stderr.Len() == 0) {
				t.Errorf("stderr is to say %q:\n%s", c.wantStderr, &stderr)
			}
		})
	}
}

func TestStatusOfAStoppedControlPlaneIsJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	command.Main([]string{"status", "--dir", dir, "-o", "json"}, &stdout, &stderr, "")
	var state controlplane.State
	if err := json.Unmarshal(stdout.Bytes(), &state); err != nil {
		t.Fatalf("%v: %s", err, &stdout)
	}
	if state.Phase != controlplane.Stopped || state.Dir != dir || state.PID != 0 {
		t.Errorf("state is %+v, want Stopped in %s without a process", state, dir)
	}
}
