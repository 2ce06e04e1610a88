#!/usr/bin/env bash
# The whole way once: a file of molecules, a daemon, GFN2-xTB on this machine, a table of results.
# Usage: demo.sh [FOLDER FOR THE RESULTS [CONFIG.TOML [OPTION OF penstockctl submit]...]]
# Needs penstockd, penstockctl and python with Penstock on PATH.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p -- "${1:-demo-results}"
results=$(cd -- "${1:-demo-results}" && pwd)
config=${2:+$(realpath -- "$2")}
submit=(penstockctl submit g2.toml --wait "${@:3}")
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
        timeout 20 penstockctl cancel g2 >/dev/null 2>&1 || true
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

say "Molecules, ions and radicals"
python "$here/make_molecules.py" molecules.csv
cp -- "$here/g2.toml" .

say "GFN2-xTB energies and gradients: ${submit[*]}"
"${submit[@]}"

say "penstockctl summary g2"
penstockctl summary g2

say "The five largest forces: penstockctl jobs g2 --order=-max_forces --limit 5"
penstockctl jobs g2 --order=-max_forces --limit 5

say "The row that was broken on purpose: penstockctl status g2"
penstockctl status g2

say "Exports"
for format in csv:csv json:json extxyz:extxyz ase:db; do
    rm -f -- "$results/g2.${format#*:}"
    penstockctl export g2 --to "${format%:*}" --output "$results/g2.${format#*:}"
done

say "The daemon stops"
stop_daemon
printf 'stopped cleanly; %d s in all; the results are in %s\n' "$SECONDS" "$results"
