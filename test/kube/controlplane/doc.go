// Package controlplane runs a Kubernetes control plane as processes of this machine, for tests and for trying things out.
//
//   - A control plane is three components, each a process: etcd, kube-apiserver and kube-controller-manager. There is no
//     scheduler, no kubelet and no network: pods are made and stay pending until somebody plays the node.
//   - Its folder holds all that belongs to it. What it needs to be the same one again stays there when it is stopped: the
//     objects (etcd), the keys and tokens (pki) and the ports. What says how to reach it is there only while it is ready:
//     the kubeconfig.
//   - Its keeper is the process in which Run runs. The keeper holds the folder's lock for as long as it lives, and
//     nothing else decides whether a control plane runs: the kernel frees the lock however the keeper ends, and ends the
//     components with it.
//   - Ready means that everything answers that a client may ask for: the API server is ready, the controllers run, and
//     the namespace default has its service account, so that a pod can be created.
//
// Everything listens on 127.0.0.1. etcd asks for no credentials there and holds every Secret: other users of the machine
// must be trusted.
package controlplane
