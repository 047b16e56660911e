// What a new cluster needs before it is of use: the rights that kubeadm gives to joining nodes and to the API server
// towards kubelets, and the ServiceAccount without which no pod is admitted.

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// The group that kubeadm's bootstrap tokens put a joining node in.
const bootstrapGroup = "system:bootstrappers:kubeadm:default-node-token"

func (i *instance) client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", i.path("kubeconfig"))
	if err != nil {
		return nil, err
	}
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	return kubernetes.NewForConfig(config)
}

// grant makes the bindings that kubeadm makes.
func grant(ctx context.Context, client *kubernetes.Clientset) error {
	nodes := &rbac.ClusterRole{
		ObjectMeta: meta.ObjectMeta{Name: "kubeadm:get-nodes"},
		Rules:      []rbac.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"nodes"}}},
	}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, nodes, meta.CreateOptions{}); err != nil {
		return fmt.Errorf("create ClusterRole %s: %w", nodes.Name, err)
	}
	for _, binding := range []struct{ name, role, kind, subject string }{
		{"kubeadm:kubelet-bootstrap", "system:node-bootstrapper", rbac.GroupKind, bootstrapGroup},
		{"kubeadm:get-nodes", "kubeadm:get-nodes", rbac.GroupKind, bootstrapGroup},
		{"kubeadm:node-autoapprove-bootstrap", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", rbac.GroupKind, bootstrapGroup},
		{"kubeadm:node-autoapprove-certificate-rotation", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", rbac.GroupKind, "system:nodes"},
		{apiserverUser, "system:kubelet-api-admin", rbac.UserKind, apiserverUser},
	} {
		object := &rbac.ClusterRoleBinding{
			ObjectMeta: meta.ObjectMeta{Name: binding.name},
			RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: binding.role},
			Subjects:   []rbac.Subject{{APIGroup: rbac.GroupName, Kind: binding.kind, Name: binding.subject}},
		}
		if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, object, meta.CreateOptions{}); err != nil {
			return fmt.Errorf("create ClusterRoleBinding %s: %w", binding.name, err)
		}
	}
	return nil
}

// awaitServiceAccount returns once the namespace `default` has its ServiceAccount.
func awaitServiceAccount(ctx context.Context, client *kubernetes.Clientset) error {
	for {
		_, err := client.CoreV1().ServiceAccounts(meta.NamespaceDefault).Get(ctx, "default", meta.GetOptions{})
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ServiceAccount default: %w", context.Cause(ctx))
		case <-time.After(readyInterval):
		}
	}
}
