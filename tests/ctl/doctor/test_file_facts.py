"""Who may write, who may read, and how much room there is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from penstock.ctl.doctor.file_facts import FileFacts, Room, judge_room, look_at, measure_room, readers, writers

FILE = FileFacts("/c/config.toml", 1000, 100, stat.S_IFREG | 0o644, 0.0, "users")


@pytest.mark.parametrize(
    ("mode", "group", "may_write", "may_read"),
    [
        (0o600, "users", "", ""),
        (0o644, "users", "", "everybody"),
        (0o640, "users", "", "group users"),
        (0o660, "users", "group users", "group users"),
        (0o660, "", "", ""),  # a group of one
        (0o666, "", "everybody", "everybody"),
    ],
)
def test_who_may(mode: int, group: str, may_write: str, may_read: str) -> None:
    facts = msgspec.structs.replace(FILE, mode=stat.S_IFREG | mode, group=group)
    assert (writers(facts), readers(facts), facts.permissions) == (may_write, may_read, f"{mode:04o}")


def test_a_real_file_and_one_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert look_at(path) is None
    assert look_at(path / "below") is None
    path.write_text("x")
    path.chmod(0o602)
    facts = look_at(path)
    assert facts is not None
    assert (facts.uid, facts.permissions, writers(facts)) == (os.getuid(), "0602", "everybody")
    assert facts.changed_at == path.stat().st_mtime
    assert look_at(tmp_path / "x" / "y") is None


GB = 10**9
ROOM = Room("/d", 500 * GB, 1000 * GB, 10**6, 10**7)


@pytest.mark.parametrize(
    ("room", "level", "said"),
    [
        (ROOM, "ok", "/d: 500.0 GB of 1.0 TB free"),
        (msgspec.structs.replace(ROOM, free_bytes=GB // 2), "warning", "500.0 MB of 1.0 TB free"),
        (msgspec.structs.replace(ROOM, free_bytes=GB // 20), "problem", "50.0 MB of"),
        (msgspec.structs.replace(ROOM, free_inodes=150_000), "warning", "150000 of 10000000 inodes"),
        (msgspec.structs.replace(ROOM, free_inodes=150), "problem", "150 of 10000000 inodes"),
        (msgspec.structs.replace(ROOM, free_inodes=0, inodes=0), "ok", "free"),  # btrfs and others count none
    ],
)
def test_room(room: Room, level: str, said: str) -> None:
    finding = judge_room("room", room)
    assert finding.level == level
    assert said in finding.detail
    assert bool(finding.remedy) == (level != "ok")


def test_room_of_what_will_be_there(tmp_path: Path) -> None:
    room = measure_room(tmp_path / "not" / "yet")
    assert room.directory == str(tmp_path / "not" / "yet")
    assert 0 < room.free_bytes < room.bytes
