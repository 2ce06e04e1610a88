"""`penstockctl log`: what it asks, and what it does about a daemon that goes away."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.ctl.conftest import command

from penstock.control import messages
from penstock.control.messages import AnyItem
from penstock.ctl.daemon_log import Since
from penstock.domain.context import LOG_PLACE_NAME
from penstock.domain.log_line import LogLine
from penstock.testing.scripted_daemon import Script, ScriptedDaemon


def test_json_is_what_the_journal_has(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    line, gap = map(json.loads, run("log", "--json").out.splitlines())
    assert list(line)[:5] == ["timestamp", "level", "event", "workflow", "job"]
    assert line["timestamp"] == "2023-11-14T22:13:20.500000Z"
    assert gap == {"dropped": 3}


@pytest.mark.parametrize(
    "wrong", [["--job", "3"], ["--level", "loud"], ["--since", "yesteryear"], ["-n", "-1"], ["-n", "0"]]
)
def test_wrong_use_is_told(wrong: list[str], daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    assert run("log", *wrong).code == 2
    assert daemon.script.seen == []


def test_who_follows_may_leave_out_what_was(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    assert run("log", "-n", "0", "-f").code == 0
    assert [request.lines for request in daemon.script.seen if isinstance(request, messages.ReadLog)] == [0]


def test_moments() -> None:
    def moment(text: str) -> float:
        return Since().convert(text, None, None)

    for text, ago_s in (("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172_800)):
        assert abs(time.time() - ago_s - moment(text)) < 5
    assert moment("2026-03-01T14:30") == datetime(2026, 3, 1, 14, 30).astimezone().timestamp()
    assert moment("2026-03-01T14:30+00:00") == 1_772_375_400.0
    today = datetime.now().astimezone().replace(hour=0, minute=1, second=0, microsecond=0)
    assert abs(moment("00:01") - today.timestamp()) in (0.0, 86_400.0)  # midnight may have passed in between


def test_no_line_is_no_fault(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    async def nothing(_: messages.ReadLog) -> AsyncGenerator[AnyItem]:
        lines: tuple[LogLine, ...] = ()
        for line in lines:
            yield line

    daemon.script.streams[messages.ReadLog] = nothing
    ran = run("log", "g2")
    assert (ran.code, ran.out) == (0, "")
    assert "no such line in memory" in ran.err


def test_without_a_daemon_it_says_where_the_log_is(
    tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("PENSTOCK_SOCKET", raising=False)
    for follow in ([], ["-f"]):
        ran = run("log", *follow)
        assert ran.code == 3
        assert "journalctl --user -u penstockd" in ran.err
    (tmp_path / LOG_PLACE_NAME).write_text("/var/log/penstock\x1b[2J.log\n")
    ran = run("log")
    assert ran.code == 3
    assert "its log: /var/log/penstock\\x1b[2J.log" in ran.err


def test_who_follows_goes_on_with_the_next_daemon_where_it_was(daemon: ScriptedDaemon, script: Script) -> None:
    asked: list[messages.ReadLog] = []

    async def lines(request: messages.ReadLog) -> AsyncGenerator[AnyItem]:
        asked.append(request)
        if len(asked) == 1:
            yield LogLine(7, 1000.0, "info", "before")
            await anyio.sleep_forever()
        yield LogLine(8, 2000.0, "info", "after")

    script.streams[messages.ReadLog] = lines
    line = command("log", "g2", "-f", "-n", "3")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "before" in process.stdout.readline()
        daemon.stop()
        daemon.start()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "after" in out
    assert "waiting up to" in err
    assert [(request.after, request.follow, request.id) for request in asked] == [(None, True, "g2"), (7, True, "g2")]
