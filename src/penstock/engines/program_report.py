"""From the report on an output file and the exit of its program to the outcome of an attempt."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.calculation import Exit, FailureClass, Outcome
from penstock.domain.report import Report
from penstock.engines.engine import (
    classify_exhausted,
    last_line_of,
    read_tail,
    read_verdict,
    signal_message,
)
from penstock.engines.marker_scan import is_cut_short

_NOT_STARTED = frozenset({None, 126, 127})  # as a shell tells it
_NAMELESS = frozenset({FailureClass.TRUNCATED, FailureClass.MODULE_CRASH})
_MPI: Final = re.compile(
    r"not enough slots available|are already filled|mpi(?:run|exec): (?:command )?not found"
    r"|mpi(?:run|exec) was unable to|MPI_Abort was invoked|application called MPI_Abort",
    re.IGNORECASE,
)
"""What MPI libraries say on standard error of a run that they did not let start, or aborted."""
_LINE_MAX: Final = 500


def conclude(
    report: Report,
    exit: Exit,  # noqa: A002 - the contract's word
    directory: Path,
    *,
    files: Iterable[str] = (),
    checkpoint: Iterable[str] = (),
    deck: str | None = None,
) -> Outcome:
    """What the attempt came to. `files` and `checkpoint` are names to be kept where they exist in `directory`.

    Both must speak for a success: the file alone may be that of a run which died after its banner, the exit code alone
    that of a run which did not converge.
    """
    outcome = _judge(report, exit, directory)
    wanted, useful = dict.fromkeys(files), dict.fromkeys(checkpoint)
    there = present(directory, wanted | useful)
    return msgspec.structs.replace(
        outcome,
        geometry=report.geometry,
        files=[name for name in there if name in wanted],
        checkpoint=[name for name in useful if name in there],
        deck=deck,
    )


def whole(report: Report, path: Path) -> Report:
    """The report on `path`, unless it is a gzip stream that breaks off: then a good run has an unknown end."""
    if report.failure is not None or not is_cut_short(path):
        return report
    return msgspec.structs.replace(report, ended="truncated", converged=None, failure=FailureClass.TRUNCATED)


def present(directory: Path, names: Iterable[str]) -> list[str]:
    """Those of `names` that are files in `directory` and not empty. Most are not there, so they are not asked for."""
    try:
        there = {*os.listdir(directory)}  # noqa: PTH208 - names, without an object each
    except OSError:
        return []
    return [name for name in dict.fromkeys(names) if name in there and _has_content(f"{directory}/{name}")]


def _judge(report: Report, exit: Exit, directory: Path) -> Outcome:  # noqa: A002
    if (ended := read_verdict(exit)) is not None:
        return ended
    if report.failure in _NAMELESS:
        return _name(report, exit, directory)
    if report.failure is not None:
        return Outcome(report.failure, report.message or _said(report), evidence=report.evidence)
    if exit.signal is not None:
        return Outcome(FailureClass.SIGNAL, f"{signal_message(exit.signal)}, though its output reads as a success")
    if exit.code != 0:
        message = f"ended with code {exit.code}, though its output reads as a success"
        return Outcome(FailureClass.EXIT_CODE, f"{message}: {exit.message}" if exit.message else message)
    return Outcome(
        None,
        final_energy_hartree=report.energy_hartree,
        max_force_hartree_per_bohr=report.max_gradient_hartree_per_bohr,
        scf_cycles=report.scf_cycles,
        properties=report.properties,
    )


def _name(report: Report, exit: Exit, directory: Path) -> Outcome:  # noqa: A002
    """A failure that the output has no name for; the exit or standard error may know one."""
    tail = read_tail(directory / "stderr")
    exhausted = classify_exhausted(f"{exit.message or ''}\n{tail}")
    if exhausted is None and (trouble := next(filter(_MPI.search, tail.splitlines()), None)) is not None:
        return Outcome(FailureClass.MPI_ERROR, trouble.strip()[:_LINE_MAX], evidence=report.evidence)
    detail = exit.message or last_line_of(tail)
    if report.failure is FailureClass.TRUNCATED and exit.signal is not None:
        failure, message = FailureClass.SIGNAL, signal_message(exit.signal)
    elif report.failure is FailureClass.TRUNCATED and exit.code in _NOT_STARTED:
        failure, message = FailureClass.EXIT_CODE, "could not be started"
    elif report.failure is FailureClass.TRUNCATED:
        failure, message = FailureClass.TRUNCATED, f"its output stops without a word (exit code {exit.code})"
    else:
        failure, message = FailureClass.MODULE_CRASH, report.message or _said(report)
    return Outcome(exhausted or failure, f"{message}: {detail}" if detail else message, evidence=report.evidence)


def _said(report: Report) -> str:
    return report.evidence.text if report.evidence else str(report.failure)


def _has_content(path: str) -> bool:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked of every attempt
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0
