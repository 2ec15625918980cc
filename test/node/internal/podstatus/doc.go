// Package podstatus writes a pod's status as a kubelet writes it, from what is known of the pod's containers.
//
//   - A container's Record is what has become of it: it waits, runs or has terminated, and what it did before that.
//   - A pod is over when none of its containers runs or ever will again. Its phase is Succeeded or Failed then, and not
//     before.
//   - A Verdict is a phase that was decided on before the pod was over, such as Failed for a pod whose time was up.
//
// Everything here is plain values; the time is an argument.
package podstatus
