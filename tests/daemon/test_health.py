"""What the watchdog is fed by: the decision in values, the rounds in virtual time."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog.testing
from structlog.typing import EventDict

from penstock.actors.mailbox import Ref
from penstock.actors.pulse import Signs
from penstock.actors.supervisor import Actor, Policy, Supervisor
from penstock.daemon.health import Health, Limits, judge, limits_for, status_line
from penstock.daemon.systemd import ServiceManager
from penstock.testing.virtual_clock import VirtualClock

LIMITS = Limits(every_s=30.0, answer_s=60.0, together_s=300.0)
NOW = 1000.0


def signs(supervisor: str, owed: dict[str, float | None], own: float | None = None) -> Signs:
    return Signs(supervisor, own, owed)


def decided(
    clusters: dict[str, float | None] | Signs, workflows: dict[str, float | None] | Signs, outside: int = 0
) -> tuple[str, dict[str, set[str]]]:
    """Why the watchdog is not fed, and who is silent; children by how long they have owed an answer."""
    c, w = (
        s if isinstance(s, Signs) else signs(name, {k: None if v is None else NOW - v for k, v in s.items()})
        for name, s in (("clusters", clusters), ("workflows", workflows))
    )
    verdict = judge(c, w, outside, NOW, LIMITS)
    return verdict.trouble, {name: set(names) for name, names in verdict.silent.items() if names}


def test_all_who_answer_in_time_are_well() -> None:
    assert decided({}, {}) == ("", {})
    assert decided({"local": None, "hpc": 59.9}, {"w1": None, "w2": 30.0}) == ("", {})


def test_one_silent_cluster_is_trouble() -> None:
    trouble, silent = decided({"local": None, "hpc": 60.0}, {"w": None})
    assert trouble == "cluster hpc does not answer"
    assert silent == {"clusters": {"hpc"}}


@pytest.mark.parametrize("name", ["clusters", "workflows"])
def test_a_supervisor_that_does_not_answer_is_trouble(name: str) -> None:
    both = {n: signs(n, {}, own=NOW - 60.0 if n == name else NOW - 59.0) for n in ("clusters", "workflows")}
    assert decided(both["clusters"], both["workflows"])[0] == f"the supervisor of {name} does not answer"


def test_a_silent_workflow_is_known_and_no_trouble() -> None:
    assert decided({"local": None}, {"slow": 1e6, "well": None}) == ("", {"workflows": {"slow"}})
    assert decided({"local": None}, {"only": 1e6}) == ("", {"workflows": {"only"}})
    assert decided({}, {"a": 1e6, "b": 299.0}) == ("", {"workflows": {"a", "b"}})


def test_all_workflows_silent_are_trouble_unless_they_wait_for_their_databases() -> None:
    silent: dict[str, float | None] = {"a": 300.0, "b": 400.0}
    assert decided({}, silent)[0] == "none of 2 workflows answers, and they do not wait for their databases"
    assert decided({}, silent, outside=1)[0] != ""
    assert decided({}, silent, outside=2)[0] == ""


def test_limits_follow_from_the_service_manager_s_patience() -> None:
    assert limits_for(120.0) == Limits(30.0, 60.0, 300.0)
    assert limits_for(None).every_s == 60.0
    fast, slow = limits_for(1.0), limits_for(3600.0)
    assert fast.every_s + fast.answer_s < 1.0  # it fits in, with a turn to spare
    assert fast.together_s == 300.0
    assert slow.together_s == 9000.0


def test_the_line_for_people() -> None:
    assert status_line(1, {"local": "up"}) == "1 workflow at work; 1 cluster"
    assert status_line(0, {"a": "down", "b": "up", "c": "down"}) == "0 workflows at work; 3 clusters, down: a, c"


class Waiter(Actor[Any]):
    """Waits for the events that it is told of, while the guard that it was given is held."""

    def __init__(self, guard: Any) -> None:
        self.guard = guard

    async def handle(self, message: anyio.Event) -> None:
        with self.guard():
            await message.wait()


class Daemon:
    """Two supervisors in virtual time, and a service manager that listens."""

    def __init__(self, folder: Path, watchdog_s: float | None) -> None:
        self.clock = VirtualClock()
        self.clusters, self.workflows = (Supervisor(n, self.clock, Policy(3, 60.0), _given_up) for n in NAMES)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.setblocking(False)
        told = ServiceManager(str(folder / "notify"), watchdog_s)
        self.health = Health(lambda: (self.clusters, self.workflows), told, self.clock, lambda: "fine")
        self.database = self.health.outside(self.clock_free_guard)

    @staticmethod
    @contextlib.contextmanager
    def clock_free_guard() -> Iterator[None]:
        yield

    def start(self, supervisor: Supervisor, name: str, *, database: bool = False) -> Ref[Any]:
        guard = self.database if database else self.clock_free_guard
        return supervisor.start_child(name, lambda _: Waiter(guard))

    async def told(self, seconds: float) -> list[str]:
        """What the service manager hears in the next so many seconds."""
        self._drain()
        await self.clock.advance(seconds)
        return self._drain()

    def _drain(self) -> list[str]:
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(self.manager.recv(4096).decode())
        return heard


NAMES = ("clusters", "workflows")
FED = "WATCHDOG=1\nSTATUS=fine\n"


async def _given_up(name: str, error: BaseException) -> None:
    raise error


@contextlib.asynccontextmanager
async def running(folder: Path, watchdog_s: float | None = 120.0) -> AsyncIterator[Daemon]:
    daemon = Daemon(folder, watchdog_s)
    try:
        async with daemon.clusters, daemon.workflows, anyio.create_task_group() as tasks:
            tasks.start_soon(daemon.health.watch)
            yield daemon
            tasks.cancel_scope.cancel()
    finally:
        daemon.manager.close()


@pytest.fixture
def log() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


async def test_the_watchdog_is_fed_four_times_within_its_time(tmp_path: Path, log: list[EventDict]) -> None:
    async with running(tmp_path) as daemon:
        daemon.start(daemon.clusters, "local")
        assert await daemon.told(119.0) == 4 * [FED]
    assert log == []


async def test_nobody_who_watches_hears_of_the_state_only(tmp_path: Path) -> None:
    async with running(tmp_path, None) as daemon:
        assert await daemon.told(119.0) == 2 * ["STATUS=fine\n"]


async def test_a_cluster_that_hangs_stops_the_feed_until_it_answers(tmp_path: Path, log: list[EventDict]) -> None:
    async with running(tmp_path) as daemon:
        ref = daemon.start(daemon.clusters, "hpc")
        daemon.start(daemon.clusters, "local")
        daemon.start(daemon.workflows, "w")
        await daemon.clock.advance(1.0)
        release = anyio.Event()
        ref.tell(release)
        assert await daemon.told(60.0) == 2 * [FED]  # asked after 30 s, it has until 90 s
        assert set(await daemon.told(600.0)) == {"STATUS=not well: cluster hpc does not answer\n"}
        assert daemon.health.silent() == {"clusters": 1, "workflows": 0}
        assert [line["event"] for line in log] == ["the watchdog is not fed", "actor does not answer"]
        release.set()
        assert await daemon.told(60.0) == 2 * [FED]
        assert daemon.health.silent() == {"clusters": 0, "workflows": 0}
        assert len(log) == 4


async def test_a_slow_workflow_is_told_of_once_and_counted(tmp_path: Path, log: list[EventDict]) -> None:
    async with running(tmp_path) as daemon:
        release = anyio.Event()
        daemon.start(daemon.workflows, "slow").tell(release)
        daemon.start(daemon.workflows, "well")
        assert await daemon.told(3600.0) == 120 * [FED] + [FED]
        assert daemon.health.silent()["workflows"] == 1
        assert [(line["event"], line["actor"]) for line in log] == [("actor does not answer", "slow")]
        release.set()
        await daemon.clock.advance(60.0)
        assert daemon.health.silent()["workflows"] == 0


@pytest.mark.parametrize("database", [True, False])
async def test_all_workflows_hang_in_their_databases_or_within(tmp_path: Path, database: bool) -> None:
    async with running(tmp_path) as daemon:
        release = anyio.Event()
        for name in "abc":
            daemon.start(daemon.workflows, name, database=database).tell(release)
        await daemon.clock.advance(400.0)
        told = set(await daemon.told(600.0))
        assert told == {FED} if database else all("none of 3 workflows answers" in line for line in told)
        assert daemon.health.silent()["workflows"] == 3
        release.set()
        await daemon.clock.advance(60.0)
        assert set(await daemon.told(60.0)) == {FED}
