// Package resolve turns the triggers that users write into Sources that the meter reads.
//
// A Kind is one kind of trigger, and knows its driver. A Cluster reads the Secrets that triggers refer to: their values from
// the API server, one at a time, and their versions, by which a change is known, from a cache of metadata.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// Kind is one kind of trigger: how the settings of a trigger of that kind become a Source. Settings that cannot be used
// are an error that names the field, the value and the remedy, and shows no secret.
type Kind struct {
	// Name is the field of a trigger that the kind is called after.
	Name string
	// Source is called only for triggers that have that field set.
	Source func(t *v1alpha1.Trigger, secrets trigger.Secrets) (trigger.Source, error)
}

// KindOf makes a Kind of a driver's constructor and the field that holds its settings.
func KindOf[S any](name string, settings func(*v1alpha1.Trigger) *S, source func(*S, trigger.Secrets) (trigger.Source, error)) Kind {
	return Kind{Name: name, Source: func(t *v1alpha1.Trigger, secrets trigger.Secrets) (trigger.Source, error) {
		return source(settings(t), secrets)
	}}
}

// Source is what a trigger comes to.
func Source(kinds []Kind, t *v1alpha1.Trigger, secrets trigger.Secrets) (trigger.Source, error) {
	k := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == t.Kind() })
	if k < 0 {
		return trigger.Source{}, fmt.Errorf("this manager has no trigger of kind %q", t.Kind())
	}
	return kinds[k].Source(t, secrets)
}

// SecretsOf lists the names of the Secrets that triggers refer to, each once, in order.
func SecretsOf(triggers []v1alpha1.Trigger) []string {
	var names []string
	add := func(refs ...*v1alpha1.SecretKeyRef) {
		for _, r := range refs {
			if r != nil {
				names = append(names, r.Name)
			}
		}
	}
	encrypted := func(t *v1alpha1.TLS) {
		if t != nil {
			add(t.CA, t.Certificate, t.Key)
		}
	}
	redis := func(c *v1alpha1.RedisConnection) {
		add(c.Username, c.Password, c.SentinelUsername, c.SentinelPassword)
		encrypted(c.TLS)
	}
	for i := range triggers {
		t := &triggers[i]
		switch {
		case t.RabbitMQ != nil:
			add(t.RabbitMQ.URI.SecretKeyRef)
			if t.RabbitMQ.ManagementURI != nil {
				add(t.RabbitMQ.ManagementURI.SecretKeyRef)
			}
			encrypted(t.RabbitMQ.TLS)
		case t.RedisList != nil:
			redis(&t.RedisList.RedisConnection)
		case t.RedisStream != nil:
			redis(&t.RedisStream.RedisConnection)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}

// Cluster reads Secrets.
type Cluster struct {
	// Cache holds their metadata, Live asks the API server.
	Cache, Live client.Reader
}

// Versions tells the resource version of each Secret named; empty for one that does not exist.
func (c Cluster) Versions(ctx context.Context, namespace string, names []string) (map[string]string, error) {
	versions := map[string]string{}
	for _, name := range names {
		meta := metav1.PartialObjectMetadata{}
		meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		err := c.Cache.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &meta)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("looking for Secret %s: %w", name, err)
		}
		versions[name] = meta.ResourceVersion
	}
	return versions, nil
}

// Secrets reads Secrets of a namespace. Failed tells the last error that was not for the user to mend: then nothing that was
// made of the Secrets may be used.
func (c Cluster) Secrets(ctx context.Context, namespace string) (secrets trigger.Secrets, failed func() error) {
	var last error
	secrets = func(name, key string) (string, error) {
		value, err := c.secret(ctx, namespace, name, key)
		if mistake := (*mistakeError)(nil); err != nil && !errors.As(err, &mistake) {
			last = err
		}
		return value, err
	}
	return secrets, func() error { return last }
}

func (c Cluster) secret(ctx context.Context, namespace, name, key string) (string, error) {
	var secret corev1.Secret
	err := c.Live.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return "", &mistakeError{fmt.Sprintf("Secret %q does not exist in namespace %s: create it", name, namespace)}
	}
	if err != nil {
		return "", fmt.Errorf("reading Secret %s: %w", name, err)
	}
	value, ok := secret.Data[key]
	if !ok {
		return "", &mistakeError{fmt.Sprintf("Secret %q has no key %q: add it, or name another", name, key)}
	}
	return string(value), nil
}

// mistakeError says what is wrong with a Secret that the user is to mend.
type mistakeError struct{ text string }

func (e *mistakeError) Error() string { return e.text }
