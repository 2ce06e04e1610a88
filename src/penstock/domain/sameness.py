"""When are two calculations the same? Keys that are equal for what need not be calculated twice."""

from __future__ import annotations

import hashlib

import msgspec

from penstock.domain.geometry import parse_geometry

_DECIMALS = 6
"""Positions (Å) that agree to so many decimals are the same: less than any program's own convergence moves them."""


def material_key(
    geometry: str, charge: int, multiplicity: int, deck: str | None = None, name: str | None = None
) -> str:
    """A key of what is calculated: atoms in their order, cell, charge, multiplicity (2S+1), and its deck if it has one.

    `geometry` is a block in the one form, Å. `name` is given where the calculation depends on what the material is
    called. ValueError for a block that is none.
    """
    symbols, positions, lattice, pbc = parse_geometry(geometry)
    numbers = [[_rounded(x) for x in vector] for vector in (*positions, *(lattice or ()))]
    return _digest([symbols, numbers, pbc, charge, multiplicity, deck, *([] if name is None else [name])])


def method_key(engine: str, parameters: str, before: str = "") -> str:
    """A key of how it is calculated: engine and parameters (JSON), on from what a step with key `before` leaves."""
    return _digest([engine, msgspec.json.decode(parameters), before])


def calculation_key(material: str, method: str) -> str:
    """A key of the calculation of a material by a method."""
    return f"{material}:{method}"


def _rounded(number: float) -> str:
    text = f"{number:.{_DECIMALS}f}"
    return text.removeprefix("-") if not float(text) else text


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:32]
