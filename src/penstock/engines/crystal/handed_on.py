"""The deck that a run hands on: to the next attempt of its job, or to the next step of a chain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.engines.crystal.deck import parse_deck, render_deck
from penstock.engines.crystal.deck_geometry import at_geometry
from penstock.engines.crystal.deck_model import Deck
from penstock.engines.crystal.deck_size import Size, with_size
from penstock.engines.crystal.final_geometry import FinalGeometry
from penstock.engines.crystal.parameters import CrystalParameters
from penstock.engines.crystal.render import SOURCE, remedied
from penstock.engines.engine import read_output

_DECK_MAX: Final = 64 << 20


def deck_for_retry(directory: Path, geometry: FinalGeometry | None) -> str | None:
    """The attempt's source deck, at `geometry` if there is one: the next attempt brings the remedies itself.

    None where there is no source deck that can be read, or it cannot have that geometry.
    """
    try:
        deck = _source_deck(directory)
        return render_deck(at_geometry(deck, geometry) if geometry else deck)
    except (OSError, ValueError):
        return None


def deck_for_next_step(
    directory: Path,
    parameters: CrystalParameters,
    geometry: FinalGeometry | None,
    properties: Mapping[str, Any],
) -> str | None:
    """The source deck at `geometry`, with what the run taught: the remedies of its SCF, and the `Size` of its basis.

    None where there is no source deck that can be read, ValueError where it cannot have that geometry.
    """
    try:
        deck = _source_deck(directory)
    except (OSError, ValueError):
        return None
    lasting = msgspec.structs.replace(parameters, trust_radius=1.0, eigs=False)
    deck = remedied(deck, lasting)
    if geometry:
        deck = at_geometry(deck, geometry)
    orbitals, electrons = properties.get("orbitals"), properties.get("electrons")
    return render_deck(with_size(deck, Size(orbitals, electrons)) if orbitals and electrons else deck)


def _source_deck(directory: Path) -> Deck:
    return parse_deck(read_output(directory / SOURCE, _DECK_MAX).decode())
