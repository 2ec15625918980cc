package environment

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ErrUnsupported marks what the process node does not do and never will for this pod. Other errors may go away: what is
// referred to may appear.
var ErrUnsupported = errors.New("the process node does not support this")

// Source answers what variables refer to.
type Source struct {
	// Mounts are the container's folders, for values that name one.
	Mounts Mounts
	// Field returns a field of the pod, by its path in the downward API.
	Field func(path string) (string, error)
	// Data returns what is in a Secret or ConfigMap of the pod's namespace, and false if there is none of that name.
	Data func(kind, name string) (map[string]string, bool, error)
}

// Resolve adds a container's variables to those that are there: first whole objects (envFrom), then one by one (env).
func (v *Variables) Resolve(c *corev1.Container, source Source) error {
	for _, from := range c.EnvFrom {
		if err := v.addAll(from, source); err != nil {
			return err
		}
	}
	for _, variable := range c.Env {
		value, ok, err := v.value(variable, source)
		if err != nil {
			return fmt.Errorf("variable %s: %w", variable.Name, err)
		}
		if ok {
			v.Set(variable.Name, value)
		}
	}
	return nil
}

func (v *Variables) addAll(from corev1.EnvFromSource, source Source) error {
	var reference Reference
	switch {
	case from.SecretRef != nil:
		reference = Reference{Kind: Secret, Name: from.SecretRef.Name, Optional: from.SecretRef.Optional}
	case from.ConfigMapRef != nil:
		reference = Reference{Kind: ConfigMap, Name: from.ConfigMapRef.Name, Optional: from.ConfigMapRef.Optional}
	}
	data, err := reference.All(source)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if !strings.Contains(key, "=") {
			v.Set(from.Prefix+key, data[key])
		}
	}
	return nil
}

// value returns what a variable is set to, and false if it is not to be set at all.
func (v *Variables) value(variable corev1.EnvVar, source Source) (string, bool, error) {
	from := variable.ValueFrom
	switch {
	case from == nil:
		return source.Mounts.Translate(v.Expand(variable.Value)), true, nil
	case from.FieldRef != nil:
		value, err := source.Field(from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		return Reference{Kind: Secret, Name: ref.Name, Optional: ref.Optional}.Key(source, ref.Key)
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		return Reference{Kind: ConfigMap, Name: ref.Name, Optional: ref.Optional}.Key(source, ref.Key)
	case from.ResourceFieldRef != nil:
		return "", false, fmt.Errorf("%w: resourceFieldRef (there are no limits to tell)", ErrUnsupported)
	default:
		return "", false, fmt.Errorf("%w: what it takes its value from", ErrUnsupported)
	}
}

// The kinds of objects that a Reference may be to.
const (
	Secret    = "Secret"
	ConfigMap = "ConfigMap"
)

// Reference is a pod's reference to a Secret or ConfigMap of its namespace.
type Reference struct {
	Kind     string
	Name     string
	Optional *bool // whether the object, or a key of it, may be missing
}

// All returns all keys of the object.
func (r Reference) All(source Source) (map[string]string, error) {
	data, found, err := source.Data(r.Kind, r.Name)
	if err != nil {
		return nil, fmt.Errorf("reading %s %q: %w", r.Kind, r.Name, err)
	}
	if !found && !r.optional() {
		return nil, fmt.Errorf("%s %q not found", r.Kind, r.Name)
	}
	return data, nil
}

// Key returns one key of the object, and false if it is missing and may be.
func (r Reference) Key(source Source, key string) (string, bool, error) {
	data, err := r.All(source)
	if err != nil {
		return "", false, err
	}
	value, ok := data[key]
	if !ok && !r.optional() {
		return "", false, fmt.Errorf("%s %q has no key %q", r.Kind, r.Name, key)
	}
	return value, ok, nil
}

func (r Reference) optional() bool { return r.Optional != nil && *r.Optional }
