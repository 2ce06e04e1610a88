"""The command: on terminals of several kinds, and where there is none."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.ctl.conftest import Ran, command
from tests.ctl.top.conftest import LIMIT_S
from tests.ctl.top.seen import WORKFLOWS

from penstock.control import messages
from penstock.domain.errors import NotFoundError
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

MANY_COLOURS = re.compile(rb"[34]8[;:][25]")
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3|4|9|10)[0-7](?:;\d+)*m")


class Terminal:
    """A command on a terminal of 80x24, and all that it writes there."""

    def __init__(self, process: subprocess.Popen[bytes], ours: int) -> None:
        self.process = process
        self.written = b""
        self._ours = ours

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def until(self, text: bytes) -> None:
        """Read until `text` has been written."""
        give_up = time.monotonic() + LIMIT_S
        while text not in self.written:
            assert select.select([self._ours], [], [], max(0.0, give_up - time.monotonic()))[0], self.written
            self.written += os.read(self._ours, 65536)

    def end(self) -> int:
        """Read to the end; the exit code."""
        with suppress(OSError):  # EIO is a terminal's end of file
            while data := os.read(self._ours, 65536):
                self.written += data
        return self.process.wait(LIMIT_S)


@contextmanager
def terminal(*argv: str, **environment: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    variables = {**os.environ, "COLUMNS": "300", **environment}
    process = subprocess.Popen(command(*argv), stdin=theirs, stdout=theirs, stderr=theirs, env=variables)
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("term", ["xterm", "screen", "linux", "xterm-256color"])
def test_sixteen_colours_are_enough_and_the_terminal_is_left_as_it_was(term: str, daemon: ScriptedDaemon) -> None:
    with terminal("top", TERM=term) as screen:
        screen.until(b"oxides")
        screen.until(b"quit")
        screen.until(b"faulted")
        screen.press(b"q")
        assert screen.end() == 0, screen.written
    assert not MANY_COLOURS.search(screen.written)
    assert COLOUR.search(screen.written)
    assert screen.written.rindex(b"\x1b[?1049l") > screen.written.rindex(b"oxides")  # the screen from before is back
    assert b"\x1b[?1000h" not in screen.written  # the mouse stays the terminal's own


def test_without_colour_words_say_the_same(daemon: ScriptedDaemon) -> None:
    with terminal("top", TERM="xterm", NO_COLOR="1") as screen:
        screen.until(b"oxides")
        screen.until(b"faulted")
        screen.press(b"\x03")
        assert screen.end() == 0
    assert not COLOUR.search(screen.written)


def test_a_workflow_can_be_opened_at_once(daemon: ScriptedDaemon) -> None:
    with terminal("top", "oxides", "--interval", "0.5", TERM="xterm") as screen:
        screen.until(b"mol-7")
        screen.process.send_signal(signal.SIGTERM)
        assert screen.end() == 0
    assert b"\x1b[?1049l" in screen.written


def test_at_rest_nothing_is_written(daemon: ScriptedDaemon, script: Script) -> None:
    with terminal("top", "--interval", "0.2", TERM="xterm") as screen:
        screen.until(b"walltime")
        give_up = time.monotonic() + LIMIT_S
        looked = script.seen.count(messages.ListClusters())
        screen.press(b"?")
        screen.until(b"Everywhere")
        screen.until(b"scroll")
        screen.press(b"\x1b[A")  # nothing is above: nothing changes
        before = len(screen.written)
        while script.seen.count(messages.ListClusters()) < looked + 10:
            assert time.monotonic() < give_up
            if select.select([screen._ours], [], [], 0.1)[0]:
                screen.written += os.read(screen._ours, 65536)
        assert len(screen.written) - before < 200
        screen.press(b"q")
        assert screen.end() == 0


def test_a_workflow_that_is_not_there_is_an_error_at_once(daemon: ScriptedDaemon, script: Script) -> None:
    def unknown(_: Any) -> messages.WorkflowStatus:
        raise NotFoundError("no workflow 'gone'")

    script.answers[messages.GetStatus] = unknown
    with terminal("top", "gone", TERM="xterm") as screen:
        assert screen.end() == 2
    assert b"no workflow 'gone'" in screen.written
    assert b"\x1b[?1049h" not in screen.written


def test_without_a_daemon_it_does_not_begin(daemon: ScriptedDaemon) -> None:
    daemon.stop()
    with terminal("top", TERM="xterm") as screen:
        assert screen.end() == 3
    with terminal("top", TERM="dumb") as screen:
        assert screen.end() == 2
    assert b"needs a terminal" in screen.written


def test_without_a_terminal_it_names_what_to_use_instead(daemon: ScriptedDaemon, run: Callable[..., Ran]) -> None:
    ran = run("top")
    assert (ran.code, ran.out, daemon.script.seen) == (2, "", [])
    assert "top needs a terminal; use penstockctl status, list or watch, or top --json" in ran.err


def test_one_snapshot_as_json(daemon: ScriptedDaemon, run: Callable[..., Ran]) -> None:
    document = json.loads(run("top", "--json").out)
    assert list(document) == ["workflows", "clusters", "failures"]
    assert [workflow["id"] for workflow in document["workflows"]] == [info.id for info in WORKFLOWS]
    [failure] = document["failures"]
    assert failure | {"at": 0} == {
        "at": 0,
        "workflow": "oxides",
        "job": 7,
        "failure": "walltime",
        "message": "stopped at its walltime",
        "again": False,
    }
    one = json.loads(run("top", "oxides", "--json").out)
    assert [workflow["id"] for workflow in one["workflows"]] == ["oxides"]
    assert [cluster["name"] for cluster in one["clusters"]] == ["local"]
