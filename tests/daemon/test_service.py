"""The parts of the service that need no daemon: places of errors, and logs read piece by piece."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.daemon.service import _in_file, _log_files, _read_log
from penstock.domain.errors import SpecError


def test_an_error_gets_its_place_in_the_file() -> None:
    text = "id = 'x'\n[resources]\ncores = 99\n"
    placed = _in_file(SpecError("too many", key="resources.cores"), text, "s.toml")
    assert str(placed) == "s.toml:3: resources.cores: too many"
    known = SpecError("wrong", file="other", line=1, key="id")
    assert _in_file(known, text, "s.toml") is known
    bare = SpecError("wrong")
    assert _in_file(bare, text, "s.toml") is bare


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
