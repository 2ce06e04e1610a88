"""Steps of molecular dynamics as the engine takes them, beside those of a plain script with ASE.

The script has the same atoms, calculator, integrator and seed, and writes nothing. The engine writes samples, positions
and checkpoints: the state to the disk, calculator and integrator made anew, one more calculation of the forces each.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Figure, Options, Report, compare, ratio_at_least
from penstock import engines
from penstock.domain.calculation import Calculation
from penstock.domain.geometry import format_geometry

_TEMPERATURE_K: Final = 600.0
_TIMESTEP_FS: Final = 2.0
_TIME_CONSTANT_FS: Final = 100.0


def run(options: Options) -> Report:
    """Copper by EMT, 32 and 108 atoms; the two in turns."""
    steps, turns = (100, 1) if options.quick else (500, 3)
    figures: list[Figure] = []
    faults: list[str] = []
    for repeats in (2,) if options.quick else (2, 3):
        atoms = _copper(repeats)
        ours: list[float] = []
        plain: list[float] = []
        for turn in range(turns):
            ours.append(_of_engine(options.scratch / f"{repeats}-{turn}", atoms, steps, faults))
            plain.append(_of_script(atoms, steps))
        name = f"{len(atoms)} atoms, every 10th step sampled, every 100th saved"
        figures.append(compare(name, "steps/s", ours, plain, ratio_at_least(0.95)))
    return Report("dynamics", "molecular dynamics", {"steps": steps, "turns": turns}, figures, faults)


def _copper(repeats: int) -> Any:
    from ase.build import bulk

    return bulk("Cu", cubic=True).repeat(repeats)


def _of_engine(directory: Path, atoms: Any, steps: int, faults: list[str]) -> float:
    engine = engines.get_python("emt")
    engine.load()
    table = {"task": "dynamics", "temperature_k": _TEMPERATURE_K, "timestep_fs": _TIMESTEP_FS, "steps": steps}
    geometry = format_geometry(
        atoms.get_chemical_symbols(), atoms.positions.tolist(), atoms.cell.tolist(), atoms.pbc.tolist()
    )
    directory.mkdir()
    rendered = engine.render(Calculation("Cu", geometry, 0, 1, 1, 1000), engine.parameters(table, str))
    for name, text in rendered.files.items():
        (directory / name).write_text(text)
    began = time.perf_counter()
    engine.run(directory)
    took_s = time.perf_counter() - began
    if not (directory / "positions.npy").stat().st_size > steps // 10 * len(atoms) * 24:
        faults.append("there are fewer positions than steps ask for")
    return steps / took_s


def _of_script(atoms: Any, steps: int) -> float:
    import numpy as np
    from ase import units
    from ase.calculators.emt import EMT
    from ase.constraints import FixCom
    from ase.md.bussi import Bussi
    from ase.md.velocitydistribution import thermalize_momenta

    random = np.random.default_rng(1)
    moving = atoms.copy()
    moving.calc = EMT()
    thermalize_momenta(moving, _TEMPERATURE_K, rng=random)
    moving.set_constraint(FixCom())
    began = time.perf_counter()
    dynamics = Bussi(moving, _TIMESTEP_FS * units.fs, _TEMPERATURE_K, _TIME_CONSTANT_FS * units.fs, rng=random)
    dynamics.run(steps)
    return steps / (time.perf_counter() - began)
