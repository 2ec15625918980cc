// Command crd writes the CustomResourceDefinitions that users apply, from those that controller-gen made of the types.
//
// A Job template brings some 270 KB of descriptions along, more than an annotation may hold, so that a client-side
// kubectl apply of the whole would be refused. Kubernetes documents those fields itself (kubectl explain job.spec);
// their descriptions are stripped here, and Longhaul's own are kept.
//
//	crd DIR    rewrites every *.yaml in DIR
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crd DIR")
		os.Exit(2)
	}
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*.yaml"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no *.yaml in %s: run controller-gen first", os.Args[1])
	}
	for _, f := range files {
		if err == nil {
			err = rewrite(f)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "crd:", err)
		os.Exit(1)
	}
}

func rewrite(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading a CustomResourceDefinition: %w", err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(raw, &crd); err != nil {
		return fmt.Errorf("understanding %s: %w", file, err)
	}
	for i := range crd.Spec.Versions {
		spec := crd.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"]
		template, ok := spec.Properties["jobTemplate"]
		if !ok {
			continue
		}
		description := template.Description
		strip(&template)
		template.Description = description
		spec.Properties["jobTemplate"] = template
	}
	out, err := marshal(&crd)
	if err != nil {
		return fmt.Errorf("writing out %s: %w", file, err)
	}
	return os.WriteFile(file, out, 0o644)
}

// marshal leaves out status, which the API server writes and a user's manifest must not have.
func marshal(crd *apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	return yaml.Marshal(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   any    `json:"metadata"`
		Spec       any    `json:"spec"`
	}{crd.APIVersion, crd.Kind, map[string]any{"name": crd.Name, "annotations": crd.Annotations}, crd.Spec})
}

// strip removes the descriptions of a schema and of all below it, and the rules about edits: what a Job may never change
// may change in a template, of which new Jobs are made.
func strip(s *apiextensionsv1.JSONSchemaProps) {
	s.Description = ""
	s.XValidations = slices.DeleteFunc(s.XValidations, func(r apiextensionsv1.ValidationRule) bool {
		return strings.Contains(r.Rule, "oldSelf")
	})
	for name, p := range s.Properties {
		strip(&p)
		s.Properties[name] = p
	}
	if s.Items != nil && s.Items.Schema != nil {
		strip(s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		strip(s.AdditionalProperties.Schema)
	}
}
