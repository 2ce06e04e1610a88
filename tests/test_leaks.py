"""The leak checks of conftest.py find each kind of leak, name it, and leave the next test alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LEAKY = '''
import asyncio, os, subprocess, sys, threading

import anyio
import pytest

kept = []
FOREVER = "import signal; print(flush=True); signal.pause()"
DETACH = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {FOREVER!r}], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
"""

def test_thread():
    kept.append(threading.Event())
    threading.Thread(target=kept[-1].wait, name="forgotten", daemon=True).start()

def test_clean_after_thread():
    kept.pop().set()

def test_descriptor():
    kept.append(os.open("/dev/null", os.O_RDONLY))

def test_child():
    kept.append(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]))

def test_zombie():
    kept.append(subprocess.Popen(["true"]))
    os.waitid(os.P_PID, kept[-1].pid, os.WEXITED | os.WNOWAIT)

def test_detached():
    subprocess.run([sys.executable, "-c", DETACH], check=True)

async def test_task():
    kept.append(asyncio.create_task(asyncio.Event().wait(), name="forgotten"))

@pytest.fixture
async def background():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        yield
        group.cancel_scope.cancel()

async def test_clean_with_fixture(background):
    thread = await anyio.to_thread.run_sync(threading.current_thread)
    assert thread is not threading.current_thread()
    process = await anyio.run_process(["true"])
    assert process.returncode == 0

def test_clean(tmp_path):
    worker = threading.Thread(target=(tmp_path / "file").touch)
    worker.start()
    subprocess.run(["true"], check=True)
'''


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a run of the leaky tests prints under this project's conftest, with a short grace."""
    folder = tmp_path_factory.mktemp("leaky")
    conftest = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
    assert "GRACE_S = 20.0\n" in conftest
    (folder / "conftest.py").write_text(conftest.replace("GRACE_S = 20.0\n", "GRACE_S = 1.0\n"), encoding="utf-8")
    (folder / "test_leaky.py").write_text(LEAKY, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\nfilterwarnings = error\n", encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "test_leaky.py"]
    environment = os.environ | {"COLUMNS": "500", "PYTHONPATH": str(Path(__file__).parents[1])}  # for its plugins
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("thread", "left behind: thread forgotten"),
        ("descriptor", "left behind: file descriptor "),
        ("child", "left behind: child process "),
        ("zombie", "which nobody waited for"),
        ("detached", "left behind: process "),
        ("task", "left behind: task forgotten"),
    ],
)
def test_each_leak_fails_its_own_test(report: str, test: str, message: str) -> None:
    lines = [line for line in report.splitlines() if line.startswith(f"ERROR test_leaky.py::test_{test} ")]
    assert len(lines) == 1, report
    assert message in lines[0]


def test_nothing_else_fails(report: str) -> None:
    assert report.splitlines()[-1].strip("= ").startswith("9 passed, 6 errors in "), report
