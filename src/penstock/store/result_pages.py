"""Properties and conclusions a page at a time, however many a workflow has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.properties import PropertyResult
from penstock.domain.spec import nearest
from penstock.domain.views import AnalysisInfo, ConclusionInfo, FigureInfo
from penstock.store.connection import reading
from penstock.store.results import property_of
from penstock.store.selection import Where, as_array

PAGE_MAX: Final = 10_000
PAGE_BYTES: Final = 4 * 1024 * 1024
"""How much text a page holds at most, so that two of them fit well into one frame."""
_SUBJECT_BY_SUBJECT: Final = "r.subject = 0, r.subject, r.step_id, r.id"
_NUMBER: Final = "iif(json_type(r.{0}) IN ('integer', 'real'), json_extract(r.{0}, '$'), NULL)"
_ORDERS: Final = {
    "value": _NUMBER.format("value"),
    "uncertainty": _NUMBER.format("uncertainty"),
    "name": "r.name",
    "subject": "r.about",
}
_COLUMNS: Final = (
    "r.name, r.about, r.value, r.unit, r.uncertainty, r.conditions, r.method, r.attempts, s.key AS step, "
    "length(r.value) + coalesce(length(r.uncertainty), 0) + length(r.conditions) + length(r.method) "
    "+ length(r.attempts) + length(r.about) AS size"
)
_FROM: Final = "FROM result r JOIN step s ON s.id = r.step_id"
_CONCLUSIONS: Final = """
    SELECT s.key AS step, c.name, c.failure, c.notes, c.figures, c.at,
        (SELECT count(*) FROM result r WHERE r.step_id = c.step_id AND r.subject = c.subject) AS properties
    FROM conclusion c JOIN step s ON s.id = c.step_id WHERE {}
    ORDER BY c.failure IS NULL, c.notes = '[]', c.subject = 0, c.subject, c.step_id LIMIT ? OFFSET ?
"""
_ANALYSES: Final = """
    SELECT s.key, iif(s.whole, 1, (SELECT count(*) FROM job j WHERE j.subject IS NOT NULL AND j.step_id IN (
            SELECT f.id FROM step f
            WHERE f.workflow_id = s.workflow_id AND f.after IS NULL AND f.kind NOT IN ('unfold', 'analysis')))),
        (SELECT count(*) FROM conclusion c WHERE c.step_id = s.id),
        (SELECT count(*) FROM conclusion c WHERE c.step_id = s.id AND c.failure IS NOT NULL)
    FROM step s WHERE s.workflow_id = ? AND s.kind = 'analysis' ORDER BY s.id
"""


class Wanted(msgspec.Struct, frozen=True):
    """Which properties: those of these names (none: of all), of subjects whose name holds a text."""

    names: tuple[str, ...] = ()
    subject: str | None = None
    order: str = ""


class ResultPage(msgspec.Struct, frozen=True):
    """Some properties and conclusions of `total` and `conclusions_total`; `names` counts all properties by name."""

    properties: list[PropertyResult]
    total: int
    conclusions: list[ConclusionInfo]
    conclusions_total: int
    names: dict[str, int]
    analyses: list[AnalysisInfo]


def list_results(
    database: Path, workflow_id: str, wanted: Wanted, *, limit: int, offset: int, conclusions_offset: int
) -> ResultPage:
    """A page of each, from one moment. SpecError for an unknown order, StoreError."""
    room = max(0, min(limit, PAGE_MAX))
    with reading(database) as db:
        page = (room, max(0, offset))
        where, about = _properties(workflow_id, wanted), _conclusions(workflow_id, wanted)
        rows = property_rows(db, workflow_id, wanted, page)
        (total,) = db.execute(f"SELECT count(*) FROM result r WHERE {where.sql}", where.parameters).fetchone()
        (concluded,) = db.execute(f"SELECT count(*) FROM conclusion c WHERE {about.sql}", about.parameters).fetchone()
        names = "SELECT name, count(*) FROM result WHERE workflow_id = ? GROUP BY name ORDER BY name"
        return ResultPage(
            [property_of(row) for row in _that_fit(rows)],
            total,
            _page_of_conclusions(db, about, (room, max(0, conclusions_offset))),
            concluded,
            dict(db.execute(names, (workflow_id,)).fetchall()),
            analyses_of(db, workflow_id),
        )


def property_rows(
    db: sqlite3.Connection, workflow_id: str, wanted: Wanted, page: tuple[int, int] = (-1, 0)
) -> Iterator[sqlite3.Row]:
    """Rows of `result` with the key of their step, on a page (limit and offset) or all. SpecError: unknown order."""
    where = _properties(workflow_id, wanted)
    cursor = db.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE {where.sql} {_order_by(wanted.order)} LIMIT ? OFFSET ?",
        (*where.parameters, *page),
    )


def analyses_of(db: sqlite3.Connection, workflow_id: str) -> list[AnalysisInfo]:
    """How far each analysis of a workflow is."""
    return [AnalysisInfo(*row) for row in db.execute(_ANALYSES, (workflow_id,))]


def how_analyses_are(database: Path, workflow_id: str, limit: int) -> tuple[list[AnalysisInfo], list[ConclusionInfo]]:
    """How far the analyses are, and the first that could not say all that was asked for. Raises StoreError."""
    failed = Where("c.workflow_id = ? AND c.failure IS NOT NULL", (workflow_id,))
    with reading(database) as db:
        return analyses_of(db, workflow_id), _page_of_conclusions(db, failed, (limit, 0))


def _properties(workflow_id: str, wanted: Wanted) -> Where:
    where = Where("r.workflow_id = ?", (workflow_id,))
    if wanted.names:
        where &= Where("r.name IN (SELECT value FROM json_each(?))", (as_array(wanted.names),))
    if wanted.subject is not None:
        where &= Where("instr(r.about, ?) > 0", (wanted.subject,))
    return where


def _conclusions(workflow_id: str, wanted: Wanted) -> Where:
    where = Where("c.workflow_id = ?", (workflow_id,))
    if wanted.subject is not None:
        where &= Where("instr(c.name, ?) > 0", (wanted.subject,))
    return where


def _order_by(order: str) -> str:
    if not order:
        return f"ORDER BY {_SUBJECT_BY_SUBJECT}"
    column = order.removeprefix("-")
    if column not in _ORDERS:
        hint = nearest(column, _ORDERS) or f"it can be {', '.join(_ORDERS)}"
        raise SpecError(f"properties have no order by {column!r}; {hint}", key="order")
    falling = " DESC" if order.startswith("-") else ""
    return f"ORDER BY {_ORDERS[column]}{falling} NULLS LAST, {_SUBJECT_BY_SUBJECT}"


def _that_fit(rows: Iterator[sqlite3.Row]) -> Iterator[Any]:
    """As many rows as a page has room for, at least one."""
    taken = 0
    for row in rows:
        taken += row["size"]
        if taken > PAGE_BYTES and taken > row["size"]:
            return
        yield row


def _page_of_conclusions(db: sqlite3.Connection, where: Where, page: tuple[int, int]) -> list[ConclusionInfo]:
    found: list[ConclusionInfo] = []
    taken = 0
    for step, name, failure, notes, figures, at, properties in db.execute(
        _CONCLUSIONS.format(where.sql), (*where.parameters, *page)
    ):
        shown = msgspec.json.decode(figures, type=tuple[FigureInfo, ...])
        taken += len(name) + len(failure or "") + len(notes) + len(msgspec.json.encode(shown))
        if found and taken > PAGE_BYTES:
            break
        found.append(
            ConclusionInfo(step, name, failure, msgspec.json.decode(notes, type=tuple[str, ...]), shown, properties, at)
        )
    return found
