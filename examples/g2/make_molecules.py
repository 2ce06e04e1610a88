"""Write an Architector-style CSV of real molecules: python make_molecules.py molecules.csv.

162 molecules of the G2 set at their reference geometries (from ASE, with the unpaired electrons of their ground
states), the ions and radicals of ions.xyz, and between them one row that is broken on purpose.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import NamedTuple

from ase import Atoms
from ase.build import molecule
from ase.collections import g2
from ase.io import read

IONS = Path(__file__).with_name("ions.xyz")
HEADER = ("name", "aligned_csd_core", "charge", "uhf", "elements")
BROKEN = (
    "cut short",
    "3\ncut short\nO 0.000000 0.000000 0.119262\nH 0.000000 0.763239 -0.477047\nH 0.0000",
    0,
    0,
    "O;H",
)


class Species(NamedTuple):
    """A molecule with its charge (e) and number of unpaired electrons."""

    name: str
    atoms: Atoms
    charge: int
    unpaired: int


def g2_molecules() -> list[Species]:
    """The G2 set, all neutral; the magnetic moments of the collection sum up to the unpaired electrons."""
    found = []
    for name in g2.names:
        atoms = molecule(name)
        found.append(Species(name, atoms, 0, round(sum(atoms.get_initial_magnetic_moments()))))
    return found


def ions_and_radicals() -> list[Species]:
    """What stands in ions.xyz, at bond lengths and angles near the measured ones."""
    return [
        Species(str(atoms.info["name"]), atoms, int(atoms.info["charge"]), int(atoms.info["unpaired"]))
        for atoms in read(IONS, index=":")
    ]


def row(species: Species) -> tuple[str, str, int, int, str]:
    """One CSV record; its geometry is a standard XYZ block, Å."""
    symbols = species.atoms.get_chemical_symbols()
    lines = [
        f"{symbol} {x:.6f} {y:.6f} {z:.6f}" for symbol, (x, y, z) in zip(symbols, species.atoms.positions, strict=True)
    ]
    block = "\n".join([str(len(symbols)), species.name, *lines])
    return species.name, block, species.charge, species.unpaired, ";".join(dict.fromkeys(symbols))


def main(target: Path) -> None:
    """Write the table to `target` and say what is in it."""
    molecules, ions = g2_molecules(), ions_and_radicals()
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(row(species) for species in molecules)
        writer.writerow(BROKEN)
        writer.writerows(row(species) for species in ions)
    print(f"{target}: {len(molecules)} molecules, {len(ions)} ions and radicals, 1 row broken on purpose")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_molecules.py FILE.csv")
    main(Path(sys.argv[1]))
