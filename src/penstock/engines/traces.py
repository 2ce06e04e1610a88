"""Traces of geometry optimisations: energy and largest force step by step, from optimisers' logs and trajectories.

Logs are those of Sella and of ASE's optimisers (`Sella n hh:mm:ss E fmax ...`, in eV and eV/Å), trajectories XYZ frames
with the energy in the comment: `E -114.41...` in Eh, as ORCA writes it, or `energy=...` in eV, as ext-XYZ has it. They
are read while they are being written: a line or frame that is not whole counts for nothing.
"""

from __future__ import annotations

import gzip
import itertools
import math
import re
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from penstock.domain.calculation import HARTREE_EV
from penstock.domain.geometry import normalise, parse_comment
from penstock.engines.marker_scan import opened

BOHR_ANGSTROM: Final = 0.5291772105638411
"""One bohr in Å, ASE's value (CODATA 2014), as `HARTREE_EV` is."""
POINTS_MOST: Final = 100_000
_PIECE: Final = 1 << 16
_NUMBER: Final = r"[-+]?(?:\d+(?:[.,]\d*)?(?:[eE][-+]?\d+)?|nan|inf)"
_ROW: Final = re.compile(
    rf"\s*[A-Za-z]\w*:?\s*(\d{{1,9}})(?:\[\s*\d+\])?\s+\d\d:\d\d:\d\d\s+({_NUMBER})\*?\s+({_NUMBER})(?=\s|$)",
    re.IGNORECASE,
)
_HEADER: Final = re.compile(r"\s*Step\S*\s+Time\s+Energy")
_COUNT: Final = re.compile(r"\s*([1-9]\d{0,8})\s*")
_ORCA_ENERGY: Final = re.compile(rf"(?:^|\s)E\s+({_NUMBER})(?=\s|$)")


class TracePoint(msgspec.Struct, frozen=True):
    """A step of the optimisation's `run`-th start (from 1); None where it is not told, or is no finite number.

    The force is the largest on any atom (the norm), which is what `fmax` is compared with.
    """

    run: int
    step: int
    energy_hartree: float | None
    max_force_hartree_per_bohr: float | None = None


class Trace(msgspec.Struct, frozen=True):
    """The points of a file in its order, the last ones if there are too many: then `left_out` went before them."""

    kind: Literal["log", "trajectory"]
    runs: int
    points: list[TracePoint]
    left_out: int = 0


def read_trace(path: Path, points_most: int = POINTS_MOST) -> Trace:
    """The trace that `path` holds, gzipped or not; OSError where it cannot be read, no points where it is none."""
    lines = _lines(path)
    first = next((line for line in lines if line.strip()), "")
    is_trajectory = _COUNT.fullmatch(first) is not None
    points = (_trajectory_points if is_trajectory else _log_points)(itertools.chain([first], lines))
    kept: deque[TracePoint] = deque(maxlen=points_most)
    count = 0
    for point in points:
        kept.append(point)
        count += 1
    runs = kept[-1].run if kept else 0
    return Trace("trajectory" if is_trajectory else "log", runs, list(kept), count - len(kept))


def last_geometry(path: Path) -> str | None:
    """The last whole frame of a trajectory as a block in the one form; None where there is none to be read."""
    last = None
    try:
        for comment, atoms in _frames(_lines(path)):
            last = comment, atoms
        return None if last is None else normalise("\n".join([str(len(last[1])), last[0], *last[1]])).block
    except (OSError, ValueError):
        return None


def _log_points(lines: Iterator[str]) -> Iterator[TracePoint]:
    run, last = 0, math.inf  # a header or a step that is not the next begins another run
    for line in lines:
        if (row := _ROW.match(line)) is not None:
            step = int(row[1])
            run += step <= last
            last = step
            energy_ev, force = _number(row[2]), _number(row[3])
            yield TracePoint(run, step, _scaled(energy_ev, 1 / HARTREE_EV), _scaled(force, BOHR_ANGSTROM / HARTREE_EV))
        elif _HEADER.match(line) is not None:
            last = math.inf


def _trajectory_points(lines: Iterator[str]) -> Iterator[TracePoint]:
    run, last = 0, math.inf
    for comment, _ in _frames(lines):
        pairs = {key.lower(): value for key, value in parse_comment(comment).items()}
        told = pairs.get("step", "")
        step = int(told) if told.isdecimal() and len(told) < 10 else 0 if last == math.inf else int(last) + 1
        run += step <= last
        last = step
        yield TracePoint(run, step, _comment_energy(comment, pairs.get("energy")))


def _comment_energy(comment: str, energy_ev: str | None) -> float | None:
    if energy_ev is not None:
        return _scaled(_number(energy_ev), 1 / HARTREE_EV)
    found = _ORCA_ENERGY.findall(comment)
    return _number(found[-1]) if found else None


def _frames(lines: Iterator[str]) -> Iterator[tuple[str, list[str]]]:
    """Comment and atoms of every frame that has all its atoms; what is broken is passed over."""
    line = next(lines, None)
    while line is not None:
        count = _COUNT.fullmatch(line)
        line = next(lines, None)
        if count is None or line is None:
            continue
        comment, natoms = line, int(count[1])
        atoms: list[str] = []
        while (line := next(lines, None)) is not None and len(atoms) < natoms and len(line.split(None, 4)) >= 4:
            atoms.append(line)
        if len(atoms) == natoms:
            yield comment, atoms


def _lines(path: Path) -> Iterator[str]:
    """The whole lines of a text. Of one longer than any that matters only a part is kept."""
    rest = b""
    for piece in _pieces(path):
        *whole, rest = (rest + piece).split(b"\n")
        rest = rest[:_PIECE]
        for line in whole:
            yield line.decode("utf-8", "replace").rstrip("\r")


def _pieces(path: Path) -> Iterator[bytes]:
    with opened(path) as file:
        try:
            while piece := file.read1(_PIECE):
                yield piece
        except (EOFError, zlib.error, gzip.BadGzipFile):  # cut short or damaged: as far as it goes
            return


def _number(text: str) -> float | None:
    """A finite number, also with a decimal comma; None for any other text."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
