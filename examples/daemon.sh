# Sourced by the demos: a daemon of its own in a scratch directory, which is left behind by nothing.
# Takes $config (its configuration, or empty) and $workflow (what is cancelled if the demo is broken off).
scratch=$(mktemp -d "${TMPDIR:-/tmp}/penstock-demo.XXXXXX")
daemon=
SECONDS=0

stop_daemon() {
    [[ -n $daemon ]] || return 0
    kill -TERM "$daemon" 2>/dev/null || true
    local pid=$daemon
    daemon=
    wait "$pid"
}

clean_up() {
    local code=$?
    trap - EXIT INT TERM
    if [[ $code -ne 0 && -n $daemon ]]; then # attempts outlive their daemon, so end them first
        timeout 20 penstockctl cancel "$workflow" >/dev/null 2>&1 || true
    fi
    stop_daemon || true
    if [[ $code -ne 0 && -s $scratch/penstockd.log ]]; then
        echo "The demo failed (exit code $code). The end of the daemon's log:" >&2
        tail -n 30 "$scratch/penstockd.log" >&2
    fi
    rm -rf -- "$scratch"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
[[ -t 1 ]] || say() { printf '\n== %s\n' "$*"; }

# A daemon of its own: nothing of yours is read or touched.
unset "${!PENSTOCK_@}"
export PENSTOCK_STATE_DIR=$scratch/state
[[ -z $config ]] || export PENSTOCK_CONFIG=$config
mkdir -m 700 -- "$PENSTOCK_STATE_DIR" "$scratch/work"
cd "$scratch/work"

say "The daemon, in the background"
penstockd >"$scratch/penstockd.log" 2>&1 </dev/null &
daemon=$!
penstockctl ping --wait 20

