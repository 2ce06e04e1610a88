"""ORCA 4 to 6: inputs, outputs, remedies."""

from penstock.engines.orca.engine import OrcaEngine

__all__ = ["OrcaEngine"]
