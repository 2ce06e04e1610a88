#!/usr/bin/env bash
# From a crystal to its elastic constants: pw.x relaxes and strains silicon, the stresses are fitted, a report is written.
# Usage: demo.sh [FOLDER FOR THE RESULTS [CONFIG.TOML [OPTION OF penstockctl submit]...]]
# Needs penstockd, penstockctl and python with Penstock on PATH, and pw.x.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p -- "${1:-demo-results}"
results=$(cd -- "${1:-demo-results}" && pwd)
config=${2:+$(realpath -- "$2")}
submit=(penstockctl submit silicon.toml --wait "${@:3}")
workflow=silicon-elastic
# shellcheck source=../daemon.sh
source "$here/../daemon.sh"

cp -- "$here/silicon.toml" .

say "What is going to run: penstockctl submit silicon.toml --dry-run"
penstockctl submit silicon.toml --dry-run "${@:3}" | head -n 12

say "Density-functional theory (PBE): ${submit[*]}"
"${submit[@]}"

say "A report: penstockctl report $workflow"
penstockctl report "$workflow" --output "$results/$workflow.html" --overwrite

say "The daemon stops"
stop_daemon
printf 'stopped cleanly; %d s in all; the report is in %s\n' "$SECONDS" "$results"
