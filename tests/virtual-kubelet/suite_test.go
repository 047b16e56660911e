// Package suite runs Virtual Kubelet's own end-to-end tests against a node of a cluster.
package suite

import (
	"flag"
	"testing"

	"github.com/virtual-kubelet/virtual-kubelet/test/e2e"
)

var (
	kubeconfig = flag.String("kubeconfig", "", "of someone who may do everything; required")
	namespace  = flag.String("namespace", "default", "where pods are made, and where the pod named as the node is")
	node       = flag.String("node", "", "name of the node; required")
)

func TestVirtualKubelet(t *testing.T) {
	if *kubeconfig == "" || *node == "" {
		t.Fatal("-kubeconfig and -node are required")
	}
	e2e.NewEndToEndTestSuite(e2e.EndToEndTestSuiteConfig{
		Kubeconfig: *kubeconfig,
		Namespace:  *namespace,
		NodeName:   *node,
	}).Run(t)
}
