"""A report is one page that needs nothing else, and nothing that is in it can do more than be read."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from tests.store.concluded import COPPER, EVIL, FIGURE, GOLD
from tests.store.drawn import SVG

from penstock.analysis.report import inline, render_report
from penstock.domain.properties import PropertyResult
from penstock.domain.workflow_report import ReportedConclusion, ReportedFigure, ReportedJob, Timing, WorkflowReport

REPORT = WorkflowReport(
    workflow="w",
    recipe="elastic",
    engine="emt",
    state="completed",
    reason=None,
    directory="/data/.penstock/w",
    created_at=1_800_000_000.0,
    states={"completed": 12, "failed": 1},
    spec={"recipe": "elastic", "elastic": {"amplitudes": [0.005, 0.01], "relax": True}, "engine": {"name": "emt"}},
    parameters={"fmax": 0.01},
    steps=(("relax", "fan", 1), ("strain", "unfold", 12), ("elastic", "analysis", 0)),
    properties=(*COPPER.properties, *GOLD.properties),
    conclusions=(
        ReportedConclusion("elastic", "Au", "a strain failed", ()),
        ReportedConclusion("elastic", "Cu", None, COPPER.notes),
    ),
    figures=(ReportedFigure("elastic", "Cu", FIGURE, SVG.encode()),),
    jobs=(ReportedJob(1, "Cu", "relax", "completed", 1, -0.001, 75.0, "/data/.penstock/w/jobs/0/1", None),),
    timing=Timing(13, 1_800_000_001.0, 1_800_000_099.0, 3700.0),
    totals={"properties": 3, "conclusions": 2, "figures": 1, "jobs": 13},
    penstock="1.2.3",
)
VOID = {"meta", "br", "img", "use"}


class Page(HTMLParser):
    """Tags, attributes and text; tags that are not closed in their order are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_it_tells_what_was_asked_found_and_done() -> None:
    page = Page(render_report(REPORT))
    for said in (
        "Cu bulk_modulus_vrh 140.60 ± 0.13 GPa [2] 1.1",
        "elastic_tensor of Cu / GPa (pressure_gpa 0) [1]",
        "xx 175.00 123.40 123.40 0.00 0.00 0.00",
        "standard error: at most 0.21 GPa",
        "elastic of Au: a strain failed",
        "elastic of Cu: one strain was left out",
        "1. Cu: Stress and strain. Stress over strain, with the fit.",
        "elastic.amplitudes [0.005,0.01]",
        "2027-01-15 08:00:01 UTC, 2027-01-15 08:01:39 UTC",
        "13, running 1 h 01 min in all",
        "12 completed, 1 failed",
        "strain unfold 12",
        "1 Cu relax completed 1 -0.00100000 1 min 15 s /data/.penstock/w/jobs/0/1",
        "The first 1 of 13 jobs; all: penstockctl jobs w.",
        "Penstock 1.2.3",
    ):
        assert said in page.text
    assert '"fmax": 0.01' in render_report(REPORT).replace("&#34;", '"')
    assert page.tags.count("svg") == 1


def test_it_needs_nothing_from_elsewhere() -> None:
    text = render_report(REPORT)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    loading = [value for name, value in page.attributes if name in {"src", "href", "xlink:href", "data", "action"}]
    assert loading == ["#f1-m1"]
    assert not re.search(r"@import|url\((?!#)", text)
    assert not any(name.startswith("on") for name, _ in page.attributes)


def _evil(value: Any) -> Any:
    """Every text in it as a page's enemy would have it."""
    match value:
        case str():
            return EVIL
        case dict():
            return {key: _evil(inner) for key, inner in value.items()}
        case list():
            return [_evil(inner) for inner in value]
    return value


def test_no_text_becomes_part_of_the_page() -> None:
    plain = msgspec.to_builtins(REPORT)
    plain |= {name: _evil(value) for name, value in plain.items() if name != "figures"}
    report = msgspec.structs.replace(
        msgspec.convert(plain, WorkflowReport),
        recipe="elastic",
        states={EVIL: 1},
        spec={"elastic": {EVIL: [EVIL]}, "engine": {"name": EVIL}},
        parameters={EVIL: EVIL},
    )
    conditions = PropertyResult(EVIL, EVIL, 1.0, EVIL, 0.1, {EVIL: EVIL}, EVIL, (EVIL,))
    report = msgspec.structs.replace(report, properties=(*report.properties, conditions))
    figure = msgspec.structs.replace(FIGURE, name=EVIL, title=EVIL, caption=EVIL)
    report = msgspec.structs.replace(report, figures=(ReportedFigure(EVIL, EVIL, figure, None, EVIL), *REPORT.figures))
    text = render_report(report)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 20
    assert Page(text).tags.count("svg") == 1


def test_pictures_side_by_side_share_no_names() -> None:
    one, two = inline(SVG.encode(), 1), inline(SVG.encode(), 2)
    assert one.startswith("<svg")
    assert 'id="f1-axes_1"' in one
    assert "url(#f1-p1)" in one
    assert 'href="#f2-m1"' in two
    assert "<!--" not in one
    assert "metadata" not in one


@pytest.mark.parametrize("state", ["running", "completed"])
def test_a_workflow_without_results_has_a_report_too(state: str) -> None:
    empty = msgspec.structs.replace(
        REPORT, state=state, properties=(), conclusions=(), figures=(), jobs=(), timing=Timing(0, None, None, 0.0)
    )
    said = "There are no properties yet." if state == "running" else "There are no properties."
    assert said in Page(render_report(empty)).text


def test_odd_values_are_shown_as_well_as_they_can_be() -> None:
    properties = (
        PropertyResult("d", "Cu", [[2.5e-9, 0.0, 0.0], [0.0, 2e-9, 0.0], [0.0, 0.0, 1e-9]], "m^2/s"),
        PropertyResult("a", "Cu", [3.61] * 30, "A"),
        PropertyResult("b", "Cu", [[1.0], [1.0, 2.0]], "1"),
        PropertyResult("c", "Cu", None, "1", conditions={"species": "Cu"}, attempts=tuple("abcdefghijklmn")),
    )
    text = Page(render_report(msgspec.structs.replace(REPORT, properties=properties))).text
    assert "10 -9 x y z x 2.5000" in text
    assert f"{', '.join(['3.61'] * 24)}, …" in text
    assert "a value of several parts" in text
    assert "Cu c - species Cu a, b, c, d, e, f, g, h, i, j, k, l, … (14)" in text


def test_the_same_report_is_the_same_page() -> None:
    assert render_report(REPORT) == render_report(REPORT)
