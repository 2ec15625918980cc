package node

import (
	"context"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/longhaul-dev/longhaul/test/node/internal/environment"
)

// The variables that every container gets besides its own.
const (
	variableTermination = "LONGHAUL_TERMINATION_LOG"
	variableAddress     = "LONGHAUL_POD_IP"
	variableNodeDir     = "LONGHAUL_NODE_DIR" // also the mark by which what escaped is found
)

// plan says what a run of a container runs.
type plan struct {
	id        string
	run       int32 // 0 for the first
	args      []string
	variables environment.Variables
	mounts    environment.Mounts
	folder    string
}

// plan works out a container's next run.
func (c *container) plan(ctx context.Context) (*plan, error) {
	if err := c.refusal(); err != nil {
		return nil, err
	}
	found, variables, err := mounts(c.spec, c.folders)
	if err != nil {
		return nil, err
	}
	p := &plan{id: "process://" + string(uuid.NewUUID()), run: c.nextRun(), variables: variables, mounts: found}
	if path := c.spec.TerminationMessagePath; path != "" {
		found[path] = c.pod.folder.message(c.spec.Name, p.run)
	}
	source := c.pod.source(ctx)
	source.Mounts = found
	c.setBase(p)
	if err := p.variables.Resolve(c.spec, source); err != nil {
		return nil, err
	}
	c.setFixed(p)
	for _, arg := range slices.Concat(c.spec.Command, c.spec.Args) {
		p.args = append(p.args, found.Translate(p.variables.Expand(arg)))
	}
	p.folder = c.pod.folder.work()
	if c.spec.WorkingDir != "" {
		p.folder = found.Translate(c.spec.WorkingDir)
	}
	return p, nil
}

// refusal says what about the container the process node does not do.
func (c *container) refusal() error {
	probe := c.spec.ReadinessProbe
	switch {
	case len(c.spec.Command) == 0:
		return fmt.Errorf("%w: a container without a command; it runs command, not images", environment.ErrUnsupported)
	case c.spec.Lifecycle != nil && c.spec.Lifecycle.PostStart != nil:
		return fmt.Errorf("%w: postStart", environment.ErrUnsupported)
	case len(c.spec.RestartPolicyRules) > 0:
		return fmt.Errorf("%w: restartPolicyRules", environment.ErrUnsupported)
	case probe != nil && probe.GRPC != nil:
		return fmt.Errorf("%w: a readiness probe by gRPC", environment.ErrUnsupported)
	}
	return nil
}

// setBase sets what the container's own variables may refer to and change.
func (c *container) setBase(p *plan) {
	v, work := &p.variables, c.pod.folder.work()
	v.Set("PATH", c.pod.node.path)
	v.Set("HOSTNAME", c.pod.object().Name)
	v.Set("HOME", work)
	v.Set("TMPDIR", work)
	v.Set(variableAddress, c.pod.address.String())
	c.setFixed(p)
}

// setFixed sets what they may not change.
func (c *container) setFixed(p *plan) {
	p.variables.Set(variableTermination, c.pod.folder.message(c.spec.Name, p.run))
	p.variables.Set(variableNodeDir, c.pod.node.Dir)
}

// nextRun is the number of the container's next run.
func (c *container) nextRun() int32 {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	if c.record.ID == "" {
		return 0
	}
	return c.record.Restarts + 1
}

// source answers what the pod's containers and volumes refer to. It asks the API server once for each object.
func (p *pod) source(ctx context.Context) environment.Source {
	object := p.object()
	place := environment.Place{Node: p.node.Name, Address: p.address.String(), Host: hostAddress}
	type answer struct {
		data  map[string]string
		found bool
	}
	answers := map[[2]string]answer{}
	return environment.Source{
		Field: func(path string) (string, error) { return environment.Field(object, place, path) },
		Data: func(kind, name string) (map[string]string, bool, error) {
			if known, ok := answers[[2]string{kind, name}]; ok {
				return known.data, known.found, nil
			}
			data, err := p.node.data(ctx, object.Namespace, kind, name)
			if err != nil && !apierrors.IsNotFound(err) {
				return nil, false, err
			}
			answers[[2]string{kind, name}] = answer{data: data, found: err == nil}
			return data, err == nil, nil
		},
	}
}

// data reads a Secret or ConfigMap.
func (n *node) data(ctx context.Context, namespace, kind, name string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	data := map[string]string{}
	if kind == environment.Secret {
		secret, err := n.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return text(data, secret.Data), nil
	}
	found, err := n.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	maps.Copy(data, found.Data)
	return text(data, found.BinaryData), nil
}

func text(into map[string]string, data map[string][]byte) map[string]string {
	for key, value := range data {
		into[key] = string(value)
	}
	return into
}
