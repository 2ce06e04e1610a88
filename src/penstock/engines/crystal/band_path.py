"""Paths through the Brillouin zone as CRYSTAL's BAND takes them: integers over a shrinking factor. Paths are ASE's."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import msgspec

from penstock.domain.geometry import parse_geometry

if TYPE_CHECKING:
    from ase.dft.kpoints import BandPath as AsePath

Point = tuple[int, int, int]

SHRINK_MOST: Final = 120
"""What coordinates are rounded to where they depend on the cell's angles and are no small fractions."""
_EXACT: Final = 1e-5
_ALIKE: Final = 1e-3
"""Relative: a slab relaxed without symmetry keeps the path of the hexagonal lattice it nearly has."""


class BandPath(msgspec.Struct, frozen=True):
    """Segments in units of the reciprocal vectors of CRYSTAL's primitive cell over `shrink`, with their ends' names."""

    shrink: int
    segments: tuple[tuple[Point, Point], ...]
    labels: tuple[tuple[str, str], ...]

    @property
    def label(self) -> str:
        """The whole path in words: `G-X-W|U-L`."""
        text = ""
        last = None
        for start, end in self.labels:
            text += ("|" if text else "") + f"{start}-{end}" if start != last else f"-{end}"
            last = end
        return text


def band_path(geometry_block: str, shrink_most: int = SHRINK_MOST) -> BandPath:
    """The path through the special points of a crystal's, slab's or polymer's lattice (Setyawan and Curtarolo, 2010).

    The cell of `geometry_block` must be the primitive one that CRYSTAL calculates with: what `geometry_block(deck)`
    gives, or the direct lattice vectors of an output. ValueError for a molecule, or where the lattice is not known.
    """
    from ase.cell import Cell

    geometry = parse_geometry(geometry_block)
    if geometry.lattice is None or not any(geometry.pbc):
        raise ValueError("a molecule has no bands along a path")
    if list(geometry.pbc) != sorted(geometry.pbc, reverse=True):
        raise ValueError("the periodic directions of a slab are the first two, that of a polymer is the first")
    try:
        with warnings.catch_warnings(action="ignore"):
            path = Cell(geometry.lattice).bandpath(npoints=0, pbc=geometry.pbc, eps=_ALIKE)
    except Exception as error:  # it raises several kinds, RuntimeError among them
        raise ValueError(f"the lattice has no known path: {error}") from error
    return _in_integers(path, shrink_most)


def _in_integers(path: AsePath, shrink_most: int) -> BandPath:
    from ase.dft.kpoints import parse_path_string

    exact = {name: [Fraction(float(x)).limit_denominator(24) for x in k] for name, k in path.special_points.items()}
    shrink = math.lcm(*(fraction.denominator for k in exact.values() for fraction in k))
    is_exact = all(
        abs(float(fraction) - x) < _EXACT
        for name, k in path.special_points.items()
        for fraction, x in zip(exact[name], k, strict=True)
    )
    if not is_exact or shrink > shrink_most:
        shrink = shrink_most
    points = {name: _rounded(k, shrink) for name, k in path.special_points.items()}
    steps = [
        (start, end)
        for part in parse_path_string(path.path)
        for start, end in itertools.pairwise(part)
        if points[start] != points[end]
    ]
    return BandPath(shrink, tuple((points[start], points[end]) for start, end in steps), tuple(steps))


def _rounded(k: Iterable[float], shrink: int) -> Point:
    x, y, z = (round(float(value) * shrink) for value in k)
    return x, y, z
