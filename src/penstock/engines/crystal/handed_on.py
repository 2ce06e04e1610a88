"""The deck that a run hands on: to the next attempt of its job, or to the next step of a chain."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from penstock.engines.crystal.deck import parse_deck, render_deck
from penstock.engines.crystal.deck_geometry import at_geometry
from penstock.engines.crystal.final_geometry import FinalGeometry
from penstock.engines.crystal.parameters import CrystalParameters
from penstock.engines.crystal.render import SOURCE, remedied
from penstock.engines.engine import read_output

_DECK_MAX: Final = 64 << 20


def deck_for_retry(directory: Path, geometry: FinalGeometry | None) -> str | None:
    """The attempt's source deck, at `geometry` if there is one: the next attempt brings the remedies itself.

    None where there is no source deck that can be read.
    """
    try:
        deck = parse_deck(read_output(directory / SOURCE, _DECK_MAX).decode())
        return render_deck(at_geometry(deck, geometry) if geometry else deck)
    except (OSError, ValueError):
        return None


def deck_for_next_step(directory: Path, parameters: CrystalParameters, geometry: FinalGeometry | None) -> str | None:
    """The source deck at `geometry` with what remedies made of its SCF, so that the next step need not learn it again.

    None where there is no source deck that can be read, ValueError where it cannot have that geometry.
    """
    try:
        deck = parse_deck(read_output(directory / SOURCE, _DECK_MAX).decode())
    except (OSError, ValueError):
        return None
    lasting = msgspec.structs.replace(parameters, trust_radius=1.0, eigs=False)
    deck = remedied(deck, lasting)
    return render_deck(at_geometry(deck, geometry) if geometry else deck)
