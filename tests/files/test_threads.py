"""Threads for file systems: one that hangs holds up itself."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import pytest

from penstock.files import threads
from penstock.files.kinds import Mount
from penstock.files.threads import THREADS, MountTable, in_thread, point_of

MOUNTS = [
    Mount("8:1", "/", "ext4"),
    Mount("0:9", "/home", "nfs4"),
    Mount("8:2", "/home/me/local", "xfs"),
    Mount("0:9", "/home", "nfs4"),
]


@pytest.mark.parametrize(
    ("path", "point"),
    [
        ("/", "/"),
        ("/etc", "/"),
        ("/home", "/home"),
        ("/homely/x", "/"),
        ("/home/me/local", "/home/me/local"),
        ("/home/me/locals", "/home"),
        ("/home/me/local/w/.penstock", "/home/me/local"),
    ],
)
def test_the_mount_is_told_from_the_path_alone(path: str, point: str) -> None:
    assert point_of(MOUNTS, path) == point
    assert point_of([], path) == "/"


async def test_one_that_hangs_takes_no_thread_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times as many calls into a dead one as it has threads; another, and what is in no file system, go on."""
    monkeypatch.setattr(threads, "read_mounts", lambda: MOUNTS)
    answers, inside = threading.Event(), threading.Semaphore(0)
    asked: list[int] = []

    def hang(number: int) -> None:
        asked.append(number)
        inside.release()
        assert answers.wait(60.0)

    def all_inside() -> None:
        for _ in range(THREADS):
            assert inside.acquire(timeout=60.0)

    try:
        async with anyio.create_task_group() as tasks:
            for number in range(3 * THREADS):
                tasks.start_soon(in_thread, Path("/home/me/w"), hang, number)
            await anyio.to_thread.run_sync(all_inside)
            assert len(asked) == THREADS
            assert await in_thread("/home/me/local/w", lambda: "well") == "well"
            assert await in_thread(Path("/tmp/w"), str.upper, "well") == "WELL"
            assert len(asked) == THREADS
            answers.set()
    finally:
        answers.set()
    assert sorted(asked) == list(range(3 * THREADS))


async def test_who_is_cancelled_may_leave_the_thread_to_itself() -> None:
    answers = threading.Event()
    try:
        with anyio.move_on_after(0.05) as scope:
            await in_thread("/w", answers.wait, 60.0, abandon_on_cancel=True)
        assert scope.cancelled_caught
    finally:
        answers.set()


async def test_below_the_root_the_first_directories_stand_for_what_is_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A link there may lead to a file server, and asking for it is what hangs."""
    monkeypatch.setattr(threads, "read_mounts", lambda: MOUNTS)
    table = MountTable()
    assert table.file_system_of("/home/me/w/.penstock") == "/home"
    assert table.file_system_of("/srv/lab/w/.penstock") == "/srv/lab"
    assert table.file_system_of("/srv") == "/srv"
    assert table.file_system_of("/") == "/"
