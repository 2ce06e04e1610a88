"""`[structures.build]`: structures that a spec describes instead of bringing files, as a checked value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.formula import read_formula
from penstock.domain.geometry import ATOMIC_NUMBERS

KEY: Final = "structures.build"
BUILT: Final = "source/built.extxyz"
"""Where the structures are once they are built, below the workflow's directory."""

MAX_ATOMS: Final = 4
"""Atoms in the cell of an ordering, at most, where the table does not say it."""
_MAX_ATOMS_MOST: Final = 12
_ELEMENTS_MOST: Final = 4
_LENGTHS_ANGSTROM: Final = (0.5, 100.0)
_OF_SYSTEM: Final = ("prototype", "a_angstrom", "c_angstrom")
_OF_ELEMENTS: Final = ("lattices", "prototypes", "max_atoms", "references")


class BuildTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is built: one `system` in a `prototype`, or structures of a set of `elements`.

    Of elements there are either the orderings on parent `lattices`, in cells of at most `max_atoms` atoms, or all
    assignments to the sites of `prototypes`. `references`: the elements in their reference states are added where the
    others do not contain them. Lengths are those of the conventional cell.
    """

    system: str | None = None
    prototype: str | None = None
    a_angstrom: float | None = None
    c_angstrom: float | None = None
    elements: tuple[str, ...] = ()
    lattices: tuple[str, ...] = ()
    prototypes: tuple[str, ...] = ()
    max_atoms: int | None = None
    references: bool = False


def check_build(table: BuildTable) -> None:
    """SpecError, with its key, for what cannot be built, as far as that can be told without building it."""
    if (table.system is None) == (not table.elements):
        wanted = 'needs system = "Si" (a formula) or elements = ["Cu", "Au"]'
        raise SpecError("has both system and elements; give one of the two" if table.system else wanted, key=KEY)
    _refuse_keys(table, *((_OF_ELEMENTS, "elements") if table.system is not None else (_OF_SYSTEM, "system")))
    if table.system is not None:
        try:
            read_formula(table.system)
        except ValueError as error:
            raise SpecError(str(error), key=f"{KEY}.system") from None
        for key in ("a_angstrom", "c_angstrom"):
            _check_length(getattr(table, key), f"{KEY}.{key}")
    else:
        _check_elements(table)


def _refuse_keys(table: BuildTable, keys: Sequence[str], belong_to: str) -> None:
    empty = BuildTable()
    for key in keys:
        if getattr(table, key) != getattr(empty, key):
            raise SpecError(f"goes with {belong_to} only; remove it", key=f"{KEY}.{key}")


def _check_length(length_angstrom: float | None, key: str) -> None:
    least, most = _LENGTHS_ANGSTROM
    if length_angstrom is not None and not (math.isfinite(length_angstrom) and least <= length_angstrom <= most):
        raise SpecError(f"is a length in Å between {least:g} and {most:g}, not {length_angstrom:g}", key=key)


def _check_elements(table: BuildTable) -> None:
    key = f"{KEY}.elements"
    for symbol in table.elements:
        if symbol not in ATOMIC_NUMBERS:
            raise SpecError(f"there is no element {symbol!r}", key=key)
    if len(table.elements) > _ELEMENTS_MOST:
        raise SpecError(f"has {len(table.elements)}; at most {_ELEMENTS_MOST} can be combined", key=key)
    for name in ("elements", "lattices", "prototypes"):
        given = getattr(table, name)
        if twice := next((one for one, other in itertools.pairwise(sorted(given)) if one == other), None):
            raise SpecError(f"names {twice!r} twice", key=f"{KEY}.{name}")
    if bool(table.lattices) == bool(table.prototypes):
        wanted = 'lattices = ["fcc"], whose orderings are built, or prototypes = ["L1_2", "B2"]'
        raise SpecError(f"of elements, give {wanted}{', not both' if table.lattices else ''}", key=KEY)
    if table.max_atoms is not None and table.prototypes:
        raise SpecError("goes with lattices only; remove it", key=f"{KEY}.max_atoms")
    if table.max_atoms is not None and not 1 <= table.max_atoms <= _MAX_ATOMS_MOST:
        raise SpecError(f"must be between 1 and {_MAX_ATOMS_MOST}, not {table.max_atoms}", key=f"{KEY}.max_atoms")
