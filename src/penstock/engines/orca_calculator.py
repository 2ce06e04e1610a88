"""ORCA as a calculator of ASE's. Only processes that run calculations import this module: it needs ASE."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.units import Bohr, Hartree

from penstock.domain.geometry import format_geometry


class OrcaCalculator(Calculator):
    """Energies and forces by `run`, which takes a geometry block and gives energy (Eh) and gradient (Eh/bohr, 3N)."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - as ASE declares it

    def __init__(self, run: Callable[[str], tuple[float, list[float]]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # ASE's has no types
        self._run = run

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),  # noqa: ARG002 - ORCA gives both at once
        system_changes: Sequence[str] = all_changes,  # noqa: ARG002
    ) -> None:
        """Energy and forces of `atoms`; raises what `run` raises."""
        assert atoms is not None
        self.atoms = atoms.copy()
        energy, gradient = self._run(format_geometry(atoms.get_chemical_symbols(), atoms.positions.tolist()))
        forces = -np.reshape(gradient, (-1, 3)) * (Hartree / Bohr)
        self.results = {"energy": energy * Hartree, "forces": forces}
