// The four components of a control plane: their files, their flags, and how to see that they serve.
//
// All ports are fixed: the namespace is the control plane's own. Flags and names are those that kubeadm uses, except
// where a throw-away control plane gains from others: no fsync, no leader election, no limits that slow load tests.

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
)

const (
	etcd                  = "etcd"
	kubeAPIServer         = "kube-apiserver"
	kubeControllerManager = "kube-controller-manager"
	kubeScheduler         = "kube-scheduler"

	server             = "https://" + address + ":6443"
	serviceRange       = "10.96.0.0/16"
	firstServiceIP     = "10.96.0.1"
	serviceIssuer      = "https://kubernetes.default.svc.cluster.local"
	frontProxyUser     = "front-proxy-client"
	apiserverUser      = "kube-apiserver-kubelet-client"
	adminUser          = "kubernetes-admin"
	administratorGroup = "system:masters"
)

// auditPolicy has the API server log who asks for which Secrets and ConfigMaps, and nothing else: that nobody asks for
// more than its own is tested with that.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: Metadata
  resources: [{group: "", resources: [secrets, configmaps]}]
- level: None
`

// writeFiles makes the certificates, keys and kubeconfigs that the components and their clients use. outside is the
// API server's URL for clients outside the namespace.
func (i *instance) writeFiles(outside string) error {
	for _, folder := range []string{"pki", "kubeconfigs", "etcd"} {
		if err := os.Mkdir(i.path(folder), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(i.path("audit-policy"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	ca, err := newAuthority(i.path("pki", "ca.crt"), i.path("pki", "ca.key"))
	if err != nil {
		return err
	}
	certificate, key, err := ca.server(kubeAPIServer,
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		[]net.IP{net.ParseIP("127.0.0.1"), net.ParseIP(address), net.ParseIP(firstServiceIP)})
	if err != nil {
		return err
	}
	if err := writePair(i.path("pki", "server.crt"), i.path("pki", "server.key"), certificate, key); err != nil {
		return err
	}
	for _, user := range []string{frontProxyUser, apiserverUser} {
		certificate, key, err := ca.client(user)
		if err != nil {
			return err
		}
		if err := writePair(i.path("pki", user+".crt"), i.path("pki", user+".key"), certificate, key); err != nil {
			return err
		}
	}
	if err := newSigningKey(i.path("pki", "service-accounts.key")); err != nil {
		return err
	}
	for _, client := range []struct {
		file, url, user string
		groups          []string
	}{
		{i.path("kubeconfig"), outside, adminUser, []string{administratorGroup}},
		{i.path("kubeconfigs", kubeControllerManager), server, "system:" + kubeControllerManager, nil},
		{i.path("kubeconfigs", kubeScheduler), server, "system:" + kubeScheduler, nil},
	} {
		content, err := i.kubeconfig(client.url, client.user, client.groups...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(client.file, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// components returns the processes of a control plane in the order in which they start.
func (i *instance) components(spawner *spawner) ([]*process, error) {
	client, err := i.probeClient()
	if err != nil {
		return nil, err
	}
	answers := func(url string) func(context.Context) error {
		return func(ctx context.Context) error { return get(ctx, client, url) }
	}
	pki := func(name string) string { return i.path("pki", name) }
	serving := []string{"--tls-cert-file=" + pki("server.crt"), "--tls-private-key-file=" + pki("server.key")}
	controller := func(name string) []string {
		kubeconfig := i.path("kubeconfigs", name)
		return append([]string{
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=127.0.0.1",
			"--leader-elect=false",
			"--kube-api-qps=2000",
			"--kube-api-burst=4000",
		}, serving...)
	}
	processes := []*process{
		{name: etcd, ready: answers("http://127.0.0.1:2379/health"), arguments: []string{
			"--name=default",
			"--data-dir=" + i.path("etcd"),
			"--unsafe-no-fsync",
			"--quota-backend-bytes=8589934592",
			// Its only member is leader after one election timeout.
			"--heartbeat-interval=10",
			"--election-timeout=50",
			"--listen-client-urls=http://127.0.0.1:2379",
			"--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380",
			"--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=default=http://127.0.0.1:2380",
		}},
		{name: kubeAPIServer, ready: answers(server + "/readyz"), arguments: append([]string{
			"--advertise-address=" + address,
			"--secure-port=6443",
			"--etcd-servers=http://127.0.0.1:2379",
			"--endpoint-reconciler-type=none",
			"--service-cluster-ip-range=" + serviceRange,
			"--allow-privileged=true",

			"--client-ca-file=" + pki("ca.crt"),
			"--enable-bootstrap-token-auth=true",
			"--service-account-issuer=" + serviceIssuer,
			"--service-account-key-file=" + pki("service-accounts.key"),
			"--service-account-signing-key-file=" + pki("service-accounts.key"),
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			// Off by default in this version, and projected into pods.
			"--feature-gates=ClusterTrustBundle=true,ClusterTrustBundleProjection=true",
			"--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true",

			"--kubelet-client-certificate=" + pki(apiserverUser+".crt"),
			"--kubelet-client-key=" + pki(apiserverUser+".key"),
			"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",

			"--enable-aggregator-routing=true",
			"--requestheader-client-ca-file=" + pki("ca.crt"),
			"--requestheader-allowed-names=" + frontProxyUser,
			"--requestheader-username-headers=X-Remote-User",
			"--requestheader-group-headers=X-Remote-Group",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--proxy-client-cert-file=" + pki(frontProxyUser+".crt"),
			"--proxy-client-key-file=" + pki(frontProxyUser+".key"),

			"--audit-policy-file=" + i.path("audit-policy"),
			"--audit-log-path=" + i.path("logs", "audit.log"),

			"--shutdown-watch-termination-grace-period=1s",
			"--max-requests-inflight=2000",
			"--max-mutating-requests-inflight=1000",
		}, serving...)},
		{name: kubeControllerManager, ready: answers("https://127.0.0.1:10257/healthz"), arguments: append([]string{
			"--controllers=*,bootstrapsigner,tokencleaner",
			"--use-service-account-credentials=true",
			"--root-ca-file=" + pki("ca.crt"),
			"--service-account-private-key-file=" + pki("service-accounts.key"),
			"--cluster-signing-cert-file=" + pki("ca.crt"),
			"--cluster-signing-key-file=" + pki("ca.key"),
		}, controller(kubeControllerManager)...)},
		{name: kubeScheduler, ready: answers("https://127.0.0.1:10259/healthz"), arguments: controller(kubeScheduler)},
	}
	for _, p := range processes {
		p.instance, p.spawner = i, spawner
	}
	return processes, nil
}

// probeClient is an HTTP client inside the namespace that trusts the authority. Each request has its own connection:
// an answer is always that of the process running now.
func (i *instance) probeClient() (*http.Client, error) {
	ca, err := os.ReadFile(i.path("pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &http.Client{Transport: &http.Transport{
		DialContext:       dialer(i.netns),
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DisableKeepAlives: true,
	}}, nil
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return nil
}
