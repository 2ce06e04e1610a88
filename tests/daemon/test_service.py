"""The parts of the service that need no daemon: places of errors, logs read piece by piece, and watching."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from tests.control.reported import FINDING, HPC, REPORT
from tests.daemon.metrics.scraped import sources_of

from penstock.actors import board as boards
from penstock.actors.board import Board
from penstock.actors.workflow_messages import (
    CancelWorkflow,
    MarkJobs,
    PauseWorkflow,
    ResolveJobs,
    ResumeWorkflow,
    RetryJobs,
    Touched,
)
from penstock.control import messages as m
from penstock.control.listener import Peer
from penstock.daemon.config import Config
from penstock.daemon.metrics.registry import Metrics
from penstock.daemon.service import Service
from penstock.daemon.streams import Streams, _log_files, _read_log
from penstock.domain.errors import ConflictError, NotFoundError, SpecError
from penstock.domain.resources import Resources
from penstock.domain.spec import WorkflowSpec, in_file
from penstock.domain.states import Resolution
from penstock.domain.views import ClusterInfo, ClusterReport, EventInfo, Finding, Selection

PEER = Peer(1, 1, 1)
JOBS = Selection(jobs=(7,))


def test_an_error_gets_its_place_in_the_file() -> None:
    text = "id = 'x'\n[resources]\ncores = 99\n"
    placed = in_file(SpecError("too many", key="resources.cores"), text, "s.toml")
    assert str(placed) == "s.toml:3: resources.cores: too many"
    known = SpecError("wrong", file="other", line=1, key="id")
    assert in_file(known, text, "s.toml") is known
    bare = SpecError("wrong")
    assert in_file(bare, text, "s.toml") is bare


def test_which_files_are_logs(tmp_path: Path) -> None:
    assert _log_files(tmp_path / "missing") == []
    for name in ("stderr", "stdout", "b.log", "a.out", "input.json"):
        (tmp_path / name).touch()
    assert _log_files(tmp_path) == ["stdout", "stderr", "a.out", "b.log"]


def test_a_log_is_read_piece_by_piece(tmp_path: Path) -> None:
    log = tmp_path / "stdout"
    log.write_bytes(b"x" * 100_000)
    first, offset = _read_log(log, 0, None)
    second, offset = _read_log(log, offset, None)
    assert len(first + second) == offset == 100_000
    assert _read_log(log, offset, None) == (b"", offset)
    assert _read_log(log, 0, 10) == (b"x" * 10, 100_000)
    assert _read_log(log, 0, 1_000_000)[1] == 65536


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    (tmp_path / "stdout").symlink_to(secret)
    os.mkfifo(tmp_path / "stderr")
    for name in ("stdout", "stderr", "missing"):
        assert _read_log(tmp_path / name, 0, None) == (b"", 0)


def events(first: int, last: int) -> list[EventInfo]:
    return [EventInfo("w", seq, 0.0, "job_started", 1, "") for seq in range(first, last + 1)]


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Board, Any]]:
    """A board, and a stream of all that happens on it that looks up every 20 ms."""
    move_on_after = anyio.move_on_after
    monkeypatch.setattr(anyio, "move_on_after", lambda _seconds: move_on_after(0.02))
    board = Board()
    stream = Streams(cast("Any", None), board).watch(m.Watch())
    yield board, stream
    await stream.aclose()
    assert board._subscriptions == set()


async def next_of(stream: Any, board: Board, news: list[EventInfo]) -> Any:
    """What comes next; `news` happens once somebody waits for it."""
    found: list[Any] = []

    async def take() -> None:
        found.append(await anext(stream))

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        board.emit(news)
    return found[0]


async def test_a_watcher_takes_its_own_time(watched: tuple[Board, Any]) -> None:
    board, stream = watched
    seen = []
    with anyio.fail_after(10.0):
        board.emit(events(1, 1))  # nobody watches yet
        task_seen = anyio.Event()

        async def watch() -> None:
            async for item in stream:
                seen.append(item.seq)
                task_seen.set()
                await anyio.sleep(0.06)  # a slow client, longer than the stream's own wait
                if item.seq == 5:
                    return

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            board.emit(events(2, 3))
            await task_seen.wait()
            board.emit(events(4, 5))
    assert seen == [2, 3, 4, 5]


async def test_a_watcher_that_fell_behind_is_told_so_and_goes_on(
    watched: tuple[Board, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "_BACKLOG", 3)
    board, stream = watched
    with anyio.fail_after(10.0):
        first = await next_of(stream, board, events(1, 7))
        assert first == m.Lagged(4)
        assert [(await anext(stream)).seq for _ in range(3)] == [1, 2, 3]
        assert (await next_of(stream, board, events(8, 8))).seq == 8


# ---- clusters with a scheduler --------------------------------------------------------------------------------------


class Desk:
    """Knows one cluster, and whether its check was left."""

    def __init__(self) -> None:
        self.left = False

    def refuse_impossible(self, spec: WorkflowSpec, needs: Sequence[Resources] = ()) -> None:
        """Everything is possible here."""

    async def report(self, name: str) -> ClusterReport:
        assert name == "hpc"
        return REPORT

    async def check(self, name: str) -> AsyncGenerator[Finding]:
        assert name == "hpc"
        try:
            yield FINDING
            await anyio.sleep_forever()
        finally:
            self.left = True


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def service(desk: Desk) -> Service:
    board = Board()
    board.clusters["hpc"] = HPC
    board.clusters["local"] = ClusterInfo("local", "local", "up", None, 8, 3, 16000, 3000, 3, 4)
    metrics = Metrics(sources_of(board))
    return Service(
        cast("Any", None),
        board,
        cast("Any", None),
        metrics,
        list,
        desk,
        cast("Any", None),
        completions=cast("Any", None),
    )


async def test_a_ping_tells_which_configuration_is_in_use(desk: Desk) -> None:
    configs = [Config(file="conf/c.toml", read_at=5.0), Config(read_at=7.0)]
    nothing = cast("Any", None)
    metrics = Metrics(sources_of(Board()))
    service = Service(
        *(nothing, Board(), nothing, metrics, list, desk, nothing),
        completions=nothing,
        config=lambda: configs.pop(0),
    )
    pong = await service.call(m.Ping(), PEER)
    assert isinstance(pong, m.Pong)
    assert (pong.config, pong.config_read_at) == (f"{os.getcwd()}/conf/c.toml", 5.0)  # noqa: PTH109 - a name is what is wanted
    pong = await service.call(m.Ping(), PEER)
    assert isinstance(pong, m.Pong)
    assert (pong.config, pong.config_read_at) == ("built-in", 7.0)


async def test_a_cluster_is_reported_by_who_knows_it(service: Service) -> None:
    assert await service.call(m.ReportCluster("hpc"), PEER) == m.ClusterReported(REPORT)


async def test_findings_come_one_by_one_and_end_with_their_listener(service: Service, desk: Desk) -> None:
    findings = service.stream(m.CheckCluster("hpc"), PEER)
    assert await anext(findings) == FINDING
    await findings.aclose()
    assert desk.left


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [("hpx", NotFoundError, "there is no cluster 'hpx'; known: hpc, local"), ("local", ConflictError, "no scheduler")],
)
async def test_clusters_without_a_scheduler_are_told_so(
    service: Service, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await service.call(m.ReportCluster(name), PEER)
    with pytest.raises(error, match=message):
        await anext(service.stream(m.CheckCluster(name), PEER))


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (m.Resolve("w", JOBS, Resolution.ENDED), ResolveJobs(JOBS, Resolution.ENDED)),
        (m.Pause("w"), PauseWorkflow(None)),
        (m.Resume("w", JOBS), ResumeWorkflow(JOBS)),
        (m.Cancel("w", JOBS), CancelWorkflow(JOBS)),
        (m.Retry("w"), RetryJobs(Selection())),
        (m.Mark("w", JOBS, never_rerun=True), MarkJobs(JOBS, never_rerun=True)),
    ],
)
async def test_what_a_workflow_is_told(request_: m.Request[Any], command: Any) -> None:
    told = []

    class Workflows:
        async def ask(self, workflow_id: str, message: Any, deadline_s: float) -> Touched:
            assert (workflow_id, deadline_s) == ("w", 60.0)
            told.append(message)
            return Touched(2, 1, "note")

    board = Board()
    metrics = Metrics(sources_of(board))
    service = Service(
        cast("Any", Workflows()),
        board,
        cast("Any", None),
        metrics,
        list,
        Desk(),
        cast("Any", None),
        completions=cast("Any", None),
    )
    assert await service.call(request_, PEER) == m.Changed(2, 1, "note")
    assert told == [command]
