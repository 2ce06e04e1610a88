"""What a workflow of few, long jobs costs beyond its engine: elastic constants of silicon with pw.x, on two cores.

The baseline runs the same inputs, in the same order, from one process with two threads that does nothing else: the
relaxation, then the strained crystals. What the workflow does before the first job, between its steps and after the
last job (fit, figures) comes on top.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from tests.services.pw import RealPw

from benchmarks.daemon import NICE, WrongOutcomeError, bench_daemon, render_spec
from benchmarks.report import Figure, LeftOutError, Options, Report, ratio_at_most

_SLOTS: Final = 2
_SILICON: Final = (
    '2\nLattice="0 2.735 2.735 2.735 0 2.735 2.735 2.735 0" pbc="T T T"\nSi 0 0 0\nSi 1.3675 1.3675 1.3675\n'
)
_COARSE: Final[dict[str, object]] = {
    "pseudopotentials.Si": "Si.pbe-rrkj.UPF",
    "ecutwfc_ry": 20.0,
    "kpoints": [4, 4, 4],
}
_FINE: Final[dict[str, object]] = {
    "pseudopotentials.Si": "Si.pbe-nl-rrkjus_psl.1.0.0.UPF",
    "ecutwfc_ry": 44.0,
    "ecutrho_ry": 176.0,
    "kpoints": [6, 6, 6],
}


class _Times(NamedTuple):
    """Seconds since the submission: of the relaxation and of every strained crystal, begin and end; of the end."""

    relaxed: tuple[float, float]
    strained: list[tuple[float, float]]
    all_s: float


def run(options: Options) -> Report:
    """Once, at settings whose C11, C12 and C44 are converged to 1 %; quick: to 2 %, in a tenth of the time."""
    if (why := RealPw.missing()) is not None:
        raise LeftOutError(why)
    settings = _COARSE if options.quick else _FINE
    with bench_daemon(options.scratch / "daemon") as daemon:
        (daemon.root / "silicon.xyz").write_text(_SILICON, encoding="utf-8")
        submitted = time.time()
        daemon.submit(_spec(settings))
        folder = Path(daemon.wait("silicon").directory)
        times = _read_times(folder, submitted, time.time() - submitted)
    plain_s = _run_plainly(_inputs(folder), options.scratch / "plain")
    return Report(
        "elastic_espresso", "Elastic constants of silicon with pw.x, two slots", settings, _figures(times, plain_s)
    )


def _figures(times: _Times, plain_s: float) -> list[Figure]:
    first = min(begin for begin, _ in times.strained)
    last = max(end for _, end in times.strained)
    engine = times.relaxed[1] - times.relaxed[0] + sum(end - begin for begin, end in times.strained) / _SLOTS
    return [
        Figure("the whole workflow; baseline: its inputs run plainly", "s", times.all_s, plain_s, ratio_at_most(1.05)),
        Figure("the same; baseline: engine time over the slots used", "s", times.all_s, engine),
        Figure("to the first job", "s", times.relaxed[0]),
        Figure("from the relaxation to the first strained crystal", "s", first - times.relaxed[1]),
        Figure("from the last strained crystal to the results", "s", times.all_s - last),
    ]


def _spec(settings: dict[str, object]) -> str:
    engine = {"name": "espresso", "command": RealPw().program, "pseudo_dir": str(RealPw.pseudo_dir), **settings}
    return render_spec("silicon", "silicon.xyz", engine, slots=_SLOTS).replace('"campaign"', '"elastic"', 1)


def _read_times(folder: Path, submitted: float, all_s: float) -> _Times:
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'workflow.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT started_at, ended_at FROM attempt ORDER BY started_at").fetchall()
    if len(rows) < 1 + _SLOTS:
        raise WrongOutcomeError(f"{len(rows)} attempts, where a relaxation and several strained crystals were expected")
    relaxed, *strained = ((begin - submitted, end - submitted) for begin, end in rows)
    return _Times(relaxed, strained, all_s)


def _inputs(folder: Path) -> list[Path]:
    """The inputs of the attempts, by the number of their job."""
    return sorted(folder.rglob("job.in"), key=lambda path: int(path.parent.parent.name))


def _run_plainly(inputs: list[Path], scratch: Path) -> float:
    """The seconds that pw.x takes for the first input and then for the others, two at a time."""
    began = time.monotonic()
    with ThreadPoolExecutor(_SLOTS) as pool:
        _run_one(inputs[0], scratch / "0")
        list(pool.map(_run_one, inputs[1:], (scratch / str(number) for number in range(1, len(inputs)))))
    return time.monotonic() - began


def _run_one(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copy(source, folder)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    argv = ["nice", "-n", str(NICE), RealPw().program, "-in", "job.in"]
    with (folder / "stdout").open("wb") as output:
        subprocess.run(argv, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=environment, check=True)
