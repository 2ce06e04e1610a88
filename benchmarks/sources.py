"""Structures to work on: as large as wanted, different in every row, the same in every run."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Final

_WATER: Final = (("O", 0.0, 0.0, 0.119), ("H", 0.0, 0.763, -0.477), ("H", 0.0, -0.763, -0.477))
_CHARGE_UNPAIRED: Final = ((0, 0), (0, 2), (1, 1), (-1, 1))
_COPPER_A: Final = 3.61
_SITES: Final = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))
_SEED: Final = 20240229


def write_molecules(path: Path, rows: int) -> None:
    """An Architector-style CSV: three atoms in a quoted cell of five lines, a charge, unpaired electrons."""
    rng = random.Random(_SEED)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("name", "aligned_csd_core", "charge", "uhf"))
        for n in range(rows):
            atoms = (
                f"{symbol} {x + rng.gauss(0, 0.02):.6f} {y + rng.gauss(0, 0.02):.6f} {z + rng.gauss(0, 0.02):.6f}"
                for symbol, x, y, z in _WATER
            )
            writer.writerow((f"water-{n}", "\n".join(("3", "", *atoms)), *_CHARGE_UNPAIRED[n % 4]))


def write_copper(path: Path, frames: int) -> None:
    """An ext-XYZ trajectory of rattled cubic cells of copper, four atoms each, periodic."""
    rng = random.Random(_SEED)
    lattice = f"{_COPPER_A} 0 0 0 {_COPPER_A} 0 0 0 {_COPPER_A}"
    with path.open("w", encoding="utf-8") as file:
        for n in range(frames):
            file.write(f'4\nLattice="{lattice}" Properties=species:S:1:pos:R:3 name=cu-{n} pbc="T T T"\n')
            for site in _SITES:
                x, y, z = (_COPPER_A * part + rng.gauss(0, 0.05) for part in site)
                file.write(f"Cu {x:.8f} {y:.8f} {z:.8f}\n")
