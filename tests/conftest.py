"""What every test is held to: whatever it started has ended when it ends.

Threads, processes (also detached ones), open file descriptors and asyncio tasks that a test leaves behind fail it.
Those of fixtures with a wider scope are there before the test, and so are not its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import signal
import threading
import uuid
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from penstock.control.event_loop import EventLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

GRACE_S = 20.0
"""How long threads and processes that have been told to end may take to do so."""
MARK = "PENSTOCK_TEST_SESSION"
"""Set for everything the suite starts, so that a process is known as ours after its parents have gone."""

KEPT = {"PENSTOCK_SAMPLES", "PENSTOCK_FLUX", "PENSTOCK_REQUIRE_SERVICES"}
"""What the environment may tell the suite itself."""

pytest_plugins = ["tests.services.fixtures", "tests.sharing"]

hypothesis.settings.register_profile("penstock", deadline=None, print_blob=True)
hypothesis.settings.load_profile("penstock")


def pytest_configure() -> None:
    """Make the suite independent of the environment it is started from."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; our children would be deaf
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("PENSTOCK_") and name not in KEPT]:
        del os.environ[name]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of daemons and commands: compiled once, not by each
    os.environ[MARK] = uuid.uuid4().hex
    resource_tracker.ensure_running()  # multiprocessing's one helper process lives as long as this one


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The daemon runs on asyncio, in a loop of ours, and so do its tests."""
    return "asyncio", {"loop_factory": EventLoop}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves something running or open."""
    threads, processes, descriptors = set(threading.enumerate()), _processes(), _descriptors()
    yield
    left = [
        *_end_threads(set(threading.enumerate()) - threads),
        *(line for pid in sorted(_processes() - processes) if (line := _end_process(pid))),
        *_new_descriptors(descriptors),
    ]
    if left:
        pytest.fail(f"left behind: {'; '.join(left)}", pytrace=False)


@pytest.fixture(autouse=True)
def no_task_left_behind(request: pytest.FixtureRequest, nothing_left_behind: None) -> None:
    """Fail a test that leaves asyncio tasks, if it has an event loop."""
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("watched_tasks")


@pytest.fixture
async def watched_tasks(anyio_backend: object, nothing_left_behind: None) -> AsyncIterator[None]:
    """Compare the tasks before and after; the test's own fixtures are set up later and so taken down before."""
    before = asyncio.all_tasks()
    yield
    for _ in range(10):  # a cancelled task ends at its next turn
        await asyncio.sleep(0)
    left = {task.get_name(): task.get_coro() for task in asyncio.all_tasks() - before}
    # anyio's plugin has a task of its own for every call into the loop, this very one included
    named = [
        f"task {name} ({coro!r})" for name, coro in left.items() if "TestRunner._call_in_runner_task" not in repr(coro)
    ]
    if named:
        pytest.fail(f"left behind: {'; '.join(named)}", pytrace=False)


def _end_threads(new: set[threading.Thread]) -> list[str]:
    for thread in new:
        thread.join(GRACE_S)
    return [f"thread {thread.name}" for thread in new if thread.is_alive()]


def _descriptors() -> set[tuple[int, str]]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists the folder is gone again
            found.add((int(entry.name), str(entry.readlink())))
    return found


def _new_descriptors(before: set[tuple[int, str]]) -> list[str]:
    if _descriptors() - before:
        gc.collect()  # closes what only a reference cycle keeps; its ResourceWarning is an error of its own
    return [f"file descriptor {number} ({target})" for number, target in sorted(_descriptors() - before)]


def _processes() -> set[int]:
    """Our children, and whatever carries our mark in its environment."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    return {
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdecimal() and int(folder.name) != os.getpid() and _is_ours(folder, mark)
    }


def _is_ours(folder: Path, mark: bytes) -> bool:
    try:
        # pid (name) state ppid ...: the name may hold anything, so count from its closing parenthesis
        state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        if int(parent) == os.getpid():
            return True
        return state != "Z" and mark in (folder / "environ").read_bytes().split(b"\0")
    except (OSError, ValueError):  # ended while we looked, or somebody else's
        return False


def _end_process(pid: int) -> str | None:
    """What to complain of, or None if `pid` ended by itself and was waited for; it is gone afterwards either way."""
    command = _command(pid)
    if not (ended := _ends_soon(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # a grandchild, or its Popen has waited for it
        return None if ended else f"process {pid} ({command})"
    return f"child process {pid} ({command}), which nobody waited for" if ended else f"child process {pid} ({command})"


def _ends_soon(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], GRACE_S)[0])
    finally:
        os.close(descriptor)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return "gone"
