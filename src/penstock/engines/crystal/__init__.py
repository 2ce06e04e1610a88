"""CRYSTAL 14 to 23: decks as structures, outputs, remedies."""

from penstock.engines.crystal.engine import CrystalEngine

__all__ = ["CrystalEngine"]
