# Sourced by the demo: what it says and how long each step took, and the end of all that it started.

bold='' plain=''
if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; fi
began=$EPOCHREALTIME
control_plane='' engine='' node_process=''
# With it, both go down with this process even if it is killed.
with=(--with $$)
[[ -z ${KEEP:-} ]] || with=()

since() {
    local microseconds=$((${EPOCHREALTIME/./} - ${1/./}))
    printf '%d.%d s' $((microseconds / 1000000)) $((microseconds % 1000000 / 100000))
}

say() {
    step=$1 step_began=$EPOCHREALTIME
    echo "
$bold=== $step$plain"
}

done_() {
    echo "    ($(since "$step_began"))"
}

fail() {
    echo "demo: $*" >&2
    if [[ -n $control_plane && -s $control_plane/node.log ]]; then
        echo "demo: the last lines of the node's log:" >&2
        tail -n 15 "$control_plane/node.log" >&2
    fi
    exit 1
}

# Runs a command that is waited for, so that Ctrl-C ends it at once.
run() {
    "$@" &
    wait $!
}

# Shows a command, then runs it.
show() {
    local shown=("$@")
    [[ $1 != "${KUBECTL:-}" ]] || shown[0]=kubectl
    [[ $1 != "${PODMAN:-}" ]] || shown[0]=podman
    [[ $1 != inside ]] || shown=("${@:2}")
    echo "$bold\$ ${shown[*]}$plain"
    run "$@"
}

# Runs a command and takes the KEY=VALUE lines that it prints as variables.
read_lines() {
    local lines
    lines=$("$@") || fail "$1 failed"
    while IFS='=' read -r key value; do
        declare -g "$key=$value"
    done <<<"$lines"
}

inside() {
    nsenter --net="/run/netns/$NETNS" "$@"
}

start_node() {
    echo "$bold\$ vk-runtime ${*:2}$plain"
    # A process group of its own: Ctrl-C is for this script, which ends the node in its turn, also if it is killed.
    local dies=(setpriv --pdeathsig TERM)
    [[ -z ${KEEP:-} ]] || dies=()
    setsid "${dies[@]}" nsenter --net="/run/netns/$NETNS" "$@" >"$control_plane/node.log" 2>&1 </dev/null &
    node_process=$!
}

node_is_ready() {
    kill -0 "$node_process" 2>/dev/null || fail "vk-runtime has ended"
    [[ $("$KUBECTL" get node "$node" --ignore-not-found -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

pods_are() {
    [[ $("$KUBECTL" get pods -l app=web -o name | wc -l) == "$1" ]]
}

engine_is_empty() {
    [[ -z $("$PODMAN" ps --all --quiet)$("$PODMAN" pod ps --quiet)$("$PODMAN" volume ls --quiet) ]]
}

# wait_for SECONDS WHAT COMMAND...: until it succeeds.
wait_for() {
    local limit=$1 what=$2 waited=$EPOCHREALTIME
    shift 2
    until "$@"; do
        (((${EPOCHREALTIME/./} - ${waited/./}) / 1000000 < limit)) || fail "$what did not come within $limit s"
        run sleep 0.1
    done
}

keep() {
    trap - EXIT INT TERM HUP
    local engine_down=
    echo "
${bold}It stays up.$plain To reach it:
    export KUBECONFIG=$KUBECONFIG
    kubectl=$KUBECTL
    \$kubectl get nodes,pods -o wide"
    if [[ -n $engine ]]; then
        echo "    nsenter --net=/run/netns/$NETNS curl http://${addresses%% *}/
    $PODMAN ps"
        engine_down="tests/podman/down $engine; "
    fi
    echo "    tail -f $control_plane/node.log
To end it:
    kill $node_process; ${engine_down}tests/control-plane/down $control_plane"
}

clean_up() {
    local status=$?
    trap '' INT TERM HUP
    trap - EXIT
    if [[ -n $node_process ]]; then
        kill "$node_process" 2>/dev/null || true
        wait "$node_process" 2>/dev/null || true
    fi
    [[ -z $engine ]] || tests/podman/down "$engine" || status=1
    [[ -z $control_plane ]] || tests/control-plane/down "$control_plane" || status=1
    exit "$status"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
