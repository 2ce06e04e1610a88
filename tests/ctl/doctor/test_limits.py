"""Open files, processes, and who goes on without a session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.control.reported import HPC
from tests.ctl.conftest import CLUSTER, INFO

from penstock.ctl.doctor.contact import Contact
from penstock.ctl.doctor.control_group import GroupLimits
from penstock.ctl.doctor.limits import (
    Limits,
    Units,
    estimate_files,
    judge_limits,
    judge_units,
    look_at_limits,
    look_at_units,
    start_command,
)
from penstock.ctl.doctor.process import Limit, Process

SEEN = Limits("penstockd, pid 7", 1000, Limit(1024, 4096), 100, Limit(4096, 4096), 300, GroupLimits())
USERS = "0::/user.slice/user-7.slice/user@7.service/app.slice/penstockd.service"


@pytest.mark.parametrize(
    ("changed", "needed", "levels"),
    [
        ({}, 500, ["ok", "ok"]),
        ({}, 2000, ["warning", "ok"]),
        ({"open_files": 1000}, 500, ["problem", "ok"]),
        ({"files": Limit(None, None)}, 10**6, ["ok", "ok"]),
        ({"threads": 4000}, 500, ["ok", "warning"]),
        ({"threads": 4090}, 500, ["ok", "problem"]),
        ({"threads": 4090, "uid": 0}, 500, ["ok", "ok"]),  # root is not held to it
        ({"processes": Limit(None, None), "threads": 10**6}, 500, ["ok", "ok"]),
        ({"group": GroupLimits(processes_left=20, processes_max=100)}, 500, ["ok", "ok", "problem"]),
        ({"group": GroupLimits(processes_left=150, processes_max=500)}, 500, ["ok", "ok", "warning"]),
    ],
)
def test_limits(changed: dict[str, Any], needed: int, levels: list[str]) -> None:
    findings = judge_limits(msgspec.structs.replace(SEEN, **changed), needed)
    assert [finding.level for finding in findings] == levels
    assert all(finding.remedy for finding in findings if finding.level != "ok")


def test_what_is_said_of_open_files() -> None:
    finding = judge_limits(SEEN, 2000)[0]
    assert finding.detail == "100 of 1024 in use, about 2000 needed, hard limit 4096 (penstockd, pid 7)"
    assert finding.remedy == "LimitNOFILE=8000 in the unit, or ulimit -n 8000 before penstockd"


def test_files_for_what_is_to_be_done() -> None:
    assert estimate_files(Contact()) == 64
    many = tuple(msgspec.structs.replace(INFO, id=f"w{number}", slots=100) for number in range(100))
    ended = msgspec.structs.replace(INFO, state="completed")
    contact = Contact(workflows=(*many, ended), clusters=(CLUSTER, HPC))
    assert estimate_files(contact) == 64 + 100 * 4 + 4 * 4 + 2 * 16  # never more lanes than cores


def test_this_process() -> None:
    seen = look_at_limits(None)
    assert (seen.whose, seen.uid, seen.open_files) == (
        "this shell, and a daemon started from it",
        os.getuid(),
        None,
    )
    assert seen.threads >= 1


def test_units_and_lingering(tmp_path: Path) -> None:
    home, linger = tmp_path / "home", tmp_path / "systemd" / "linger"
    places: dict[str, Any] = {"folders": [str(tmp_path / "sys")], "user_folders": [], "linger": linger}
    units = look_at_units(os.getuid(), home, **places)
    assert (units.system, units.user, units.lingers, start_command(units)) == ("", "", None, "")
    assert judge_units(units, None) == []
    unit = home / ".config" / "systemd" / "user" / "penstockd.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    linger.mkdir(parents=True)
    units = look_at_units(os.getuid(), home, **places)
    assert (units.user, units.lingers, start_command(units)) == (str(unit), False, "--user start penstockd")
    [finding] = judge_units(units, None)
    assert (finding.level, finding.remedy) == ("warning", f"loginctl enable-linger {units.account}")
    (linger / units.account).touch()
    [finding] = judge_units(look_at_units(os.getuid(), home, **places), None)
    assert finding.level == "ok"
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys" / "penstockd.service").touch()
    unit.unlink()
    assert start_command(look_at_units(os.getuid(), home, **places)) == "start penstockd"


def test_lingering_matters_to_a_daemon_of_the_accounts_own_systemd() -> None:
    units = Units("", "", lingers=False, account="me")
    daemon = Process(7, 1000, "penstockd", {}, {}, None, USERS)
    assert [finding.level for finding in judge_units(units, daemon)] == ["warning"]
    by_hand = msgspec.structs.replace(daemon, cgroup="0::/user.slice/session-1.scope")
    assert judge_units(msgspec.structs.replace(units, user="/u"), by_hand) == []
    unknown = msgspec.structs.replace(units, lingers=None)
    assert [finding.level for finding in judge_units(unknown, daemon)] == ["note"]
