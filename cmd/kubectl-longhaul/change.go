package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/cmd/kubectl-longhaul/internal/view"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
	"github.com/longhaul-dev/longhaul/jobtemplate"
)

// kubernetes is the Kubernetes API, with the user's rights.
func (p *plugin) kubernetes() (ctrlclient.Client, error) {
	config, err := p.config()
	if err != nil {
		return nil, err
	}
	if config == nil {
		return nil, errors.New("this needs the Kubernetes API, and there is no kubeconfig: give --kubeconfig or set KUBECONFIG")
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), batchv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := ctrlclient.New(config, ctrlclient.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("preparing to reach the API server: %w", err)
	}
	return c, nil
}

// object reads the ScaledJob of a name.
func (p *plugin) object(ctx context.Context, name string) (ctrlclient.Client, *v1alpha1.ScaledJob, error) {
	namespace, err := p.namespace()
	if err != nil {
		return nil, nil, err
	}
	c, err := p.kubernetes()
	if err != nil {
		return nil, nil, err
	}
	var sj v1alpha1.ScaledJob
	err = c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: nameOf(name)}, &sj)
	if apierrors.IsNotFound(err) {
		return nil, nil, fmt.Errorf("there is no ScaledJob %q in namespace %q: `kubectl longhaul get` lists them, -A of all namespaces", nameOf(name), namespace)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the ScaledJob: %w", err)
	}
	return c, &sj, nil
}

func (p *plugin) suspend() *cobra.Command {
	return p.setSuspend("suspend", "Have a ScaledJob dispatch nothing; running Jobs go on", true, "suspended")
}

func (p *plugin) resume() *cobra.Command {
	return p.setSuspend("resume", "Have a suspended ScaledJob dispatch again", false, "resumed")
}

func (p *plugin) setSuspend(verb, short string, to bool, done string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Args: exactly("the ScaledJob's name"), Example: "  kubectl longhaul " + verb + " transcode",
		RunE: func(c *cobra.Command, args []string) error {
			k, sj, err := p.object(c.Context(), args[0])
			if err != nil {
				return err
			}
			if ptr.Deref(sj.Spec.Suspend, false) == to {
				fmt.Fprintf(p.out, "scaledjob.longhaul.dev/%s is %s already\n", sj.Name, map[bool]string{true: "suspended", false: "not suspended"}[to])
				return nil
			}
			if err := k.Patch(c.Context(), sj, ctrlclient.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"suspend":%t}}`, to))); err != nil {
				return fmt.Errorf("changing spec.suspend: %w", err)
			}
			fmt.Fprintf(p.out, "scaledjob.longhaul.dev/%s %s\n", sj.Name, done)
			return nil
		},
		ValidArgsFunction: p.completeNames(1),
	}
}

func (p *plugin) runOne() *cobra.Command {
	var (
		force   bool
		timeout time.Duration
	)
	c := &cobra.Command{
		Use: "run NAME", Short: "Run one Job now, also where no message waits", Args: exactly("the ScaledJob's name"),
		Long: "Asks the manager for one Job now, within the cap unless it is forced, and waits until it is created. Where messages wait, it is for " +
			"one of them.",
		Example: "  kubectl longhaul run transcode\n  kubectl longhaul run transcode --force",
		RunE: func(c *cobra.Command, args []string) error {
			k, sj, err := p.object(c.Context(), args[0])
			if err != nil {
				return err
			}
			request := p.now().UTC().Format(time.RFC3339Nano)
			if force {
				request = v1alpha1.ForcedRun + request
			}
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationRun, request)
			if err := k.Patch(c.Context(), sj, ctrlclient.RawPatch(types.MergePatchType, patch)); err != nil {
				return fmt.Errorf("asking for a Job by the annotation %s: %w", v1alpha1.AnnotationRun, err)
			}
			busy, slots := ptr.Deref(sj.Status.Starting, 0)+ptr.Deref(sj.Status.Running, 0), ptr.Deref(sj.Spec.MaxParallelism, 0)
			if busy >= slots && !force {
				fmt.Fprintf(p.errOut, "%d of %d slots busy: the Job starts when one is free; --force does not wait for that\n", busy, slots)
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			job, err := p.awaitRun(ctx, k, sj, request)
			if err != nil {
				return err
			}
			fmt.Fprintf(p.out, "job.batch/%s created\n", job)
			return nil
		},
		ValidArgsFunction: p.completeNames(1),
	}
	c.Flags().BoolVar(&force, "force", false, "beyond the cap, if need be")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait for the Job; the request stands nevertheless")
	return c
}

// lookAgain is how often it is looked whether a Job is there.
const lookAgain = 200 * time.Millisecond

// awaitRun waits for the Job of a request.
func (p *plugin) awaitRun(ctx context.Context, k ctrlclient.Client, sj *v1alpha1.ScaledJob, request string) (string, error) {
	for {
		var jobs batchv1.JobList
		err := k.List(ctx, &jobs, ctrlclient.InNamespace(sj.Namespace), ctrlclient.MatchingLabels{jobtemplate.LabelScaledJob: sj.Name})
		if err != nil && ctx.Err() == nil {
			return "", fmt.Errorf("looking for the Job: %w", err)
		}
		for i := range jobs.Items {
			if job := &jobs.Items[i]; job.Annotations[jobtemplate.AnnotationRun] == request && metav1.IsControlledBy(job, sj) {
				return job.Name, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no Job yet: the request stands, and `kubectl longhaul describe %s` says why it waits: %w", sj.Name, ctx.Err())
		case <-p.clock.After(lookAgain):
		}
	}
}

func (p *plugin) cancel() *cobra.Command {
	return &cobra.Command{
		Use: "cancel NAME SEQUENCE", Short: "End a Job that has not ended, with its grace period",
		Long: "Deletes a Job that has not ended. Its pod has its grace period to stop, and its slot is free when it has. Its record says that it was " +
			"cancelled. Whether its message comes again is up to its broker and worker.",
		Args: exactly("the ScaledJob's name", "the number in the Job's name"), Example: "  kubectl longhaul cancel transcode 42",
		RunE: func(c *cobra.Command, args []string) error {
			k, sj, err := p.object(c.Context(), args[0])
			if err != nil {
				return err
			}
			n, err := sequence(sj.Name, args[1])
			if err != nil {
				return err
			}
			var job batchv1.Job
			err = k.Get(c.Context(), types.NamespacedName{Namespace: sj.Namespace, Name: jobtemplate.Name(sj.Name, n)}, &job)
			if apierrors.IsNotFound(err) || err == nil && !metav1.IsControlledBy(&job, sj) {
				return fmt.Errorf("the Job %s is not there (any more): `kubectl longhaul record %s %d` says what became of it", jobtemplate.Name(sj.Name, n), sj.Name, n)
			}
			if err != nil {
				return fmt.Errorf("reading the Job: %w", err)
			}
			for _, condition := range job.Status.Conditions {
				if condition.Status == corev1.ConditionTrue && (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobFailed) {
					return fmt.Errorf("the Job %s has ended already: `kubectl longhaul record %s %d` says how", job.Name, sj.Name, n)
				}
			}
			err = k.Delete(c.Context(), &job, ctrlclient.Preconditions{UID: &job.UID}, ctrlclient.PropagationPolicy(metav1.DeletePropagationForeground))
			if err != nil {
				return fmt.Errorf("deleting the Job: %w", err)
			}
			fmt.Fprintf(p.out, "job.batch/%s is being ended\n", job.Name)
			return nil
		},
		ValidArgsFunction: p.completeJobs(true),
	}
}

func (p *plugin) logs() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "logs NAME SEQUENCE", Short: "Print the log of a Job's newest attempt, or what is kept of it",
		Args: exactly("the ScaledJob's name", "the number in the Job's name"), Example: "  kubectl longhaul logs transcode 42 --follow",
		RunE: func(c *cobra.Command, args []string) error {
			asked, n, err := p.numbered(args)
			if err != nil {
				return err
			}
			written, liveErr := p.podLog(c.Context(), asked.namespace, jobtemplate.Name(asked.name, n), follow)
			if written || errors.Is(liveErr, context.Canceled) {
				return liveErr
			}
			var r v1.Record
			if err := asked.ask(c.Context(), "/records/"+fmt.Sprint(n), nil, &r); err != nil {
				if isStatus(err, http.StatusNotFound) && liveErr != nil {
					return liveErr
				}
				return err
			}
			for i := len(r.Attempts) - 1; i >= 0; i-- {
				if a := &r.Attempts[i]; a.LogTail != "" {
					fmt.Fprintf(p.errOut, "(the pod's log is gone; this is the end of attempt %d's, as it was recorded)\n", i+1)
					fmt.Fprintln(p.out, strings.TrimRight(view.Lines(a.LogTail, ""), "\n"))
					return nil
				}
			}
			if liveErr != nil {
				return fmt.Errorf("%w; and its record has no end of a log: that is kept only of attempts that failed", liveErr)
			}
			return errors.New("its pods are gone, and its record has no end of a log: that is kept only of attempts that failed")
		},
		ValidArgsFunction: p.completeJobs(false),
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until it ends")
	return c
}

// podLog writes the log of the newest pod of a Job; false where there is none to write.
func (p *plugin) podLog(ctx context.Context, namespace, job string, follow bool) (bool, error) {
	config, err := p.config()
	if err != nil || config == nil {
		return false, err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return false, fmt.Errorf("preparing to reach the API server: %w", err)
	}
	pods, err := clientset.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
	if err != nil {
		return false, fmt.Errorf("looking for the Job's pods: %w", err)
	}
	var newest *corev1.Pod
	for i := range pods.Items {
		if pod := &pods.Items[i]; newest == nil || newest.CreationTimestamp.Before(&pod.CreationTimestamp) {
			newest = pod
		}
	}
	if newest == nil {
		return false, nil
	}
	container := ""
	if len(newest.Spec.Containers) > 0 {
		container = newest.Spec.Containers[0].Name
	}
	stream, err := clientset.CoreV1().Pods(namespace).GetLogs(newest.Name, &corev1.PodLogOptions{Container: container, Follow: follow}).Stream(ctx)
	if err != nil {
		return false, fmt.Errorf("reading the log of pod %s: %w", newest.Name, err)
	}
	defer stream.Close()
	if _, err := io.Copy(p.out, bufio.NewReader(stream)); err != nil {
		return true, fmt.Errorf("reading the log of pod %s: %w", newest.Name, err)
	}
	return true, nil
}
