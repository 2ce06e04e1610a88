"""The command trace, which needs no daemon: how an optimisation went, step by step."""

from __future__ import annotations

import fnmatch
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from penstock.ctl.options import command
from penstock.ctl.output import Ctl
from penstock.ctl.text import number
from penstock.domain.errors import OutputError
from penstock.engines.traces import Trace, TracePoint, read_trace

_NAMES: Final = ("sella.log", "trajectory.xyz", "*_trj.xyz", "*.log", "*.traj.xyz", "*.xyz")
"""Where a directory's trace may be, the one that tells most first; each may be gzipped."""


@command("trace")
@click.argument("path", type=click.Path())
def trace(ctl: Ctl, path: str) -> None:
    """Show energy and largest force of every step of an optimisation.

    PATH is a log of Sella or of an ASE optimiser, an XYZ trajectory, or an attempt's directory that holds one. No
    daemon is needed; a file that is still being written may be read.
    """
    file, found = _find(Path(path))
    if ctl.json:
        ctl.emit({"path": os.fsencode(file).decode("utf-8", "replace"), **msgspec.structs.asdict(found)})
    else:
        _show(ctl, found)


def _find(path: Path) -> tuple[Path, Trace]:
    """The first file that holds a trace; OutputError if there is none."""
    for file in _candidates(path):
        try:
            found = read_trace(file)
        except OSError as error:
            raise OutputError(error.strerror or str(error), file=str(file)) from error
        if any(point.energy_hartree is not None for point in found.points):
            return file, found
    what = "nor is it in any file there" if path.is_dir() else "a log of Sella or ASE, or XYZ frames with energies"
    raise OutputError(f"no trace of an optimisation is in it ({what})", file=str(path))


def _candidates(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208 - names are what the patterns are for
    except OSError as error:
        raise OutputError(error.strerror or str(error), file=str(path)) from error
    for pattern in _NAMES:
        for name in names:
            file = path / name
            if fnmatch.fnmatchcase(name.removesuffix(".gz"), pattern) and file.is_file():
                yield file


def _show(ctl: Ctl, found: Trace) -> None:
    ctl.table((">run", ">step", ">energy/Eh", ">change/Eh", ">max force/(Eh/bohr)"), _rows(found.points))
    runs = "" if found.runs == 1 else f" of {found.runs} runs"
    ctl.note(f"{len(found.points) + found.left_out} steps{runs}")
    if found.left_out:
        ctl.note(f"the first {found.left_out} are not shown")


def _rows(points: list[TracePoint]) -> Iterator[tuple[str, ...]]:
    for before, point in itertools.pairwise([None, *points]):
        assert point is not None
        energy, force = number(point.energy_hartree, 8), number(point.max_force_hartree_per_bohr)
        yield str(point.run), str(point.step), energy, number(_change(before, point), 8), force


def _change(before: TracePoint | None, point: TracePoint) -> float | None:
    """The energy's change from the step before in the same run, in Eh."""
    if before is None or before.run != point.run or before.energy_hartree is None or point.energy_hartree is None:
        return None
    return point.energy_hartree - before.energy_hartree


COMMANDS: Final = {"trace": trace}
