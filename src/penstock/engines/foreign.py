"""Directories of runs that others started: their outputs have names of their own, and no spec belongs to them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock import engines
from penstock.domain.calculation import Exit, FailureClass, Outcome
from penstock.domain.report import Report
from penstock.engines.engine import OutputEngine, fail
from penstock.engines.marker_scan import read_head
from penstock.engines.program_report import conclude

_UNKNOWN_END: Final = Exit(0, None, 0.0, 0.0)
"""Nobody saw how the run ended; its output alone decides."""


def outputs_in(names: Iterable[str]) -> list[str]:
    """Of the file names in a directory, those that some engine would take for a run's main output."""
    listed = list(names)
    found = (name for engine in engines.output_engines() for name in engine.main_output(listed))
    return list(dict.fromkeys(found))


def read_directory(directory: Path, output: str | None = None) -> Outcome:
    """What the run in `directory` came to; OSError where it is not there.

    `output` is the name of its output where it is known; else the likeliest that is one is read.
    """
    names = os.listdir(directory)  # noqa: PTH208 - names, without an object each
    wanted = [output] if output is not None else outputs_in(names)
    for name in wanted:
        head = read_head(directory / name)
        engine = next((engine for engine in engines.output_engines() if engine.recognises(head)), None)
        if engine is not None:
            return _read(engine, directory, name, names)
    what = f"{output} is not one" if output is not None else "none is there"
    return fail(FailureClass.OUTPUT_MISSING, f"no output of a program that is known: {what}")


def _read(engine: OutputEngine[Any], directory: Path, name: str, names: list[str]) -> Outcome:
    report = _with_gradient(engine.report(directory / name), directory, name, names)
    if report.optimization is None:
        report = msgspec.structs.replace(report, geometry=None)  # the input's, with fewer digits
    return conclude(report, _UNKNOWN_END, directory, files=[name])


def _with_gradient(report: Report, directory: Path, name: str, names: list[str]) -> Report:
    """The report with ORCA's gradient from the file beside its output, where the output prints none."""
    beside = f"{name.removesuffix('.gz').rpartition('.')[0]}.engrad"
    if report.engine != "orca" or report.max_gradient_hartree_per_bohr is not None or beside not in names:
        return report
    from penstock.engines.orca.engrad import read_engrad

    found = read_engrad(directory / beside)
    if found is None:
        return report
    return msgspec.structs.replace(report, max_gradient_hartree_per_bohr=found.max_component_hartree_per_bohr)
