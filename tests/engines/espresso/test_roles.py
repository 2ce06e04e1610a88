"""What recipes ask of pw.x, done by the real one: stresses of strained crystals, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.services.pw import RealPw

from penstock.domain.geometry import format_geometry, parse_geometry
from penstock.engines.engine import Role
from penstock.engines.espresso.parameters import EspressoParameters

from .real_runs import ENGINE, RealRun, attempt, parameters, silicon

LITERATURE_GPA = {"C11": 153.1, "C12": 57.0, "C44": 74.3}
"""DFT of Zongo, Sun, Ouellet-Plamondon and Béland, npj Comput. Mater. 10, 218 (2024), table 2."""
PBE = {
    "pseudopotentials": {"Si": "Si.pbe-rrkj.UPF"},
    "ecutwfc_ry": 20.0,
    "kpoints": None,
    "kspacing_per_angstrom": 0.55,
    "kpoints_shift": [0, 0, 0],
}
AMPLITUDE = 0.005
Run = Callable[[Role, str], RealRun]


def strained(block: str, xx: float = 0.0, yz: float = 0.0) -> str:
    """The crystal under a strain; `yz` is the engineering shear."""
    geometry = parse_geometry(block)
    deformation = np.eye(3) + np.array([[xx, 0, 0], [0, 0, yz / 2], [0, yz / 2, 0]])
    assert geometry.lattice is not None
    lattice = (np.array(geometry.lattice) @ deformation).tolist()
    positions = (np.array(geometry.positions) @ deformation).tolist()
    return format_geometry(geometry.symbols, positions, lattice, geometry.pbc)


def tensor(run: RealRun, name: str = "stress_gpa") -> Any:
    assert run.outcome.failure is None, run.outcome.message
    return np.reshape(run.outcome.properties[name], (3, 3))


@pytest.fixture
def run(real_pw: RealPw, tmp_path: Path) -> Run:
    """Runs a role at a geometry, with a mesh that is held; of the crystal of `silicon`."""
    checked = msgspec.to_builtins(parameters(real_pw, **PBE))
    held = checked | ENGINE.comparable(msgspec.convert(checked, EspressoParameters), silicon())
    count = iter(range(100))

    def once(role: Role, geometry: str) -> RealRun:
        given = msgspec.convert(held | ENGINE.roles[role], EspressoParameters)
        return attempt(real_pw, tmp_path / str(next(count)), geometry, given)

    return once


def test_ions_relaxed_in_a_sheared_cell_have_a_stress_before_and_after(run: Run) -> None:
    sheared = strained(silicon(), yz=0.01)
    relaxed = run(Role.RELAX_IONS, sheared)
    clamped = run(Role.SINGLE_POINT, sheared)
    assert tensor(relaxed, "initial_stress_gpa") == pytest.approx(tensor(clamped), abs=2e-3)
    after = run(Role.SINGLE_POINT, relaxed.outcome.geometry or "")
    assert tensor(relaxed) == pytest.approx(tensor(after), abs=5e-3)
    softened = tensor(relaxed)[1, 2] / tensor(clamped)[1, 2]
    assert tensor(clamped)[1, 2] == pytest.approx(-0.01 * 97, rel=0.1)
    assert 0.6 < softened < 0.9  # silicon's internal strain takes a quarter of C44
    assert (relaxed.outcome.max_force_hartree_per_bohr or 1) < 1e-5
    assert "initial_stress_gpa" not in clamped.outcome.properties


@pytest.mark.parametrize("pressure_gpa", [0.0, 4.0])
def test_a_cell_is_relaxed_to_the_pressure_asked_for(real_pw: RealPw, tmp_path: Path, pressure_gpa: float) -> None:
    checked = msgspec.to_builtins(parameters(real_pw, **(PBE | {"ecutwfc_ry": 24.0})))
    given = msgspec.convert(
        checked | ENGINE.roles[Role.RELAX_CELL] | {"pressure_gpa": pressure_gpa}, EspressoParameters
    )
    found = attempt(real_pw, tmp_path / "1", silicon(), given)
    assert tensor(found) == pytest.approx(pressure_gpa * np.eye(3), abs=0.1)
    lattice = np.array(parse_geometry(found.outcome.geometry or "").lattice)
    volume = float(np.linalg.det(lattice))
    assert abs(volume) / 4 * 16 == pytest.approx(5.4746**3 if not pressure_gpa else 5.396**3, rel=0.01)


def test_elastic_constants_of_silicon_are_those_of_the_literature(run: Run) -> None:
    cell = run(Role.RELAX_CELL, silicon(2.73 / 2, 2.73)).outcome.geometry or ""
    stretched = [tensor(run(Role.SINGLE_POINT, strained(cell, xx=amplitude))) for amplitude in (-AMPLITUDE, AMPLITUDE)]
    sheared = [tensor(run(Role.RELAX_IONS, strained(cell, yz=amplitude))) for amplitude in (-AMPLITUDE, AMPLITUDE)]
    assert sum(stress[1, 2] for stress in sheared) == pytest.approx(0, abs=0.01)  # no jump at zero strain
    found = {"C11": slope(stretched, 0, 0), "C12": slope(stretched, 1, 1), "C44": slope(sheared, 1, 2)}
    assert found == pytest.approx(LITERATURE_GPA, rel=0.05)


def slope(stresses: Sequence[Any], row: int, column: int) -> float:
    """GPa; pw.x's sign is that of a pressure."""
    low, high = (float(-stress[row, column]) for stress in stresses)
    return (high - low) / (2 * AMPLITUDE)
