"""Cores, memory and temporary directories."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.ctl.doctor.control_group import GroupLimits
from penstock.ctl.doctor.file_facts import Room
from penstock.ctl.doctor.machine import (
    LocalCluster,
    Machine,
    Scratch,
    judge_local,
    judge_scratch,
    look_at_machine,
    look_at_scratch,
    scratch_directories,
)

LOCAL = LocalCluster("local", 8, 16_000)
MACHINE = Machine(8, 20_000, GroupLimits())


@pytest.mark.parametrize(
    ("local", "machine", "levels"),
    [
        (LOCAL, MACHINE, ["ok", "ok"]),
        (msgspec.structs.replace(LOCAL, cores=9), MACHINE, ["warning", "ok"]),
        (msgspec.structs.replace(LOCAL, memory_mb=21_000), MACHINE, ["ok", "warning"]),
        (LOCAL, msgspec.structs.replace(MACHINE, group=GroupLimits(8_000_000_000, 4.0)), ["warning", "warning"]),
        (LOCAL, msgspec.structs.replace(MACHINE, group=GroupLimits(18_000_000_000, 8.0)), ["ok", "ok"]),
    ],
)
def test_what_the_local_cluster_may_use(local: LocalCluster, machine: Machine, levels: list[str]) -> None:
    assert [finding.level for finding in judge_local(local, machine)] == levels


def test_the_control_group_is_named() -> None:
    machine = msgspec.structs.replace(MACHINE, group=GroupLimits(8_000_000_000, 1.5))
    cores, memory = judge_local(LOCAL, machine)
    assert cores.detail == "8 may be used, 8 there, 1.5 by the control group"
    assert memory.detail == "16000 MB may be used, 20000 MB there, 8000 MB by the control group"


def test_this_machine() -> None:
    machine = look_at_machine(None)
    assert machine.cores >= 1
    assert machine.memory_mb > 100


def test_temporary_directories(tmp_path: Path) -> None:
    given, shared = scratch_directories({"TMPDIR": str(tmp_path)})
    assert (given, str(shared)) == (tmp_path, "/dev/shm")
    there, missing = look_at_scratch([tmp_path, tmp_path / "nosuch"])
    assert there.writable
    assert there.room is not None
    finding = judge_scratch(missing)
    assert (finding.level, finding.detail) == ("problem", f"{tmp_path / 'nosuch'} is not there")
    assert judge_scratch(msgspec.structs.replace(there, writable=False)).level == "problem"


@pytest.mark.parametrize(
    ("path", "free", "level"),
    [
        ("/tmp", 50_000_000, "problem"),
        ("/tmp", 10**10, "ok"),
        ("/dev/shm", 67_108_864, "ok"),  # what containers get
        ("/dev/shm", 50_000_000, "warning"),
        ("/dev/shm", 0, "problem"),
    ],
)
def test_room_of_temporary_directories(path: str, free: int, level: str) -> None:
    assert judge_scratch(Scratch(path, True, Room(path, free, 10**11, 0, 0))).level == level
