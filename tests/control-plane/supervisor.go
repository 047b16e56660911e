// The supervisor: the process that stays while a control plane is up, and takes it down with itself.
//
// It begins with the process that launched it (`up`) at the other end of a socket, and belongs to it until that says
// that the caller has been told; when it goes away before, however, everything is taken down again. From then on it
// runs until it gets SIGTERM or, if it was asked to, until another process ends.

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	superviseVerb = "supervise"
	// The file descriptor at which the supervisor finds its end of the socket to the launcher.
	launcherFD = 3
	// Lines between the two: the supervisor's on success (anything else is an error's text), then the launcher's.
	readyLine = "ready"
	keepLine  = "keep"

	startTimeout = 2 * time.Minute
	// How long a component gets between SIGTERM and SIGKILL: when it is stopped alone (an API server with open watches
	// takes all of it), and when its data is thrown away anyway.
	stopGrace     = 5 * time.Second
	teardownGrace = 500 * time.Millisecond
)

var errDown = errors.New("taken down")

// supervise runs a control plane until it is to end. with is the process that it ends with, 0 for none.
func supervise(i *instance, with int) error {
	socket := os.NewFile(launcherFD, "launcher")
	launcher, err := net.FileConn(socket)
	if err != nil {
		return fmt.Errorf("%s is for `up` to call: %w", superviseVerb, err)
	}
	socket.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() {
		<-signals
		cancel(errDown)
	}()
	if with != 0 {
		if err := cancelWhenEnded(with, cancel); err != nil {
			return report(launcher, err)
		}
	}
	kept := make(chan struct{})
	go func() {
		line, _ := bufio.NewReader(launcher).ReadString('\n')
		if strings.TrimSpace(line) != keepLine {
			cancel(errDown)
		}
		close(kept)
	}()

	if err := i.claim(); err != nil {
		return report(launcher, err)
	}
	err = run(ctx, i, func() {
		fmt.Fprintln(launcher, readyLine)
		<-kept
		launcher.Close()
	})
	return report(launcher, errors.Join(err, i.remove()))
}

// report tells the launcher, if it still listens, why there is no control plane.
func report(launcher net.Conn, err error) error {
	if err != nil {
		fmt.Fprintln(launcher, err)
	}
	launcher.Close()
	return err
}

func cancelWhenEnded(pid int, cancel context.CancelCauseFunc) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	go func() {
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		cancel(errDown)
	}()
	return nil
}

// run brings the control plane up, calls ready, and waits for the end of ctx. No process is left when it returns.
func run(ctx context.Context, i *instance, ready func()) error {
	if err := os.MkdirAll(i.path("logs"), 0o700); err != nil {
		return err
	}
	if err := logTo(i.path("logs", "supervisor.log")); err != nil {
		return err
	}
	if err := createNamespace(i.netns); err != nil {
		return err
	}
	forwarded, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer forwarded.Close()
	if err := i.writeFiles("https://" + forwarded.Addr().String()); err != nil {
		return err
	}
	spawner, err := newSpawner(i.netns)
	if err != nil {
		return err
	}
	processes, err := i.components(spawner)
	if err != nil {
		return err
	}
	defer func() {
		var all sync.WaitGroup
		for _, p := range processes {
			all.Go(func() { p.stop(teardownGrace) })
		}
		all.Wait()
	}()
	go forward(forwarded, i.netns, strings.TrimPrefix(server, "https://"))

	if err := startAll(ctx, i, processes); err != nil {
		return err
	}
	control, err := net.Listen("unix", i.controlSocket())
	if err != nil {
		return err
	}
	defer control.Close()
	go serveControl(control, processes)
	if err := os.WriteFile(i.path("env"), []byte(i.env()), 0o600); err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	return nil
}

// startAll starts etcd, then the API server, then what needs it, and waits until pods can be made.
func startAll(ctx context.Context, i *instance, processes []*process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, context.DeadlineExceeded)
	defer cancel()
	began := time.Now()
	timed := func(what string) { fmt.Printf("%5.2f s %s\n", time.Since(began).Seconds(), what) }
	for _, p := range processes[:2] {
		if err := p.startAndWait(ctx); err != nil {
			return err
		}
		timed(p.name)
	}
	results := make(chan error)
	for _, p := range processes[2:] {
		go func() {
			err := p.startAndWait(ctx)
			timed(p.name)
			results <- err
		}()
	}
	go func() {
		client, err := i.client()
		if err == nil {
			err = grant(ctx, client)
		}
		timed("bindings")
		if err == nil {
			err = awaitServiceAccount(ctx, client)
		}
		timed("ServiceAccount default")
		results <- err
	}()
	var err error
	for range len(processes[2:]) + 1 {
		if failed := <-results; failed != nil && err == nil {
			err = failed
			cancel()
		}
	}
	return err
}

// logTo makes a file the standard output and error of this process.
func logTo(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	return errors.Join(unix.Dup3(int(file.Fd()), 1, 0), unix.Dup3(int(file.Fd()), 2, 0))
}

func (i *instance) controlSocket() string {
	return i.short() + "/control.sock"
}

// serveControl answers requests of one line, "stop NAME" or "start NAME", with one line, empty or an error's text.
func serveControl(listener net.Listener, processes []*process) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			line, err := bufio.NewReader(connection).ReadString('\n')
			if err != nil {
				return
			}
			if err := control(strings.Fields(line), processes); err != nil {
				_, _ = io.WriteString(connection, err.Error())
			}
		}()
	}
}

func control(words []string, processes []*process) error {
	if len(words) != 2 {
		return fmt.Errorf("request %q is not of two words", words)
	}
	for _, p := range processes {
		if p.name != words[1] {
			continue
		}
		switch words[0] {
		case stopVerb:
			p.stop(stopGrace)
			return nil
		case startVerb:
			ctx, cancel := context.WithTimeoutCause(context.Background(), startTimeout, context.DeadlineExceeded)
			defer cancel()
			return p.startAndWait(ctx)
		}
	}
	return fmt.Errorf("no verb %s or no component %s", words[0], words[1])
}
