"""What analyses have said: properties, figures and notes, as they are kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.properties import Conclusion, Figure, PropertyResult
from penstock.store.connection import reading

_OF_STEPS: Final = "step_id IN (SELECT id FROM step WHERE workflow_id = ?1)"  # as the indexes begin
_CONCLUSIONS: Final = f"""
    SELECT c.step_id, c.subject, s.key, c.name, c.failure, c.notes, c.figures, c.at
    FROM conclusion c JOIN step s ON s.id = c.step_id WHERE c.{_OF_STEPS} AND {{about}}
    ORDER BY c.subject = 0, c.subject, c.step_id
"""
_RESULTS: Final = f"""
    SELECT step_id, subject, name, about, value, unit, uncertainty, conditions, method, attempts
    FROM result WHERE {_OF_STEPS} AND {{about}} ORDER BY id
"""


class Concluded(msgspec.Struct, frozen=True):
    """A conclusion, and what it is of; `at` in UTC."""

    step: str
    subject: str
    subject_id: int  # the material; 0: all together
    at: str
    conclusion: Conclusion


class WorkflowResults(msgspec.Struct, frozen=True):
    """All that a workflow's analyses have said, and its recipe and state."""

    recipe: str
    state: str
    reason: str | None
    spec: dict[str, Any]
    concluded: tuple[Concluded, ...]

    @property
    def properties(self) -> list[PropertyResult]:
        """The properties of all conclusions."""
        return [found for one in self.concluded for found in one.conclusion.properties]


def read_results(database: Path, workflow_id: str) -> WorkflowResults:
    """Everything there is; nothing where nothing was concluded yet. Raises StoreError."""
    with reading(database) as db:
        recipe, state, reason, spec = db.execute(
            "SELECT recipe, state, reason, spec FROM workflow WHERE workflow_id = ?", (workflow_id,)
        ).fetchone()
        concluded = tuple(read_conclusions(db, workflow_id))
        return WorkflowResults(recipe, state, reason, msgspec.json.decode(spec), concluded)


def read_conclusions(db: sqlite3.Connection, workflow_id: str, material: int | None = None) -> list[Concluded]:
    """The conclusions, those of all subjects together last, with their properties; of one `material`, or (0) of all.

    None: every one of them.
    """
    about = "subject = ?2" if material is not None else "?2 IS NULL"
    of = (workflow_id, material)
    properties: dict[tuple[int, int], list[PropertyResult]] = {}
    cursor = db.cursor()
    cursor.row_factory = sqlite3.Row
    for row in cursor.execute(_RESULTS.format(about=about), of):
        properties.setdefault((row["step_id"], row["subject"]), []).append(property_of(row))
    return [
        Concluded(
            key,
            name,
            subject,
            at,
            Conclusion(
                tuple(properties.get((step, subject), ())),
                tuple(msgspec.json.decode(figures, type=list[Figure])),
                tuple(msgspec.json.decode(notes)),
                failure,
            ),
        )
        for step, subject, key, name, failure, notes, figures, at in db.execute(_CONCLUSIONS.format(about=about), of)
    ]


def property_of(row: sqlite3.Row) -> PropertyResult:
    """The property that a row of `result` holds."""
    return PropertyResult(
        row["name"],
        row["about"],
        msgspec.json.decode(row["value"]),
        row["unit"],
        msgspec.json.decode(row["uncertainty"] or "null"),
        msgspec.json.decode(row["conditions"]),
        row["method"],
        tuple(msgspec.json.decode(row["attempts"])),
    )
