"""What analyses have found written into files, as tasks for worker processes: tables, figures, a report."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from penstock.actors.derive_tasks import Place
from penstock.actors.task import Task
from penstock.domain.errors import SpecError
from penstock.store.export import write_whole
from penstock.store.figures import write_figures
from penstock.store.report_facts import read_report
from penstock.store.result_export import export_results
from penstock.store.result_pages import Wanted


class ExportResults(Task[int], frozen=True):
    """Writes a workflow's properties to a file whose suffix says the format."""

    database: str
    workflow_id: str
    path: str
    wanted: Wanted
    overwrite: bool
    is_long = True
    result = int

    def paths(self) -> tuple[str, ...]:
        """From where, and to where."""
        return (self.database, self.path)

    def run(self) -> int:
        """How many properties were written."""
        return export_results(
            Path(self.database), self.workflow_id, Path(self.path), self.wanted, overwrite=self.overwrite
        )


class Reported(msgspec.Struct, frozen=True, array_like=True):
    """How many figures a report has, the files of figures beside it, and what could not be drawn and why."""

    figures: int
    files: list[str]
    troubles: list[str]


class WriteReport(Task[Reported], frozen=True):
    """Writes a workflow's report as one HTML file, and where wanted its figures into a directory."""

    place: Place
    path: str
    overwrite: bool
    figures: str | None = None  # absolute
    overwrite_figures: bool = False
    is_long = True
    result = Reported

    def paths(self) -> tuple[str, ...]:
        """From where, and to where."""
        return (*self.place.paths(), self.path, *filter(None, [self.figures]))

    def run(self) -> Reported:
        """What was written. SpecError for a path that cannot be, or is there and must not be written over."""
        if self.figures is not None:
            _refuse_full(Path(self.figures), overwrite=self.overwrite_figures)
        drawn = write_whole(Path(self.place.database), Path(self.path), self._write, overwrite=self.overwrite)
        if self.figures is None:
            return Reported(drawn, [], [])
        directory = Path(self.figures)
        files, troubles = write_figures(Path(self.place.database), self.place.workflow_id, directory, with_png=True)
        return Reported(drawn, [str(directory / name) for name in files], troubles)

    def _write(self, db: sqlite3.Connection, partial: Path) -> int:
        from penstock.analysis.report import render_report

        report = read_report(db, self.place.workflow_id, Path(self.place.directory))
        partial.write_text(render_report(report), encoding="utf-8")
        return len(report.figures)


def _refuse_full(directory: Path, *, overwrite: bool) -> None:
    """SpecError for a directory with something in it, unless that may be written over."""
    if directory.exists() and not directory.is_dir():
        raise SpecError(f"{directory} is no directory; choose another one for the figures", key="figures")
    if not overwrite and directory.is_dir() and any(directory.iterdir()):
        message = f"{directory} is not empty; choose another directory, or write into it with --overwrite"
        raise SpecError(message, key="figures")
