"""Fits the energies of `penstockctl export silicon --to json`: python3 silicon_eos.py silicon.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ase.eos import EquationOfState
from ase.units import Hartree, kJ

from penstock.domain.geometry import parse_geometry


def volume(geometry: str) -> float:
    """Of a primitive cubic-face-centred cell, in Å³: two cubes of half the lattice constant."""
    lattice = parse_geometry(geometry).lattice
    assert lattice is not None
    return 2 * max(lattice[0]) ** 3


def main() -> None:
    """Prints the lattice constant and the bulk modulus."""
    jobs = [job for job in json.loads(Path(sys.argv[1]).read_text())["jobs"] if job["final_energy"] is not None]
    volumes = [volume(job["geometry"]) for job in jobs]
    energies = [job["final_energy"] * Hartree for job in jobs]
    equilibrium, _, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    print(f"a = {(4 * equilibrium) ** (1 / 3):.4f} Å, B = {modulus / kJ * 1e24:.1f} GPa, from {len(jobs)} volumes")


if __name__ == "__main__":
    main()
