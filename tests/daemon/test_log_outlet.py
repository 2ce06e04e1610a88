"""The way out of the log, on real pipes: whoever logs waits for nobody."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from penstock.daemon import log_outlet
from penstock.daemon.log_outlet import BYTES_MAX, Outlet

LINE = "x" * 1023 + "\n"
PATIENCE_S = 10.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def read_all(fd: int) -> bytes:
    found = b""
    while piece := os.read(fd, 65536):
        found += piece
    return found


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "not blocking"])
def test_nobody_waits_for_a_reader_that_does_not_read(pipe: tuple[int, int], blocking: bool) -> None:
    reader, writer = pipe
    os.set_blocking(writer, blocking)
    said = 2 * BYTES_MAX // len(LINE)
    with os.fdopen(writer, "w", closefd=False) as stream:
        outlet = Outlet(stream)

        def say() -> None:
            for _ in range(said):
                outlet.put(LINE)

        talker = threading.Thread(target=say, daemon=True)
        talker.start()
        talker.join(PATIENCE_S)
        assert not talker.is_alive()
        assert 0 < outlet.lost < said
        found: list[bytes] = []
        listener = threading.Thread(target=lambda: found.append(read_all(reader)))
        listener.start()  # it reads again, and gets what has waited
        outlet.close()
        os.close(writer)
        listener.join(PATIENCE_S)
        lines = found[0].decode().splitlines(keepends=True)
        assert len(lines) == said - outlet.lost
        assert set(lines) == {LINE}


def test_its_end_waits_for_a_moment_only(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pipe
    monkeypatch.setattr(log_outlet, "CLOSE_S", 0.01)
    with os.fdopen(writer, "w", closefd=False) as stream:
        outlet = Outlet(stream)
        for _ in range(200):
            outlet.put(LINE)
        outlet.close()
        outlet.put("too late\n")
        assert outlet.lost == 1
        os.close(reader)  # the thread finds that there is nobody


def test_a_reader_that_is_gone_costs_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    with os.fdopen(writer, "w", closefd=False) as stream:
        outlet = Outlet(stream)
        outlet.put(LINE)
        outlet.put(LINE)
        outlet.close()
        assert outlet.lost == 2
