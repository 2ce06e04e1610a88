"""One daemon at a time has a state directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.daemon.state_directory import AlreadyRunningError, check_kind, locked
from penstock.domain.errors import SpecError


def test_it_is_held_by_one_and_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path / "s"):
            with pytest.raises(AlreadyRunningError, match=rf"a daemon \(pid {os.getpid()}\) already runs on"):
                locked(tmp_path / "s").__enter__()
            check_kind(tmp_path / "s", force=True)


def test_a_file_in_its_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match="cannot be used: Not a directory"), locked(tmp_path / "file" / "s"):
        pass
