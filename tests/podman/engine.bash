# shellcheck shell=bash
# What up, down, start and stop know about one private engine. Sourced by them.
#
# An engine is a folder, and a process that holds its namespaces: a mount namespace, in which /run, /dev/shm and
# /var/lib/containers are its own (podman keeps locks, addresses and runtime state there, shared by all root engines of
# a machine otherwise), and a PID namespace, so that nothing outlives that process: no container, no mount, no conmon.
# Every process of it that runs outside of a container has VK_PODMAN=DIR in its environment.

# shellcheck disable=SC2034
registry=/run/vk-podman # N -> DIR: the engine with number N, which gives it its addresses.

fail() {
    echo "podman/$(basename "$0"): $*" >&2
    exit 1
}

require_root() {
    ((EUID == 0)) || fail "network namespaces need root: run it as root, or with \`sudo -E env PATH=\"\$PATH\"\` in front"
}

# What the caller left open (a lock, a pipe) must not stay open in the background.
close_inherited() {
    local fd
    for fd in /proc/$$/fd/*; do
        fd=${fd##*/}
        ((fd < 3 || fd == 255)) || exec {fd}>&-
    done
}

# The absolute name of a folder that need not be there.
resolve() {
    realpath -m -- "$1"
}

# The pids of an engine's processes, those in containers left out.
engine_processes() {
    grep -lzxsF "VK_PODMAN=$1" /proc/[0-9]*/environ | cut -d/ -f3 || true
}

# The pids of an engine's service.
service_processes() {
    local pid
    for pid in $(engine_processes "$1"); do
        if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q ' system service '; then
            echo "$pid"
        fi
    done
}

service_answers() {
    curl --silent --fail --max-time 2 --output /dev/null --unix-socket "$1/podman.sock" http://podman/_ping
}

# What this shell has started in the background. Such a process is not in engine_processes at once.
children=()

# Starts the service and returns when it answers.
start_service() {
    local dir=$1 attempt
    service_answers "$dir" && return
    rm -f "$dir/podman.sock"
    setsid "$dir/podman" system service --time=0 "unix://$dir/podman.sock" </dev/null >>"$dir/service.log" 2>&1 &
    children+=("$!")
    for ((attempt = 0; attempt < 200; attempt++)); do
        service_answers "$dir" && return
        sleep 0.05
    done
    tail -n 15 "$dir/service.log" >&2
    fail "the service in $dir does not answer"
}

# Ends processes: SIGTERM, and SIGKILL after five seconds. The command after the name of the folder lists them.
end_processes() {
    local signal=TERM attempt pids
    for ((attempt = 0; attempt < 300; attempt++)); do
        pids=$("$2" "$1")
        [[ -n $pids ]] || return 0
        ((attempt < 100)) || signal=KILL
        # shellcheck disable=SC2086 # A list.
        kill "-$signal" $pids 2>/dev/null || true
        sleep 0.05
    done
    fail "processes ${pids//$'\n'/ } of $1 do not end"
}
