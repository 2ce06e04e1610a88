"""Tables of several workflows side by side."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from penstock.control import messages
from penstock.ctl.compare import compare, usual_column
from penstock.domain.errors import ConflictError, NotFoundError
from penstock.domain.views import Statistic, SweepInfo, SweepPointInfo
from penstock.testing.scripted_daemon import ScriptedDaemon

from .conftest import INFO

COLUMNS = ("material", "natoms", "SP", "SP.energy_hartree")
INFO_1, INFO_2 = (msgspec.structs.replace(INFO, id=id) for id in ("s-001", "s-002"))
FIRST = messages.Table(INFO_1, COLUMNS, (("a", 1, "completed", -1.0), ("b", 1, "completed", -2.0)), 2)
SECOND = messages.Table(
    INFO_2, COLUMNS, (("b", 1, "failed", None), ("a", 1, "completed", -1.5), ("a", 1, "completed", -9.0)), 3
)
NOTHING = Statistic(1, -1.0, -1.0, -1.0, -1.0)
SWEEP = messages.SweepStatus(
    SweepInfo("s", ("engine.accuracy",), 2, {"completed": 1, "missing": 1}, complete=False, created_at=1.7e9),
    (
        SweepPointInfo(1, "s-001", {"engine.accuracy": 1.0}, "completed", 2, {"completed": 2}),
        SweepPointInfo(2, "s-002", {"engine.accuracy": 0.1}, "failed", 3, {"completed": 2, "failed": 1}),
    ),
)


def test_materials_stand_in_one_row_whatever_their_order() -> None:
    assert usual_column([FIRST, SECOND]) == "SP.energy_hartree"
    assert compare([FIRST, SECOND], ["SP.energy_hartree"], None).columns == ("material", "s-001", "s-002")
    assert compare([FIRST, SECOND], ["SP.energy_hartree"], None).rows == (
        ("a", -1.0, -1.5),
        ("b", -2.0, None),
        ("a", None, -9.0),
    )


def test_differences_are_of_numbers_only() -> None:
    found = compare([FIRST, SECOND], ["SP", "SP.energy_hartree"], "s-001")
    assert found.columns == ("material", "s-001 SP", "s-001 SP.energy_hartree", "s-002 SP", "s-002 SP.energy_hartree")
    assert found.rows[0] == ("a", None, 0.0, None, -0.5)
    assert found.rows[2] == ("a", None, None, None, None)


@pytest.fixture
def swept(daemon: ScriptedDaemon) -> ScriptedDaemon:
    tables = {"s-001": FIRST, "s-002": SECOND}

    def find(asked: messages.GetSweep) -> messages.SweepStatus:
        if asked.name != "s":
            raise NotFoundError(f"there is no sweep {asked.name!r}")
        return SWEEP

    def pause(asked: messages.Pause) -> messages.Changed:
        if asked.id == "s-002":
            raise ConflictError("workflow s-002 is failed, not running")
        return messages.Changed(2)

    daemon.script.answers |= {
        messages.GetSweep: find,
        messages.ListSweeps: lambda _: messages.Sweeps((SWEEP.sweep,)),
        messages.SubmitSweep: lambda _: SWEEP,
        messages.Tabulate: lambda asked: tables[asked.id],
        messages.Summarize: lambda asked: messages.Summary(tables[asked.id].workflow, {}, *[NOTHING] * 4),
        messages.Pause: pause,
    }
    return daemon


def test_a_sweep_is_compared_with_what_its_points_are(swept: ScriptedDaemon, run: Callable[..., Any]) -> None:
    ran = run("compare", "s")
    assert ran.out.splitlines() == [
        "point  engine.accuracy",
        "s-001              1.0",
        "s-002              0.1",
        "",
        "SP.energy_hartree:",
        "material        s-001        s-002",
        "a         -1.00000000  -1.50000000",
        "b         -2.00000000            -",
        "a                   -  -9.00000000",
    ]
    document = json.loads(run("compare", "s", "--against", "2", "--json").out)
    assert document["against"] == "s-002"
    assert document["rows"][0] == ["a", 0.5, 0.0]
    assert document["points"][1] == {"id": "s-002", "values": {"engine.accuracy": 0.1}}
    rows = list(csv.reader(io.StringIO(run("compare", "s-001", "s-002", "--csv").out)))
    assert rows[1] == ["a", "-1.0", "-1.5"]
    assert "engine.accuracy" in run("compare", "s", "--summary").out
    (first, _) = json.loads(run("compare", "s", "--summary", "--json").out)["points"]
    assert first["summary"]["workflow"]["id"] == "s-001"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compare t", "there is no sweep 't'; to compare workflows, name several"),
        ("compare s --column SP.gap", "there is no column 'SP.gap'; there are material"),
        ("compare s --against 3", "'3' is none of the workflows"),
        ("compare s --summary --column SP", "--summary has no columns"),
        ("pause", "give a workflow's ID, or --sweep NAME"),
        ("resume --sweep s --dry-run", "are for one whole workflow"),
    ],
)
def test_wrong_use(line: str, message: str, swept: ScriptedDaemon, run: Callable[..., Any]) -> None:
    ran = run(*line.split())
    assert ran.code == 2
    assert message in ran.err


def test_sweeps_are_shown_and_changed_as_a_whole(swept: ScriptedDaemon, run: Callable[..., Any]) -> None:
    assert "s           2  completed 1, missing 1, not all made" in run("sweeps").out
    shown = run("sweep", "s")
    assert "s-002              0.1  failed" in shown.out
    assert "1 are missing; the same spec submitted again makes them" in shown.err
    paused = run("pause", "--sweep", "s")
    assert paused.code == 1
    assert paused.out.splitlines() == ["s-001: paused, 2 jobs", "s-002: workflow s-002 is failed, not running"]
    (told, refused) = json.loads(run("pause", "--sweep", "s", "--json").out)["points"]
    assert (told["changed"], refused["changed"]) == (2, None)


def test_a_spec_with_a_sweep_is_submitted_as_one(swept: ScriptedDaemon, run: Callable[..., Any]) -> None:
    from pathlib import Path

    Path("spec.toml").write_text('id = "s"\n[sweep]\nslots = [1, 2]\n')
    ran = run("submit", "spec.toml", "--dry-run")
    assert ran.out.startswith("sweep s: 2 workflows, nothing was submitted\n")
    text = Path("spec.toml").read_text()
    asked = messages.SubmitSweep(text, str(Path("spec.toml").absolute()), str(Path.cwd()), (), dry_run=True)
    assert swept.script.seen == [asked]
    assert json.loads(run("submit", "spec.toml", "--json").out)["sweep"]["keys"] == ["engine.accuracy"]
