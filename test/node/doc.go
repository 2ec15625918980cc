// Package node plays scheduler and kubelet for a control plane on this machine: it runs the containers of pods as
// operating-system processes.
//
//   - The process node is one Node object and the process that Run runs in. It binds every pod that has no node to itself
//     and runs those that are bound to it. Its folder holds its state and the containers' logs; one process node at a time
//     has it.
//   - A pod's worker is what runs the pod, from the moment the node sees it until none of its containers will run again:
//     first the init containers, one after the other, then the containers, each with its restarts. The worker alone
//     changes what is known of the pod; its reporter writes that as the pod's status, again and again until the API
//     server has it.
//   - A run is one process of a container, from start to end. Before a run starts it is written down in the pod's folder,
//     so that a process node that is started again knows of all that ran. What it does not know the end of counts as
//     killed, and no container of a finished pod runs again.
//   - The endpoint is where the API server asks the node for the log of a run, which is the file that the run writes to.
//   - The ending of a pod is the order to stop, with a time by which it must have happened. That time only moves closer.
//     A pod whose object is gone, and every pod when the process node ends, is killed: there is nobody left to tell.
//
// What processes are not given is in README.md: no image, no isolation, no limits, no network of their own.
package node
