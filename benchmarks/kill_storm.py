"""`kill -9` of the daemon at random moments, again and again, over campaigns of every kind.

In the end every job must have been completed by exactly one attempt, nothing may have run twice, nothing be lost, and
no job be called failed. Rounds of workflows take turns until the kills are used up: programs that sign a witness file,
EMT points, both at once, and a source that is long enough to be killed in while it is read (its jobs are cancelled as
soon as all are there, and only what ran till then is judged). Submissions are made into the storm, so that it hits
them too. What ran is told by traces that the daemon does not write: the witness file, and
the input files that a runner writes into an attempt's directory when it begins.

By itself: `python -m benchmarks.kill_storm [--cluster local|slurm] [--kills N] [--seed S]`. The storm on Slurm, which
harms more than the daemon, is `slurm_storm`.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec

from benchmarks import slurm_site, slurm_storm
from benchmarks.daemon import ENDED, BenchDaemon, WrongOutcomeError, bench_daemon, render_spec
from benchmarks.report import Figure, Options, Report, at_most, show
from benchmarks.sources import write_copper, write_molecules
from penstock.domain.errors import ConflictError, UnreachableError
from penstock.domain.views import WorkflowInfo

_KILLS: Final = 200
_QUICK_KILLS: Final = 15
_PATIENCE_S: Final = 300.0
_MOVING: Final = frozenset({"submitting", "queued", "running", "collecting", "in_doubt"})
_EARLY: Final = 0.3  # the share of kills that hit the daemon while it starts
_WITNESS: Final = 'printf "%s %s\\n" "$$PENSTOCK_JOB_ID" "$$PENSTOCK_ATTEMPT_DIR" >>"$$1"; sleep 0.05'


class Campaign(NamedTuple):
    """A workflow of a round: its kind, source and number of jobs."""

    kind: str
    source: str
    jobs: int


_COMMANDS: Final = Campaign("command", "molecules.csv", 200)
_EMT: Final = Campaign("emt", "copper.xyz", 1500)
_INGESTION: Final = Campaign("ingestion", "long.csv", 150_000)
ROUNDS: Final = ((_COMMANDS,), (_EMT,), (_INGESTION,), (_COMMANDS, _EMT))


class Verdict(msgspec.Struct):
    """What became of a workflow's jobs."""

    jobs: int = 0
    lost: int = 0
    twice: int = 0
    failed: int = 0
    winners: int = 0  # completed jobs without exactly one attempt that completed
    repeated: int = 0  # rows of the source that became two jobs
    while_down: int = 0

    def add(self, other: Verdict) -> None:
        """Sums up."""
        for field in self.__struct_fields__:
            setattr(self, field, getattr(self, field) + getattr(other, field))


class Storm:
    """Kills and restarts a daemon in a thread of its own, until it is told to stop or has killed often enough."""

    def __init__(self, daemon: BenchDaemon, kills: int, seed: int) -> None:
        self.kills = 0
        self.down: list[tuple[float, float]] = []  # seconds since the epoch between which nobody was there
        self.error: BaseException | None = None
        self._daemon = daemon
        self._limit = kills
        self._random = random.Random(seed)
        self._calm = threading.Event()
        self._thread = threading.Thread(target=self._blow, name="storm")

    @property
    def over(self) -> bool:
        """Whether all kills have been made (or the storm broke)."""
        return self.kills >= self._limit or self.error is not None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._calm.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _blow(self) -> None:
        try:
            while not self.over and not self._calm.wait(self._moment_s()):
                self._daemon.kill()
                killed_at = time.time()
                self.kills += 1
                self._calm.wait(self._random.uniform(0.0, 0.3))
                self._daemon.spawn()
                if self._random.random() > _EARLY:
                    self._daemon.wait_until_up()
                self.down.append((killed_at, time.time()))
            self._daemon.wait_until_up()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for this one
            self.error = error

    def _moment_s(self) -> float:
        return self._random.choice((self._random.uniform(0.0, 0.3), self._random.uniform(0.0, 1.5)))


def run(options: Options) -> Report:
    """The storm with its usual number of kills."""
    return storm(options.scratch, _QUICK_KILLS if options.quick else _KILLS, seed=1)


def storm(scratch: Path, kills: int, seed: int) -> Report:
    """Rounds of campaigns until `kills` have been made; the last round ends in calm weather."""
    began = time.monotonic()
    total = Verdict()
    faults: list[str] = []
    workflows = 0
    with bench_daemon(scratch / "daemon") as daemon:
        write_molecules(daemon.root / _COMMANDS.source, _COMMANDS.jobs)
        write_copper(daemon.root / _EMT.source, _EMT.jobs)
        write_molecules(daemon.root / _INGESTION.source, _INGESTION.jobs)
        with Storm(daemon, kills, seed) as blowing:
            for number, campaigns in enumerate(cycle(ROUNDS)):
                for verdict, text in _round(daemon, blowing, number, campaigns):
                    total.add(verdict)
                    faults += text
                    workflows += 1
                if blowing.over:
                    break
    return _report(total, blowing.kills, workflows, time.monotonic() - began, faults, seed)


def _report(total: Verdict, kills: int, workflows: int, wall_s: float, faults: list[str], seed: int) -> Report:
    figures = [
        Figure("kills", "", kills),
        Figure("workflows", "", workflows),
        Figure("jobs", "", total.jobs),
        Figure("lost", "", total.lost, aim=at_most(0)),
        Figure("executed twice", "", total.twice, aim=at_most(0)),
        Figure("wrongly failed", "", total.failed, aim=at_most(0)),
        Figure("without exactly one winning attempt", "", total.winners, aim=at_most(0)),
        Figure("taken in twice", "", total.repeated, aim=at_most(0)),
        Figure("ended while the daemon was away", "", total.while_down),
        Figure("wall time", "s", wall_s),
    ]
    faults = faults + [f"{figure.what}: {figure.value:g}" for figure in figures if figure.met is False]
    return Report("kill_storm", f"{kills} x kill -9 of the daemon", {"kills": kills, "seed": seed}, figures, faults)


# ---- a round --------------------------------------------------------------------------------------------------------


def _round(
    daemon: BenchDaemon, blowing: Storm, number: int, campaigns: tuple[Campaign, ...]
) -> Iterator[tuple[Verdict, list[str]]]:
    ids = [f"{campaign.kind}-{number}" for campaign in campaigns]
    for workflow_id, campaign in zip(ids, campaigns, strict=True):
        _submit(daemon, workflow_id, campaign)
    for workflow_id, campaign in zip(ids, campaigns, strict=True):
        if campaign is _INGESTION:
            _cancel_when_ingested(daemon, workflow_id)
        info = _wait(daemon, workflow_id)
        wanted = "cancelled" if campaign is _INGESTION else "completed"
        faults = [] if info.state == wanted else [f"{workflow_id} is {info.state}: {info.reason}; {info.states}"]
        print(f"{blowing.kills} kills, {workflow_id} is {info.state}: {info.states}", flush=True)
        yield _judge(Path(info.directory), campaign, _witness(daemon, workflow_id), blowing.down), faults


def _submit(daemon: BenchDaemon, workflow_id: str, campaign: Campaign) -> None:
    """Submits until it is known to have been accepted: a daemon that dies over it may or may not have recorded it."""
    engine: dict[str, object] = {"name": "emt"}
    if campaign is not _EMT:
        script = ["sh", "-c", _WITNESS, "sh", str(_witness(daemon, workflow_id))]
        engine = {"name": "command", "command": script}
    for _ in _patiently(f"{workflow_id} cannot be submitted"):
        with contextlib.suppress(UnreachableError):
            try:
                daemon.submit(render_spec(workflow_id, campaign.source, engine))
            except ConflictError:
                if not _is_known(daemon, workflow_id):
                    continue
            return


def _is_known(daemon: BenchDaemon, workflow_id: str) -> bool:
    return any(info.id == workflow_id for info in daemon.client.list_workflows().workflows)


def _cancel_when_ingested(daemon: BenchDaemon, workflow_id: str) -> None:
    for _ in _patiently(f"{workflow_id} is not read to its end and cancelled"):
        with contextlib.suppress(UnreachableError):
            info = daemon.info(workflow_id)
            if info.state in ENDED:
                return
            if not info.ingesting:
                daemon.client.cancel(workflow_id)


def _wait(daemon: BenchDaemon, workflow_id: str) -> WorkflowInfo:
    for _ in _patiently(f"{workflow_id} does not end"):
        with contextlib.suppress(UnreachableError):
            info = daemon.info(workflow_id)
            if info.state in ENDED and not _MOVING & info.states.keys():
                return info
    raise AssertionError


def _patiently(complaint: str) -> Iterator[None]:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        yield
        time.sleep(0.02)
    raise WrongOutcomeError(complaint)


def _witness(daemon: BenchDaemon, workflow_id: str) -> Path:
    return daemon.root / f"{workflow_id}.witness"


# ---- the judgement --------------------------------------------------------------------------------------------------


def _judge(directory: Path, campaign: Campaign, witness: Path, down: list[tuple[float, float]]) -> Verdict:
    with contextlib.closing(sqlite3.connect(f"file:{directory / 'workflow.db'}?mode=ro", uri=True)) as db:
        states = dict(db.execute("SELECT id, state FROM job").fetchall())
        rows = Counter(row for (row,) in db.execute("SELECT orig_index FROM job"))
        won = Counter(job for (job,) in db.execute("SELECT job_id FROM attempt WHERE state = 'completed'"))
        ends = [at for (at,) in db.execute("SELECT ended_at FROM attempt WHERE state = 'completed'")]
    ran = _started(directory) if campaign is _EMT else _signatures(witness)
    well = {"completed", "cancelled"} if campaign is _INGESTION else {"completed"}
    ended = [job for job, state in states.items() if state == "completed"]
    return Verdict(
        jobs=campaign.jobs,
        lost=max(0, campaign.jobs - len(rows)) + sum(not ran[job] for job in ended),
        twice=sum(times > 1 for times in ran.values()),
        failed=sum(state not in well for state in states.values()),
        winners=sum(won[job] != 1 for job in ended),
        repeated=sum(times > 1 for times in rows.values()),
        while_down=sum(_is_within(at, down) for at in ends),
    )


def _signatures(witness: Path) -> Counter[int]:
    """How often each job signed."""
    lines = witness.read_text(encoding="utf-8").splitlines() if witness.exists() else []
    return Counter(int(line.partition(" ")[0]) for line in lines)


def _started(directory: Path) -> Counter[int]:
    """How many attempts of each job a runner began: it writes the input file when it does."""
    return Counter(int(path.parent.parent.name) for path in directory.glob("jobs/*/*/*/input.json"))


def _is_within(at: float, spans: list[tuple[float, float]]) -> bool:
    """Whether `at` lies in one of the `spans`, which are in order and do not overlap."""
    before = bisect_right(spans, at, key=lambda span: span[0])
    return before > 0 and at < spans[before - 1][1]


def main() -> int:
    """The entry point. Exit code 1 unless all is well."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kill_storm", description="kill -9 of the daemon at random"
    )
    parser.add_argument("--cluster", choices=("local", "slurm"), default="local", help="default: %(default)s")
    parser.add_argument("--kills", type=int, metavar="N", help=f"default: {_KILLS}, on slurm {slurm_storm.FULL.kills}")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="chooses the moments; default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-kill_storm-") as scratch:
        if arguments.cluster == "local":
            report = storm(Path(scratch), arguments.kills or _KILLS, arguments.seed)
        else:
            report = _storm_on_slurm(Path(scratch), arguments.kills or slurm_storm.FULL.kills, arguments.seed)
    show(report)
    return 1 if report.faults else 0


def _storm_on_slurm(scratch: Path, kills: int, seed: int) -> Report:
    if why := slurm_site.missing():
        sys.exit(f"This storm needs real Slurms and OpenSSH, which cannot be had here: {why}")
    with slurm_site.own_slurms() as slurms:
        return slurm_storm.storm(scratch, slurm_storm.FULL._replace(kills=kills), seed, slurms)


if __name__ == "__main__":
    sys.exit(main())
