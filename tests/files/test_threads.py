"""Threads for file systems: one that hangs holds up itself."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import pytest
from tests.services.file_server import RealFileServer

from penstock.domain.silence import is_silent
from penstock.files import threads
from penstock.files.kinds import Mount
from penstock.files.threads import (
    THREADS,
    MountTable,
    SilentError,
    ask_in_thread,
    in_thread,
    look_in_thread,
    point_of,
    refuse_silent,
)

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


async def test_who_is_cancelled_does_not_wait_and_the_place_stays_taken_until_the_thread_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "THREADS", 1)
    answers, inside = threading.Event(), threading.Event()

    def hang() -> None:
        inside.set()
        assert answers.wait(60.0)

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look_in_thread, "/w", hang)
            await anyio.to_thread.run_sync(inside.wait, 60.0)
            tasks.cancel_scope.cancel()
        with anyio.move_on_after(0.05) as scope:
            await look_in_thread("/w", str)
        assert scope.cancelled_caught
        answers.set()
        assert await look_in_thread("/w", lambda: "well") == "well"
        assert await look_in_thread("/w", lambda: "again") == "again"
    finally:
        answers.set()


async def test_who_is_cancelled_before_it_began_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "THREADS", 1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await look_in_thread("/w", str)
    assert await look_in_thread("/w", lambda: "well") == "well"


async def test_what_goes_wrong_in_the_thread_is_raised_and_its_place_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "THREADS", 1)
    for ask in (in_thread, look_in_thread, ask_in_thread):
        with pytest.raises(ZeroDivisionError):
            await ask("/w", lambda: 1 // 0)
    assert await in_thread("/w", lambda: "well") == "well"


async def test_who_asks_is_told_that_a_file_system_does_not_answer(
    real_file_server: RealFileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only takes long is waited for."""
    monkeypatch.setattr(threads, "_PATIENCE_S", 0.05)
    file, answers = real_file_server.mount / "file", threading.Event()
    file.write_text("it")
    try:
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                assert await ask_in_thread(file, answers.wait, 60.0)

            tasks.start_soon(ask)
            for _ in range(5):
                assert await threads._answers(str(file))
            answers.set()
        real_file_server.freeze()
        with monkeypatch.context() as patch:
            patch.setattr(threads, "_ANSWERS_S", 0.2)
            with pytest.raises(SilentError, match=f"file system of {file} does not answer") as silence:
                await ask_in_thread(file, file.read_text)
        assert is_silent(str(silence.value))  # so that who reads it as a workflow's reason knows it
        real_file_server.thaw()
        assert await ask_in_thread(file, file.read_text) == "it"
        with pytest.raises(FileNotFoundError):
            await ask_in_thread(file, (file.parent / "none").read_text)
    finally:
        answers.set()
        real_file_server.thaw()


@pytest.mark.parametrize("path", ["/none/such", "", "/etc/a\0b"])
async def test_an_error_is_an_answer_too(path: str) -> None:
    await refuse_silent(path)


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
