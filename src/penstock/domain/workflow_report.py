"""What a report on a workflow tells, as values; `analysis/report.py` makes a page of it."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.domain.properties import Figure, PropertyResult


class ReportedJob(msgspec.Struct, frozen=True):
    """A job, as a report lists it; `directory` is absolute, of the attempt that counts."""

    id: int
    name: str
    step: str
    state: str
    attempts: int
    energy_hartree: float | None
    wall_time_s: float | None
    directory: str | None
    message: str | None  # of its failure


class ReportedConclusion(msgspec.Struct, frozen=True):
    """What an analysis said of a subject in words."""

    step: str
    subject: str
    failure: str | None
    notes: tuple[str, ...]


class ReportedFigure(msgspec.Struct, frozen=True):
    """A figure, drawn; without `svg`, why not."""

    step: str
    subject: str
    figure: Figure
    svg: bytes | None
    trouble: str | None = None


class Timing(msgspec.Struct, frozen=True):
    """When a workflow's attempts began and ended (seconds since the epoch), and how long they ran all together."""

    attempts: int
    began_at: float | None
    ended_at: float | None
    run_s: float


class WorkflowReport(msgspec.Struct, frozen=True):
    """Everything a report is made of. Lists may be cut; `totals` say how long they are, by their name here."""

    workflow: str
    recipe: str
    engine: str
    state: str
    reason: str | None
    directory: str
    created_at: float
    states: dict[str, int]  # jobs
    spec: dict[str, Any]
    parameters: dict[str, Any]  # the engine's
    steps: tuple[tuple[str, str, int], ...]  # key, kind, jobs
    properties: tuple[PropertyResult, ...]
    conclusions: tuple[ReportedConclusion, ...]
    figures: tuple[ReportedFigure, ...]
    jobs: tuple[ReportedJob, ...]
    timing: Timing
    totals: dict[str, int]
    penstock: str  # version
