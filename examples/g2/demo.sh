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
workflow=g2
# shellcheck source=../daemon.sh
source "$here/../daemon.sh"

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
