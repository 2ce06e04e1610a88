"""What `results` shows to people and to programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
from tests.store.concluded import COPPER, GOLD, SILVER

from penstock.control import messages
from penstock.ctl.results import lines_of
from penstock.domain.properties import PropertyResult
from penstock.domain.views import AnalysisInfo, ConclusionInfo, FigureInfo
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

AT = "2026-01-01T00:00:00"
FIGURES = tuple(FigureInfo(f.kind, f.name, f.title, f.caption) for f in COPPER.figures)
CONCLUSIONS = (
    ConclusionInfo("elastic", "Au", GOLD.failure, (), (), 1, AT),
    ConclusionInfo("elastic", "Ag", SILVER.failure, (), (), 0, AT),
    ConclusionInfo("elastic", "Cu", None, COPPER.notes, FIGURES, 2, AT),
)
WARM = PropertyResult("diffusion_coefficient", "Cu", 2.3e-9, "m^2/s", 1.4e-10, {"temperature_k": 800.0}, "MSD")
METALS = messages.Results(
    *("m", "elastic", "failed", "elastic of Au: a strain failed"),
    (*COPPER.properties, *GOLD.properties, WARM),
    4,
    CONCLUSIONS,
    3,
    {"elastic_tensor": 1, "bulk_modulus_vrh": 2, "diffusion_coefficient": 1},
    (AnalysisInfo("elastic", 3, 3, 2),),
    0,
)
Run = Callable[..., Any]


@pytest.fixture
def metals(script: Script) -> Script:
    """A daemon that has these results, and gives of them what is asked for."""

    def answer(request: messages.ListResults) -> messages.Results:
        begin, first = request.offset, request.conclusions_offset
        return msgspec.structs.replace(
            METALS,
            properties=METALS.properties[begin : begin + min(2, request.limit)],
            conclusions=METALS.conclusions[first : first + min(2, request.limit)],
        )

    script.answers[messages.ListResults] = answer
    return script


def test_people_see_failures_first_then_numbers_tensors_methods_and_notes(
    script: Script, daemon: ScriptedDaemon, run: Run
) -> None:
    script.answers[messages.ListResults] = lambda _: METALS
    ran = run("results", "m")
    lines = ran.out.splitlines()
    assert lines[:5] == [
        "m: elastic, failed: elastic of Au: a strain failed",
        "",
        "could not be concluded, or not all of it:",
        f"  elastic of Au: {GOLD.failure}",
        "  elastic of Ag: no strain of Ag completed",
    ]
    rows = [line.split() for line in lines]
    assert ["Cu", "bulk_modulus_vrh", "140.60", "±", "0.13", "GPa"] in rows
    assert ["Au", "bulk_modulus_vrh", "181.25", "GPa"] in rows
    diffusion = ["Cu", "diffusion_coefficient", "(2.30", "±", "0.14)e-09", "m^2/s", "temperature_k", "800"]
    assert diffusion in rows
    assert "elastic_tensor of Cu, GPa (pressure_gpa 0)" in lines
    assert ["xx", "yy", "zz", "yz", "xz", "xy"] in rows
    assert "bulk_modulus_vrh: Voigt-Reuss-Hill" in lines
    assert lines[-2:] == ["notes:", "  elastic of Cu: one strain was left out"]
    assert ran.err == "1 figure: penstockctl report m\n"


def test_what_is_still_to_come_is_told(script: Script, daemon: ScriptedDaemon, run: Run) -> None:
    running = msgspec.structs.replace(
        METALS,
        state="running",
        reason=None,
        properties=(),
        total=0,
        conclusions=(),
        open_jobs=1,
        analyses=(AnalysisInfo("elastic", 3, 1, 0), AnalysisInfo("hull", 1, 0, 0)),
    )
    script.answers[messages.ListResults] = lambda _: running
    ran = run("results", "m")
    assert ran.out == "m: elastic, running\nstill to come: elastic of 2; hull of 1; 1 job open\n"
    assert ran.err == "no properties yet\n"


def test_programs_get_everything_however_many_pages(metals: Script, daemon: ScriptedDaemon, run: Run) -> None:
    found = json.loads(run("results", "m", "--json").out)
    assert set(found) == set(messages.Results.__struct_fields__)
    assert found["workflow"] == "m"
    assert [one["name"] for one in found["properties"]] == [one.name for one in METALS.properties]
    assert list(found["properties"][1]) == [
        *("name", "subject", "value", "unit", "uncertainty", "conditions", "method", "attempts")
    ]
    assert found["properties"][0]["value"] == COPPER.properties[0].value
    assert found["properties"][0]["attempts"] == ["1.1", "2.1"]
    assert [(one["step"], one["subject"], one["failure"]) for one in found["conclusions"]] == [
        ("elastic", "Au", GOLD.failure),
        ("elastic", "Ag", SILVER.failure),
        ("elastic", "Cu", None),
    ]
    asked = cast("list[messages.ListResults]", metals.seen)
    assert [(one.offset, one.conclusions_offset) for one in asked] == [(0, 0), (2, 2)]


def test_a_limit_is_one_page(metals: Script, daemon: ScriptedDaemon, run: Run) -> None:
    found = json.loads(run("results", "m", "--json", "--limit", "1").out)
    assert (len(found["properties"]), found["total"], len(metals.seen)) == (1, 4, 1)
    assert run("results", "m", "--limit", "2").err == "properties 1 to 2 of 4; the next: --offset 2\n"
    assert run("results", "m", "--offset", "9").err == "there are 4 properties, and none on this page\n"


def test_results_that_vanish_meanwhile_end_the_pages(script: Script, daemon: ScriptedDaemon, run: Run) -> None:
    gone = msgspec.structs.replace(METALS, properties=(), conclusions=())
    script.answers[messages.ListResults] = lambda _: gone
    assert json.loads(run("results", "m", "--json").out)["properties"] == []


def test_a_name_that_is_not_there_is_told_with_those_that_are(script: Script, daemon: ScriptedDaemon, run: Run) -> None:
    nothing = msgspec.structs.replace(METALS, properties=(), total=0, conclusions=())
    script.answers[messages.ListResults] = lambda _: nothing
    err = run("results", "m", "--name", "bulk").err
    assert err == "there is no property 'bulk'; there are: elastic_tensor, bulk_modulus_vrh, diffusion_coefficient\n"


def test_status_and_why_tell_how_the_analyses_are(
    script: Script, daemon: ScriptedDaemon, run: Run, workflow_in: Callable[[str], messages.WorkflowStatus]
) -> None:
    info = msgspec.structs.replace(workflow_in("failed").workflow, id="m", reason="elastic of Au: a strain failed")
    script.answers[messages.GetStatus] = lambda _: messages.WorkflowStatus(
        *(info, (), ()), analyses=METALS.analyses, failed_analyses=CONCLUSIONS[:2]
    )
    out = run("status", "m").out.splitlines()
    assert ["analyses", "3", "of", "3", "concluded,", "2", "of", "them", "failed"] in [line.split() for line in out]
    assert out[-3:] == [
        "analyses that failed (all results: penstockctl results m):",
        f"  elastic of Au: {GOLD.failure}",
        "  elastic of Ag: no strain of Ag completed",
    ]
    assert run("why", "m").out.splitlines() == [
        "m is failed: elastic of Au: a strain failed",
        f"  - analysis elastic of Au: {GOLD.failure}",
        "  - analysis elastic of Ag: no strain of Ag completed",
    ]


def test_a_derived_job_says_what_it_was_made_from(script: Script, daemon: ScriptedDaemon, run: Run) -> None:
    detail = script.answers[messages.GetJob](None)
    derived = msgspec.structs.replace(detail, made_from=3, label={"strain": 2, "amplitude": 0.01})
    script.answers[messages.GetJob] = lambda _: derived
    rows = [line.split() for line in run("show", "m", "7").out.splitlines()]
    assert ["made", "from", "the", "result", "of", "job", "3"] in rows
    assert ["label", "strain", "2,", "amplitude", "0.01"] in rows


def test_an_elastic_tensor_is_a_matrix_with_voigt_labels() -> None:
    tensor = [[175.32 if i == j else -0.0004 for j in range(6)] for i in range(6)]
    errors = [[0.21] * 6] * 6
    head, *rows, error = lines_of(PropertyResult("elastic_tensor", "Cu", tensor, "GPa", errors))
    assert head.split() == ["xx", "yy", "zz", "yz", "xz", "xy"]
    assert rows[3].split() == ["yz", "0.00", "0.00", "0.00", "175.32", "0.00", "0.00"]
    assert len({len(line) for line in (head, *rows)}) == 1
    assert error == "standard error: at most 0.21 GPa"


def test_other_shapes_are_shown_as_well_as_they_can_be() -> None:
    small = PropertyResult("d", "Cu", [[2.5e-9, 0, 0], [0, 2e-9, 0], [0, 0, 1e-9]], "m2/s")
    head, *rows = lines_of(small)
    assert head.split() == ["x", "y", "z", "x", "1e-09"]
    assert rows[0].split() == ["x", "2.5000", "0.0000", "0.0000"]
    assert lines_of(PropertyResult("a", "Cu", [3.61, 4.1], "A", [0.012, 0.1])) == ["3.610 ± 0.012, 4.10 ± 0.10"]
    assert lines_of(PropertyResult("a", "Cu", [1.0] * 50, "A")) == ["50 numbers; --json has them"]
    assert lines_of(PropertyResult("a", "Cu", [[1.0], [1.0, 2.0]], "A")) == [
        "a value of several parts; --json has them"
    ]
    assert lines_of(PropertyResult("a", "Cu", [[0, 0]], "1"))[1].split() == ["1", "0", "0"]


def test_one_method_for_all_is_told_without_their_names(script: Script, daemon: ScriptedDaemon, run: Run) -> None:
    script.answers[messages.ListResults] = lambda _: msgspec.structs.replace(METALS, properties=(WARM, WARM), total=2)
    assert "method: MSD" in run("results", "m").out.splitlines()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("results m -o r.csv --limit 5", "leave --order, --limit and --offset out"),
        ("results m -o -", "this writes a file"),
        ("report m -o -", "this writes a file"),
    ],
)
def test_what_cannot_be_meant_is_refused(line: str, said: str, daemon: ScriptedDaemon, run: Run) -> None:
    ran = run(*line.split())
    assert ran.code == 2
    assert said in ran.err
