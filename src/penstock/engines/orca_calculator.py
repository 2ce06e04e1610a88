"""ORCA as a calculator of ASE's. Only processes that run calculations import this module: it needs ASE."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, Final

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.units import Bohr, Hartree

from penstock.domain.geometry import format_geometry

_REMEMBERED: Final = 32


class OrcaCalculator(Calculator):
    """Energies and forces by `run`, which takes a geometry block and gives energy (Eh) and gradient (Eh/bohr, 3N).

    What was calculated lately is not calculated again: a search for a saddle point looks around and comes back.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, run: Callable[[str], tuple[float, list[float]]]) -> None:
        super().__init__()
        self._run = run
        self._known: OrderedDict[bytes, dict[str, Any]] = OrderedDict()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Both properties at once; raises what `run` raises."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        place = self.atoms.positions.tobytes()
        if place not in self._known:
            energy, gradient = self._run(
                format_geometry(self.atoms.get_chemical_symbols(), self.atoms.positions.tolist())
            )
            forces = -np.reshape(gradient, (-1, 3)) * (Hartree / Bohr)
            self._known[place] = {"energy": energy * Hartree, "forces": forces}
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        self.results = {
            name: np.copy(value) if name == "forces" else value for name, value in self._known[place].items()
        }
