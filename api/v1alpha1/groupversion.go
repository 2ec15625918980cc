package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of all of Longhaul's kinds.
const Group = "longhaul.dev"

// GroupVersion returns the group and version of this package's kinds.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: "v1alpha1"}
}

// AddToScheme makes this package's kinds known to a scheme. It never fails; the error is there because callers collect
// such functions in a runtime.SchemeBuilder.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(), &ScaledJob{}, &ScaledJobList{}, &ScaledDeployment{}, &ScaledDeploymentList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}
