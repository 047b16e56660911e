// Kubeconfigs with everything in them: server, authority, client certificate and key.

package main

import (
	"os"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig signs a client certificate for a user in groups and returns a kubeconfig with it for the API server at
// url.
func (i *instance) kubeconfig(url, user string, groups ...string) ([]byte, error) {
	ca, err := loadAuthority(i.path("pki", "ca.crt"), i.path("pki", "ca.key"))
	if err != nil {
		return nil, err
	}
	certificate, key, err := ca.client(user, groups...)
	if err != nil {
		return nil, err
	}
	caPEM, err := os.ReadFile(i.path("pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[i.netns] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: caPEM}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
	config.Contexts[i.netns] = &clientcmdapi.Context{Cluster: i.netns, AuthInfo: user}
	config.CurrentContext = i.netns
	return clientcmd.Write(*config)
}

// outsideURL is the API server's URL for clients outside the namespace: that of the admin's kubeconfig.
func (i *instance) outsideURL() (string, error) {
	config, err := clientcmd.LoadFromFile(i.path("kubeconfig"))
	if err != nil {
		return "", err
	}
	return config.Clusters[i.netns].Server, nil
}
