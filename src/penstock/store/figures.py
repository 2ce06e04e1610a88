"""The figures that analyses came to, drawn into files. Only worker processes draw: matplotlib is loaded then."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.properties import Figure
from penstock.store.connection import reading

_WITH_FIGURES: Final = """
    SELECT s.key, c.name, c.figures FROM conclusion c JOIN step s ON s.id = c.step_id
    WHERE c.workflow_id = ? AND c.figures <> '[]' ORDER BY c.subject <> 0, c.subject, c.step_id
"""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._+-]+")
_NAME_MAX: Final = 100
_DOTS_PER_INCH: Final = 200


class Drawing(msgspec.Struct, frozen=True):
    """A figure as SVG, and of what it is; without `svg`, why it could not be drawn."""

    step: str
    subject: str
    name: str  # of its file, without suffix; no two of a workflow have the same
    figure: Figure
    svg: bytes | None
    trouble: str | None = None


def draw_figures(db: sqlite3.Connection, workflow_id: str) -> Iterator[Drawing]:
    """The figures of a workflow one after another, those of all subjects together first."""
    from penstock.analysis import plots

    taken: set[str] = set()
    for step, subject, figures in db.execute(_WITH_FIGURES, (workflow_id,)):
        for figure in msgspec.json.decode(figures, type=list[Figure]):
            name = _name_of_file(subject, figure.name, taken)
            try:
                svg = plots.draw(figure)
            except Exception as error:  # noqa: BLE001 - one figure that cannot be drawn must not cost all others
                yield Drawing(step, subject, name, figure, None, f"{type(error).__name__}: {error}")
            else:
                yield Drawing(step, subject, name, figure, svg)


def count_figures(db: sqlite3.Connection, workflow_id: str) -> int:
    """How many figures a workflow has."""
    sql = "SELECT coalesce(sum(json_array_length(figures)), 0) FROM conclusion WHERE workflow_id = ?"
    return int(db.execute(sql, (workflow_id,)).fetchone()[0])


def write_figures(
    database: Path, workflow_id: str, directory: Path, *, with_png: bool = False
) -> tuple[list[str], list[str]]:
    """Draws every figure into files of `directory`; returns their names, and what could not be drawn and why.

    Files of these names are replaced. Raises OSError, StoreError.
    """
    written: list[str] = []
    troubles: list[str] = []
    with reading(database) as db:
        for drawing in draw_figures(db, workflow_id):
            if drawing.svg is None:
                troubles.append(f"{drawing.name} ({drawing.step} of {drawing.subject}): {drawing.trouble}")
                continue
            directory.mkdir(parents=True, exist_ok=True)
            written.append(f"{drawing.name}.svg")
            (directory / written[-1]).write_bytes(drawing.svg)
            if with_png:
                written.append(f"{drawing.name}.png")
                _write_png(drawing.figure, directory / written[-1])
    return written, troubles


def _write_png(figure: Figure, path: Path) -> None:
    from penstock.analysis import plots

    picture = plots.render(figure)
    picture.savefig(path, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})


def _name_of_file(subject: str, name: str, taken: set[str]) -> str:
    """`SUBJECT-NAME` in characters that any file system takes; a number is put behind where it is taken."""
    wished = _UNSAFE.sub("_", f"{subject}-{name}").lstrip(".-")[:_NAME_MAX] or "figure"
    found, number = wished, 1
    while found.lower() in taken:  # some file systems know no capitals
        number += 1
        found = f"{wished}-{number}"
    taken.add(found.lower())
    return found
