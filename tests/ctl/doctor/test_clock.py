"""Who keeps the clock."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from penstock.ctl.doctor import clock
from penstock.ctl.doctor.clock import ClockKeeping, judge_clock, look_at_clock, parse_chrony

TRACKING = "A29FC87B,192.0.2.1,3,1700000000.1,{offset},0.0,0.0,-6.9,0.0,0.2,0.01,0.001,64.2,{state}"


@pytest.mark.parametrize(
    ("seen", "level"),
    [
        (ClockKeeping(), "note"),
        (ClockKeeping("timedatectl", synchronised=False), "warning"),
        (ClockKeeping("systemd-timesyncd", synchronised=True), "ok"),
        (ClockKeeping("chrony", True, 0.000012), "ok"),
        (ClockKeeping("chrony", True, -31.5), "warning"),
    ],
)
def test_what_is_said(seen: ClockKeeping, level: str) -> None:
    finding = judge_clock(seen)
    assert finding.level == level
    assert finding.remedy or level == "ok"


def test_chrony() -> None:
    found = parse_chrony(TRACKING.format(offset="-0.000012", state="Normal"))
    assert found == ClockKeeping("chrony", True, -0.000012)
    assert parse_chrony(TRACKING.format(offset="0", state="Not synchronised")) == ClockKeeping("chrony", False, 0.0)
    assert parse_chrony("506 Cannot talk to daemon") is None
    assert parse_chrony(TRACKING.format(offset="x", state="Normal")) is None


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_it_asks_who_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronised = tmp_path / "synchronized"
    monkeypatch.setattr(clock, "_TIMESYNC", synchronised)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look_at_clock() == ClockKeeping()
    program(tmp_path, "timedatectl", "echo no")
    assert look_at_clock() == ClockKeeping("timedatectl", False)
    program(tmp_path, "chronyc", "echo '506 Cannot talk to daemon'; exit 1")
    assert look_at_clock() == ClockKeeping("timedatectl", False)
    program(tmp_path, "chronyc", f"echo '{TRACKING.format(offset='0.5', state='Normal')}'")
    assert look_at_clock() == ClockKeeping("chrony", True, 0.5)
    synchronised.touch()
    assert look_at_clock().keeper == "systemd-timesyncd"
