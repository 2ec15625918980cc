package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden file anew")

// asCommand is the variable that makes the test's binary the command itself.
const asCommand = "LONGHAUL_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// command runs the command as make does.
func command(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=yes")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyTheDescriptionsOfTheJobTemplateAreStripped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "things.yaml", read(t, "testdata", "raw.yaml"))
	write(t, dir, "notes.txt", "not a manifest")
	if out, code := command(t, dir); code != 0 || out != "" {
		t.Fatalf("the command ended with %d and said %q", code, out)
	}
	got := read(t, dir, "things.yaml")
	golden := filepath.Join("testdata", "golden.yaml")
	if *update {
		write(t, "testdata", "golden.yaml", got)
	}
	if diff := cmp.Diff(read(t, golden), got); diff != "" {
		t.Errorf("the definition is not as %s shows (-want +got); if it is right, run go test ./api/crd -update\n%s", golden, diff)
	}
	if strings.Contains(got, "Kubernetes'") {
		t.Error("a description of the Job template is left")
	}
	for line := range strings.Lines(read(t, "testdata", "raw.yaml")) {
		if strings.Contains(line, "description: ") && strings.Contains(line, " ours") && !strings.Contains(got, strings.TrimSpace(line)) {
			t.Errorf("our own description was stripped: %s", strings.TrimSpace(line))
		}
	}

	if _, code := command(t, dir); code != 0 {
		t.Errorf("done again, the command ended with %d", code)
	}
	if diff := cmp.Diff(got, read(t, dir, "things.yaml")); diff != "" {
		t.Errorf("doing it again changes the definition (-before +after)\n%s", diff)
	}
}

func TestMistakesAreToldWithTheRemedy(t *testing.T) {
	t.Parallel()
	empty, broken, typo := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, broken, "broken.yaml", "spec: [")
	write(t, typo, "typo.yaml", strings.Replace(read(t, "testdata", "raw.yaml"), "scope:", "scoop:", 1))
	for name, c := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"no folder":        {nil, 2, []string{"usage: crd DIR"}},
		"two folders":      {[]string{empty, broken}, 2, []string{"usage: crd DIR"}},
		"an empty folder":  {[]string{empty}, 1, []string{"no *.yaml in " + empty, "run controller-gen first"}},
		"no YAML":          {[]string{broken}, 1, []string{"understanding", "broken.yaml"}},
		"an unknown field": {[]string{typo}, 1, []string{"understanding", "typo.yaml", "scoop"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, code := command(t, c.args...)
			if code != c.code {
				t.Errorf("the command ended with %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("the command said %q, which does not hold %q", out, want)
				}
			}
		})
	}
	if diff := cmp.Diff("spec: [", read(t, broken, "broken.yaml")); diff != "" {
		t.Errorf("a definition that was not understood is changed (-before +after)\n%s", diff)
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gone.yaml")
	if err := rewrite(file); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), file) {
		t.Errorf("the error is %v", err)
	}
}

// applyLimit is how much all annotations of an object may hold. A client-side kubectl apply keeps the whole manifest in
// one, as compact JSON.
const applyLimit = 256 * 1024

func TestShippedDefinitionsFitAClientSideApply(t *testing.T) {
	t.Parallel()
	for _, file := range shipped(t) {
		raw, err := yaml.YAMLToJSON([]byte(read(t, file)))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes of JSON", filepath.Base(file), len(raw))
		if len(raw) >= applyLimit {
			t.Errorf("%s has %d bytes of JSON, of which kubectl apply can keep %d", file, len(raw), applyLimit)
		}
		manifest := map[string]any{}
		if err := json.Unmarshal(raw, &manifest); err != nil {
			t.Fatal(err)
		}
		if _, ok := manifest["status"]; ok {
			t.Errorf("%s has a status, which only the API server writes", file)
		}
	}
}

func TestShippedDefinitionsDocumentOurFieldsAndNotTheJobTemplates(t *testing.T) {
	t.Parallel()
	for _, file := range shipped(t) {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict([]byte(read(t, file)), &crd); err != nil {
			t.Fatal(err)
		}
		for _, version := range crd.Spec.Versions {
			root := version.Schema.OpenAPIV3Schema
			ours, described := 0, []string{}
			walk(*root, "", func(path string, s apiextensionsv1.JSONSchemaProps) {
				switch {
				case strings.HasPrefix(path, ".spec.jobTemplate."):
					if s.Description != "" {
						described = append(described, path)
					}
				case path != ".metadata" && s.Description == "" && !strings.HasSuffix(path, "[]"):
					t.Errorf("%s: kubectl explain has nothing to say of %s", file, path)
				default:
					ours++
				}
			})
			if len(described) > 0 {
				t.Errorf("%s: %d fields of the Job template have descriptions, such as %s: run make generate", file, len(described), described[0])
			}
			if ours < 20 {
				t.Errorf("%s: %d fields of ours were found; this test looks in the wrong place", file, ours)
			}
			template, ok := root.Properties["spec"].Properties["jobTemplate"]
			if !ok && crd.Spec.Names.Kind != "ScaledJob" {
				continue
			}
			if !strings.Contains(template.Description, "jobTemplate") {
				t.Errorf("%s: jobTemplate itself is described with %q", file, template.Description)
			}
			if _, ok := template.Properties["spec"].Properties["template"].Properties["spec"].Properties["containers"]; !ok {
				t.Errorf("%s: the Job template has lost its containers", file)
			}
		}
	}
}

// walk visits a schema and all below it, with its path: items as [].
func walk(s apiextensionsv1.JSONSchemaProps, path string, visit func(string, apiextensionsv1.JSONSchemaProps)) {
	visit(path, s)
	for name, p := range s.Properties {
		walk(p, path+"."+name, visit)
	}
	if s.Items != nil && s.Items.Schema != nil {
		walk(*s.Items.Schema, path+"[]", visit)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		walk(*s.AdditionalProperties.Schema, path+"[]", visit)
	}
}

func shipped(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "crd", "bases", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no definitions in config/crd/bases: run make generate")
	}
	return files
}
