// The harness: the verbs that people and tests call.

package main

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const (
	stopVerb  = "stop"
	startVerb = "start"
)

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$`)

// interrupted is the error of a command that a signal ended.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return i.signal.String() }

// harness runs the command line and returns the exit status.
func harness() int {
	root := &cobra.Command{
		Use:           "control-plane",
		Short:         "Throw-away Kubernetes control planes for tests and demonstrations",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if os.Geteuid() != 0 {
				return errors.New("network namespaces need root: run it as root, or with `sudo -E env PATH=\"$PATH\"` in front")
			}
			return nil
		},
	}
	root.AddCommand(upCommand(), downCommand(), controlCommand(stopVerb, "Stop a component; its data stays"),
		controlCommand(startVerb, "Start a stopped component and wait until it serves"), kubeconfigCommand(), superviseCommand())
	err := root.Execute()
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "control-plane: %v\n", err)
	if signal := (interrupted{}); errors.As(err, &signal) {
		return 128 + int(signal.signal)
	}
	return 1
}

func upCommand() *cobra.Command {
	var dir, name string
	var with int
	command := &cobra.Command{
		Use:   "up",
		Short: "Start a control plane; print how to reach it as KEY=VALUE lines once it is ready",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return up(dir, name, with)
		},
	}
	command.Flags().StringVar(&dir, "dir", "", "folder for everything it writes, empty or not there yet; removed by `down` (default: a new one in $TMPDIR or /tmp)")
	command.Flags().StringVar(&name, "name", "control-plane", "the first part of the name of its network namespace")
	command.Flags().IntVar(&with, "with", 0, "take it down by itself when the process with this pid ends")
	return command
}

func up(dir, name string, with int) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	if !plainName.MatchString(name) {
		return fmt.Errorf("the name %q has characters other than letters, digits, dots and dashes, or more than 64", name)
	}
	random := make([]byte, 4)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	i := &instance{dir: dir, netns: "vk-" + name + "-" + hex.EncodeToString(random)}
	if dir == "" {
		i.dir = filepath.Join(os.TempDir(), i.netns)
	}
	var err error
	if i.dir, err = resolve(i.dir); err != nil {
		return err
	}
	supervisor, err := launch(i, with)
	if err != nil {
		return err
	}
	outcomes := make(chan outcome, 2)
	go listen(supervisor, outcomes)
	var ended error
	for {
		select {
		case got := <-signals:
			if ended != nil {
				return ended // The second signal: don't wait for the end.
			}
			ended = interrupted{got.(syscall.Signal)}
			_ = supervisor.CloseWrite()
		case o := <-outcomes:
			switch {
			case o.ready && ended == nil:
				if _, ended = os.Stdout.WriteString(i.env()); ended == nil {
					_, err := fmt.Fprintln(supervisor, keepLine)
					return err
				}
				_ = supervisor.CloseWrite()
			case o.ready:
				// It takes itself down.
			case ended != nil:
				return ended
			case o.text == "":
				log := tail(i.path("logs", "supervisor.log"), 15)
				return errors.Join(fmt.Errorf("the supervisor died; %s", log), i.down())
			default:
				return errors.New(o.text)
			}
		}
	}
}

// outcome is what a supervisor says: that the control plane is ready, or why there is none (empty: it died).
type outcome struct {
	ready bool
	text  string
}

func listen(supervisor io.Reader, outcomes chan<- outcome) {
	reader := bufio.NewReader(supervisor)
	first, _ := reader.ReadString('\n')
	if strings.TrimSpace(first) == readyLine {
		outcomes <- outcome{ready: true}
		first = ""
	}
	rest, _ := io.ReadAll(reader)
	outcomes <- outcome{text: strings.TrimSpace(first + string(rest))}
}

// env is how a control plane is reached, as KEY=VALUE lines.
func (i *instance) env() string {
	self, _ := os.Executable()
	return fmt.Sprintf("KUBECONFIG=%s\nDIR=%s\nNETNS=%s\nADDRESS=%s\nSERVER=%s\nKUBECTL=%s\n",
		i.path("kubeconfig"), i.dir, i.netns, address, server, filepath.Join(filepath.Dir(self), "kubectl"))
}

// launch starts the supervisor in a session of its own and returns the socket to it.
func launch(i *instance, with int) (*net.UnixConn, error) {
	// What the caller left open (a lock, a pipe) must not stay open in the background.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "supervisor"), os.NewFile(uintptr(pair[1]), "launcher")
	defer ours.Close()
	defer theirs.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(self, superviseVerb, "--dir", i.dir, "--netns", i.netns, "--with", strconv.Itoa(with))
	command.Env = i.environ()
	command.Dir = "/"
	command.ExtraFiles = []*os.File{theirs}
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	connection, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	return connection.(*net.UnixConn), nil
}

func superviseCommand() *cobra.Command {
	i, with := &instance{}, 0
	command := &cobra.Command{
		Use:    superviseVerb,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return supervise(i, with)
		},
	}
	command.Flags().StringVar(&i.dir, "dir", "", "folder")
	command.Flags().StringVar(&i.netns, "netns", "", "network namespace")
	command.Flags().IntVar(&with, "with", 0, "pid to end with")
	return command
}

func downCommand() *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use:   "down {DIR | --all}",
		Short: "Remove a control plane with everything that belongs to it; no error if there is none",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			if all == (len(arguments) == 1) {
				return errors.New("name one folder, or --all")
			}
			if !all {
				i, err := openInstance(arguments[0])
				if errors.Is(err, os.ErrNotExist) {
					return nil
				}
				if err != nil {
					return err
				}
				return i.down()
			}
			every, err := instances()
			for _, i := range every {
				err = errors.Join(err, i.down())
			}
			return err
		},
	}
	command.Flags().BoolVar(&all, "all", false, "every control plane of this machine")
	return command
}

func controlCommand(verb, short string) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " DIR {etcd | apiserver | controller-manager | scheduler}",
		Short: short,
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, arguments []string) error {
			i, err := openInstance(arguments[0])
			if err != nil {
				return err
			}
			component := arguments[1]
			if component != etcd && !strings.HasPrefix(component, "kube-") {
				component = "kube-" + component
			}
			connection, err := net.Dial("unix", i.controlSocket())
			if err != nil {
				return fmt.Errorf("the supervisor of %s: %w", i.dir, err)
			}
			defer connection.Close()
			if _, err := fmt.Fprintf(connection, "%s %s\n", verb, component); err != nil {
				return err
			}
			answer, err := io.ReadAll(connection)
			if err == nil && len(answer) > 0 {
				err = errors.New(string(answer))
			}
			return err
		},
	}
}

func kubeconfigCommand() *cobra.Command {
	var user string
	var groups []string
	var inside bool
	command := &cobra.Command{
		Use:   "kubeconfig DIR --user NAME [--group NAME]...",
		Short: "Print a kubeconfig with a new client certificate",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			i, err := openInstance(arguments[0])
			if err != nil {
				return err
			}
			url := server
			if !inside {
				if url, err = i.outsideURL(); err != nil {
					return err
				}
			}
			content, err := i.kubeconfig(url, user, groups...)
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(content)
			return err
		},
	}
	command.Flags().StringVar(&user, "user", "", "user name: the certificate's common name")
	command.Flags().StringArrayVar(&groups, "group", nil, "group: an organization of the certificate; may be given several times")
	command.Flags().BoolVar(&inside, "inside", false, "with the API server's address inside the namespace, not the forwarded port")
	_ = command.MarkFlagRequired("user")
	return command
}
