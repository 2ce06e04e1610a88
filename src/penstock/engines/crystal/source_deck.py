"""Where a calculation's deck comes from: the structure itself, a template, or settings."""

from __future__ import annotations

from penstock.domain.calculation import Calculation
from penstock.domain.errors import SpecError
from penstock.engines.crystal.deck import parse_deck
from penstock.engines.crystal.deck_model import Deck
from penstock.engines.crystal.parameters import CrystalParameters


def source_deck(calculation: Calculation, parameters: CrystalParameters) -> Deck:
    """The deck before any edit or remedy; ValueError with the line, SpecError where there is none."""
    if calculation.deck is not None:
        return parse_deck(calculation.deck)
    raise SpecError(
        "the structure brings no deck, and neither `deck` nor `settings` says how to make one", key="engine"
    )
