"""What a report tells of a workflow, read from its database in one moment."""

from __future__ import annotations

import itertools
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock import __version__
from penstock.domain.errors import StoreError
from penstock.domain.workflow_report import ReportedConclusion, ReportedFigure, ReportedJob, Timing, WorkflowReport
from penstock.store.figures import count_figures, draw_figures
from penstock.store.result_pages import Wanted, property_rows
from penstock.store.results import property_of

PROPERTIES_MOST: Final = 1000
CONCLUSIONS_MOST: Final = 200
FIGURES_MOST: Final = 60
JOBS_MOST: Final = 300
_WORKFLOW: Final = ("recipe", "state", "reason", "created_at", "spec", "parameters")
_STEPS: Final = """
    SELECT s.key, s.kind, (SELECT count(*) FROM job j WHERE j.step_id = s.id) FROM step s
    WHERE s.workflow_id = ? ORDER BY s.id
"""
_SAID: Final = "c.workflow_id = ? AND (c.failure IS NOT NULL OR c.notes <> '[]')"
_CONCLUSIONS: Final = f"""
    SELECT s.key, c.name, c.failure, c.notes FROM conclusion c JOIN step s ON s.id = c.step_id
    WHERE {_SAID} ORDER BY c.failure IS NULL, c.subject = 0, c.subject, c.step_id LIMIT ?
"""
_JOBS: Final = """
    SELECT j.id, j.name, s.key, j.state, j.attempts, j.final_energy, j.wall_time_s, j.job_dir, j.error_message
    FROM job j JOIN step s ON s.id = j.step_id WHERE j.workflow_id = ?
    ORDER BY j.state NOT IN ('failed', 'timeout'), j.id LIMIT ?
"""
_TIMING: Final = """
    SELECT count(*), min(started_at), max(ended_at), coalesce(sum(ended_at - started_at), 0.0) FROM attempt
    WHERE workflow_id = ?
"""


def read_report(db: sqlite3.Connection, workflow_id: str, directory: Path) -> WorkflowReport:
    """Everything, its figures drawn; `directory` is the workflow's own. StoreError where there is no such workflow."""
    row = db.execute(f"SELECT {', '.join(_WORKFLOW)} FROM workflow WHERE workflow_id = ?", (workflow_id,)).fetchone()
    if row is None:
        raise StoreError(f"the database holds no workflow {workflow_id!r}", healable=False)
    about = dict(zip(_WORKFLOW, row, strict=True))
    spec: dict[str, Any] = msgspec.json.decode(about["spec"])
    states = db.execute("SELECT state, jobs FROM tally WHERE workflow_id = ? AND jobs", (workflow_id,))
    return WorkflowReport(
        workflow=workflow_id,
        recipe=about["recipe"],
        engine=str(spec.get("engine", {}).get("name", "")),
        state=about["state"],
        reason=about["reason"],
        directory=str(directory),
        created_at=about["created_at"],
        states=dict(states.fetchall()),
        spec=spec,
        parameters=msgspec.json.decode(about["parameters"]),
        steps=tuple(db.execute(_STEPS, (workflow_id,)).fetchall()),
        properties=tuple(map(property_of, property_rows(db, workflow_id, Wanted(), (PROPERTIES_MOST, 0)))),
        conclusions=_conclusions(db, workflow_id),
        figures=_figures(db, workflow_id),
        jobs=tuple(_job(row, directory) for row in db.execute(_JOBS, (workflow_id, JOBS_MOST))),
        timing=Timing(*db.execute(_TIMING, (workflow_id,)).fetchone()),
        totals=_totals(db, workflow_id),
        penstock=__version__,
    )


def _conclusions(db: sqlite3.Connection, workflow_id: str) -> tuple[ReportedConclusion, ...]:
    rows = db.execute(_CONCLUSIONS, (workflow_id, CONCLUSIONS_MOST))
    return tuple(
        ReportedConclusion(step, name, failure, msgspec.json.decode(notes, type=tuple[str, ...]))
        for step, name, failure, notes in rows
    )


def _figures(db: sqlite3.Connection, workflow_id: str) -> tuple[ReportedFigure, ...]:
    drawn = itertools.islice(draw_figures(db, workflow_id), FIGURES_MOST)
    return tuple(ReportedFigure(one.step, one.subject, one.figure, one.svg, one.trouble) for one in drawn)


def _job(row: tuple[Any, ...], directory: Path) -> ReportedJob:
    number, name, step, state, attempts, energy, wall_time_s, job_dir, message = row
    place = os.path.normpath(directory / job_dir) if job_dir else None
    told = None if state == "completed" else message
    return ReportedJob(number, name, step, state, attempts, energy, wall_time_s, place, told)


def _totals(db: sqlite3.Connection, workflow_id: str) -> dict[str, int]:
    """How long the lists are that are cut."""
    counted = {
        "properties": "SELECT count(*) FROM result WHERE workflow_id = ?",
        "conclusions": f"SELECT count(*) FROM conclusion c WHERE {_SAID}",
        "jobs": "SELECT count(*) FROM job WHERE workflow_id = ?",
    }
    totals = {name: int(db.execute(sql, (workflow_id,)).fetchone()[0]) for name, sql in counted.items()}
    return totals | {"figures": count_figures(db, workflow_id)}
