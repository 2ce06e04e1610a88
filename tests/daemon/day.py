"""A daemon's day in virtual time: the daemon itself, with simulated clusters and scripted workers.

Workflows come and go as on a busy head node: as soon as one has ended the next is submitted, and retention removes what
ended an hour ago. What the clusters do wrong, they do all day long.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import msgspec
import structlog

from penstock.daemon.cluster_tables import ClusterTable, LocalTable
from penstock.daemon.clusters import Clusters
from penstock.daemon.config import Config, DaemonTable
from penstock.daemon.creation import Request
from penstock.daemon.daemon import Daemon
from penstock.daemon.logs import Logs
from penstock.daemon.metrics.registry import Metrics
from penstock.domain.context import Mode, plan_context
from penstock.domain.retention import RetentionTable
from penstock.domain.spec import RetryTable, StructureSource, WorkflowSpec
from penstock.domain.views import ClusterInfo
from penstock.recipes.recipe import Step
from penstock.testing.scripted_workers import hydrogen_atoms
from penstock.testing.simulated_cluster import SimulatedCluster
from penstock.testing.simulated_world import Behaviour, SimulatedWorld
from penstock.testing.virtual_clock import VirtualClock

from .house import KeepingWorkers

HOUR_S: Final = 3600.0
CLUSTERS: Final = ("north", "south")
BEHAVIOUR: Final = Behaviour(
    latency_s=(1.0, 30.0),
    attempt_s=(1800.0, 18_000.0),
    poll_s=60.0,
    fails=0.05,
    loses=0.01,
    doubts=0.005,
    crashes=0.0005,
)


class Sample(msgspec.Struct, frozen=True):
    """What the process holds at one moment of the day."""

    hour: int
    shown: int  # workflows with series of their own
    series: int
    scrape_bytes: int
    tasks: int
    threads: int
    descriptors: int
    rss_mb: float
    submitted: int


class _BusyWorkers(KeepingWorkers):
    """Scripted workers that have the figures of real ones."""

    size = 2
    busy = 0
    hung = 0
    waiting = 0
    lost = 0

    def hanging(self, _path: str) -> None:
        """No file system does."""

    def close(self) -> None:
        """There are no processes."""


class _SimulatedClusters(Clusters):
    """The daemon's clusters with a simulated one behind every name."""

    def __init__(self, world: SimulatedWorld, *around: Any) -> None:
        super().__init__(*around)
        self._world = world

    def start(self) -> None:
        for name in CLUSTERS:
            self.refs[name] = self.supervisor.start_child(name, self._maker(name))
            self._board.clusters[name] = ClusterInfo(name, "local", "up", None, 64, 0, 256_000, 0, 0, 0)

    def _maker(self, name: str) -> Any:
        return lambda me: SimulatedCluster(me, name, self._world, self._owners[name])


class Day:
    """`workflows` at work at any time, each of `jobs` calculations."""

    def __init__(self, root: Path, *, workflows: int, jobs: int) -> None:
        self.samples: list[Sample] = []
        self.clock = VirtualClock()
        self.world = SimulatedWorld(self.clock, BEHAVIOUR, 0)
        self._root = root
        self._workflows = workflows
        self._submitted = 0
        self._stopped = False
        self._source = root / "m.csv"
        (root / "work").mkdir()
        self._source.write_text("geometry\nH 0 0 0\n")
        self._jobs = jobs
        self._logs = Logs()

    def _make_daemon(self) -> Daemon:
        """It is made when its log is open, as in a process of its own: loggers are bound from the beginning."""
        tables: dict[str, ClusterTable] = {name: LocalTable() for name in CLUSTERS}
        config = Config(DaemonTable(state_dir=str(self._root / "state")), tables)
        daemon = Daemon(config, None, {}, self.clock, self._logs)
        daemon._workers = _BusyWorkers(self.clock, hydrogen_atoms(self._jobs))  # type: ignore[assignment]
        around = (tables, self._root / "state", self.clock, daemon._board)
        daemon._clusters = _SimulatedClusters(self.world, *around)
        daemon._metrics = Metrics(daemon._sources())  # of these, not of those they stand in for
        return daemon

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """The daemon runs, people submit, and somebody counts."""
        async with self.world, self._logging(), anyio.create_task_group() as tasks:
            self.daemon = self._make_daemon()
            tasks.start_soon(self._run_daemon)
            await self.clock.run_until(lambda: bool(self.daemon._clusters.refs), 60.0)
            try:
                async with anyio.create_task_group() as people:  # they go before the daemon does
                    people.start_soon(self._submit)
                    people.start_soon(self._count)
                    yield
                    people.cancel_scope.cancel()
            finally:
                await self._stop()

    @asynccontextmanager
    async def _logging(self) -> AsyncIterator[None]:
        """The daemon's log is its own, as long as it runs."""
        root = logging.getLogger()
        handlers = list(root.handlers)
        with (self._root / "daemon.log").open("w", encoding="utf-8") as stream:
            self._logs.open(stream, "json", {})
            try:
                yield
            finally:
                self._logs.close()
                logging.captureWarnings(capture=False)
                root.handlers = handlers
                structlog.reset_defaults()

    async def _run_daemon(self) -> None:
        await self.daemon.run()
        self._stopped = True

    async def _stop(self) -> None:
        """As systemd does it. What comes by a signal is of the real world, and virtual time does not wait for it."""
        signal.raise_signal(signal.SIGTERM)
        while not self._stopped:
            await self.clock.advance(1.0)
            await anyio.lowlevel.checkpoint()

    async def hours(self, count: int) -> None:
        """Lets `count` hours go by."""
        await self.clock.advance(count * HOUR_S)

    async def _submit(self) -> None:
        room = self.daemon._board.clusters
        while True:
            infos = list(self.daemon._board.workflows.values())
            for _ in range(self._workflows - sum(info.state == "running" for info in infos)):
                await self.daemon._workflows.create(self._request(self._submitted), room)
                self._submitted += 1
            await self.clock.sleep(60.0)

    def _request(self, number: int) -> Request:
        spec = WorkflowSpec(
            "campaign",
            StructureSource("m.csv"),
            {"name": "emt"},
            id=f"w{number:05}",
            cluster=CLUSTERS[number % len(CLUSTERS)],
            slots=2,
            retry=RetryTable(max_attempts=3),
            retention=RetentionTable(delete_after="1h"),
        )
        context = plan_context(Mode.ISOLATED, str(self._root / "work"), spec.id or "")
        return Request(context, spec, b"{}", self._source, "spec", (Step("calculate", "fan"),))

    async def _count(self) -> None:
        hour = 0
        while True:
            await self.clock.sleep(HOUR_S)
            hour += 1
            gc.collect()
            self.samples.append(self._sample(hour))

    def _sample(self, hour: int) -> Sample:
        lines = self.daemon._metrics.render().decode().splitlines()
        series = [line for line in lines if not line.startswith("#")]
        return Sample(
            hour=hour,
            shown=len({line.split('workflow="')[1].split('"')[0] for line in series if 'workflow="' in line}),
            series=len(series),
            scrape_bytes=sum(len(line) + 1 for line in lines),
            tasks=len(asyncio.all_tasks()),
            threads=threading.active_count(),
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            rss_mb=_rss_mb(),
            submitted=self._submitted,
        )


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
