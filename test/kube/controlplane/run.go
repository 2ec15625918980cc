package controlplane

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Options say what control plane to run.
type Options struct {
	// Dir is its folder, made if it is not there.
	Dir string
	// Controllers are those that the controller manager runs, by its own names.
	Controllers []string
	// AuditPolicy is the path of an audit policy: requests are then logged to audit.log in the folder. Empty: none are.
	AuditPolicy string
	// Timeout is how long it may take to be ready.
	Timeout time.Duration
}

// stopGrace is how long a component may take to end when asked to. A killed one loses nothing that it has answered.
const stopGrace = 2 * time.Second

// processes are the components of a control plane that were started, in that order.
type processes []*process

// Run runs a control plane until the context ends, then stops it and returns nil. It calls ready once when it is. It
// fails, leaving nothing running, if the folder has a keeper already, if the control plane is not ready in time, and when
// a component ends by itself: then the error has the component's name and the end of its log.
func Run(ctx context.Context, options Options, ready func(State)) (err error) {
	f, err := openFolder(options.Dir)
	if err != nil {
		return err
	}
	lock, err := f.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	k := &keeper{folder: f, options: options}
	defer func() {
		if stopErr := k.stop(); err == nil {
			err = stopErr
		}
	}()
	if err := k.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // asked to end before it was ready
		}
		return err
	}
	ready(k.state)
	return k.running.wait(ctx)
}

// keeper starts and stops the components of one control plane.
type keeper struct {
	folder  folder
	options Options
	state   State
	running processes
	release func() // gives the ports back
}

// start returns when the control plane is ready. Whatever it returns, stop has to follow.
func (k *keeper) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, k.options.Timeout, fmt.Errorf("not ready after %s", k.options.Timeout))
	defer cancel()
	// A keeper that was killed cannot have cleared these away.
	if err := k.folder.remove("kubeconfig"); err != nil {
		return err
	}
	k.state = newState(k.folder)
	if err := k.enter(Starting); err != nil {
		return err
	}
	credentials, err := k.folder.credentials(time.Now())
	if err != nil {
		return err
	}
	reserved, release, err := k.folder.reservePorts()
	if err != nil {
		return err
	}
	k.release = release
	asks, err := newProbe(credentials)
	if err != nil {
		return err
	}
	defer asks.close()

	k.state.Server = "https://" + loopback(reserved.APIServer)
	manager := kubeconfig(k.state.Server, managerUser, credentials.managerToken, credentials.caCertificate)
	if err := k.folder.writeFile(managerKubeconfig, manager); err != nil {
		return err
	}
	for _, c := range []component{
		k.folder.etcd(reserved),
		k.folder.apiServer(reserved, k.options.AuditPolicy),
		k.folder.controllerManager(reserved, k.options.Controllers),
	} {
		if err := k.startComponent(ctx, asks, c); err != nil {
			return err
		}
	}
	if enabled(k.options.Controllers, serviceAccountController) {
		if err := asks.wait(ctx, k.state.Server+"/api/v1/namespaces/default/serviceaccounts/default", k.running); err != nil {
			return err
		}
	}
	admin := kubeconfig(k.state.Server, adminUser, credentials.adminToken, credentials.caCertificate)
	if err := k.folder.writeFile("kubeconfig", admin); err != nil {
		return err
	}
	return k.enter(Running)
}

// startComponent starts one component and returns when it is ready.
func (k *keeper) startComponent(ctx context.Context, asks probe, c component) error {
	p, err := k.folder.start(c)
	if err != nil {
		return err
	}
	k.running = append(k.running, p)
	k.state.Components = append(k.state.Components, ComponentState{Name: c.name, PID: p.pid, Address: c.address})
	return asks.wait(ctx, c.ready, k.running)
}

// stop ends the components, those first that need the others, and leaves in the folder what the next run needs.
func (k *keeper) stop() error {
	stateErr := k.enter(Stopping)
	removeErr := k.folder.remove("kubeconfig")
	for _, p := range slices.Backward(k.running) {
		p.stop(stopGrace)
	}
	if k.release != nil {
		k.release()
	}
	for _, err := range []error{stateErr, removeErr} {
		if err != nil {
			return err
		}
	}
	return k.folder.remove("state.json", "pid")
}

// wait returns nil when the context ends, and the failure of a component that ends before.
func (running processes) wait(ctx context.Context) error {
	ended := make(chan struct{}, len(running))
	for _, p := range running {
		go func() {
			<-p.ended
			ended <- struct{}{}
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-ended:
		return running.ended().failure()
	}
}

// ended returns a process that has ended by itself, nil if all run.
func (running processes) ended() *process {
	for _, p := range running {
		select {
		case <-p.ended:
			return p
		default:
		}
	}
	return nil
}
