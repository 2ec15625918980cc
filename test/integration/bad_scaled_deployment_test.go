package integration_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// goodDeployment is a ScaledDeployment that the API server takes.
const goodDeployment = `
apiVersion: longhaul.dev/v1alpha1
kind: ScaledDeployment
metadata: {name: encoder}
spec:
  scaleTargetRef: {name: encoder}
  triggers:
  - redisList: {addresses: ["redis:6379"], list: videos}
  termination:
    busy: {httpGet: {path: /longhaul/state, port: 8081}}
    fence: {httpPost: {path: /longhaul/fence, port: 8081}}
`

// badDeployments are the ways to get a ScaledDeployment wrong, but for what its triggers share with a ScaledJob's.
func badDeployments() []bad {
	long := func(n int) string { return strings.Repeat("x", n) }
	times := func(n int, s string) string { return strings.TrimSuffix(strings.Repeat(s+", ", n), ", ") }
	target := func(s string) string { return "spec: {scaleTargetRef: {" + s + "}}" }
	const queue = `redisList: {addresses: ["redis:6379"], list: videos}`
	trigger := func(s string) string { return "spec: {triggers: [{" + queue + ", " + s + "}]}" }
	named := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("{name: t%d, %s}", i, queue))
		}
		return "spec: {triggers: [" + strings.Join(all, ", ") + "]}"
	}
	const window = `start: "0 8 * * 1-5", end: "0 18 * * 1-5", minReplicas: 2`
	cron := func(s string) string { return "spec: {cron: [{" + s + "}]}" }
	termination := func(s string) string { return "spec: {termination: {" + s + "}}" }
	return []bad{
		{"a name that is too long for a label", "metadata: {name: " + long(64) + "}"},
		{"a target without a name", `spec: {scaleTargetRef: {name: null}}`},
		{"a target with an empty name", target(`name: ""`)},
		{"a target with a name that is too long", target("name: " + long(254))},
		{"a target of an empty kind", target(`kind: ""`)},
		{"a target of a kind that is too long", target("kind: " + long(64))},
		{"a Deployment of another group", target("apiVersion: argoproj.io/v1alpha1")},
		{"no group and version", target("apiVersion: apps, kind: Rollout")},
		{"an empty group and version", target(`apiVersion: "", kind: Rollout`)},
		{"a group and version that is too long", target("kind: Rollout, apiVersion: " + long(318))},
		{"no target", `spec: {scaleTargetRef: null}`},
		{"no trigger", `spec: {triggers: []}`},
		{"triggers left out", `spec: {triggers: null}`},
		{"17 triggers", named(17)},
		{"two triggers of one name", "spec: {triggers: [{" + queue + "}, {" + queue + "}]}"},
		{"a trigger of no kind", `spec: {triggers: [{name: videos}]}`},
		{"a trigger of two kinds", trigger(`redisStream: {addresses: ["redis:6379"], stream: videos, consumerGroup: encoders}`)},
		{"an empty name of a trigger", trigger(`name: ""`)},
		{"a name of a trigger that is too long", trigger("name: " + long(64))},
		{"a name of a trigger with other signs", trigger("name: a_b")},
		{"no message for a replica", trigger("messagesPerReplica: 0")},
		{"too many messages for a replica", trigger("messagesPerReplica: 1000001")},
		{"acknowledged at some time", trigger("acknowledge: Sometime")},
		{"a threshold below 0", trigger("activationThreshold: -1")},
		{"combined in another way", "spec: {combine: Median}"},
		{"fewer than no replicas", "spec: {minReplicas: -1}"},
		{"too many replicas at least", "spec: {minReplicas: 100001, maxReplicas: 100000}"},
		{"no replica at most", "spec: {maxReplicas: 0}"},
		{"too many replicas at most", "spec: {maxReplicas: 100001}"},
		{"more at least than at most", "spec: {minReplicas: 5, maxReplicas: 4}"},
		{"an interval that is too short", "spec: {pollingInterval: 99ms}"},
		{"an interval that is no duration", "spec: {pollingInterval: 1 second}"},
		{"an interval of many signs", "spec: {pollingInterval: " + long(33) + "}"},
		{"scaleUp without a limit", "spec: {scaleUp: {}}"},
		{"no replica at a time", "spec: {scaleUp: {maxPerStep: 0}}"},
		{"too many at a time", "spec: {scaleUp: {maxPerStep: 100001}}"},
		{"no replica a minute", "spec: {scaleUp: {maxPerMinute: 0}}"},
		{"too many a minute", "spec: {scaleUp: {maxPerMinute: 100001}}"},
		{"a stabilization that is too long", "spec: {scaleDown: {stabilization: 25h}}"},
		{"a stabilization of many signs", "spec: {scaleDown: {stabilization: " + long(33) + "}}"},
		{"no replica fewer at a time", "spec: {scaleDown: {maxPerStep: 0}}"},
		{"too many fewer at a time", "spec: {scaleDown: {maxPerStep: 100001}}"},
		{"no window", "spec: {cron: []}"},
		{"17 windows", "spec: {cron: [" + times(17, "{"+window+"}") + "]}"},
		{"a window without start", cron(`end: "0 18 * * 1-5", minReplicas: 2`)},
		{"a window without end", cron(`start: "0 8 * * 1-5", minReplicas: 2`)},
		{"a window without replicas", cron(`start: "0 8 * * 1-5", end: "0 18 * * 1-5"`)},
		{"a window that is empty", cron(`start: "0 8 * * 1-5", end: "0 8 * * 1-5", minReplicas: 2`)},
		{"a start of four fields", cron(`start: "0 8 * * ", end: "0 18 * * 1-5", minReplicas: 2`)},
		{"an end of four fields", cron(`start: "0 8 * * 1-5", end: "0 18 * * ", minReplicas: 2`)},
		{"a short start", cron(`start: "0 8 * *", end: "0 18 * * 1-5", minReplicas: 2`)},
		{"a short end", cron(`start: "0 8 * * 1-5", end: "0 18 *", minReplicas: 2`)},
		{"a start that is too long", cron("start: " + long(257) + `, end: "0 18 * * 1-5", minReplicas: 2`)},
		{"an end that is too long", cron("end: " + long(257) + `, start: "0 18 * * 1-5", minReplicas: 2`)},
		{"no replica in a window", cron(`start: "0 8 * * 1-5", end: "0 18 * * 1-5", minReplicas: 0`)},
		{"too many in a window", cron(`start: "0 8 * * 1-5", end: "0 18 * * 1-5", minReplicas: 100001`)},
		{"an empty time zone", cron(window + `, timeZone: ""`)},
		{"a time zone that is too long", cron(window + ", timeZone: " + long(65))},
		{"a time zone that is nobody's", cron(window + ", timeZone: Local")},
		{"a fallback to no number", "spec: {fallback: {behavior: Replicas}}"},
		{"a fallback to a number and to what there is", "spec: {fallback: {behavior: CurrentReplicas, replicas: 2}}"},
		{"a fallback of another kind", "spec: {fallback: {behavior: Zero}}"},
		{"a fallback after no failure", "spec: {fallback: {afterFailures: 0, replicas: 2}}"},
		{"a fallback after too many failures", "spec: {fallback: {afterFailures: 1001, replicas: 2}}"},
		{"a fallback to fewer than none", "spec: {fallback: {replicas: -1}}"},
		{"a fallback to too many", "spec: {fallback: {replicas: 100001}}"},
		{"no termination", "spec: {termination: null}"},
		{"no word of what is busy", termination("busy: null")},
		{"nothing that tells what is busy", termination("busy: {httpGet: null}")},
		{"an empty annotation", termination(`busy: {podAnnotation: ""}`)},
		{"an annotation that is too long", termination("busy: {podAnnotation: " + long(317) + "}")},
		{"consumers of a trigger without name", termination(`busy: {rabbitmqConsumers: {trigger: ""}}`)},
		{"consumers of a trigger whose name is too long", termination("busy: {rabbitmqConsumers: {trigger: " + long(64) + "}}")},
		{"no path", termination("busy: {httpGet: {path: null}}")},
		{"an empty path", termination(`busy: {httpGet: {path: ""}}`)},
		{"a path that is too long", termination("busy: {httpGet: {path: /" + long(1024) + "}}")},
		{"a path that is not absolute", termination("busy: {httpGet: {path: longhaul/state}}")},
		{"no port", termination("busy: {httpGet: {port: null}}")},
		{"port 0", termination("busy: {httpGet: {port: 0}}")},
		{"port 65536", termination("busy: {httpGet: {port: 65536}}")},
		{"a fence that nobody asks for", termination("fence: {httpPost: null}")},
		{"a fence without a path", termination("fence: {httpPost: {path: null}}")},
		{"a fence without a port", termination("fence: {httpPost: {port: null}}")},
		{"a timeout that is too short", termination("busyTimeout: 0s")},
		{"a timeout of many signs", termination("busyTimeout: " + long(33))},
		{"a grace period that is too short", termination("gracePeriod: 0s")},
		{"a grace period of many signs", termination("gracePeriod: " + long(33))},
		{"a hook of another kind", termination("preStop: Always")},
		{"rollouts held in another way", termination("rollout: Always")},
		{"an empty name of a container", termination(`container: ""`)},
		{"a name of a container that is too long", termination("container: " + long(64))},
	}
}

func TestEachBadScaledDeploymentGetsAMessageThatNamesTheFieldAndTheRemedy(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t, "longhaul.dev_scaleddeployments.yaml")
	spec := schema.Properties["spec"]
	all := append(constraintsOf("", &apiextensionsv1.JSONSchemaProps{XValidations: schema.XValidations}), constraintsOf("spec", &spec)...)
	// What triggers share with a ScaledJob's is tried there; that a target cannot be changed is tried by changing one.
	shared := regexp.MustCompile(`^spec\.triggers\[\]\.(rabbitmq|redisList|redisStream)\b|^spec\.termination\.fence\.httpPost\.`)
	all = slices.DeleteFunc(all, func(c constraint) bool {
		return shared.MatchString(c.field) || strings.Contains(c.what, "cannot be changed")
	})
	refuses(t, goodDeployment, badDeployments(), "bad_scaled_deployment.golden", all)
}

func TestATargetCannotBeChanged(t *testing.T) {
	t.Parallel()
	p := apiServer(t)
	namespace := p.namespace(t)
	o, err := patched(goodDeployment, namespace, "{}")
	if err != nil {
		t.Fatal(err)
	}
	p.create(t, o)
	o.Object["spec"].(map[string]any)["scaleTargetRef"].(map[string]any)["name"] = "another"
	if err := p.client.Update(t.Context(), o); err == nil || !strings.Contains(err.Error(), "create another ScaledDeployment for another target") {
		t.Errorf("the error is %v", err)
	}
}
