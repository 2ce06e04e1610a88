"""Workers over a file server that hangs, with real ones of both kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs
from tests.services.file_server import RealFileServer

from penstock.actors import task
from penstock.actors import workers as module
from penstock.actors.clock import SystemClock
from penstock.actors.worker_tasks import ReadChunk
from penstock.actors.workers import WorkerPool
from penstock.domain.process_id import STAT_FIELDS, read_stat
from penstock.domain.spec import StructureSource

WATER = "3\n\nO 0 0 0\nH 0 0 1\nH 0 1 0\n"
SOURCE = StructureSource("water.xyz")
DOES_NOT_ANSWER = "file system does not answer; its tasks wait"
ANSWERS_AGAIN = "file system answers again"


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WorkerPool]:
    monkeypatch.setattr(module, "_HANGS_AFTER_S", 0.5)
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.05)
    pool = WorkerPool(2, SystemClock())
    yield pool
    pool.close()
    await anyio.lowlevel.checkpoint()


async def until(predicate: Callable[[], bool]) -> None:
    """Returns when it holds; the time is that of real processes."""
    with anyio.fail_after(60.0):
        while not predicate():  # noqa: ASYNC110 - nobody tells of a process that does nothing
            await anyio.sleep(0.01)


def state_of(pid: int) -> str | None:
    stat = read_stat(pid)
    return None if stat is None else stat[STAT_FIELDS["state"]]


def reading(directory: Path) -> ReadChunk:
    return ReadChunk(SOURCE, str(directory / "water.xyz"), "", 10)


async def read_into(read: list[int], pool: WorkerPool, directory: Path) -> None:
    read.append((await pool.run(reading(directory))).count)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "water.xyz").write_text(WATER)
    return tmp_path


@pytest.fixture
def there(real_file_server: RealFileServer) -> Path:
    """On the server."""
    (real_file_server.mount / "water.xyz").write_text(WATER)
    return real_file_server.mount


async def test_one_that_hangs_takes_no_worker_from_others(
    pool: WorkerPool, here: Path, there: Path, real_file_server: RealFileServer
) -> None:
    """Both workers hang in it, and more tasks wait for it: two at a time go on elsewhere. Then it answers."""
    read: list[int] = []
    widest = most = 0

    async def ask(directory: Path) -> None:
        nonlocal widest, most
        chunk = await pool.run(reading(directory))
        widest, most = max(widest, pool.busy), max(most, pool._processes)
        read.append(chunk.count)

    async with anyio.create_task_group() as group:
        with capture_logs() as logs:
            real_file_server.freeze()
            try:
                for _ in range(5):
                    group.start_soon(ask, there)
                await until(lambda: pool.hung == 2)
                assert (pool.busy, pool.waiting, read) == (0, 3, [])
                assert pool.hanging(str(there / "w")) == str(there)
                assert pool.hanging(str(here)) is None
                async with anyio.create_task_group() as elsewhere:
                    for _ in range(6):
                        elsewhere.start_soon(ask, here)
                assert (pool.hung, pool.waiting, read) == (2, 3, [1] * 6)
                assert (widest, most) == (2, 4)
            finally:
                real_file_server.thaw()
            await until(lambda: len(read) == 11)
        assert [entry["event"] for entry in logs] == [DOES_NOT_ANSWER, ANSWERS_AGAIN]
        assert {entry["directory"] for entry in logs} == {str(there)}
    assert read == [1] * 11
    assert (pool.hung, pool.busy, pool.waiting, pool.lost) == (0, 0, 0, 0)
    assert len(pool._idle) == pool._processes <= 2


async def test_the_limit_of_a_task_does_not_run_while_its_file_system_is_dead(
    pool: WorkerPool, there: Path, real_file_server: RealFileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else outputs that nobody could read would count as unreadable ones."""
    monkeypatch.setattr(task, "_LIMIT_S", 5.0)
    await pool.run(reading(there))
    read: list[int] = []
    async with anyio.create_task_group() as group:
        real_file_server.freeze()
        try:
            group.start_soon(read_into, read, pool, there)
            began = anyio.current_time()
            await until(lambda: pool.hung == 1)
            await until(lambda: anyio.current_time() - began > 6.0)
            assert (read, pool.lost) == ([], 0)
        finally:
            real_file_server.thaw()
    assert (read, pool.lost) == ([1], 0)


async def test_one_that_has_hung_for_long_is_asked_of_a_new_process(
    pool: WorkerPool, there: Path, real_file_server: RealFileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may have been mounted anew; a process that waits for the old one would wait for ever."""
    await pool.run(reading(there))
    [first] = [worker.pid for worker in pool._idle]
    monkeypatch.setattr(module, "_GIVEN_UP_AFTER_S", 1.0)
    read: list[int] = []
    async with anyio.create_task_group() as group:
        real_file_server.freeze()
        try:
            group.start_soon(read_into, read, pool, there)
            await until(lambda: pool.lost == 1)
        finally:
            real_file_server.thaw()
    assert read == [1]
    assert first not in [worker.pid for worker in pool._idle]


async def test_a_worker_that_cannot_be_killed_holds_up_nobody(
    pool: WorkerPool, here: Path, there: Path, real_file_server: RealFileServer
) -> None:
    """Its call has left it for the server: it ends when that answers. Until then none is sent after it."""
    front = real_file_server.mount_relay()
    await pool.run(reading(front))
    [pid] = [worker.pid for worker in pool._idle]
    real_file_server.freeze()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(pool.run, reading(front))
            await until(lambda: pool.hung == 1)
            group.cancel_scope.cancel()
        await until(lambda: state_of(pid) == "D")  # once it has heard that it is killed
        async with anyio.create_task_group() as group:
            group.start_soon(pool.run, reading(front))
            await pool.run(reading(here))
            assert (pool.busy, pool.hung, pool.waiting) == (0, 1, 1)
            real_file_server.thaw()
        assert state_of(pid) is None
    finally:
        real_file_server.thaw()
