// What the harness promises, tried on real control planes: ready when it says so, side by side, faults on request, and
// nothing left behind however it ends. Run with `./test`; needs root.

package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 20 * time.Second

// controlPlane is what `up` printed.
type controlPlane map[string]string

// start brings a control plane up and takes it down when the test ends.
func start(t *testing.T, arguments ...string) controlPlane {
	t.Helper()
	command := exec.Command("./up", arguments...)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("up: %v", err)
	}
	cp := controlPlane{}
	for line := range strings.Lines(string(output)) {
		key, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if !found || value == "" {
			t.Fatalf("up printed the line %q", line)
		}
		cp[key] = value
	}
	for _, key := range []string{"KUBECONFIG", "DIR", "NETNS", "ADDRESS", "SERVER", "KUBECTL"} {
		if cp[key] == "" {
			t.Errorf("up printed no %s", key)
		}
	}
	t.Cleanup(func() {
		run(t, "./down", cp["DIR"])
		assertGone(t, cp["DIR"], cp["NETNS"])
	})
	return cp
}

func run(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

// kubectl runs kubectl with a kubeconfig, "" for the administrator's, and a manifest for its standard input.
func (cp controlPlane) kubectl(kubeconfig, manifest string, arguments ...string) (string, error) {
	if kubeconfig == "" {
		kubeconfig = cp["KUBECONFIG"]
	}
	command := exec.Command(cp["KUBECTL"], append([]string{"--kubeconfig", kubeconfig}, arguments...)...)
	command.Stdin = strings.NewReader(manifest)
	output, err := command.CombinedOutput()
	return string(output), err
}

func (cp controlPlane) must(t *testing.T, manifest string, arguments ...string) string {
	t.Helper()
	output, err := cp.kubectl("", manifest, arguments...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return output
}

// eventually waits until kubectl prints something other than "".
func (cp controlPlane) eventually(t *testing.T, arguments ...string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		output, err := cp.kubectl("", "", arguments...)
		if err == nil && output != "" {
			return output
		}
		if time.Now().After(deadline) {
			t.Fatalf("kubectl %s: %v %q", strings.Join(arguments, " "), err, output)
		}
	}
}

// processesWith lists the processes that have a text in their command line or environment.
func processesWith(text string) []int {
	var pids []int
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		pid, _ := strconv.Atoi(filepath.Base(folder))
		if pid == os.Getpid() {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(folder, "environ"))
		if strings.Contains(string(cmdline)+string(environ), text) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func leftovers(dir, netns string) []string {
	var found []string
	for _, pattern := range []string{dir, "/run/netns/" + netns, "/run/vk-control-plane/" + netns} {
		matches, _ := filepath.Glob(pattern)
		found = append(found, matches...)
	}
	for _, pid := range processesWith(dir) {
		found = append(found, fmt.Sprint("process ", pid))
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for mount := range strings.Lines(string(mounts)) {
		if strings.Contains(mount, dir) {
			found = append(found, mount)
		}
	}
	return found
}

// What was told to end may need a moment for it: a shell that dies does not wait for its children, and nobody for a
// supervisor whose launcher was killed.
func assertGone(t *testing.T, dir, netns string) {
	t.Helper()
	left := leftovers(dir, netns)
	for deadline := time.Now().Add(patience); len(left) > 0 && time.Now().Before(deadline); left = leftovers(dir, netns) {
		time.Sleep(10 * time.Millisecond)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTwoSideBySide(t *testing.T) {
	planes := make(chan controlPlane, 2)
	t.Run("up", func(t *testing.T) {
		for _, name := range []string{"one", "two"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				command := exec.Command("./up", "--name", name)
				output, err := command.Output()
				if err != nil {
					t.Fatal(err)
				}
				cp := controlPlane{}
				for line := range strings.Lines(string(output)) {
					key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
					cp[key] = value
				}
				planes <- cp
			})
		}
	})
	close(planes)
	for cp := range planes {
		defer func() {
			run(t, "./down", cp["DIR"])
			assertGone(t, cp["DIR"], cp["NETNS"])
		}()
		if got := cp.must(t, "", "get", "--raw", "/readyz"); got != "ok" {
			t.Errorf("readyz: %q", got)
		}
		// Ready means that pods are admitted at once, and that nothing of the other one is seen.
		cp.must(t, "", "create", "namespace", "mine")
		cp.must(t, "", "run", "pod", "--image=busybox", "--restart=Never")
		if got := run(t, "ip", "-netns", cp["NETNS"], "-brief", "address", "show", "v0"); !strings.Contains(got, cp["ADDRESS"]+"/24") {
			t.Errorf("addresses: %s", got)
		}
	}
}

// TestOneAfterAnother tries one control plane in many ways; the last one kills it.
func TestOneAfterAnother(t *testing.T) {
	cp := start(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, controlPlane)
	}{
		{"scheduler and controllers work", schedulerAndControllersWork},
		{"the API server reaches a kubelet in the namespace", apiServerReachesKubelet},
		{"a node identity is confined", nodeIdentityIsConfined},
		{"a bootstrap token gets a client certificate", bootstrapTokenGetsAClientCertificate},
		{"objects survive stop and start", objectsSurviveStopAndStart},
		{"a component that dies is started again", componentThatDiesIsStartedAgain},
		{"a killed supervisor takes its components along", killedSupervisorTakesItsComponentsAlong},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, cp) })
	}
}

func schedulerAndControllersWork(t *testing.T, cp controlPlane) {
	cp.must(t, `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "web"}}`, "create", "-f", "-")
	cp.must(t, "", "patch", "node", "web", "--subresource=status", "--patch",
		`{"status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "100"}, "conditions": [{"type": "Ready", "status": "True"}]}}`)
	cp.must(t, "", "create", "deployment", "web", "--image=busybox", "--replicas=2")
	for index := range 2 {
		if got := cp.eventually(t, "get", "pods", "-o", fmt.Sprintf("jsonpath={.items[%d].spec.nodeName}", index)); got != "web" {
			t.Errorf("pod %d is on node %q", index, got)
		}
	}
}

func apiServerReachesKubelet(t *testing.T, cp controlPlane) {
	listener, err := listenInside(cp["NETNS"], net.JoinHostPort(cp["ADDRESS"], "10250"))
	if err != nil {
		t.Fatal(err)
	}
	clients := make(chan string, 1)
	kubelet := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			clients <- r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "answer to %s", r.URL.Path)
	}))
	kubelet.Listener.Close()
	kubelet.Listener = listener
	kubelet.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	kubelet.StartTLS()
	defer kubelet.Close()

	cp.must(t, `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "kubelet"}}`, "create", "-f", "-")
	cp.must(t, "", "patch", "node", "kubelet", "--subresource=status", "--patch", fmt.Sprintf(
		`{"status": {"addresses": [{"type": "InternalIP", "address": %q}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}}`, cp["ADDRESS"]))
	cp.must(t, `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "logger"},
		"spec": {"nodeName": "kubelet", "containers": [{"name": "main", "image": "busybox"}]}}`, "create", "-f", "-")
	if got := cp.must(t, "", "logs", "logger"); got != "answer to /containerLogs/default/logger/main" {
		t.Errorf("logs: %q", got)
	}
	select {
	case client := <-clients:
		if client != "kube-apiserver-kubelet-client" {
			t.Errorf("the API server came as %q", client)
		}
	default:
		t.Error("the API server came without a certificate")
	}
	if got := cp.must(t, "", "auth", "can-i", "get", "nodes/proxy", "--as", "kube-apiserver-kubelet-client"); !strings.Contains(got, "yes") {
		t.Errorf("may the API server use the kubelet API? %s", got)
	}
}

// listenInside opens a listening socket in a network namespace.
func listenInside(netns, address string) (net.Listener, error) {
	type result struct {
		listener net.Listener
		err      error
	}
	results := make(chan result)
	go func() {
		runtime.LockOSThread() // For good: the thread ends with the goroutine.
		file, err := os.Open("/run/netns/" + netns)
		if err == nil {
			defer file.Close()
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			results <- result{err: err}
			return
		}
		listener, err := net.Listen("tcp", address)
		results <- result{listener, err}
	}()
	r := <-results
	return r.listener, r.err
}

func nodeIdentityIsConfined(t *testing.T, cp controlPlane) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content, err := exec.Command("./kubeconfig", cp["DIR"], "--user", "system:node:confined", "--group", "system:nodes").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kubeconfig, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := cp.kubectl(kubeconfig, `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "confined"}}`, "create", "-f", "-"); err != nil {
		t.Errorf("its own node: %v %s", err, output)
	}
	if output, err := cp.kubectl(kubeconfig, `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other"}}`, "create", "-f", "-"); err == nil || !strings.Contains(output, "forbidden") {
		t.Errorf("another node: %v %s", err, output)
	}
	if output, err := cp.kubectl(kubeconfig, "", "get", "secrets", "--all-namespaces"); err == nil || !strings.Contains(output, "forbidden") {
		t.Errorf("secrets: %v %s", err, output)
	}
	inside := run(t, "./kubeconfig", cp["DIR"], "--user", "system:node:web", "--inside")
	if !strings.Contains(inside, cp["SERVER"]) {
		t.Errorf("the kubeconfig for inside has not the server %s", cp["SERVER"])
	}
	if err := os.WriteFile(kubeconfig, []byte(inside), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "nsenter", "--net=/run/netns/"+cp["NETNS"], cp["KUBECTL"], "--kubeconfig", kubeconfig, "get", "--raw", "/readyz"); got != "ok" {
		t.Errorf("readyz inside: %q", got)
	}
}

func bootstrapTokenGetsAClientCertificate(t *testing.T, cp controlPlane) {
	cp.must(t, `{"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
		"metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef"},
		"stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
			"auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token"}}`, "create", "-f", "-")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:web", Organization: []string{"system:nodes"}},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	request := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	manifest := fmt.Sprintf(`{"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "web"},
		"spec": {"request": %q, "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["digital signature", "client auth"]}}`, request)
	token := filepath.Join(t.TempDir(), "kubeconfig")
	run(t, cp["KUBECTL"], "--kubeconfig", token, "config", "set-cluster", "c", "--server",
		cp.must(t, "", "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"), "--certificate-authority", cp["DIR"]+"/pki/ca.crt")
	run(t, cp["KUBECTL"], "--kubeconfig", token, "config", "set-credentials", "u", "--token", "abcdef.0123456789abcdef")
	run(t, cp["KUBECTL"], "--kubeconfig", token, "config", "set-context", "x", "--cluster", "c", "--user", "u")
	run(t, cp["KUBECTL"], "--kubeconfig", token, "config", "use-context", "x")
	if output, err := cp.kubectl(token, manifest, "create", "-f", "-"); err != nil {
		t.Fatalf("%v %s", err, output)
	}
	encoded := cp.eventually(t, "get", "csr", "web", "-o", "jsonpath={.status.certificate}")
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(decoded)
	if block == nil {
		t.Fatalf("no certificate: %s", decoded)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if certificate.Subject.CommonName != "system:node:web" {
		t.Errorf("certificate for %s", certificate.Subject)
	}
}

// isReady asks an API server without kubectl, which tries for ten seconds.
func isReady(url string) bool {
	client := http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	response, err := client.Get(url + "/readyz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func objectsSurviveStopAndStart(t *testing.T, cp controlPlane) {
	cp.must(t, "", "create", "namespace", "kept")
	url := cp.must(t, "", "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
	for _, component := range []string{"apiserver", "etcd", "controller-manager", "kube-scheduler"} {
		run(t, "./stop", cp["DIR"], component)
		run(t, "./stop", cp["DIR"], component)
		needed := component == "apiserver" || component == "etcd"
		// For a moment after etcd came back it may not be ready on a busy machine.
		ready := isReady(url)
		for deadline := time.Now().Add(30 * time.Second); !needed && !ready && time.Now().Before(deadline); ready = isReady(url) {
			time.Sleep(100 * time.Millisecond)
		}
		if ready == needed {
			t.Errorf("%s is stopped; the API server is ready: %v", component, ready)
		}
		run(t, "./start", cp["DIR"], component)
		run(t, "./start", cp["DIR"], component)
		cp.eventually(t, "get", "namespace", "kept", "-o", "name")
	}
	// All of them are at work again.
	cp.must(t, "", "create", "namespace", "new")
	cp.eventually(t, "get", "serviceaccount", "default", "--namespace", "new", "-o", "name")
	if output, err := exec.Command("./stop", cp["DIR"], "kubelet").CombinedOutput(); err == nil || !strings.Contains(string(output), "kube-kubelet") {
		t.Errorf("stop of an unknown component: %v %s", err, output)
	}
}

func componentThatDiesIsStartedAgain(t *testing.T, cp controlPlane) {
	var killed int
	for _, pid := range processesWith(cp["DIR"]) {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(cmdline), "/kube-apiserver\x00") {
			killed++
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if killed != 1 {
		t.Fatalf("%d API servers", killed)
	}
	cp.eventually(t, "get", "--raw", "/readyz")
}

func killedSupervisorTakesItsComponentsAlong(t *testing.T, cp controlPlane) {
	for _, pid := range processesWith(cp["DIR"]) {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(cmdline), "\x00supervise\x00") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := processesWith(cp["DIR"])
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes %v are left", left)
		}
	}
	run(t, "./down", cp["DIR"])
	assertGone(t, cp["DIR"], cp["NETNS"])
	run(t, "./down", cp["DIR"])
}

func TestEndsWithTheProcessItWasStartedFor(t *testing.T) {
	process := exec.Command("sleep", "1000")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	cp := start(t, "--with", strconv.Itoa(process.Process.Pid))
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait()
	for deadline := time.Now().Add(patience); len(leftovers(cp["DIR"], cp["NETNS"])) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %v", leftovers(cp["DIR"], cp["NETNS"]))
		}
	}
}

func TestInterruptedUpLeavesNothing(t *testing.T) {
	run(t, "./build")
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL}
	for index, after := range []int{0, 5, 10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 800, 1200, 1800, 2300} {
		name := fmt.Sprintf("interrupted-%d-ms", after)
		dir := filepath.Join(t.TempDir(), name)
		signal := signals[index%len(signals)]
		command := exec.Command("./up", "--name", name, "--dir", dir)
		command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(after) * time.Millisecond)
		// As Ctrl-C in a terminal: to the whole group.
		if err := syscall.Kill(-command.Process.Pid, signal); err != nil {
			t.Fatal(err)
		}
		err := command.Wait()
		if err == nil {
			t.Errorf("%s after %d ms: up succeeded", signal, after)
			run(t, "./down", dir)
		}
		t.Logf("%s after %d ms: %v", signal, after, err)
		assertGone(t, dir, "vk-"+name+"-*")
	}
}

func TestDownDuringUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	command := exec.Command("./up", "--name", "downed", "--dir", dir)
	var stderr strings.Builder
	command.Stderr = &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	run(t, "./down", dir)
	if err := command.Wait(); err == nil || !strings.Contains(stderr.String(), "taken down") {
		t.Errorf("up: %v %s", err, stderr.String())
	}
	assertGone(t, dir, "vk-downed-*")
}

func TestFailedUpSaysWhyAndLeavesNothing(t *testing.T) {
	full := t.TempDir()
	file := filepath.Join(full, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1M"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(small, syscall.MNT_DETACH)
	for _, c := range []struct {
		name, says string
		arguments  []string
	}{
		{"a folder that is not empty", "is not empty", []string{"--dir", full}},
		{"a folder with a space", "characters", []string{"--dir", "/tmp/a b"}},
		{"a name that is a path", "characters", []string{"--name", "../x"}},
		{"a process that is not there", "process 4194304", []string{"--with", "4194304"}},
		{"a component that fails", "last lines of etcd.log", []string{"--dir", filepath.Join(small, "x"), "--name", "small"}},
	} {
		output, err := exec.Command("./up", c.arguments...).CombinedOutput()
		if err == nil || !strings.Contains(string(output), c.says) {
			t.Errorf("%s: %v %s", c.name, err, output)
		}
	}
	assertGone(t, filepath.Join(small, "x"), "vk-small-*")
	if content, err := os.ReadFile(file); err != nil || string(content) != "mine" {
		t.Errorf("the file that was there: %v %q", err, content)
	}
	if output, err := exec.Command("./down", full).CombinedOutput(); err != nil {
		t.Errorf("down of a folder without a control plane: %v %s", err, output)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}
