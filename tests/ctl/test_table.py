"""The table of results: which columns it shows, as what, and when it shows itself."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from penstock.control import messages
from penstock.domain.views import WorkflowInfo
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

Status = Callable[[str], messages.WorkflowStatus]
COLUMNS = (
    "material",
    "natoms",
    "OPT",
    "OPT.energy_hartree",
    "OPT.cycles",
    "SP",
    "SP.energy_hartree",
    "SP.band_gap_ev",
    "SP.band_gap_kind",
)
ROWS = (
    ("diamond", 2, "completed", -76.5, 12, "completed", -76.25, 5.5, "direct"),
    ("quartz, high", 9, "completed", -1.0, 3, "failed", None, None, None),
)


@pytest.fixture
def chain(script: Script, workflow_in: Status) -> WorkflowInfo:
    """A finished chain that the daemon has results of."""
    info = msgspec.structs.replace(workflow_in("completed").workflow, recipe="crystal")
    script.answers[messages.Tabulate] = lambda _: messages.Table(info, COLUMNS, ROWS, 2)
    script.answers[messages.GetStatus] = lambda _: messages.WorkflowStatus(info, (), ())
    return info


def _same(status: messages.WorkflowStatus, _: messages.Request[Any]) -> messages.WorkflowStatus:
    return status


def test_states_energies_and_gaps_are_shown_and_the_rest_is_counted(
    chain: WorkflowInfo, daemon: ScriptedDaemon, run: Callable[..., Any]
) -> None:
    ran = run("table", "g2")
    assert ran.code == 0
    head, *rows = [line.split() for line in ran.out.splitlines() if line.strip()]
    assert head == [name for name in COLUMNS if name != "OPT.cycles"]
    assert rows[0] == ["diamond", "2", "completed", "-76.5", "completed", "-76.25", "5.5", "direct"]
    assert rows[1][-5:] == ["-1", "failed", "-", "-", "-"]
    assert "1 more columns: penstockctl table g2 --column NAME, or --csv for all" in ran.err
    assert "materials" not in ran.err


def test_columns_that_are_asked_for_are_shown_beside_the_material(
    chain: WorkflowInfo, daemon: ScriptedDaemon, run: Callable[..., Any]
) -> None:
    ran = run("table", "g2", "--column", "SP.band_gap_ev", "--column", "OPT.cycles")
    head, first, *_ = [line.split() for line in ran.out.splitlines() if line.strip()]
    assert (head, first) == (["material", "SP.band_gap_ev", "OPT.cycles"], ["diamond", "5.5", "12"])
    assert ran.err == ""


def test_a_column_that_does_not_exist_is_refused_with_those_that_do(
    chain: WorkflowInfo, daemon: ScriptedDaemon, run: Callable[..., Any]
) -> None:
    ran = run("table", "g2", "--column", "SP.gap")
    assert ran.code == 2
    assert ran.out == ""
    assert "there is no column 'SP.gap'; there are material, natoms, OPT, " in ran.err


def test_csv_has_all_columns_and_every_value_whole(
    chain: WorkflowInfo, daemon: ScriptedDaemon, run: Callable[..., Any]
) -> None:
    ran = run("table", "g2", "--csv")
    head, first, second = csv.reader(io.StringIO(ran.out))
    assert tuple(head) == COLUMNS
    assert first == [str(value) for value in ROWS[0]]
    assert second == ["quartz, high", "9", "completed", "-1.0", "3", "failed", "", "", ""]
    both = run("table", "g2", "--csv", "--column", "SP")
    assert (both.code, both.out) == (2, "")


def test_a_page_says_which_materials_it_has(
    chain: WorkflowInfo, daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]
) -> None:
    script.answers[messages.Tabulate] = lambda _: messages.Table(chain, COLUMNS, ROWS, 40)
    assert "materials 11 to 12 of 40" in run("table", "g2", "--limit", "2", "--offset", "10").err
    assert daemon.script.seen[-1] == messages.Tabulate("g2", 2, 10)
    script.answers[messages.Tabulate] = lambda _: messages.Table(chain, COLUMNS, (), 40)
    assert "there are 40 materials, and none on this page" in run("table", "g2", "--offset", "50").err


def test_submit_wait_shows_the_table_of_a_chain_and_not_that_of_a_campaign(
    chain: WorkflowInfo, daemon: ScriptedDaemon, script: Script, run: Callable[..., Any], workflow_in: Status
) -> None:
    ran = run("submit", "spec.toml", "--wait")
    assert ran.code == 0
    assert "diamond" in ran.out
    assert "SP.band_gap_kind" in ran.out
    script.answers[messages.GetStatus] = lambda _: workflow_in("completed")
    assert "diamond" not in run("submit", "spec.toml", "--wait").out


def test_a_chain_that_failed_shows_what_there_is_and_one_that_is_faulted_nothing(
    chain: WorkflowInfo, daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]
) -> None:
    for state, shown in (("failed", True), ("faulted", False)):
        info = msgspec.structs.replace(chain, state=state)
        status = messages.WorkflowStatus(info, (), ())
        script.answers[messages.GetStatus] = partial(_same, status)
        ran = run("submit", "spec.toml", "--wait")
        assert ran.code == 1
        assert ("diamond" in ran.out) is shown
