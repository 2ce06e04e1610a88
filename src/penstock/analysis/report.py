"""A workflow's report as one HTML page that needs nothing but itself. Pure; only worker processes import this."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from penstock.domain.measured import conditions, is_matrix, is_small, largest_error, listed, matrix_of, measured
from penstock.domain.properties import PropertyResult
from penstock.domain.workflow_report import WorkflowReport

_ASKED: Final = ("structures", "engine", "resources")
"""Tables of a spec that say what was asked for, beside that of the recipe."""
_LISTED: Final = 24
_SHOWN_MOST: Final = 120
_BETWEEN_TAGS: Final = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
_NAMED: Final = re.compile(r'(\bid="|href="#|url\(#)')


def render_report(report: WorkflowReport) -> str:
    """The page; every text in it is escaped, and the same report gives the same page."""
    environment = Environment(
        loader=PackageLoader("penstock.analysis", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "moment": _moment,
        "duration": _duration,
        "conditions": conditions,
        "measured": measured,
        "energy": lambda energy: "" if energy is None else f"{energy:.8f}",
        "unit": lambda unit: "" if unit == "1" else unit,
    }
    small = [found for found in report.properties if is_small(found.value)]
    return environment.get_template("report.html.j2").render(
        r=report,
        asked=list(_asked(report)),
        small=small,
        large=[(found, _shape(found)) for found in report.properties if not is_small(found.value)],
        methods=_methods(report),
        figures=[(one, inline(one.svg, number) if one.svg else None) for number, one in enumerate(report.figures, 1)],
        spec=msgspec.json.format(msgspec.json.encode(report.spec), indent=2).decode(),
        parameters=msgspec.json.format(msgspec.json.encode(report.parameters), indent=2).decode(),
        failed=[one for one in report.conclusions if one.failure is not None],
        noted=[one for one in report.conclusions if one.notes],
    )


def inline(svg: bytes, number: int) -> str:
    """A picture that was drawn by us, to stand in a page beside others: without prolog, comments, metadata.

    Its names get the figure's `number`, so that no two figures of a page have the same.
    """
    text = svg.decode()
    text = _BETWEEN_TAGS.sub("", text[text.index("<svg") :])
    return _NAMED.sub(rf"\g<1>f{number}-", text)


def _asked(report: WorkflowReport) -> Iterator[tuple[str, str]]:
    """What a reader of the spec would look for first: dotted keys and values."""
    for table in (report.recipe, *_ASKED):
        given = report.spec.get(table, {})
        if isinstance(given, Mapping):
            yield from _flat(table, given)


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif value not in (None, "", [], {}):
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        yield name, text if len(text) <= _SHOWN_MOST else f"{text[:_SHOWN_MOST]}…"


def _shape(found: PropertyResult) -> dict[str, Any]:
    """How a value is shown that is more than a number."""
    errors = largest_error(found)
    if is_matrix(found.value):
        return {"matrix": matrix_of(found.value, found.uncertainty), "errors": errors}
    numbers = listed(found.value, found.uncertainty)
    if numbers is None:
        return {"text": "a value of several parts, which is in the exported results"}
    more = ["…"] if len(numbers) > _LISTED else []
    return {"text": ", ".join([*numbers[:_LISTED], *more])}


def _methods(report: WorkflowReport) -> dict[str, int]:
    """How properties were found, numbered from 1 in the order in which they appear."""
    methods = dict.fromkeys(found.method for found in report.properties if found.method)
    return {method: number for number, method in enumerate(methods, 1)}


def _moment(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
