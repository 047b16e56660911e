// The network namespace that a control plane lives in, and the ways into it from the host's.
//
// The API server refuses to proxy to loopback addresses, and the machine's own addresses change; so each control plane
// has a namespace of its own with one fixed address on a veth pair. 'dummy' devices would do, but some kernels lack them.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// The address of the API server and of every node in the namespace.
	address         = "10.77.0.1"
	namespaceFolder = "/run/netns"
	// A connection inside the namespace is local: one that takes longer is not answered at all.
	dialTimeout = 5 * time.Second
)

func createNamespace(name string) error {
	if err := ip("", "netns", "add", name); err != nil {
		return err
	}
	return ip(`link set lo up
link add v0 type veth peer name v1
addr add `+address+`/24 dev v0
link set v0 up
link set v1 up
route add default dev v0
`, "-netns", name, "-batch", "-")
}

func deleteNamespace(name string) error {
	if _, err := os.Lstat(filepath.Join(namespaceFolder, name)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return ip("", "netns", "delete", name)
}

func ip(input string, arguments ...string) error {
	command := exec.Command("ip", arguments...)
	command.Stdin = strings.NewReader(input)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

// enter moves the calling goroutine's thread into the namespace, for good: the thread ends with the goroutine.
func enter(namespace string) error {
	runtime.LockOSThread()
	file, err := os.Open(filepath.Join(namespaceFolder, namespace))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("setns %s: %w", file.Name(), err)
	}
	return nil
}

// dialer returns a function that connects to an address of the namespace from outside.
func dialer(namespace string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		type result struct {
			connection net.Conn
			err        error
		}
		results := make(chan result, 1)
		go func() {
			if err := enter(namespace); err != nil {
				results <- result{err: err}
				return
			}
			// To a literal address the dialer opens its socket on this very thread.
			connection, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
			results <- result{connection, err}
		}()
		r := <-results
		return r.connection, r.err
	}
}

// forward passes what connects to the listener on to the target inside the namespace, until the listener is closed.
func forward(listener net.Listener, namespace, target string) {
	dial := dialer(namespace)
	for {
		outside, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer outside.Close()
			inside, err := dial(context.Background(), "tcp", target)
			if err != nil {
				return
			}
			defer inside.Close()
			go pass(inside, outside)
			pass(outside, inside)
		}()
	}
}

// pass copies one direction of a connection. The end of the stream is passed on as such, an error ends both directions.
func pass(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	if to, ok := to.(*net.TCPConn); ok {
		_ = to.CloseWrite()
	}
}
