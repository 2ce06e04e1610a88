"""Geometries into decks and out of them, and whole decks from settings: what the rest of the engine calls."""

from penstock.engines.crystal.deck_build import BasisChoice, Hamiltonian, ScfSettings, build_deck
from penstock.engines.crystal.final_geometry import FinalGeometry, at_geometry
from penstock.engines.crystal.geometry_expand import geometry_block
from penstock.engines.crystal.geometry_input import TOLERANCE_ANGSTROM, deck_of_geometry

__all__ = [
    "TOLERANCE_ANGSTROM",
    "BasisChoice",
    "FinalGeometry",
    "Hamiltonian",
    "ScfSettings",
    "at_geometry",
    "build_deck",
    "deck_of_geometry",
    "geometry_block",
]
