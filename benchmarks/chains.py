"""How soon a slot at Slurm over SSH is filled again: 20 chains of jobs at once, at default settings.

Each job writes the time of its end to a file of its own, and `sbatch` on the cluster's side the time at which it is
called and how many jobs it is given: neither is the daemon's word. The k-th end makes room for the k-th successor, so
that the k-th end is paired with the k-th job handed over after the first of each chain.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.services.daemons import SYSTEM_PATH
from tests.services.sshd import RealSshd

from benchmarks.daemon import WrongOutcomeError, bench_daemon, render_spec
from benchmarks.report import Figure, Options, Report, at_most, percentile
from benchmarks.schedulers import CLUSTER, NEEDS, real_slurm, real_sshd, render_config
from benchmarks.sources import write_molecules

_SOURCE: Final = "molecules.csv"
_CHAINS: Final = 20
_SHORTEST_MS: Final = 3000
_SPREAD_MS: Final = 9000
_STEP_MS: Final = 3701  # prime to the spread: durations are as if by lot, and the same in every run
_JOB: Final = (
    f"ms=$$(({_SHORTEST_MS} + PENSTOCK_JOB_ID * {_STEP_MS} % {_SPREAD_MS})); "
    'sleep "$$((ms / 1000)).$$(printf %03d $$((ms % 1000)))"; date +%s.%N >>"$$1"'
)
_SBATCH: Final = """#!/bin/sh
now=$(date +%s.%N) last=0
for option; do
    case $option in
    --array=0-*) last=${{option#--array=0-}} ;;
    esac
done
echo "$now $((last + 1))" >>{log}
for folder in {path}; do
    [ ! -x "$folder/sbatch" ] || exec "$folder/sbatch" "$@"
done
exit 127
"""


def run(options: Options) -> Report:
    """Once: every pair of an end and a submission counts."""
    length = 3 if options.quick else 15
    jobs = _CHAINS * length
    root = options.scratch / "daemon"
    places = options.scratch / "bin"
    places.mkdir()
    with real_slurm() as slurm:
        environment = slurm.environment | {"PATH": f"{places}:{SYSTEM_PATH}"}
        with real_sshd(environment) as sshd:
            witness, log = _prepare(sshd, places)
            with bench_daemon(root, _config(sshd)) as daemon:
                write_molecules(root / _SOURCE, jobs)
                engine: dict[str, object] = {"name": "command", "command": ["sh", "-c", _JOB, "sh", str(witness)]}
                tables = NEEDS | {"batch": {"style": "array"}}
                spec = render_spec("chains", _SOURCE, engine, slots=_CHAINS, cluster=CLUSTER, tables=tables)
                daemon.submit(spec)
                daemon.wait("chains", every_s=1.0)
            ends = sorted(float(line) for line in witness.read_text(encoding="utf-8").splitlines())
            calls = [(float(at), int(n)) for at, n in (line.split() for line in log.read_text().splitlines())]
    gaps_s = _gaps_s(ends, calls, jobs)
    figures = [
        Figure("end to the successor's submission, p50", "s", percentile(gaps_s, 50)),
        Figure("end to the successor's submission, p95", "s", percentile(gaps_s, 95), aim=at_most(1)),
        Figure("end to the successor's submission, longest", "s", max(gaps_s), samples=tuple(gaps_s)),
        Figure("calls of sbatch", "", len(calls)),
        Figure("from the first submission to the last end", "s", ends[-1] - calls[0][0]),
    ]
    seconds = (_SHORTEST_MS / 1000, (_SHORTEST_MS + _SPREAD_MS) / 1000)
    parameters = {"chains": _CHAINS, "jobs": jobs, "job_s": seconds}
    return Report("chains", f"{_CHAINS} chains of jobs on Slurm over SSH, default settings", parameters, figures)


def _prepare(sshd: RealSshd, places: Path) -> tuple[Path, Path]:
    """The files of ends and of submissions, and a sbatch that writes the latter before it submits."""
    home = Path(sshd.run("pwd").strip())
    witness, log = home / "ends", home / "submissions"
    sshd.run(f"touch {witness} {log}")
    sbatch = places / "sbatch"
    sbatch.write_text(_SBATCH.format(log=log, path=SYSTEM_PATH.replace(":", " ")), encoding="utf-8")
    for path in (sbatch, places, places.parent):  # its user is another than ours
        path.chmod(0o755)
    return witness, log


def _config(sshd: RealSshd) -> str:
    way = {"host": sshd.host, "port": sshd.port, "user": sshd.user}
    return render_config(
        way | {"identity": str(sshd.client_key), "known_hosts": str(sshd.known_hosts), "work_dir": "~/work"}
    )


def _gaps_s(ends: list[float], calls: list[tuple[float, int]], jobs: int) -> list[float]:
    """From each end to the submission that it made room for."""
    handed_over = sorted(at for at, count in calls for _ in range(count))
    if len(ends) != jobs or len(handed_over) != jobs:
        raise WrongOutcomeError(f"{len(handed_over)} submitted and {len(ends)} ended of {jobs} jobs")
    gaps_s = [at - end for end, at in zip(ends, handed_over[_CHAINS:], strict=False)]
    if min(gaps_s) < 0:
        raise WrongOutcomeError(f"a successor was submitted {-min(gaps_s):.3f} s before there was room for it")
    return gaps_s
