"""The storm on real Slurm: `kill -9` of the daemon at random instants and at every point of a submission's path.

Meanwhile connections break, the scheduler lies, sleeps or forgets, disks refuse and people interfere.

Three clusters at once: a Slurm reached over SSH by an ordinary account, the same on the daemon's own host, and one
without accounting that forgets what has ended, over SSH. In the end every job must have been completed by exactly one
attempt, none may have run twice or be called failed, but for those that the storm itself struck. What really ran is
told by witnesses that the daemon does not know. What only a person can settle (begun, gone, and no accounts) is settled
by the storm after a look at those witnesses, and counted.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from tests.services.slurm import RealSlurm

from benchmarks.daemon import ENDED, BenchDaemon, WrongOutcomeError
from benchmarks.report import Figure, Report, at_most
from benchmarks.slurm_site import Site, Task, daemon_environment, render_config, sites
from benchmarks.slurm_weather import Daemons, Killer, Squall, Weather
from benchmarks.sources import write_molecules
from benchmarks.submission_points import POINTS, Running, read
from benchmarks.witness import SCRIPT, Verdict, judge, read_story
from penstock.domain.errors import ConflictError, UnreachableError
from penstock.domain.states import Resolution
from penstock.domain.views import Selection

_LOOK_S: Final = 0.1
_SETTLE_EVERY_S: Final = 1.0
_ASK_AFTER_S: Final = 8.0
_STUCK_S: Final = 60.0  # after the storm; nothing that evidence can settle takes that long
_PATIENCE_S: Final = 240.0
_KILL_S: Final = 20.0  # how long it may take to bring one about, far from what it does
_SWEPT_S: Final = 30.0
_FRESH_S: Final = 20.0
_FRESH: Final = 2  # workflows at each site that are not older than that, since older ones may be held up by a doubt
_AT_ONCE: Final = 10
_SOURCE: Final = "molecules.csv"
_IN_DOUBT: Final = """
SELECT job_id, submission, position % width, directory
FROM attempt JOIN submission ON ulid = submission WHERE attempt.state = 'in_doubt'
"""


class Size(NamedTuple):
    """How much of it, and how long what is no kill lasts, compared with the usual."""

    kills: int
    jobs: int  # of a workflow
    haste: float


FULL: Final = Size(kills=300, jobs=24, haste=1.0)
SHORT: Final = Size(kills=16, jobs=12, haste=0.3)


class _Daemon(BenchDaemon):
    """A daemon that has these clusters."""

    def __init__(self, root: Path, places: list[Site]) -> None:
        super().__init__(root)
        (root / "penstockd.toml").write_text(render_config(places), encoding="utf-8")
        self._more = daemon_environment(next(site for site in places if site.sshd is None))

    def environment(self) -> dict[str, str]:
        """The Slurm of its own host, and our sbatch before the real one."""
        return super().environment() | self._more


class Fleet:
    """The workflows of a storm: keeps some running at every site, and sees each to its end."""

    def __init__(self, daemon: BenchDaemon, places: list[Site], jobs: int) -> None:
        self.running: list[Running] = []
        self.total = Verdict(details=[])
        self.by_site: Counter[str] = Counter()
        self.settled = 0
        self.stuck: list[str] = []
        self._daemon, self._places, self._jobs = daemon, places, jobs
        self._numbers = count(1)
        self._doubts: dict[tuple[str, str], float] = {}
        self._settled_at = 0.0
        self._began: dict[str, float] = {}
        write_molecules(daemon.root / _SOURCE, jobs)

    def replenish(self) -> None:
        """New workflows where some have ended."""
        for site in self._places:
            ages = [time.monotonic() - self._began[w.id] for w in self.running if w.site is site]
            if sum(age < _FRESH_S for age in ages) < _FRESH and len(ages) < _AT_ONCE:
                self.running = [*self.running, self._submit(site)]
                self._began[self.running[-1].id] = time.monotonic()

    def look(self, *, calm_since: float | None = None) -> None:
        """Judges what has ended, and settles what needs a person."""
        for workflow in self.running:
            with contextlib.suppress(sqlite3.OperationalError):
                if self._has_ended(workflow):
                    self._judge(workflow)
        if time.monotonic() - self._settled_at > _SETTLE_EVERY_S:
            self._settled_at = time.monotonic()
            is_stuck = calm_since is not None and time.monotonic() - calm_since > _STUCK_S
            for workflow in self.running:
                with contextlib.suppress(UnreachableError, sqlite3.OperationalError):
                    self._settle(workflow, is_stuck=is_stuck)

    def give_up(self) -> None:
        """Judges what did not end as it is."""
        for workflow in self.running:
            states = Counter(str(state) for (state,) in read(workflow.directory, "SELECT state FROM job"))
            self.stuck.append(f"{workflow.id} does not end: {dict(states)}")
            self._judge(workflow)

    def _judge(self, workflow: Running) -> None:
        self.running = [other for other in self.running if other is not workflow]
        verdict = judge(workflow, self._witness(workflow.id), self._jobs)
        self.by_site[workflow.site.name] += self._jobs
        self.total.add(verdict)
        told = ", ".join(f"{name} {getattr(verdict, name)}" for name in ("attempts", "struck", "vanished"))
        print(f"{workflow.id}: {told}; {'; '.join(verdict.details)}", flush=True)

    def _has_ended(self, workflow: Running) -> bool:
        ((state,),) = read(workflow.directory, "SELECT state FROM workflow")
        return state in ENDED and not read(workflow.directory, "SELECT 1 FROM submission WHERE state = 'open'")

    def _settle(self, workflow: Running, *, is_stuck: bool) -> None:
        """Says what became of attempts that the storm struck and that nobody else can know of."""
        story = None
        for job, ulid, index, directory in read(workflow.directory, _IN_DOUBT):
            since = self._doubts.setdefault((str(ulid), str(directory)), time.monotonic())
            struck = Task(str(ulid), int(str(index))) in workflow.site.struck
            if time.monotonic() - since < _ASK_AFTER_S or not (struck or is_stuck):
                continue
            story = story or read_story(self._witness(workflow.id))
            has_ended = (int(str(job)), str(directory)) in story.ended
            verdict = Resolution.ENDED if has_ended else Resolution.LOST
            with contextlib.suppress(ConflictError):
                touched = self._daemon.client.resolve(workflow.id, Selection(jobs=(int(str(job)),)), verdict).changed
                self.settled += touched
                if touched and not struck:
                    self.stuck.append(f"{workflow.id}, job {job}, {ulid}: in doubt for ever, though nobody struck it")

    def _submit(self, site: Site) -> Running:
        """Submits until it is known to have been accepted: a daemon that dies over it may or may not have it."""
        number = next(self._numbers)
        workflow_id = f"{site.name}-{number}"
        witness = self._witness(workflow_id)
        witness.touch()
        witness.chmod(0o666)
        spec = self._spec(workflow_id, site, "bundle" if number % 4 == 0 else "array")
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            with contextlib.suppress(UnreachableError):
                with contextlib.suppress(ConflictError):
                    self._daemon.submit(spec)
                known = {info.id: info for info in self._daemon.client.list_workflows().workflows}
                if workflow_id in known:
                    return Running(workflow_id, Path(known[workflow_id].directory), site)
            time.sleep(_LOOK_S)
        raise WrongOutcomeError(f"{workflow_id} cannot be submitted")

    def _spec(self, workflow_id: str, site: Site, style: str) -> str:
        command = ["sh", "-c", SCRIPT.replace("$", "$$"), str(self._witness(workflow_id))]
        columns = {"geometry_column": "aligned_csd_core", "charge_column": "charge", "unpaired_column": "uhf"}
        tables: dict[str, dict[str, object]] = {
            "structures": {"source": _SOURCE, **columns},
            "engine": {"name": "command", "command": command},
            "resources": {"memory": "100MB", "walltime": "10min"},
            "batch": {"style": style, "size": 3},
        }
        lines = [f'id = "{workflow_id}"', 'recipe = "campaign"', f'cluster = "{site.name}"', "slots = 6"]
        for name, table in tables.items():
            lines += [
                "",
                f"[{name}]",
                *(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in table.items()),
            ]
        return "\n".join(lines) + "\n"

    def _witness(self, workflow_id: str) -> Path:
        return self._daemon.root / f"{workflow_id}.witness"


def storm(scratch: Path, size: Size, seed: int, slurms: tuple[RealSlurm, RealSlurm]) -> Report:
    """Until all kills have been made, at every point, and all kinds of harm been done; then to the end in calm weather.

    `slurms`: a kind and a harsh one.
    """
    began = time.monotonic()
    scratch.chmod(0o755)
    with sites(scratch, *slurms) as places, _Daemon(scratch / "daemon", places) as daemon:
        (scratch / "daemon").chmod(0o755)
        fleet = Fleet(daemon, places, size.jobs)
        daemons = Daemons(daemon, places, random.Random(seed))
        killer = Killer(daemons, size.kills, seed + 1, lambda: fleet.running)
        weather = Weather(places, seed + 2, size.haste)
        with Squall("kills", killer.blow) as kills, Squall("weather", weather.blow) as harm:
            while not (kills.error or harm.error or (killer.is_done and weather.rounds)):
                fleet.replenish()
                fleet.look()
                if time.monotonic() - began > _PATIENCE_S + _KILL_S * size.kills:
                    raise WrongOutcomeError(f"{daemons.kills} kills, and not at every point: {daemons.points}")
                time.sleep(_LOOK_S)
        daemon.wait_until_up()
        calm_at = time.monotonic()
        for _ in _until_calm(fleet):
            time.sleep(_LOOK_S)
        calm_s = time.monotonic() - calm_at
        _wait_for_empty_queues(places)
        left = {site.name: _left(site) for site in places}
        barred = sum(site.barred() for site in places)
    facts = {
        "calm_s": calm_s,
        "seed": seed,
        "left in the spool": left,
        "barred by hand": barred,
        "kinds of harm": sorted(weather.faults),
    }
    return _report(fleet, killer, weather, time.monotonic() - began, facts)


def _until_calm(fleet: Fleet) -> Iterator[None]:
    began = time.monotonic()
    while fleet.running and time.monotonic() - began < _PATIENCE_S:
        fleet.look(calm_since=began)
        yield
    fleet.give_up()


def _wait_for_empty_queues(places: list[Site]) -> None:
    """Jobs that were made twice or too late end by themselves, as they find their claims taken."""
    until = time.monotonic() + _SWEPT_S
    while any(site.slurm.jobs() for site in places) and time.monotonic() < until:
        time.sleep(_LOOK_S)


def _left(site: Site) -> list[str]:
    """What has not been removed from the spool."""
    spool = site.spool()
    return sorted(folder.name for folder in spool.glob("0*")) if spool else []


def _report(fleet: Fleet, killer: Killer, weather: Weather, wall_s: float, parameters: dict[str, Any]) -> Report:
    total, daemons = fleet.total, killer.daemons
    points = [Figure(point.title, "", daemons.points[point.number]) for point in POINTS]
    figures = [
        Figure("kills", "", daemons.kills),
        *points,
        *(Figure(name, "", times) for name, times in sorted(weather.faults.items())),
        *(Figure(f"jobs at {name}", "", jobs) for name, jobs in sorted(fleet.by_site.items())),
        Figure("jobs", "", total.jobs),
        Figure("attempts", "", total.attempts),
        Figure("attempts struck by the storm", "", total.struck),
        Figure("settled by a person", "", fleet.settled),
        Figure("made anew, never begun", "", total.vanished),
        Figure("lost", "", total.lost, aim=at_most(0)),
        Figure("executed twice", "", total.twice, aim=at_most(0)),
        Figure("wrongly failed", "", total.failed, aim=at_most(0)),
        Figure("without exactly one winning attempt", "", total.winners, aim=at_most(0)),
        Figure("called completed before their end", "", total.early, aim=at_most(0)),
        Figure("barred, of those submitted by hand", "", parameters["barred by hand"]),
        Figure("from the last blow to the last end", "s", parameters["calm_s"]),
        Figure("wall time", "s", wall_s),
    ]
    faults = [f"{figure.what}: {figure.value:g}" for figure in figures if figure.met is False] + fleet.stuck
    return Report("slurm_storm", f"{daemons.kills} x kill -9 of the daemon, on Slurm", parameters, figures, faults)
