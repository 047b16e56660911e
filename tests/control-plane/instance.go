// One control plane as it lies on this machine: its folder, its network namespace and its processes, and how all
// three are found and removed again, whatever state they are in.
//
// Every process of a control plane carries its folder in the environment, and /run/vk-control-plane/NETNS is a link to
// the folder that is made first and removed last. So a control plane can be removed with nothing but that link left.

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	registry       = "/run/vk-control-plane"
	environmentKey = "VK_CONTROL_PLANE"
	// How long the supervisor gets to take everything down, and the kernel to end what was killed.
	downTimeout  = 10 * time.Second
	pollInterval = 10 * time.Millisecond
)

// instance is one control plane. netns names its network namespace and its entry in the registry.
type instance struct {
	dir   string
	netns string
}

// What a folder's name may be made of: the lines that `up` prints are read by `eval`.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._@%+,:-]+$`)

// resolve makes a folder's name absolute and free of links; the folder itself need not be there.
func resolve(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	return dir, nil
}

// openInstance returns the control plane that lives in dir.
func openInstance(dir string) (*instance, error) {
	dir, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	all, err := instances()
	if err != nil {
		return nil, err
	}
	for _, candidate := range all {
		if candidate.dir == dir {
			return candidate, nil
		}
	}
	return nil, fmt.Errorf("%s holds no control plane: %w", dir, os.ErrNotExist)
}

// instances lists every control plane of this machine, also those whose supervisor is gone.
func instances() ([]*instance, error) {
	links, err := os.ReadDir(registry)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var all []*instance
	for _, link := range links {
		dir, err := os.Readlink(filepath.Join(registry, link.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // Removed since the folder was read.
		}
		if err != nil {
			return nil, err
		}
		all = append(all, &instance{dir: dir, netns: link.Name()})
	}
	return all, nil
}

// claim checks that the folder is free for a control plane and enters it in the registry. What is claimed, and only
// that, is given up with `remove`.
func (i *instance) claim() error {
	if !plainPath.MatchString(i.dir) {
		return fmt.Errorf("the folder %q has characters in its name other than letters, digits and /._@%%+,:-", i.dir)
	}
	if _, err := openInstance(i.dir); err == nil {
		return fmt.Errorf("the folder %s holds a control plane already", i.dir)
	}
	content, err := os.ReadDir(i.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(content) > 0 {
		return fmt.Errorf("the folder %s is not empty", i.dir)
	}
	if err := os.MkdirAll(registry, 0o755); err != nil {
		return err
	}
	return os.Symlink(i.dir, i.short())
}

// path is a file in the folder.
func (i *instance) path(elements ...string) string {
	return filepath.Join(append([]string{i.dir}, elements...)...)
}

// short is another name of the folder, always short enough for a Unix socket (108 bytes).
func (i *instance) short() string {
	return filepath.Join(registry, i.netns)
}

// environ is what every process of this control plane gets, and nothing of the caller's (no proxy, no KUBECONFIG).
func (i *instance) environ() []string {
	return []string{"PATH=" + os.Getenv("PATH"), environmentKey + "=" + i.dir}
}

// pids lists the living processes of this control plane other than this one; the supervisor alone if so asked.
func (i *instance) pids(supervisorOnly bool) []int {
	mark := []byte(environmentKey + "=" + i.dir)
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil {
			continue
		}
		if !containsLine(environ, mark) {
			continue
		}
		if supervisorOnly {
			cmdline, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
			if err != nil || !containsLine(cmdline, []byte(superviseVerb)) {
				continue
			}
		}
		pids = append(pids, pid)
	}
	return pids
}

func containsLine(list, element []byte) bool {
	for _, candidate := range bytes.Split(list, []byte{0}) {
		if bytes.Equal(candidate, element) {
			return true
		}
	}
	return false
}

// down ends the supervisor, then whatever it has left behind.
func (i *instance) down() error {
	for _, pid := range i.pids(true) {
		_ = unix.Kill(pid, unix.SIGTERM)
	}
	for deadline := time.Now().Add(downTimeout); len(i.pids(true)) > 0 && time.Now().Before(deadline); {
		time.Sleep(pollInterval)
	}
	return i.remove()
}

// remove kills the processes that are left and removes the namespace, the folder and the entry in the registry.
// It does no harm to call it twice, or on a control plane that was never complete.
func (i *instance) remove() error {
	for deadline := time.Now().Add(downTimeout); ; time.Sleep(pollInterval) {
		left := i.pids(false)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of %s do not end", left, i.dir)
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return errors.Join(deleteNamespace(i.netns), os.RemoveAll(i.dir), removeIfThere(i.short()))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// tail returns the last lines of a log, indented, with its name above.
func tail(path string, lines int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return fmt.Sprintf("last lines of %s:\n    %s", filepath.Base(path), strings.Join(all, "\n    "))
}
