"""The log in a workflow's directory, on real files; a FIFO plays a file server that hangs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from penstock.actors import workflow_log
from penstock.actors.workflow_log import WorkflowLog

pytestmark = pytest.mark.anyio


async def test_lines_are_written_in_their_order(tmp_path: Path) -> None:
    log = WorkflowLog(tmp_path / "workflow.log")
    log.put([])
    assert not (tmp_path / "workflow.log").exists()
    for number in range(100):
        log.put([f"{number}a\n", f"{number}b\n"])
    await log.settle()
    expected = "".join(f"{number}a\n{number}b\n" for number in range(100))
    assert (tmp_path / "workflow.log").read_text() == expected
    log.put(["more\n"])
    await log.settle()
    assert (tmp_path / "workflow.log").read_text() == f"{expected}more\n"


async def test_nobody_waits_for_a_file_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_log, "_PATIENCE_S", 0.05)
    path = tmp_path / "workflow.log"
    os.mkfifo(path)
    log = WorkflowLog(path)
    before = set(threading.enumerate())
    log.put(["first\n"])
    log.put(["second\n"])
    await log.settle()
    (thread,) = set(threading.enumerate()) - before
    found = b""
    while b"second" not in found:  # a writer that has ended lets the next one in
        with path.open("rb") as reader:
            found += reader.read()
    thread.join(10.0)
    assert found == b"first\nsecond\n"


async def test_a_log_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    log = WorkflowLog(tmp_path / "missing" / "workflow.log")
    log.put(["lost\n"])
    await log.settle()
    assert not (tmp_path / "missing").exists()
