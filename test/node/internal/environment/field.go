package environment

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Place is where a pod runs.
type Place struct {
	Node    string // name of the node
	Address string // the pod's own address
	Host    string // the node's address
}

// Field returns a field of a pod by its path in the downward API. Labels and annotations that are not there are empty.
func Field(pod *corev1.Pod, place Place, path string) (string, error) {
	if name, key, ok := subscript(path); ok {
		switch name {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName":
		return place.Node, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return place.Address, nil
	case "status.hostIP", "status.hostIPs":
		return place.Host, nil
	default:
		return "", fmt.Errorf("%w: fieldRef %s", ErrUnsupported, path)
	}
}

// subscript takes a path such as metadata.labels['app'] apart.
func subscript(path string) (name, key string, ok bool) {
	name, rest, ok := strings.Cut(path, "['")
	if !ok {
		return "", "", false
	}
	key, ok = strings.CutSuffix(rest, "']")
	return name, key, ok
}
