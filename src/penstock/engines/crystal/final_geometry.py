"""A deck at the geometry that CRYSTAL ended with."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from penstock.engines.crystal.deck_model import Atom, Deck, GeometryInput, Record
from penstock.engines.crystal.geometry_expand import free_parameters
from penstock.engines.crystal.geometry_input import atom_of, cell_text
from penstock.engines.crystal.symmetry import setting_of

CHANGES_ATOMS: Final = frozenset(
    {"SUPERCEL", "SUPERCELL", "SUPERCON", "SCELCONF", "SLABCUT", "SLAB", "MOLECULE", "CLUSTER", "NANOTUBE", "SWCNT"}
    | {"ATOMREMO", "ATOMINSE", "ATOMSUBS", "ATOMDISP", "ATOMROT", "ELASTIC", "REDEFINE", "ROTCRY", "HYDROSUB"}
    | {"FULLE", "NANOCRYSTAL", "WULFF", "PRIMITIV", "BREAKELAS"}
)
"""Keywords after which a geometry is no longer what the deck's own cell and atoms say."""


class FinalGeometry(NamedTuple):
    """A geometry that CRYSTAL ended with.

    `cell` is the crystallographic one (a, b, c in Å, alpha, beta, gamma in degrees; None for a molecule); `atoms` are
    the irreducible ones, conventional atomic number and coordinates in that cell: fractional along its periodic
    directions, else Å.
    """

    dimensionality: int
    cell: tuple[float, float, float, float, float, float] | None
    atoms: tuple[tuple[int, float, float, float], ...]


def at_geometry(deck: Deck, final: FinalGeometry) -> Deck:
    """`deck` with the cell parameters and coordinates of `final`, everything else as it was.

    The group stays, so that of the cell only what it leaves free is taken. Atoms keep their conventional numbers and
    what follows them on their lines where they are as many as before, in the same order. ValueError where the deck's
    atoms are in another file, where its keywords make other atoms of them, or where `final` is of another kind.
    """
    geometry = deck.geometry
    if geometry.dimensionality is None:
        raise ValueError(f"{geometry.kind}: the atoms of this deck are in another file")
    if geometry.dimensionality != final.dimensionality:
        raise ValueError(
            f"the deck is periodic in {geometry.dimensionality} directions, the geometry in {final.dimensionality}"
        )
    changing = [entry.name for entry in deck.keywords if entry.name in CHANGES_ATOMS]
    if changing:
        raise ValueError(f"the deck's {changing[0]} would be applied to the final geometry once more")
    if not final.atoms:
        raise ValueError("the geometry has no atoms")
    changed = _with_cell(geometry, final)
    return msgspec.structs.replace(deck, geometry=msgspec.structs.replace(changed, atoms=_atoms(geometry, final)))


def _with_cell(geometry: GeometryInput, final: FinalGeometry) -> GeometryInput:
    if final.dimensionality == 0:
        return geometry
    if final.cell is None:
        raise ValueError("the geometry has no cell")
    setting = setting_of(geometry) if final.dimensionality == 3 else None
    group = setting.space_group if setting else geometry.group_number
    if group is None:
        raise ValueError("the space group of the deck is not known; give its number")
    if geometry.is_rhombohedral and abs(final.cell[5] - 120.0) < 0.01 and abs(final.cell[3] - 90.0) < 0.01:
        geometry = _with_hexagonal_axes(geometry)
    assert geometry.cell is not None
    free = free_parameters(geometry, group, setting)
    values = tuple(cell_text(final.cell[index]) for index in free)
    return msgspec.structs.replace(geometry, cell=msgspec.structs.replace(geometry.cell, values=values))


def _with_hexagonal_axes(geometry: GeometryInput) -> GeometryInput:
    """The crystallographic cell of a rhombohedral group is the hexagonal one, which is what CRYSTAL prints."""
    assert geometry.flags is not None
    iflag, _, ifso = geometry.flags.values
    return msgspec.structs.replace(geometry, flags=Record((iflag, "0", ifso), geometry.flags.note))


def _atoms(geometry: GeometryInput, final: FinalGeometry) -> tuple[Atom, ...]:
    given, elements = geometry.atoms, [number % 100 for number, *_ in final.atoms]
    if [atom.atomic_number for atom in given] == elements:
        pairs = zip(given, final.atoms, strict=True)
        return tuple(msgspec.structs.replace(atom_of(old.number, site), note=old.note) for old, (_, *site) in pairs)
    return tuple(atom_of(_conventional(geometry, number), site) for number, *site in final.atoms)


def _conventional(geometry: GeometryInput, number: int) -> int:
    """The conventional number that the deck has for an element, which is by what its basis is found."""
    known = {atom.number for atom in geometry.atoms if atom.atomic_number == number % 100}
    if len(known) != 1:
        found = ", ".join(map(str, sorted(known))) or "none"
        raise ValueError(f"cannot tell the basis of an atom with number {number}: the deck has {found} of this element")
    return known.pop()
