"""Lennard-Jones argon as A. Rahman had it (Phys. Rev. 136, A405, 1964), all pairs of few atoms at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

EPSILON_EV: Final = 0.0103408  # 120 K
SIGMA: Final = 3.4
CUTOFF: Final = 2.25 * SIGMA


class Argon(Calculator):
    """For cubic boxes wider than twice the cutoff."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.implemented_properties = ["energy", "forces"]
        self._broken = broken

    def calculate(
        self, atoms: Any = None, properties: Sequence[str] = ("energy",), system_changes: Sequence[str] = all_changes
    ) -> None:
        """Energy and forces; RuntimeError where it is broken."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self._broken:
            raise RuntimeError("the potential is out of order")
        length, positions = atoms.cell[0, 0], atoms.positions.T
        one, other = np.triu_indices(len(atoms), 1)
        apart = positions[:, one] - positions[:, other]
        apart -= length * np.rint(apart / length)
        squares = (apart**2).sum(axis=0)
        sixth = np.where(squares < CUTOFF**2, (SIGMA**2 / squares) ** 3, 0.0)
        self.results["energy"] = 4 * EPSILON_EV * float((sixth**2 - sixth).sum())
        pull = 24 * EPSILON_EV * (2 * sixth**2 - sixth) / squares * apart
        counts = len(atoms)
        forces = [np.bincount(one, along, counts) - np.bincount(other, along, counts) for along in pull]
        self.results["forces"] = np.array(forces).T
