"""ASE calculators whose ensembles are known exactly, and fast ones: atoms are free but for what is said here."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Wells(Calculator):
    """Each atom in a harmonic well of its own, of 1, 2, 3, ... eV/Å², around its place in an fcc cell."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - as ASE has it

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Energy and forces."""
        Calculator.calculate(self, atoms, properties, system_changes)
        middles = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) * atoms.cell.lengths()
        strengths = np.arange(1.0, 5.0)[:, None]
        away = atoms.positions - middles
        self.results = {"energy": float((strengths * away**2).sum() / 2), "forces": -strengths * away}


class Elephant(Wells):
    """Wells that are a little higher each time, until it is reset."""

    calls = 0

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Energy and forces."""
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        self.results["forces"] *= 1.0 + 1e-6 * self.calls

    def reset(self) -> None:
        """Forget it all."""
        Calculator.reset(self)
        self.calls = 0


class Sponge(Calculator):
    """Atoms that do not feel each other in something that resists another volume: E = B (V - V0)² / 2 V0."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 - as ASE has it
    modulus = 0.02  # eV/Å³
    volume = 100.0  # Å³

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Energy, forces and stress."""
        Calculator.calculate(self, atoms, properties, system_changes)
        excess = (atoms.get_volume() - self.volume) / self.volume
        stress = np.array([self.modulus * excess] * 3 + [0.0] * 3)
        energy = float(self.modulus * excess**2 * self.volume / 2)
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3)), "stress": stress}


def make_nothing() -> object:
    """No calculator."""
    return object()
