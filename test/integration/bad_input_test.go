package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// good is a ScaledJob that the API server takes. Bad ones are made of it by merge patches.
const good = `
apiVersion: longhaul.dev/v1alpha1
kind: ScaledJob
metadata: {name: transcode}
spec:
  triggers:
  - cron: {schedule: "0 17 * * 5"}
  jobTemplate:
    spec:
      template:
        spec:
          containers:
          - {name: worker, image: "example/transcode:1"}
`

// bad is a change to a good ScaledJob that the API server is to refuse.
type bad struct {
	title, patch string
}

// badInputs are the ways to get a ScaledJob wrong, in the order of the and the documents' tables.
func badInputs() []bad {
	long := func(n int) string { return strings.Repeat("x", n) }
	times := func(n int, s string) string { return strings.TrimSuffix(strings.Repeat(s+", ", n), ", ") }
	rabbitmq := func(s string) string { return "spec: {triggers: [{rabbitmq: {" + s + "}}]}" }
	const uri = `uri: {value: "amqp://rabbitmq:5672"}`
	list := func(s string) string { return "spec: {triggers: [{redisList: {" + s + "}}]}" }
	const redis = `addresses: ["redis:6379"], list: videos`
	stream := func(s string) string {
		return "spec: {triggers: [{redisStream: {addresses: [\"redis:6379\"], " + s + "}}]}"
	}
	cron := func(s string) string { return "spec: {triggers: [{cron: {" + s + "}}]}" }
	const friday = `schedule: "0 17 * * 5"`
	numbered := func(n int) string {
		var triggers []string
		for i := range n {
			triggers = append(triggers, fmt.Sprintf("{name: t%d, cron: {%s}}", i, friday))
		}
		return "spec: {triggers: [" + strings.Join(triggers, ", ") + "]}"
	}
	return []bad{
		{"a name too long for the names of its pods", "metadata: {name: " + long(53) + "}"},
		{"no spec", "spec: null"},
		{"a field that does not exist", "spec: {maxParalelism: 3}"},
		{"a field of another tool", "spec: {jobTargetRef: {}, maxReplicaCount: 3}"},

		{"no job template", "spec: {jobTemplate: null}"},
		{"an empty job template", "spec: {jobTemplate: {spec: null}}"},
		{"a Job without a pod template", "spec: {jobTemplate: {spec: {template: null}}}"},
		{"a pod template without containers", "spec: {jobTemplate: {spec: {template: {spec: {containers: null}}}}}"},
		{"a field that a Job does not have", "spec: {jobTemplate: {spec: {backofLimit: 3}}}"},
		{"a number of a Job as text", "spec: {jobTemplate: {spec: {backoffLimit: three}}}"},

		{"no triggers", "spec: {triggers: null}"},
		{"an empty list of triggers", "spec: {triggers: []}"},
		{"17 triggers", numbered(17)},
		{"a trigger of no kind", "spec: {triggers: [{name: videos}]}"},
		{"a trigger of two kinds", "spec: {triggers: [{cron: {" + friday + "}, redisList: {" + redis + "}}]}"},
		{"a trigger of a kind that does not exist", "spec: {triggers: [{kafka: {topic: videos}}]}"},
		{"two triggers of one name", "spec: {triggers: [{name: a, cron: {" + friday + "}}, {name: a, redisList: {" + redis + "}}]}"},
		{"two triggers of one kind without names", "spec: {triggers: [" + times(2, "{cron: {"+friday+"}}") + "]}"},
		{"a trigger named as another is by default", "spec: {triggers: [{cron: {" + friday + "}}, {name: cron, redisList: {" + redis + "}}]}"},
		{"an empty name of a trigger", `spec: {triggers: [{name: "", cron: {` + friday + "}}]}"},
		{"a name of a trigger that cannot be a label", "spec: {triggers: [{name: my_videos, cron: {" + friday + "}}]}"},
		{"a name of a trigger that is too long", "spec: {triggers: [{name: " + long(64) + ", cron: {" + friday + "}}]}"},
		{"a Job for no message", "spec: {triggers: [{messagesPerJob: 0, cron: {" + friday + "}}]}"},
		{"a Job for too many messages", "spec: {triggers: [{messagesPerJob: 1000001, cron: {" + friday + "}}]}"},
		{"an unknown time of acknowledgement", "spec: {triggers: [{acknowledge: Never, cron: {" + friday + "}}]}"},
		{"an activation threshold below zero", "spec: {triggers: [{activationThreshold: -1, cron: {" + friday + "}}]}"},

		{"rabbitmq: no queue", rabbitmq(uri)},
		{"rabbitmq: an empty queue", rabbitmq(`queue: "", ` + uri)},
		{"rabbitmq: a queue's name that is too long", rabbitmq("queue: " + long(256) + ", " + uri)},
		{"rabbitmq: a queue's name of more bytes than characters", rabbitmq("queue: " + strings.Repeat("é", 128) + ", " + uri)},
		{"rabbitmq: no uri", rabbitmq("queue: videos")},
		{"rabbitmq: a uri that is text", rabbitmq(`queue: videos, uri: "amqp://rabbitmq:5672"`)},
		{"rabbitmq: a uri with neither value nor secretKeyRef", rabbitmq("queue: videos, uri: {}")},
		{"rabbitmq: a uri with both value and secretKeyRef", rabbitmq(`queue: videos, uri: {value: "amqp://rabbitmq", secretKeyRef: {name: a, key: b}}`)},
		{"rabbitmq: a uri with a password", rabbitmq(`queue: videos, uri: {value: "amqp://longhaul:hunter2@rabbitmq:5672/"}`)},
		{"rabbitmq: a uri with a password and no user", rabbitmq(`queue: videos, uri: {value: "amqp://:hunter2@rabbitmq:5672/"}`)},
		{"rabbitmq: a uri with a password that has an @", rabbitmq(`queue: videos, uri: {value: "amqp://longhaul:hunter@2@rabbitmq:5672/"}`)},
		{"rabbitmq: a uri with a password that has a slash", rabbitmq(`queue: videos, uri: {value: "amqp://longhaul:hunter/2@rabbitmq:5672/"}`)},
		{"rabbitmq: a uri of another protocol", rabbitmq(`queue: videos, uri: {value: "http://rabbitmq:15672"}`)},
		{"rabbitmq: a uri without a protocol", rabbitmq(`queue: videos, uri: {value: "rabbitmq:5672"}`)},
		{"rabbitmq: an empty uri", rabbitmq(`queue: videos, uri: {value: ""}`)},
		{"rabbitmq: a uri that is too long", rabbitmq(`queue: videos, uri: {value: "amqp://` + long(2042) + `"}`)},
		{"rabbitmq: a management URI with a password", rabbitmq("queue: videos, " + uri + `, managementURI: {value: "http://longhaul:hunter2@rabbitmq:15672"}`)},
		{"rabbitmq: a management URI with neither value nor secretKeyRef", rabbitmq("queue: videos, " + uri + ", managementURI: {}")},
		{"rabbitmq: a management URI that is AMQP's", rabbitmq("queue: videos, " + uri + `, managementURI: {value: "amqp://rabbitmq:5672"}`)},
		{"rabbitmq: an empty management URI", rabbitmq("queue: videos, " + uri + `, managementURI: {value: ""}`)},
		{"rabbitmq: a management URI that is too long", rabbitmq("queue: videos, " + uri + `, managementURI: {value: "http://` + long(2042) + `"}`)},
		{"rabbitmq: a Secret without its name", rabbitmq("queue: videos, uri: {secretKeyRef: {key: uri}}")},
		{"rabbitmq: a Secret without a key", rabbitmq("queue: videos, uri: {secretKeyRef: {name: rabbitmq}}")},
		{"rabbitmq: an empty name and key of a Secret", rabbitmq(`queue: videos, uri: {secretKeyRef: {name: "", key: ""}}`)},
		{"rabbitmq: a name and a key of a Secret that are too long", rabbitmq("queue: videos, uri: {secretKeyRef: {name: " + long(254) + ", key: " + long(254) + "}}")},
		{"rabbitmq: an empty virtual host", rabbitmq("queue: videos, " + uri + `, vhost: ""`)},
		{"rabbitmq: a virtual host that is too long", rabbitmq("queue: videos, " + uri + ", vhost: " + long(256))},
		{"rabbitmq: a virtual host of more bytes than characters", rabbitmq("queue: videos, " + uri + ", vhost: " + strings.Repeat("é", 128))},
		{"rabbitmq: a certificate without its key", rabbitmq("queue: videos, " + uri + ", tls: {certificate: {name: a, key: b}}")},
		{"rabbitmq: a key without its certificate", rabbitmq("queue: videos, " + uri + ", tls: {key: {name: a, key: b}}")},
		{"rabbitmq: an empty server name", rabbitmq("queue: videos, " + uri + `, tls: {serverName: ""}`)},
		{"rabbitmq: a server name that is too long", rabbitmq("queue: videos, " + uri + ", tls: {serverName: " + long(254) + "}")},
		{"rabbitmq: an authority's Secret without its name and key", rabbitmq("queue: videos, " + uri + ", tls: {ca: {}}")},
		{"rabbitmq: a switch that does not exist", rabbitmq("queue: videos, " + uri + ", tls: {insecureSkipVerify: true}")},

		{"redisList: no addresses", list("list: videos")},
		{"redisList: an empty list of addresses", list("addresses: [], list: videos")},
		{"redisList: 33 addresses", list("addresses: [" + times(33, `"r:1"`) + "], list: videos")},
		{"redisList: an address without a port", list("addresses: [redis], list: videos")},
		{"redisList: a URL for an address", list(`addresses: ["redis://redis:6379"], list: videos`)},
		{"redisList: an address with a password", list(`addresses: [":hunter2@redis:6379"], list: videos`)},
		{"redisList: an address that is too short", list(`addresses: ["r"], list: videos`)},
		{"redisList: an address that is too long", list(`addresses: ["` + long(260) + `:6379"], list: videos`)},
		{"redisList: no list", list(`addresses: ["redis:6379"]`)},
		{"redisList: an empty list", list(`addresses: ["redis:6379"], list: ""`)},
		{"redisList: a list's key that is too long", list(`addresses: ["redis:6379"], list: ` + long(1025))},
		{"redisList: an empty processing list", list(redis + `, processingList: ""`)},
		{"redisList: a processing list's key that is too long", list(redis + ", processingList: " + long(1025))},
		{"redisList: a processing list that is the list", list(redis + ", processingList: videos")},
		{"redisList: a database below zero", list(redis + ", database: -1")},
		{"redisList: a database that is too high", list(redis + ", database: 65536")},
		{"redisList: a password that is not in a Secret", list(redis + ", password: hunter2")},
		{"redisList: a password's Secret without a key", list(redis + ", password: {name: redis}")},
		{"redisList: a password's Secret without its name", list(redis + ", password: {key: password}")},
		{"redisList: a user name without a password", list(redis + ", username: {name: redis, key: username}")},
		{"redisList: a certificate without its key", list(redis + ", tls: {certificate: {name: a, key: b}}")},
		{"redisList: an empty name of the Sentinels' master", list(redis + `, sentinelMaster: ""`)},
		{"redisList: a name of the Sentinels' master that is too long", list(redis + ", sentinelMaster: " + long(254))},
		{"redisList: a user name for Sentinels without a password", list(redis + ", sentinelMaster: main, sentinelUsername: {name: redis, key: username}")},
		{"redisList: a password for Sentinels that are not there", list(redis + ", sentinelPassword: {name: redis, key: password}")},
		{"redisList: a Sentinels' password's Secret without its name and key", list(redis + ", sentinelMaster: main, sentinelUsername: {}, sentinelPassword: {}")},
		{"redisList: Sentinels of a cluster", list(redis + ", sentinelMaster: main, cluster: true")},
		{"redisList: a database of a cluster", list(redis + ", cluster: true, database: 1")},
		{"redisList: a database of several addresses", list(`addresses: ["a:6379", "b:6379"], list: videos, database: 1`)},

		{"redisStream: no stream", stream("consumerGroup: workers")},
		{"redisStream: no consumer group", stream("stream: videos")},
		{"redisStream: an empty stream and consumer group", stream(`stream: "", consumerGroup: ""`)},
		{"redisStream: a stream and a consumer group that are too long", stream("stream: " + long(1025) + ", consumerGroup: " + long(1025))},
		{"redisStream: no addresses", "spec: {triggers: [{redisStream: {stream: videos, consumerGroup: workers}}]}"},
		{"redisStream: an address without a port", "spec: {triggers: [{redisStream: {addresses: [redis], stream: videos, consumerGroup: workers}}]}"},
		{"redisStream: Sentinels of a cluster", stream("stream: videos, consumerGroup: workers, sentinelMaster: main, cluster: true")},
		{"redisStream: a database of a cluster", stream("stream: videos, consumerGroup: workers, cluster: true, database: 1")},
		{"redisStream: a key without its certificate", stream("stream: videos, consumerGroup: workers, tls: {key: {name: a, key: b}}")},

		{"cron: no schedule", cron("jobs: 1")},
		{"cron: an empty schedule", cron(`schedule: ""`)},
		{"cron: a schedule of four fields", cron(`schedule: "17 * * Fri"`)},
		{"cron: a schedule of six fields, with seconds", cron(`schedule: "0 0 17 * * 5"`)},
		{"cron: a schedule of names for whole expressions", cron(`schedule: "@weekly  "`)},
		{"cron: a schedule that is too long", cron(`schedule: "0 17 * * ` + strings.Repeat("5,", 128) + `5"`)},
		{"cron: a schedule with a time zone", cron(`schedule: "CRON_TZ=Europe/Berlin 0 17 * * 5"`)},
		{"cron: a schedule with a time zone, in the other way", cron(`schedule: "TZ=Europe/Berlin 0 17 * * 5"`)},
		{"cron: a minute that does not exist", cron(`schedule: "60 17 * * 5"`)},
		{"cron: an hour that does not exist", cron(`schedule: "0 24 * * 5"`)},
		{"cron: a weekday that does not exist", cron(`schedule: "0 17 * * Freitag"`)},
		{"cron: a time zone that does not exist", cron(friday + ", timeZone: Mars/Olympus_Mons")},
		{"cron: an empty time zone", cron(friday + `, timeZone: ""`)},
		{"cron: the time zone of whatever machine", cron(friday + ", timeZone: Local")},
		{"cron: a time zone that is a path", cron(friday + `, timeZone: "../etc/passwd"`)},
		{"cron: a time zone with a space", cron(friday + `, timeZone: "Europe/Berlin, Germany"`)},
		{"cron: a time zone that is too long", cron(friday + ", timeZone: " + long(65))},
		{"cron: no Jobs", cron(friday + ", jobs: 0")},
		{"cron: too many Jobs", cron(friday + ", jobs: 100001")},
		{"cron: a deadline that is too short", cron(friday + ", startingDeadline: 9s")},
		{"cron: a deadline that is no duration", cron(friday + ", startingDeadline: later")},
		{"cron: a deadline beyond what a duration can be", cron(friday + ", startingDeadline: 9999999999h")},
		{"cron: a deadline of too many characters", cron(friday + ", startingDeadline: " + strings.Repeat("1h", 17))},

		{"a cap of none", "spec: {maxParallelism: 0}"},
		{"a cap below zero", "spec: {maxParallelism: -1}"},
		{"a cap that is too high", "spec: {maxParallelism: 100001}"},
		{"a cap beyond what a number can be", "spec: {maxParallelism: 3000000000}"},
		{"a cap that is a fraction", "spec: {maxParallelism: 1.5}"},
		{"a cap that is text", `spec: {maxParallelism: "20"}`},
		{"a floor below zero", "spec: {minParallelism: -1}"},
		{"a floor that is too high", "spec: {minParallelism: 100001}"},
		{"a floor above the cap", "spec: {minParallelism: 6, maxParallelism: 5}"},
		{"a floor above the default cap", "spec: {minParallelism: 101}"},

		{"polling too often", "spec: {pollingInterval: 99ms}"},
		{"polling too rarely", "spec: {pollingInterval: 24h1s}"},
		{"polling at no interval", "spec: {pollingInterval: 0s}"},
		{"polling at an interval that is a number", "spec: {pollingInterval: 1}"},
		{"polling at an interval without a unit", `spec: {pollingInterval: "1"}`},
		{"polling at an interval in days", "spec: {pollingInterval: 1d}"},
		{"polling at an interval below zero", "spec: {pollingInterval: -1s}"},
		{"polling at an interval in microseconds", "spec: {pollingInterval: 200000us}"},
		{"polling at an empty interval", `spec: {pollingInterval: ""}`},
		{"polling at an interval that is no duration", "spec: {pollingInterval: soon}"},
		{"polling at an interval beyond what a duration can be", "spec: {pollingInterval: 9999999999h}"},
		{"polling at an interval of too many characters", "spec: {pollingInterval: " + strings.Repeat("1m", 17) + "}"},

		{"an unknown way to combine", "spec: {combine: Total}"},
		{"a way to combine in lower case", "spec: {combine: sum}"},
		{"a Job that picks its pods itself", "spec: {jobTemplate: {spec: {manualSelector: true}}}"},
		{"a way to combine a schedule with a queue", "spec: {combine: Max, triggers: [{cron: {" + friday + "}}, {redisList: {" + redis + "}}]}"},

		{"an unknown strategy", "spec: {strategy: {type: Exact}}"},
		{"a strategy that is text", "spec: {strategy: Auto}"},
		{"a Custom strategy without its numbers", "spec: {strategy: {type: Custom}}"},
		{"numbers of a Custom strategy for another", "spec: {strategy: {type: Auto, custom: {queueLengthDeduction: 1}}}"},
		{"numbers of a Custom strategy without its type", "spec: {strategy: {custom: {queueLengthDeduction: 1}}}"},
		{"a queue length deduction below zero", "spec: {strategy: {type: Custom, custom: {queueLengthDeduction: -1}}}"},
		{"a running job percentage below zero", "spec: {strategy: {type: Custom, custom: {runningJobPercentage: -1}}}"},
		{"a running job percentage above 100", "spec: {strategy: {type: Custom, custom: {runningJobPercentage: 101}}}"},
		{"a running job percentage that is text", `spec: {strategy: {type: Custom, custom: {runningJobPercentage: "50%"}}}`},
		{"pending pod conditions of another strategy", "spec: {strategy: {type: Eager, pendingPodConditions: [Ready]}}"},
		{"an empty list of pending pod conditions", "spec: {strategy: {type: Accurate, pendingPodConditions: []}}"},
		{"11 pending pod conditions", "spec: {strategy: {type: Accurate, pendingPodConditions: [a, b, c, d, e, f, g, h, i, j, k]}}"},
		{"a pending pod condition that is named twice", "spec: {strategy: {type: Accurate, pendingPodConditions: [Ready, Ready]}}"},
		{"an empty pending pod condition", `spec: {strategy: {type: Accurate, pendingPodConditions: [""]}}`},
		{"a pending pod condition that is too long", "spec: {strategy: {type: Accurate, pendingPodConditions: [" + long(317) + "]}}"},

		{"a settling time below zero", "spec: {settlingTime: -1s}"},
		{"a settling time that is too long", "spec: {settlingTime: 25h}"},
		{"a settling time that is no duration", "spec: {settlingTime: a while}"},
		{"a settling time beyond what a duration can be", "spec: {settlingTime: 9999999999h}"},
		{"a settling time of too many characters", "spec: {settlingTime: " + strings.Repeat("1m", 17) + "}"},

		{"a limit of succeeded Jobs below zero", "spec: {successfulJobsHistoryLimit: -1}"},
		{"a limit of succeeded Jobs that is too high", "spec: {successfulJobsHistoryLimit: 10001}"},
		{"a limit of failed Jobs below zero", "spec: {failedJobsHistoryLimit: -1}"},
		{"a limit of failed Jobs that is too high", "spec: {failedJobsHistoryLimit: 10001}"},
		{"succeeded Jobs' records kept for no day", "spec: {historyRetention: {succeeded: {maxAgeDays: 0}}}"},
		{"succeeded Jobs' records kept for too many days", "spec: {historyRetention: {succeeded: {maxAgeDays: 36501}}}"},
		{"failed Jobs' records kept for no day", "spec: {historyRetention: {failed: {maxAgeDays: 0}}}"},
		{"failed Jobs' records kept for too many days", "spec: {historyRetention: {failed: {maxAgeDays: 36501}}}"},
		{"records kept for an age that is a duration", "spec: {historyRetention: {succeeded: {maxAgeDays: 30d}}}"},
		{"no records of succeeded Jobs kept", "spec: {historyRetention: {succeeded: {maxRecords: 0}}}"},
		{"too many records of succeeded Jobs kept", "spec: {historyRetention: {succeeded: {maxRecords: 100000001}}}"},
		{"no records of failed Jobs kept", "spec: {historyRetention: {failed: {maxRecords: 0}}}"},
		{"too many records of failed Jobs kept", "spec: {historyRetention: {failed: {maxRecords: 100000001}}}"},
		{"a retention of succeeded Jobs that says nothing", "spec: {historyRetention: {succeeded: {maxAgeDays: null}}}"},
		{"a retention of failed Jobs that says nothing", "spec: {historyRetention: {failed: {maxAgeDays: null}}}"},
		{"a retention of cancelled Jobs", "spec: {historyRetention: {cancelled: {maxAgeDays: 3}}}"},
		{"a switch that is text", `spec: {suspend: "yes"}`},
		{"an unknown rollout", "spec: {rollout: {strategy: Recreate}}"},
		{"a rollout that is text", "spec: {rollout: Immediate}"},
	}
}

// onlyTheManagerSees are bad inputs that the API server cannot tell from good ones. The manager says so in the condition
// Ready, reason TriggerInvalid.
func onlyTheManagerSees() []string {
	return []string{
		"cron: a minute that does not exist",
		"cron: an hour that does not exist",
		"cron: a weekday that does not exist",
		"cron: a time zone that does not exist",
	}
}

func TestEachBadInputGetsAMessageThatNamesTheFieldAndTheRemedy(t *testing.T) {
	t.Parallel()
	refuses(t, good, badInputs(), "bad_input.golden", constraints(t))
}

// refuses checks that the API server refuses each bad input, for each of the constraints at least one, with golden words.
func refuses(t *testing.T, base string, inputs []bad, words string, constraints []constraint) {
	t.Helper()
	p := apiServer(t)
	namespace := p.namespace(t)
	c := client.WithFieldValidation(p.client, metav1.FieldValidationStrict) // as kubectl does
	var (
		told    strings.Builder
		refused []metav1.StatusCause
	)
	for _, input := range inputs {
		o, err := patched(base, namespace, input.patch)
		if err != nil {
			t.Fatalf("%v\n%s", err, input.patch)
		}
		err = c.Create(t.Context(), o, client.DryRunAll)
		fmt.Fprintf(&told, "## %s\n%s\n", input.title, abridged(input.patch))
		if slices.Contains(onlyTheManagerSees(), input.title) {
			if err != nil {
				t.Errorf("%s: is refused now; take it off the list: %v", input.title, err)
			}
			told.WriteString("is left to the manager\n\n")
			continue
		}
		var status *apierrors.StatusError
		if !errors.As(err, &status) {
			t.Errorf("%s: is not refused (%v):\n%s", input.title, err, input.patch)
			continue
		}
		if strings.Contains(status.Error(), "hunter") {
			t.Errorf("%s: the message tells the password: %v", input.title, status)
		}
		told.WriteString(lines(status) + "\n")
		if status.ErrStatus.Details != nil {
			refused = append(refused, status.ErrStatus.Details.Causes...)
		}
	}
	golden(t, words, told.String())
	for _, c := range constraints {
		if !slices.ContainsFunc(refused, c.refuses) {
			t.Errorf("no bad input is refused because of %s of %s: add one", c.what, c.field)
		}
	}
}

// object is the good ScaledJob, patched.
func object(t *testing.T, namespace, patch string) *unstructured.Unstructured {
	t.Helper()
	o, err := patched(good, namespace, patch)
	if err != nil {
		t.Fatalf("%v\n%s", err, patch)
	}
	return o
}

func patched(text, namespace, patch string) (*unstructured.Unstructured, error) {
	base, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return nil, err
	}
	change, err := yaml.YAMLToJSON([]byte(patch))
	if err != nil {
		return nil, err
	}
	merged, err := jsonpatch.MergePatch(base, change)
	if err != nil {
		return nil, err
	}
	var o unstructured.Unstructured
	if err := json.Unmarshal(merged, &o); err != nil {
		return nil, err
	}
	o.SetNamespace(namespace)
	return &o, nil
}

// lines are the words of a refusal, one cause a line. The API server's order differs from time to time.
func lines(status *apierrors.StatusError) string {
	details := status.ErrStatus.Details
	if details == nil || len(details.Causes) == 0 {
		return abridged(status.ErrStatus.Message) + "\n"
	}
	var told []string
	for _, cause := range details.Causes {
		// What the API server adds to errors that keep it from looking at rules says nothing about the field.
		if !strings.Contains(cause.Message, "some validation rules were not checked") {
			told = append(told, fmt.Sprintf("%s: %s\n", cause.Field, abridged(cause.Message)))
		}
	}
	slices.Sort(told)
	return strings.Join(told, "")
}

// abridged shortens what is long only to be too long.
func abridged(s string) string {
	s = regexp.MustCompile(`x{9,}`).ReplaceAllStringFunc(s, func(x string) string { return fmt.Sprintf("x(%d times)", len(x)) })
	s = regexp.MustCompile(`(5,){9,}`).ReplaceAllString(s, "5,5,(and so on)")
	return regexp.MustCompile(`(, "?r:1"?){9,}`).ReplaceAllString(s, ", (and so on)")
}

// constraint is a rule of the schema, and how to know that it refused something.
type constraint struct {
	field, what string
	refuses     func(metav1.StatusCause) bool
}

// constraints are the rules of a ScaledJob's own fields, as the CustomResourceDefinition has them.
func constraints(t *testing.T) []constraint {
	t.Helper()
	schema := schemaOfScaledJob(t)
	spec := schema.Properties["spec"]
	delete(spec.Properties, "jobTemplate") // batch/v1's
	return append(constraintsOf("", &apiextensionsv1.JSONSchemaProps{XValidations: schema.XValidations}), constraintsOf("spec", &spec)...)
}

// general makes the names of fields of one Go type the same: a rule of that type needs to be broken in one place.
func general(field string) string {
	field = regexp.MustCompile(`\[\d+\]`).ReplaceAllString(field, "[]")
	field = regexp.MustCompile(`\.(rabbitmq|redisList|redisStream)\.(tls|secretKeyRef|addresses|database|username|password|sentinelMaster|sentinelUsername|sentinelPassword|cluster)\b`).ReplaceAllString(field, ".broker.$2")
	return regexp.MustCompile(`^.*\.(secretKeyRef|tls\.ca|tls\.certificate|tls\.key|username|password|sentinelUsername|sentinelPassword)\.(name|key)$`).ReplaceAllString(field, "secretKeyRef.$2")
}

func constraintsOf(path string, s *apiextensionsv1.JSONSchemaProps) []constraint {
	var all []constraint
	add := func(field, what, words string) {
		all = append(all, constraint{field: field, what: what, refuses: func(c metav1.StatusCause) bool {
			return strings.HasPrefix(general(c.Field), general(field)) && strings.Contains(c.Message, words)
		}})
	}
	if s.Minimum != nil {
		add(path, "minimum", "should be greater than or equal to")
	}
	if s.Maximum != nil {
		add(path, "maximum", "should be less than or equal to")
	}
	if s.MinLength != nil {
		add(path, "minLength", "should be at least")
	}
	if s.MaxLength != nil {
		add(path, "maxLength", "Too long")
	}
	if s.MinItems != nil {
		add(path, "minItems", "should have at least")
	}
	if s.MaxItems != nil {
		add(path, "maxItems", "Too many")
	}
	if len(s.Enum) > 0 {
		add(path, "enum", "supported values")
	}
	for _, field := range s.Required {
		add(path+"."+field, "required", "Required value")
	}
	for _, rule := range s.XValidations {
		field := path + rule.FieldPath
		if field == "" {
			field = "<nil>" // the API server's name for the whole object
		}
		add(field, "rule "+rule.Message, rule.Message)
	}
	for name, child := range s.Properties {
		all = append(all, constraintsOf(path+"."+name, &child)...)
	}
	if s.Items != nil {
		all = append(all, constraintsOf(path+"[]", s.Items.Schema)...)
	}
	return all
}

func TestTheDocumentsQuoteWhatTheAPIServerSays(t *testing.T) {
	t.Parallel()
	said, err := os.ReadFile(filepath.Join("testdata", "bad_input.golden"))
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob(filepath.Join(root, "docs", "triggers", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	quotes := 0
	for _, document := range append(documents, filepath.Join(root, "docs", "scaledjob.md")) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, quote := range regexp.MustCompile(`(?m)(^> .*\n)+`).FindAllString(string(text), -1) {
			quotes++
			quote = strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll("\n"+quote, "\n> ", " ")), `\<`, "<")
			for part := range strings.SplitSeq(quote, " … ") {
				if !strings.Contains(string(said), part) {
					t.Errorf("%s quotes what no bad input is told: %s", filepath.Base(document), part)
				}
			}
		}
	}
	if quotes < 10 {
		t.Errorf("only %d quotes were found", quotes)
	}
}
