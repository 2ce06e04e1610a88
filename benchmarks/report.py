"""Figures with their baselines and aims, as a table for people and as JSON for programs."""

from __future__ import annotations

import math
import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.table import Table

from penstock import __version__


class LeftOutError(Exception):
    """What a benchmark needs is not on this machine; the message says what, and how to get it."""


class Options(msgspec.Struct, frozen=True):
    """How a benchmark is to run: `quick` sizes show that it works, full sizes are the ones that count."""

    quick: bool
    scratch: Path


class Aim(msgspec.Struct, frozen=True):
    """A limit for a figure's value, or for its ratio to the baseline."""

    of: Literal["value", "ratio"]
    kind: Literal["at most", "at least"]
    limit: float

    def met(self, value: float) -> bool:
        """Whether `value` keeps the limit."""
        return value <= self.limit if self.kind == "at most" else value >= self.limit

    def __str__(self) -> str:
        """As in a table."""
        return f"{'≤' if self.kind == 'at most' else '≥'} {self.limit:g}{'x' if self.of == 'ratio' else ''}"


class Figure(msgspec.Struct, frozen=True):
    """One measured value. `samples` are what a median was taken of."""

    what: str
    unit: str
    value: float
    baseline: float | None = None
    aim: Aim | None = None
    samples: tuple[float, ...] = ()
    baseline_samples: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The value over its baseline."""
        return self.value / self.baseline if self.baseline else None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met, None without an aim."""
        if self.aim is None:
            return None
        judged = self.value if self.aim.of == "value" else self.ratio
        return judged is not None and self.aim.met(judged)


class Report(msgspec.Struct, frozen=True):
    """What a benchmark found. `faults` are no matter of speed: any one fails the run."""

    name: str
    title: str
    parameters: dict[str, Any]
    figures: list[Figure]
    faults: list[str] = []


def at_most(limit: float) -> Aim:
    """An upper limit for the value itself."""
    return Aim("value", "at most", limit)


def ratio_at_most(limit: float) -> Aim:
    """An upper limit for the ratio to the baseline."""
    return Aim("ratio", "at most", limit)


def ratio_at_least(limit: float) -> Aim:
    """A lower limit for the ratio to the baseline."""
    return Aim("ratio", "at least", limit)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of all do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


def compare(what: str, unit: str, ours: Sequence[float], theirs: Sequence[float], aim: Aim | None = None) -> Figure:
    """The medians of two series that were measured in turns."""
    return Figure(what, unit, statistics.median(ours), statistics.median(theirs), aim, tuple(ours), tuple(theirs))


def show(report: Report) -> None:
    """Prints the table."""
    table = Table("what", "measured", "baseline", "ratio", "aim", "", title=report.title, title_justify="left")
    for column in table.columns[1:4]:
        column.justify = "right"
    for figure in report.figures:
        baseline = "" if figure.baseline is None else f"{_rounded(figure.baseline)} {figure.unit}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
        verdict = {None: "", True: "met", False: "[bold]missed[/bold]"}[figure.met]
        measured = f"{_rounded(figure.value)} {figure.unit}"
        table.add_row(figure.what, measured, baseline, ratio, str(figure.aim or ""), verdict)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    for fault in report.faults:
        console.print(f"FAULT: {fault}", markup=False)


def write(report: Report, folder: Path, *, quick: bool) -> Path:
    """Writes `NAME.json` (quick runs: `NAME.quick.json`, which never count as results)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.name}{'.quick' if quick else ''}.json"
    figures = [msgspec.to_builtins(figure) | {"ratio": figure.ratio, "met": figure.met} for figure in report.figures]
    content = {
        "name": report.name,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": quick,
        "penstock": __version__,
        "machine": _machine(),
        "parameters": report.parameters,
        "figures": figures,
        "faults": report.faults,
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    return path


def _machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load": os.getloadavg(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
