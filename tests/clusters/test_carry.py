"""Files that an attempt goes on from: copied as they are, never by way of a link, and never a reason to fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.clusters.carry import carry_files


@pytest.fixture
def old(tmp_path: Path) -> Path:
    directory = tmp_path / "1"
    directory.mkdir()
    (directory / "restart").write_bytes(b"\x00state" * 300_000)
    (tmp_path / "secret").write_text("secret")
    return directory


@pytest.fixture
def new(tmp_path: Path) -> Path:
    directory = tmp_path / "2"
    directory.mkdir()
    return directory


def test_files_are_copied_and_those_that_are_missing_are_passed_over(old: Path, new: Path) -> None:
    carry_files(old, new, {"missing": "missing", "restart": "restart"})
    assert (new / "restart").read_bytes() == (old / "restart").read_bytes()
    (old / "restart").write_text("newer")
    carry_files(old, new, {"restart": "restart"})
    assert (new / "restart").read_text() == "newer"
    assert [file.name for file in new.iterdir()] == ["restart"]


def test_a_file_gets_another_name(old: Path, new: Path) -> None:
    carry_files(old, new, {"restart": "guess"})
    assert [file.name for file in new.iterdir()] == ["guess"]


def test_links_folders_pipes_and_odd_names_are_left_alone(tmp_path: Path, old: Path, new: Path) -> None:
    (old / "link").symlink_to(tmp_path / "secret")
    (old / "folder").mkdir()
    os.mkfifo(old / "pipe")
    names = ["link", "folder", "pipe", "../secret", ".", ".claim", str(tmp_path / "secret")]
    carry_files(old, new, {name: name for name in names})
    carry_files(old, new, {"restart": "../outside"})
    assert list(new.iterdir()) == []


def test_nothing_is_fetched_from_a_folder_behind_a_link(tmp_path: Path, old: Path, new: Path) -> None:
    (tmp_path / "3").symlink_to(old)
    carry_files(tmp_path / "3", new, {"restart": "restart"})
    carry_files(tmp_path / "4", new, {"restart": "restart"})
    assert list(new.iterdir()) == []


def test_nothing_is_written_through_a_link(tmp_path: Path, old: Path, new: Path) -> None:
    (new / "restart").symlink_to(tmp_path / "secret")
    carry_files(old, new, {"restart": "restart"})
    assert (tmp_path / "secret").read_text() == "secret"
    assert not (new / "restart").is_symlink()
