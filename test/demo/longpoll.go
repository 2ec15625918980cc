package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/term"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/test/demo/internal/view"
)

const (
	// longpollSample is the manifest in config/samples, and the name of what is in it.
	longpollSample = "longpoll"
	// longClip is how many seconds of video the first clip has: the others are long done while it is worked on.
	longClip = 20
)

// longpoll is what is known of the consumers, and has been shown.
type longpoll struct {
	*demo

	began  time.Time
	screen *view.Screen // nil for lines
	last   v1alpha1.ScaledDeploymentStatus
	// most is the greatest number of replicas; shrunk is how often there were fewer, and whileBusy how often of those a
	// consumer was busy.
	most, shrunk, whileBusy int
}

// runLongpoll applies the sample of long-poll consumers, queues the clips, shows what happens, and judges it.
func (d *demo) runLongpoll(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("not done after %s", timeLimit))
	defer cancel()
	if err := d.applyLongpoll(ctx); err != nil {
		return err
	}
	if err := d.putMessages(ctx); err != nil {
		return err
	}
	title := fmt.Sprintf("Consumers that stay up: %d clips in %s, none of them ended while it works", messages, d.broker)
	fmt.Fprintln(os.Stdout)
	l := &longpoll{demo: d, began: time.Now()}
	if term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		l.screen = view.NewScreen(os.Stdout)
	} else {
		fmt.Fprintln(os.Stdout, title)
	}
	err := l.follow(ctx, title)
	if l.screen != nil {
		l.screen.Close()
	}
	if err != nil {
		return err
	}
	summary, err := l.judge(ctx)
	if err != nil {
		return err
	}
	if d.keep {
		d.sayHowToUse()
	}
	fmt.Fprintln(os.Stdout, summary)
	return nil
}

// applyLongpoll creates what is in the sample, but for where the broker is, and that it looks more often and waits less long
// than consumers would that work for hours.
func (d *demo) applyLongpoll(ctx context.Context) error {
	content, err := os.ReadFile(filepath.Join(d.root, "config", "samples", longpollSample+".yaml"))
	if err != nil {
		return fmt.Errorf("reading the sample: %w", err)
	}
	first, second, _ := bytes.Cut(content, []byte("\n---\n"))
	var scaled v1alpha1.ScaledDeployment
	var deployment appsv1.Deployment
	if err := errors.Join(yaml.UnmarshalStrict(first, &scaled), yaml.UnmarshalStrict(second, &deployment)); err != nil {
		return fmt.Errorf("reading the sample: %w", err)
	}
	scaled.Namespace, deployment.Namespace = namespace, namespace
	scaled.Spec.PollingInterval = &metav1.Duration{Duration: 250 * time.Millisecond}
	scaled.Spec.ScaleDown.Stabilization = &metav1.Duration{Duration: 2 * time.Second}
	container := &deployment.Spec.Template.Spec.Containers[0]
	container.Env = append(container.Env, corev1.EnvVar{Name: "MAX_SPEED", Value: "1"})
	deployment.Spec.Replicas = ptr.To[int32](0)
	if d.broker == rabbitBroker {
		err = d.cluster.addSecret(ctx, d.access)
	} else {
		err = d.longpollOnRedis(&scaled, container)
	}
	if err != nil {
		return err
	}
	d.scaledJob = scaled.Name
	say("applying config/samples/%s.yaml, with a pollingInterval of %s and a stabilization of %s", longpollSample,
		scaled.Spec.PollingInterval.Duration, scaled.Spec.ScaleDown.Stabilization.Duration)
	for _, o := range []client.Object{&deployment, &scaled} {
		if err := d.cluster.client.Create(ctx, o); err != nil {
			return fmt.Errorf("applying the sample: %w", err)
		}
	}
	return nil
}

// longpollOnRedis has the sample read a Redis list.
func (d *demo) longpollOnRedis(scaled *v1alpha1.ScaledDeployment, container *corev1.Container) error {
	options, err := redis.ParseURL(d.access.URI)
	if err != nil {
		return fmt.Errorf("reading where Redis is: %w", err)
	}
	scaled.Spec.Triggers = []v1alpha1.ReplicaTrigger{{RedisList: &v1alpha1.RedisListTrigger{
		RedisConnection: v1alpha1.RedisConnection{Addresses: []string{options.Addr}}, List: queueName, ProcessingList: processingName,
	}}}
	for i := range container.Env {
		if container.Env[i].Name == "QUEUE_URI" {
			container.Env[i] = corev1.EnvVar{Name: "QUEUE_URI", Value: d.access.URI}
		}
	}
	container.Env = append(container.Env, corev1.EnvVar{Name: "PROCESSING_LIST", Value: processingName})
	return nil
}

// follow shows the consumers until all clips are transcoded, and none of them is left.
func (l *longpoll) follow(ctx context.Context, title string) error {
	ticks := time.NewTicker(lookInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %d of %d clips are transcoded; the ScaledDeployment says: %s", context.Cause(ctx), l.transcoded(), messages, l.last.LastDecision)
		case part := <-l.parts.Ended():
			return part.Failure()
		case <-ticks.C:
		}
		var scaled v1alpha1.ScaledDeployment
		if err := l.cluster.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: longpollSample}, &scaled); err != nil {
			return fmt.Errorf("reading the ScaledDeployment: %w", err)
		}
		l.count(&scaled.Status)
		l.show(title, &scaled.Status)
		l.last = scaled.Status
		if l.transcoded() == messages && l.over(ctx, &scaled.Status) {
			return nil
		}
	}
}

// over says whether there is no consumer left.
func (l *longpoll) over(ctx context.Context, s *v1alpha1.ScaledDeploymentStatus) bool {
	var pods corev1.PodList
	err := l.cluster.client.List(ctx, &pods, client.InNamespace(namespace))
	return err == nil && len(pods.Items) == 0 && ptr.Deref(s.Replicas, 1) == 0
}

func (l *longpoll) count(s *v1alpha1.ScaledDeploymentStatus) {
	before, now := int(ptr.Deref(l.last.Replicas, 0)), int(ptr.Deref(s.Replicas, 0))
	l.most = max(l.most, now)
	if now < before {
		l.shrunk++
		if ptr.Deref(s.Busy, 0) > 0 {
			l.whileBusy++
		}
	}
}

func (l *longpoll) transcoded() int {
	n := 0
	for i := range messages {
		if info, err := os.Stat(l.output(i)); err == nil && info.Size() > 0 {
			n++
		}
	}
	return n
}

// show shows a status: on a terminal all of it in place, elsewhere what is new.
func (l *longpoll) show(title string, s *v1alpha1.ScaledDeploymentStatus) {
	counts := func(s *v1alpha1.ScaledDeploymentStatus) string {
		return fmt.Sprintf("waiting %d, replicas %d, busy %d, idle %d, fenced %d, leaving %d", ptr.Deref(s.Waiting, 0), ptr.Deref(s.Replicas, 0),
			ptr.Deref(s.Busy, 0), ptr.Deref(s.Idle, 0), ptr.Deref(s.Fenced, 0), ptr.Deref(s.Leaving, 0))
	}
	if l.screen != nil {
		lines := []string{title, "", fmt.Sprintf("%s; %d of %d clips are transcoded", counts(s), l.transcoded(), messages), ""}
		for i := range s.Pods {
			lines = append(lines, fmt.Sprintf("  %-30s %s", s.Pods[i].Name, doing(&s.Pods[i], time.Now())))
		}
		l.screen.Draw(fitted(append(lines, "", s.LastDecision)))
		return
	}
	at := time.Since(l.began).Seconds()
	if counts(s) != counts(&l.last) {
		fmt.Fprintf(os.Stdout, "%6.1f s  %s\n", at, counts(s))
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		k := slices.IndexFunc(l.last.Pods, func(old v1alpha1.ConsumerStatus) bool { return old.Name == p.Name })
		if k < 0 || l.last.Pods[k].State != p.State || l.last.Pods[k].MessageID != p.MessageID {
			fmt.Fprintf(os.Stdout, "%6.1f s  %s  %s\n", at, p.Name, doing(p, p.Since.Time))
		}
	}
	for i := range l.last.Pods {
		old := &l.last.Pods[i]
		if !slices.ContainsFunc(s.Pods, func(p v1alpha1.ConsumerStatus) bool { return p.Name == old.Name }) {
			fmt.Fprintf(os.Stdout, "%6.1f s  %s  gone\n", at, old.Name)
		}
	}
}

// fitted cuts lines that are longer than the terminal is wide, which would break its picture.
func fitted(lines []string) []string {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || width < 1 {
		width = 80
	}
	for i, l := range lines {
		if runes := []rune(l); len(runes) >= width {
			lines[i] = string(runes[:width-1])
		}
	}
	return lines
}

// doing says what a consumer does, and for how long.
func doing(p *v1alpha1.ConsumerStatus, now time.Time) string {
	text := strings.ToLower(string(p.State))
	if p.MessageID != "" {
		text += " with " + p.MessageID
	}
	if long := now.Sub(p.Since.Time).Truncate(time.Second); long > 0 {
		text += fmt.Sprintf(" for %s", long)
	}
	return text
}

// judge returns the last line, or what is not as promised.
func (l *longpoll) judge(ctx context.Context) (string, error) {
	ended, err := l.busyEnded(ctx)
	if err != nil {
		return "", err
	}
	rejected, err := l.queue.Rejected(ctx)
	if err != nil {
		return "", fmt.Errorf("asking %s for rejected messages: %w", l.broker, err)
	}
	summary := fmt.Sprintf("%d messages, %d transcoded, at most %d consumers at once, %d times fewer, %d busy consumers ended, none left",
		messages, l.transcoded(), l.most, l.shrunk, ended)
	var complaints []string
	if ended > 0 {
		complaints = append(complaints, "consumers were ended while they worked")
	}
	if l.most > 4 || l.most < 2 {
		complaints = append(complaints, "there were not 2 to 4 consumers at once")
	}
	if l.whileBusy == 0 {
		complaints = append(complaints, "there were never fewer consumers while one was busy")
	}
	if rejected > 0 {
		complaints = append(complaints, fmt.Sprintf("%d messages were rejected", rejected))
	}
	if len(complaints) > 0 {
		return "", errors.New(summary + ". That is not as it should be:\n  " + strings.Join(complaints, "\n  "))
	}
	return summary, nil
}

// busyEnded asks the manager's metrics how many consumers were being ended while they worked.
func (l *longpoll) busyEnded(ctx context.Context) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.cluster.metrics+"/metrics", http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("asking for metrics: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("asking for metrics: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	if !bytes.Contains(body, []byte("longhaul_scaleddeployment_scales_total")) {
		return 0, errors.New("the metrics do not tell of the ScaledDeployment")
	}
	ended := 0
	for line := range bytes.Lines(body) {
		if bytes.HasPrefix(line, []byte("longhaul_scaleddeployment_busy_pods_ended_total{")) {
			fields := strings.Fields(string(line))
			var n int
			if _, err := fmt.Sscan(fields[len(fields)-1], &n); err != nil {
				return 0, fmt.Errorf("reading the metric %q: %w", line, err)
			}
			ended += n
		}
	}
	return ended, nil
}
