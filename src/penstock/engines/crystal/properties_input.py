"""The decks of properties (.d3) for a calculation."""

from __future__ import annotations

from penstock.domain.calculation import Calculation
from penstock.engines.crystal.parameters import CrystalParameters


def render_properties(calculation: Calculation, parameters: CrystalParameters) -> str:
    """The .d3 deck of the task; ValueError."""
    return "BAND\nEND\n"
