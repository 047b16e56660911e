// The processes of a control plane: started inside its namespace, started again when they end by themselves (as the
// kubelet does with a control plane's static pods), and gone with the supervisor, however that ends.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	restartDelay  = time.Second
	readyInterval = 25 * time.Millisecond
)

// process is one component. Its log is DIR/logs/NAME.log, all its runs after one another.
type process struct {
	name      string
	arguments []string
	// Whether the running process serves; nil error: it does.
	ready func(ctx context.Context) error

	instance *instance
	spawner  *spawner

	mutex   sync.Mutex
	command *exec.Cmd
	ended   chan struct{} // Closed when command has ended.
	wanted  bool
}

// spawner starts processes from one thread that stays in the namespace and lives as long as this process: the kernel
// sends a child its parent death signal when the *thread* that started it ends.
type spawner struct {
	starts chan func()
}

func newSpawner(namespace string) (*spawner, error) {
	s := &spawner{starts: make(chan func())}
	entered := make(chan error)
	go func() {
		err := enter(namespace)
		entered <- err
		if err != nil {
			return
		}
		for start := range s.starts {
			start()
		}
	}()
	return s, <-entered
}

func (s *spawner) start(command *exec.Cmd) error {
	result := make(chan error)
	s.starts <- func() { result <- command.Start() }
	return <-result
}

func (p *process) log() string {
	return p.instance.path("logs", p.name+".log")
}

// start runs the process unless it runs.
func (p *process) start() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.wanted = true
	if p.command != nil {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(filepath.Join(filepath.Dir(self), p.name), p.arguments...)
	command.Env = p.instance.environ()
	command.Dir = p.instance.dir
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.spawner.start(command); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.command, p.ended = command, make(chan struct{})
	go p.wait(command, p.ended)
	return nil
}

func (p *process) wait(command *exec.Cmd, ended chan struct{}) {
	_ = command.Wait()
	p.mutex.Lock()
	p.command = nil
	wanted := p.wanted
	p.mutex.Unlock()
	close(ended)
	if !wanted {
		return
	}
	fmt.Printf("%s ended by itself: %s\n", p.name, command.ProcessState)
	time.Sleep(restartDelay)
	p.mutex.Lock()
	wanted = p.wanted
	p.mutex.Unlock()
	if !wanted {
		return
	}
	if err := p.start(); err != nil {
		fmt.Printf("%v\n", err)
	}
}

// stop ends the process unless it is stopped: SIGTERM, and SIGKILL after the grace period.
func (p *process) stop(grace time.Duration) {
	p.mutex.Lock()
	p.wanted = false
	command, ended := p.command, p.ended
	p.mutex.Unlock()
	if command == nil {
		return
	}
	_ = command.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(grace):
		_ = command.Process.Kill()
		<-ended
	}
}

// startAndWait starts the process and returns once it serves, or with an error that ends in its last log lines when
// it ends instead or the context does.
func (p *process) startAndWait(ctx context.Context) error {
	if err := p.start(); err != nil {
		return err
	}
	p.mutex.Lock()
	ended := p.ended
	p.mutex.Unlock()
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended while starting; %s", p.name, tail(p.log(), 15))
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return fmt.Errorf("%s is not ready in time: %w; %s", p.name, err, tail(p.log(), 15))
			}
			return context.Cause(ctx)
		case <-time.After(readyInterval):
		}
	}
}
