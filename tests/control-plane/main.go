// Command control-plane is kube-apiserver, kube-controller-manager, kube-scheduler, etcd and kubectl in one binary,
// and the harness that runs them: it is the one whose name it is called by. None of them is in a package registry as
// a program, but all are ordinary Go modules; linked together they share almost all of their code.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	// The Prometheus metrics that the components register for their clients and queues.
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "control-plane":
		os.Exit(harness())
	case etcd:
		etcdmain.Main(os.Args)
	case kubeAPIServer:
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case kubeControllerManager:
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case kubeScheduler:
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubectl":
		kubectlutil.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
	default:
		fmt.Fprintf(os.Stderr, "control-plane: %q is none of control-plane, etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl: call it through a link of that name\n", name)
		os.Exit(2)
	}
}
