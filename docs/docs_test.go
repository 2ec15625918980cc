// Package docs_test checks that the documents tell what the product does: every field, flag, metric, condition reason and
// label has its place in them, and every relative link leads somewhere.
//
// What there is to tell is read from where it is defined: the CustomResourceDefinition and the source code.
package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// root is the repository, seen from here.
const root = ".."

// kinds are the triggers, each with its own document.
func kinds() map[string]string {
	return map[string]string{
		"rabbitmq":    "triggers/rabbitmq.md",
		"redisList":   "triggers/redis-list.md",
		"redisStream": "triggers/redis-stream.md",
		"cron":        "triggers/cron.md",
	}
}

func TestEveryFieldIsTold(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t, "scaledjobs")
	spec, status := schema.Properties["spec"], schema.Properties["status"]

	trigger := *spec.Properties["triggers"].Items.Schema
	for kind, document := range kinds() {
		text := read(t, document)
		settings, ok := trigger.Properties[kind]
		if !ok {
			t.Errorf("%s is a document about %s, which is no trigger", document, kind)
		}
		for _, field := range leaves("", &settings) {
			wants(t, document, text, "^[|] [^|]*`"+regexp.QuoteMeta(field)+"`")
		}
		delete(trigger.Properties, kind)
	}

	text := read(t, "scaledjob.md")
	delete(spec.Properties, "jobTemplate") // batch/v1's, and told by Kubernetes
	delete(spec.Properties, "triggers")
	for _, field := range append(leaves("", &spec), leaves("triggers[]", &trigger)...) {
		wants(t, "scaledjob.md", text, "^##+ `"+regexp.QuoteMeta(field)+"`$")
	}
	delete(status.Properties, "conditions")
	for _, field := range leaves("", &status) {
		wants(t, "scaledjob.md", text, "^[|] `"+regexp.QuoteMeta(field)+"` ")
	}
}

func TestEveryFieldOfAScaledDeploymentIsTold(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t, "scaleddeployments")
	spec, status := schema.Properties["spec"], schema.Properties["status"]
	trigger := spec.Properties["triggers"].Items.Schema
	for kind := range kinds() {
		if p, ok := trigger.Properties[kind]; ok {
			p.Properties = nil // told where the kind is
			trigger.Properties[kind] = p
		}
	}
	text := read(t, "scaleddeployment.md")
	for _, field := range leaves("", &spec) {
		wants(t, "scaleddeployment.md", text, "^### `"+regexp.QuoteMeta(field)+"`$")
	}
	delete(status.Properties, "conditions")
	for _, field := range leaves("", &status) {
		wants(t, "scaleddeployment.md", text, "^[|] `"+regexp.QuoteMeta(field)+"` ")
	}
}

func TestWhatTheSourceDefinesIsTold(t *testing.T) {
	t.Parallel()
	for name, about := range map[string]struct {
		// source is where they are defined, and define how; document is where they are told, in the form written.
		source, define, document, written string
	}{
		"metrics":            {"dispatcher/metrics.go", `Name: "(longhaul_\w+)"`, "metrics.md", "^[|] `%s` "},
		"scaling's metrics":  {"dispatcher/longpoll/metrics.go", `Name: "(longhaul_\w+)"`, "metrics.md", "^[|] `%s` "},
		"scaling's reasons":  {"api/v1alpha1/scaleddeployment_types.go", `Reason\w+ += "(\w+)"`, "conditions.md", "^[|] [[]?`%s`"},
		"scaling's types":    {"api/v1alpha1/scaleddeployment_types.go", `Condition[MR]\w+ += "(\w+)"`, "conditions.md", "^## %s$"},
		"history's metrics":  {"history/recorder/metrics.go", `Name: "(longhaul_\w+)"`, "metrics.md", "^[|] `%s` "},
		"flags":              {"cmd/longhaul/settings.go", `Var\(&s\.[\w.]+, "([a-z-]+)"`, "install.md", "^[|] `--%s` "},
		"the plugin's flags": {"cmd/kubectl-longhaul/testdata/help.golden", `(?m)^ +(?:-\w, )?--([a-z-]+) `, "kubectl.md", "--%s\\b"},
		"condition reasons":  {"api/v1alpha1/status_types.go", `Reason\w+ += "(\w+)"`, "conditions.md", "^[|] [[]?`%s`"},
		"condition types":    {"api/v1alpha1/status_types.go", `Condition\w+ += "(\w+)"`, "conditions.md", "^## %s$"},
		"labels":             {"jobtemplate/jobtemplate.go", `v1alpha1\.Group \+ "/([a-z-]+)"`, "scaledjob.md", "^[|] .*`longhaul[.]dev/%s` "},
		"variables":          {"jobtemplate/jobtemplate.go", `Name: "(LONGHAUL_\w+)"`, "scaledjob.md", "^[|] .*`%s`"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(filepath.Join(root, about.source))
			if err != nil {
				t.Fatal(err)
			}
			found := regexp.MustCompile(about.define).FindAllStringSubmatch(string(source), -1)
			if len(found) == 0 {
				t.Fatalf("%s has nothing of the form %s: has it moved?", about.source, about.define)
			}
			text := read(t, about.document)
			for _, f := range found {
				wants(t, about.document, text, fmt.Sprintf(about.written, regexp.QuoteMeta(f[1])))
			}
		})
	}
}

func TestEveryRelativeLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, document := range documents(t) {
		for _, l := range link.FindAllStringSubmatch(prose(read(t, document)), -1) {
			if err := resolve(document, l[1]); err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
}

// resolve says what is wrong with a link, if anything. Links to other sites are none of its business.
func resolve(document, link string) error {
	if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
		return nil
	}
	path, anchor, _ := strings.Cut(link, "#")
	target := document
	if path != "" {
		target = filepath.Join(filepath.Dir(document), path)
	}
	info, err := os.Stat(target)
	if err != nil {
		return fmt.Errorf("link %s leads nowhere", link)
	}
	if anchor == "" || info.IsDir() || !strings.HasSuffix(target, ".md") {
		return nil
	}
	text, err := os.ReadFile(target)
	if err != nil {
		return fmt.Errorf("link %s: %w", link, err)
	}
	if !slices.Contains(anchors(string(text)), anchor) {
		return fmt.Errorf("link %s: %s has no such heading", link, target)
	}
	return nil
}

// anchors are the names that GitHub gives to the headings of a document.
func anchors(text string) []string {
	heading := regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	var names []string
	for _, h := range heading.FindAllStringSubmatch(prose(text), -1) {
		name := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")
		names = append(names, name)
	}
	return names
}

// prose is a document without its blocks of code.
func prose(text string) string {
	return regexp.MustCompile("(?s)\n```.*?\n```").ReplaceAllString(text, "")
}

// documents lists the repository's documents, but not what is built, fetched or hidden.
func documents(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && path != root && d.Name() != ".github"
		if d.IsDir() && (hidden || d.Name() == "bin" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, ".md") {
			found = append(found, path)
		}
		return nil
	})
	if err != nil || len(found) < 10 {
		t.Fatalf("found %d documents: %v", len(found), err)
	}
	return found
}

// leaves lists the fields below a schema that hold a value, in the form a.b[].c, and the objects that may be empty.
func leaves(path string, s *apiextensionsv1.JSONSchemaProps) []string {
	var fields []string
	for name, p := range s.Properties {
		at := strings.TrimPrefix(path+"."+name, ".")
		switch {
		case len(p.Properties) > 0:
			fields = append(fields, leaves(at, &p)...)
		case p.Items != nil && len(p.Items.Schema.Properties) > 0:
			fields = append(fields, leaves(at+"[]", p.Items.Schema)...)
		default:
			fields = append(fields, at)
		}
	}
	slices.Sort(fields)
	return fields
}

func schemaOf(t *testing.T, kind string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "config", "crd", "bases", "longhaul.dev_"+kind+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(raw, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

func read(t *testing.T, document string) string {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wants looks for a line of a document.
func wants(t *testing.T, document, text, line string) {
	t.Helper()
	if !regexp.MustCompile("(?m)" + line).MatchString(text) {
		t.Errorf("%s has no line %s", document, line)
	}
}
