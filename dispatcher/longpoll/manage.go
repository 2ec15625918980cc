package longpoll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

// manageAgain is how long after fields could not be managed it is tried again.
const manageAgain = 30 * time.Second

// guardsRollout says whether rollouts of the target are to be held, and can be.
func guardsRollout(sd *v1alpha1.ScaledDeployment, t *target) bool {
	return sd.Spec.Termination.Rollout != v1alpha1.RolloutNone && sd.Spec.Termination.Fence != nil && t.template != nil && !t.recreates
}

// fields is what is managed of a target: only these, and owned by our own field manager. A Deployment may replace so many
// pods, and is paused where that is none.
func fields(sd *v1alpha1.ScaledDeployment, t *target, replacing int) map[string]any {
	term := &sd.Spec.Termination
	pod := map[string]any{
		"terminationGracePeriodSeconds": int64(math.Ceil(term.GracePeriod.Seconds())),
	}
	if term.PreStop != v1alpha1.PreStopNone && term.Fence != nil {
		pod["containers"] = []any{map[string]any{
			"name": containerOf(sd, t),
			"lifecycle": map[string]any{"preStop": map[string]any{"httpGet": map[string]any{
				"path": term.Fence.HTTPPost.Path, "port": int64(term.Fence.HTTPPost.Port), "scheme": "HTTP",
			}}},
		}}
	}
	spec := map[string]any{"template": map[string]any{"spec": pod}}
	if guardsRollout(sd, t) && t.ref.Kind == kindDeployment {
		pod["readinessGates"] = []any{map[string]any{"conditionType": v1alpha1.ConditionAdmitted}}
		spec["paused"] = replacing == 0
		spec["strategy"] = map[string]any{"rollingUpdate": map[string]any{"maxSurge": int64(0), "maxUnavailable": int64(max(1, replacing))}}
	}
	return map[string]any{"spec": spec}
}

// containerOf is the name of the container that gets the hook.
func containerOf(sd *v1alpha1.ScaledDeployment, t *target) string {
	if name := sd.Spec.Termination.Container; name != "" || len(t.template.Spec.Containers) == 0 {
		return name
	}
	return t.template.Spec.Containers[0].Name
}

// manage has the target's template as termination asks for. A conflict with another owner is remembered for a condition,
// and tried again; it is not fought. It says whether the target was written, and is no longer as it was read.
func (c *Controller) manage(ctx context.Context, sd *v1alpha1.ScaledDeployment, t *target, m *memory) (changed bool, err error) {
	if t.template == nil {
		m.managed = managed{}
		return false, nil
	}
	name := sd.Spec.Termination.Container
	if name != "" && !slices.ContainsFunc(t.template.Spec.Containers, func(k corev1.Container) bool { return k.Name == name }) {
		m.managed = managed{err: fmt.Errorf("termination.container %q is no container of %s %s: correct it", name, t.ref.Kind, t.ref.Name)}
		return false, nil
	}
	wanted := fields(sd, t, m.replacing)
	raw, err := json.Marshal(wanted)
	if err != nil {
		return false, fmt.Errorf("writing the managed fields as JSON: %w", err)
	}
	if m.managed.err == nil && m.managed.applied == string(raw) && t.has(sd, m.replacing) {
		return false, nil
	}
	if m.managed.err != nil && m.managed.applied == string(raw) && c.Clock.Now().Before(m.managed.again) {
		return false, nil
	}
	err = c.apply(ctx, t, wanted)
	if apierrors.IsConflict(err) && t.unset() {
		err = c.apply(ctx, t, wanted, client.ForceOwnership)
	}
	if err == nil && guardsRollout(sd, t) && t.ref.Kind == kindStatefulSet && !t.onDelete {
		err = c.setUpdateStrategy(ctx, t)
	}
	if refused := errors.Is(err, errStrategy) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err); err != nil && !refused {
		return false, fmt.Errorf("managing the template of %s %s: %w", t.ref.Kind, t.ref.Name, err)
	}
	m.managed = managed{applied: string(raw), err: err, again: c.Clock.Now().Add(manageAgain)}
	return err == nil, nil
}

// has says whether the target is as it is to be managed, as far as others may have changed it.
func (t *target) has(sd *v1alpha1.ScaledDeployment, replacing int) bool {
	spec := &t.template.Spec
	if guardsRollout(sd, t) && (t.ref.Kind == kindDeployment && t.paused != (replacing == 0) || t.ref.Kind == kindStatefulSet && !t.onDelete) {
		return false
	}
	seconds := int64(math.Ceil(sd.Spec.Termination.GracePeriod.Seconds()))
	if ptr.Deref(spec.TerminationGracePeriodSeconds, 30) != seconds {
		return false
	}
	if sd.Spec.Termination.PreStop == v1alpha1.PreStopNone || sd.Spec.Termination.Fence == nil {
		return true
	}
	name := containerOf(sd, t)
	for i := range spec.Containers {
		if k := &spec.Containers[i]; k.Name == name {
			return k.Lifecycle != nil && k.Lifecycle.PreStop != nil && k.Lifecycle.PreStop.HTTPGet != nil
		}
	}
	return false
}

// unmanage takes our fields back.
func (c *Controller) unmanage(ctx context.Context, t *target) error {
	if t.template == nil {
		return nil
	}
	if t.onDelete && t.ours(`"f:updateStrategy"`) {
		if err := c.patchUpdateStrategy(ctx, t, "RollingUpdate"); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("taking back the update strategy of %s %s: %w", t.ref.Kind, t.ref.Name, err)
		}
	}
	if err := c.apply(ctx, t, map[string]any{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("taking back the managed fields of %s %s: %w", t.ref.Kind, t.ref.Name, err)
	}
	return nil
}

// apply makes fields all that our field manager owns of the target.
func (c *Controller) apply(ctx context.Context, t *target, content map[string]any, options ...client.ApplyOption) error {
	u := t.handle()
	maps.Copy(u.Object, content)
	return c.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), append(options, client.FieldOwner(v1alpha1.FieldManager))...)
}

// errStrategy is wrapped by the error of a StatefulSet that has an update strategy of its own.
var errStrategy = errors.New("spec.updateStrategy is somebody's")

// setUpdateStrategy has a StatefulSet replace only pods that are deleted. A server-side apply cannot: the numbers that the API
// server fills in for another strategy are not allowed with this one, and no apply takes them away.
func (c *Controller) setUpdateStrategy(ctx context.Context, t *target) error {
	if !t.defaultStrategy || t.applied(`"f:updateStrategy"`) {
		return fmt.Errorf("%w: set its type to OnDelete, or remove it from the StatefulSet's manifest", errStrategy)
	}
	return c.patchUpdateStrategy(ctx, t, "OnDelete")
}

func (c *Controller) patchUpdateStrategy(ctx context.Context, t *target, strategy string) error {
	body := fmt.Sprintf(`{"spec":{"updateStrategy":{"type":%q,"rollingUpdate":null}}}`, strategy)
	return c.Client.Patch(ctx, t.handle(), client.RawPatch(types.MergePatchType, []byte(body)), client.FieldOwner(v1alpha1.FieldManager))
}

// unset says whether the fields that conflict are as the API server fills them in, and nobody has applied them: whoever
// creates a target by any means but server-side apply owns its defaults too, without having asked for them.
func (t *target) unset() bool {
	if ptr.Deref(t.template.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds) != corev1.DefaultTerminationGracePeriodSeconds {
		return false
	}
	for i := range t.template.Spec.Containers {
		if l := t.template.Spec.Containers[i].Lifecycle; l != nil && l.PreStop != nil {
			return false
		}
	}
	if len(t.template.Spec.ReadinessGates) > 0 || !t.defaultStrategy {
		return false
	}
	fields := []string{`"f:terminationGracePeriodSeconds"`, `"f:preStop"`, `"f:readinessGates"`, `"f:paused"`, `"f:strategy"`}
	return !slices.ContainsFunc(fields, t.applied)
}

// ours says whether a field was written by us.
func (t *target) ours(field string) bool {
	return slices.ContainsFunc(t.owners, func(o metav1.ManagedFieldsEntry) bool {
		return o.Manager == v1alpha1.FieldManager && o.FieldsV1 != nil && strings.Contains(o.FieldsV1.GetRawString(), field)
	})
}

// applied says whether somebody else has applied a field, and not merely created or updated the object that has it.
func (t *target) applied(field string) bool {
	return slices.ContainsFunc(t.owners, func(o metav1.ManagedFieldsEntry) bool {
		return o.Operation == metav1.ManagedFieldsOperationApply && o.Manager != v1alpha1.FieldManager && o.FieldsV1 != nil &&
			strings.Contains(o.FieldsV1.GetRawString(), field)
	})
}
