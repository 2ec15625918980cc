package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/redis/go-redis/v9"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/history/store"
)

// run runs the manager until the context ends: then it finishes the batch in hand and gives up the lease.
func run(ctx context.Context, s settings) error {
	if err := errors.Join(s.check(), s.checkLease(namespaceFile)); err != nil {
		return err
	}
	selector, err := s.selector()
	if err != nil {
		return err
	}
	log, err := s.logger()
	if err != nil {
		return err
	}
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	redis.SetLogger(redisLog{log.WithName("redis")})
	config, err := s.config()
	if err != nil {
		return err
	}
	mgr, err := newManager(config, s)
	if err != nil {
		return err
	}
	kept, err := s.history.open(ctx)
	if err != nil {
		return err
	}
	if kept != nil {
		defer kept.Close()
	}
	if err := addDispatcher(ctx, mgr, s, selector, kept); err != nil {
		return err
	}
	if err := addProbes(mgr); err != nil {
		return err
	}
	log.Info("starting", "version", version, "namespaces", s.namespaces, "namespaceSelector", s.namespaceSelector)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the manager: %w", err)
	}
	log.Info("stopped")
	return nil
}

// redisLog passes on what the Redis client has to say. Left alone it writes to standard error, whatever --log-format says,
// and a line for each attempt at a Redis that is down; the trigger's condition tells of that as well. So it is for debugging.
type redisLog struct{ log logr.Logger }

// debug is slog's level of that name, as logr counts.
const debug = -int(slog.LevelDebug)

func (r redisLog) Printf(_ context.Context, format string, args ...any) {
	if log := r.log.V(debug); log.Enabled() {
		log.Info(fmt.Sprintf(format, args...))
	}
}

// config says how to reach the cluster.
func (s *settings) config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = s.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w; give --kubeconfig or set KUBECONFIG", err)
	}
	config.QPS, config.Burst = s.qps, s.burst
	return config, nil
}

func newManager(config *rest.Config, s settings) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("making the scheme: %w", err)
	}
	caching, err := caching(s.namespaces)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         caching,
		Metrics:                       metricsserver.Options{BindAddress: s.metricsAddress},
		HealthProbeBindAddress:        s.probeAddress,
		LeaderElection:                s.leaderElect,
		LeaderElectionID:              s.leaderElectionID,
		LeaderElectionNamespace:       s.leaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	return mgr, nil
}

// caching says what is kept in memory: of all that is watched, what passes read.
func caching(namespaces []string) (cache.Options, error) {
	// Every pod of a Job carries this label of the Job controller's, and no other pod does.
	ofJob, err := labels.NewRequirement(batchv1.ControllerUidLabel, selection.Exists, nil)
	if err != nil {
		return cache.Options{}, fmt.Errorf("selecting the pods of Jobs: %w", err)
	}
	options := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}:                            {Label: labels.NewSelector().Add(*ofJob), Transform: slimPod},
			&batchv1.Job{}:                           {Transform: slimJob},
			&autoscalingv2.HorizontalPodAutoscaler{}: {Transform: slimScaler},
		},
	}
	if len(namespaces) > 0 {
		options.DefaultNamespaces = map[string]cache.Config{}
		for _, n := range namespaces {
			options.DefaultNamespaces[n] = cache.Config{}
		}
	}
	return options, nil
}

// slimPod drops from a cached pod what no pass and no record reads.
func slimPod(o any) (any, error) {
	if pod, ok := o.(*corev1.Pod); ok {
		pod.ManagedFields, pod.Annotations = nil, nil
		pod.Spec = corev1.PodSpec{
			NodeName:       pod.Spec.NodeName,
			InitContainers: slimContainers(pod.Spec.InitContainers),
			Containers:     slimContainers(pod.Spec.Containers),
		}
	}
	return o, nil
}

// slimContainers keeps of containers what records tell.
func slimContainers(containers []corev1.Container) []corev1.Container {
	var slim []corev1.Container
	for i := range containers {
		c := &containers[i]
		slim = append(slim, corev1.Container{
			Name: c.Name, Image: c.Image, RestartPolicy: c.RestartPolicy,
			Resources: corev1.ResourceRequirements{Requests: c.Resources.Requests},
		})
	}
	return slim
}

// slimJob drops from a cached Job what no pass reads; of other people's Jobs, nearly all.
func slimJob(o any) (any, error) {
	job, ok := o.(*batchv1.Job)
	if !ok {
		return o, nil
	}
	job.ManagedFields = nil
	job.Spec.Template = corev1.PodTemplateSpec{}
	if owner := metav1.GetControllerOf(job); owner == nil || owner.APIVersion != v1alpha1.GroupVersion().String() {
		job.Labels, job.Annotations, job.Spec, job.Status = nil, nil, batchv1.JobSpec{}, batchv1.JobStatus{}
	}
	return o, nil
}

// slimScaler drops from a cached HorizontalPodAutoscaler all but what it scales.
func slimScaler(o any) (any, error) {
	if scaler, ok := o.(*autoscalingv2.HorizontalPodAutoscaler); ok {
		scaler.ManagedFields, scaler.Annotations = nil, nil
		scaler.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: scaler.Spec.ScaleTargetRef}
		scaler.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
	}
	return o, nil
}

// addDispatcher wires the dispatcher: who reads the triggers, and who acts on what they show.
func addDispatcher(ctx context.Context, mgr ctrl.Manager, s settings, selector labels.Selector, kept *store.Store) error {
	measured, err := dispatcher.NewMetrics(metrics.Registry)
	if err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	scaling := longpoll.Options{
		Client:    mgr.GetClient(),
		Live:      mgr.GetAPIReader(),
		Kinds:     kinds(),
		Consumers: consumers,
		Clock:     clock.RealClock{},
		HTTP:      longpoll.NewHTTP(),
		Recorder:  mgr.GetEventRecorder("longhaul"),
	}
	if scaling.Metrics, err = longpoll.NewMetrics(metrics.Registry); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	waker, scalingWaker := &dispatcher.Waker{}, &longpoll.Waker{}
	meter := trigger.NewMeter(clock.RealClock{},
		func(owner trigger.Owner) {
			if owner.Kind == longpoll.OwnerKind {
				scalingWaker.Wake(owner)
			} else {
				waker.Wake(owner)
			}
		},
		func(owner trigger.Owner, name string, o trigger.Observation) {
			if owner.Kind == longpoll.OwnerKind {
				scaling.Metrics.Read(owner, name, o)
			} else {
				measured.Read(owner, name, o)
			}
		})
	if err := mgr.Add(meter); err != nil {
		return fmt.Errorf("adding the meter: %w", err)
	}
	scaling.Meter = meter
	o := dispatcher.Options{
		Client:              mgr.GetClient(),
		Live:                mgr.GetAPIReader(),
		Meter:               meter,
		Kinds:               kinds(),
		Clock:               clock.RealClock{},
		Recorder:            mgr.GetEventRecorder("longhaul"),
		Metrics:             measured,
		CreationConcurrency: s.creationConcurrency,
		NamespaceSelector:   selector,
	}
	if err := addDashboard(ctx, mgr, s, kept, o.Keeps); err != nil {
		return fmt.Errorf("adding the dashboard: %w", err)
	}
	records, err := addHistory(mgr, s, kept, &o, waker)
	if err != nil {
		return fmt.Errorf("adding the history: %w", err)
	}
	if records != nil {
		o.Records = records
	}
	c := dispatcher.New(o)
	if err := c.SetupWithManager(ctx, mgr, waker, s.passes); err != nil {
		return fmt.Errorf("adding the dispatcher: %w", err)
	}
	scaling.Selects, scaling.WatchNamespaces = o.Selects, selector != nil && !selector.Empty()
	if err := longpoll.New(scaling).SetupWithManager(ctx, mgr, scalingWaker, s.passes); err != nil {
		return fmt.Errorf("adding the scaling of Deployments: %w", err)
	}
	return nil
}

// addProbes answers /healthz while the process lives, and /readyz once the caches are synced.
func addProbes(mgr ctrl.Manager) error {
	return errors.Join(
		mgr.AddHealthzCheck("ping", func(*http.Request) error { return nil }),
		mgr.AddReadyzCheck("caches", func(r *http.Request) error {
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			if !mgr.GetCache().WaitForCacheSync(ctx) {
				return errors.New("caches are not synced yet")
			}
			return nil
		}),
	)
}
