package history

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
)

// follow brings an attempt up to what its pod shows.
func (a Attempt) follow(pod *corev1.Pod, now time.Time) Attempt {
	if a.Ended() {
		return a
	}
	a.Pod, a.UID, a.Node, a.Created = pod.Name, string(pod.UID), pod.Spec.NodeName, pod.CreationTimestamp.UTC()
	a = a.request(pod)
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue && a.Scheduled == nil {
			a.Scheduled = new(c.LastTransitionTime.UTC())
		}
	}
	a.Started, a.Restarts = startOf(pod), restartsOf(pod)
	why, decided := endOf(pod)
	if decided != nil {
		a.ExitCode, a.Signal = new(decided.ExitCode), decided.Signal
	}
	a.Reason, a.Message = why.reason, text(why.message)
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		a.Succeeded, a.Finished = true, new(finishOf(pod, now))
	case corev1.PodFailed:
		a.Finished = new(finishOf(pod, now))
	}
	return a.ordered()
}

// request notes what the pod's containers are and request. Init containers run before the others and, but for sidecars,
// request nothing beside them.
func (a Attempt) request(pod *corev1.Pod) Attempt {
	a.CPU, a.Memory = 0, 0
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		a.CPU += c.Resources.Requests.Cpu().AsApproximateFloat64()
		a.Memory += c.Resources.Requests.Memory().Value()
		if i == 0 {
			a.Image = c.Image
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			a.CPU += c.Resources.Requests.Cpu().AsApproximateFloat64()
			a.Memory += c.Resources.Requests.Memory().Value()
		}
	}
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; len(pod.Spec.Containers) > 0 && s.Name == pod.Spec.Containers[0].Name && s.ImageID != "" {
			a.ImageID = s.ImageID
		}
	}
	return a
}

// gone ends an attempt whose pod is no more.
func (a Attempt) gone(now time.Time) Attempt {
	if a.Ended() {
		return a
	}
	a.Finished = new(now)
	if a.Reason == "" {
		a.Reason = reasonDeleted
	}
	return a.ordered()
}

func (a Attempt) ordered() Attempt {
	a.Scheduled = notBefore(a.Scheduled, a.Created)
	a.Started = notBefore(a.Started, a.Created)
	least := a.Created
	if a.Started != nil {
		least = *a.Started
	}
	a.Finished = notBefore(a.Finished, least)
	return a
}

// startOf is when the first of a pod's containers first ran, as far as its status still tells.
func startOf(pod *corev1.Pod) *time.Time {
	var first *time.Time
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		if r := s.State.Running; r != nil {
			first = earlier(first, new(r.StartedAt.UTC()))
		}
		for _, t := range []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated} {
			// A container that could not be started has ended without a start.
			if t != nil && !t.StartedAt.IsZero() {
				first = earlier(first, new(t.StartedAt.UTC()))
			}
		}
	}
	return first
}

func finishOf(pod *corev1.Pod, now time.Time) time.Time {
	var last time.Time
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if t := s.State.Terminated; t != nil && t.FinishedAt.After(last) {
			last = t.FinishedAt.UTC()
		}
	}
	if last.IsZero() {
		return now // nothing of it says when
	}
	return last
}

func restartsOf(pod *corev1.Pod) int32 {
	var n int32
	for i := range pod.Status.ContainerStatuses {
		n += pod.Status.ContainerStatuses[i].RestartCount
	}
	return n
}

// endOf says why a pod ended, or does not start: what the cluster did to it, else what its containers did. decided is the
// container that ended badly first, else the first that ended.
func endOf(pod *corev1.Pod) (why cause, decided *corev1.ContainerStateTerminated) {
	decided = decidedBy(pod)
	if decided != nil {
		why = cause{decided.Reason, decided.Message}
	} else {
		why = heldUp(pod)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			why.reason = c.Reason
			if why.message == "" {
				why.message = c.Message
			}
		}
	}
	if pod.Status.Reason != "" {
		why.reason = pod.Status.Reason
		if why.message == "" {
			why.message = pod.Status.Message
		}
	}
	return why, decided
}

func decidedBy(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	var first, bad *corev1.ContainerStateTerminated
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		t := s.State.Terminated
		if t == nil {
			t = s.LastTerminationState.Terminated
		}
		if t == nil {
			continue
		}
		if t.ExitCode != 0 && (bad == nil || t.FinishedAt.Before(&bad.FinishedAt)) {
			bad = t
		}
		if first == nil {
			first = t
		}
	}
	if bad != nil {
		return bad
	}
	if len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Terminated == nil {
		return nil // an init container that ended well decides nothing
	}
	return first
}

// heldUp says why a pod does not start.
func heldUp(pod *corev1.Pod) cause {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			return cause{w.Reason, w.Message}
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return cause{c.Reason, c.Message}
		}
	}
	return cause{}
}

// saying is what a worker says in its termination message.
type saying struct {
	messageID string
	result    json.RawMessage
}

// parse reads a termination message that is a JSON object: messageID, a text or a number, and result, any JSON.
func parse(message string) (saying, bool) {
	if !strings.HasPrefix(strings.TrimSpace(message), "{") {
		return saying{}, false
	}
	var said struct {
		MessageID any             `json:"messageID"`
		Result    json.RawMessage `json:"result"`
	}
	d := json.NewDecoder(strings.NewReader(message))
	d.UseNumber()
	if d.Decode(&said) != nil {
		return saying{}, false
	}
	s := saying{}
	switch id := said.MessageID.(type) {
	case string:
		s.messageID = text(id)
	case json.Number:
		s.messageID = id.String()
	}
	var compact bytes.Buffer
	if len(said.Result) > 0 && json.Compact(&compact, said.Result) == nil && compact.String() != "null" {
		s.result = compact.Bytes()
	}
	return s, true
}

// text is a message as a record keeps it: valid, without NUL, which databases refuse, and not too long.
func text(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "�")
	if len(s) <= MaxMessage {
		return s
	}
	cut := MaxMessage
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}

// lastBytes is the end of a log, from the beginning of a line where there is one.
func lastBytes(s string, n int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "�")
	if len(s) <= n {
		return s
	}
	cut := len(s) - n
	for !utf8.RuneStart(s[cut]) {
		cut++
	}
	tail := s[cut:]
	if i := strings.IndexByte(tail, '\n'); i >= 0 && i < len(tail)-1 && s[cut-1] != '\n' {
		tail = tail[i+1:]
	}
	return tail
}
