"""Limits of control groups, read from folders as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

from penstock.ctl.doctor.control_group import GroupLimits, parse_cgroup, read_limits


def write(folder: Path, **values: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_paths_by_controller() -> None:
    text = "12:pids:/user.slice\n4:cpu,cpuacct:/a:b\n0::/x\n"
    assert parse_cgroup(text) == {"pids": "/user.slice", "cpu": "/a:b", "cpuacct": "/a:b", "": "/x"}


def test_the_tightest_on_the_way_up(tmp_path: Path) -> None:
    write(tmp_path / "a", memory__max="4000000000", cpu__max="150000 100000", pids__max="max", pids__current="9")
    write(tmp_path / "a" / "b", memory__max="8000000000", cpu__max="max 100000", pids__max="100", pids__current="90")
    write(tmp_path / "a" / "b" / "c", memory__max="max", pids__max="50", pids__current="5")
    assert read_limits("0::/a/b/c\n", tmp_path) == GroupLimits(4_000_000_000, 1.5, 10, 100)


def test_version_1(tmp_path: Path) -> None:
    write(tmp_path / "memory" / "m", memory__limit_in_bytes="2000000000")
    write(tmp_path / "memory", memory__limit_in_bytes="9223372036854771712")
    write(tmp_path / "cpu" / "c", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    write(tmp_path / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    write(tmp_path / "pids" / "p", pids__max="30", pids__current="10")
    text = "3:memory:/m\n2:cpu,cpuacct:/c\n1:pids:/p\n"
    assert read_limits(text, tmp_path) == GroupLimits(2_000_000_000, 2.0, 20, 30)


def test_a_container_does_not_see_its_own_folders(tmp_path: Path) -> None:
    write(tmp_path, memory__max="1000000000")
    assert read_limits("0::/elsewhere/entirely\n", tmp_path) == GroupLimits(1_000_000_000)
    assert read_limits("0::/../../x\n", tmp_path).processes_left is None
    assert read_limits("", tmp_path) == GroupLimits()
