"""Quantum ESPRESSO: inputs of pw.x, its outputs, and what its failures are followed by."""

from penstock.engines.espresso.engine import EspressoEngine

__all__ = ["EspressoEngine"]
