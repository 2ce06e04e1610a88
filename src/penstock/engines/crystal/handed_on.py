"""The deck that a run hands on: to the next attempt of its job, or to the next step of a chain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.engines.crystal.deck import parse_deck, render_deck
from penstock.engines.crystal.deck_keywords import free_cell
from penstock.engines.crystal.deck_model import Deck, GeometryInput, Record
from penstock.engines.crystal.deck_size import Size, with_size
from penstock.engines.crystal.final_geometry import CHANGES_ATOMS, FinalGeometry, at_geometry
from penstock.engines.crystal.geometry_input import atom_of, cell_text
from penstock.engines.crystal.parameters import CrystalParameters
from penstock.engines.crystal.printed_geometry import PrintedGeometry
from penstock.engines.crystal.render import SOURCE, remedied
from penstock.engines.engine import read_output

_DECK_MAX: Final = 64 << 20
_KINDS: Final = ("MOLECULE", "POLYMER", "SLAB", "CRYSTAL")


def deck_for_retry(directory: Path, geometry: PrintedGeometry | None) -> str | None:
    """The attempt's source deck, at `geometry` if there is one: the next attempt brings the remedies itself.

    None where there is no source deck that can be read.
    """
    try:
        deck = _source_deck(directory)
        return render_deck(_moved(deck, geometry) if geometry else deck)
    except (OSError, ValueError):
        return None


def deck_for_next_step(
    directory: Path,
    parameters: CrystalParameters,
    printed: PrintedGeometry | None,
    properties: Mapping[str, Any],
) -> str | None:
    """The source deck with what the run taught: the remedies of its SCF, its `Size`, its geometry if that is the task.

    None where there is no source deck that can be read.
    """
    try:
        deck = _source_deck(directory)
    except (OSError, ValueError):
        return None
    lasting = msgspec.structs.replace(parameters, trust_radius=1.0, eigs=False)
    deck = remedied(deck, lasting)
    if printed and parameters.task == "opt":
        deck = _moved(deck, printed)
    return render_deck(_with_size(deck, printed, properties))


def _moved(deck: Deck, geometry: PrintedGeometry) -> Deck:
    """`deck` at `geometry`; without its symmetry where its keywords or another file made the atoms there are."""
    try:
        return at_geometry(deck, geometry.crystallographic)
    except ValueError:
        keywords = tuple(entry for entry in deck.keywords if entry.name not in CHANGES_ATOMS)
        return msgspec.structs.replace(deck, geometry=_all_atoms(geometry.primitive), keywords=keywords)


def _with_size(deck: Deck, printed: PrintedGeometry | None, properties: Mapping[str, Any]) -> Deck:
    orbitals, electrons = properties.get("orbitals"), properties.get("electrons")
    if not (orbitals and electrons and printed):
        return deck
    return with_size(deck, Size(orbitals, electrons, tuple(atom[0] for atom in printed.primitive.atoms)))


def _all_atoms(geometry: FinalGeometry) -> GeometryInput:
    """The geometry input that lists every atom: space, layer, rod or point group 1."""
    periods = geometry.dimensionality
    cell = geometry.cell and Record(tuple(cell_text(geometry.cell[index]) for index in free_cell(periods, 1)))
    return GeometryInput(
        _KINDS[periods],
        flags=Record(("0", "0", "0")) if periods == 3 else None,
        group=Record(("1",)),
        cell=cell,
        atoms=tuple(atom_of(number, place) for number, *place in geometry.atoms),
    )


def _source_deck(directory: Path) -> Deck:
    return parse_deck(read_output(directory / SOURCE, _DECK_MAX).decode())
