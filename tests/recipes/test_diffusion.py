"""The recipe of diffusion, its trajectories random walks with known coefficients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy.constants import Boltzmann, atomic_mass
from tests.recipes.calculating import named, spec_of

from penstock.analysis.finite_size import correct_finite_size
from penstock.domain.properties import Conclusion
from penstock.domain.subject import JobRecord, Subject
from penstock.engines.dynamics import Description
from penstock.recipes.diffusion import ANALYSE, Diffusion, production

ATOMS, FRAMES, INTERVAL_FS = 20, 1000, 20.0
D_M2_S = 5e-9


def walk(directory: Path, temperature_k: float, d_m2_s: float, **more: Any) -> JobRecord:
    """A segment: independent walkers in a cube of 12 Å."""
    directory.mkdir()
    step_a = np.sqrt(2 * d_m2_s * 1e5 * INTERVAL_FS)
    steps = np.random.default_rng(round(temperature_k)).normal(size=(FRAMES, ATOMS, 3)) * step_a
    np.save(directory / "positions.npy", steps.cumsum(axis=0))
    description: dict[str, Any] = {
        "symbols": ["Cu"] * ATOMS,
        "masses_amu": [63.546] * ATOMS,
        "pbc": [True] * 3,
        "cell_angstrom": (12.0 * np.eye(3)).tolist(),
        "timestep_fs": 2.0,
        "sample_every": 10,
        "first_step": 0,
        "columns": [],
        "ensemble": "nvt",
        "thermostat": "bussi",
        "temperature_k": temperature_k,
    }
    described = msgspec.convert(description | more, Description)
    (directory / "dynamics.json").write_bytes(msgspec.json.encode(described))
    return JobRecord(
        id=round(temperature_k),
        step=production(temperature_k, 1),
        subject="it",
        name="it",
        state="completed",
        geometry="",
        attempt=1,
        parameters={"friction_per_fs": 0.01},
        directory=str(directory),
    )


def concluded(tmp_path: Path, table: dict[str, Any] | None = None, **more: Any) -> Conclusion:
    spec = spec_of("diffusion", diffusion={"temperatures_k": [1400.0], "segments": 1, **(table or {})})
    return Diffusion().conclude(spec, ANALYSE, Subject("it", (walk(tmp_path / "walk", 1400.0, D_M2_S, **more),)))


def test_a_coefficient_is_corrected_for_the_size_of_the_box(tmp_path: Path) -> None:
    conclusion = concluded(tmp_path, {"viscosity_pa_s": 3e-3})
    plain, corrected = (
        named(conclusion, "diffusion_coefficient"),
        named(conclusion, "diffusion_coefficient_corrected"),
    )
    assert corrected.value == pytest.approx(correct_finite_size(plain.value, 1400.0, 3e-3, 12.0), rel=1e-9)
    assert corrected.value - plain.value == pytest.approx(2.837297 * Boltzmann * 1400 / (6 * np.pi * 3e-3 * 12e-10))
    assert corrected.uncertainty == plain.uncertainty
    assert corrected.conditions["box_angstrom"] == pytest.approx(12.0)
    assert float(corrected.conditions["lower_95"]) < corrected.value < float(corrected.conditions["upper_95"])
    assert "viscosity_pa_s" not in plain.conditions


@pytest.mark.parametrize(
    ("table", "more", "why"),
    [
        ({}, {"cell_angstrom": [[12.0, 0.0, 0.0], [0.0, 12.0, 0.0], [0.0, 0.0, 13.0]]}, "known of cubic boxes"),
        ({}, {"cell_angstrom": [[0.0, 12.0, 12.0], [12.0, 0.0, 12.0], [12.0, 12.0, 0.0]]}, "known of cubic boxes"),
        ({}, {"thermostat": "langevin"}, "stops the flow"),
        ({"dimensions": "xy"}, {}, "for all three directions"),
    ],
)
def test_what_is_not_corrected_says_why(table: dict[str, Any], more: dict[str, Any], why: str, tmp_path: Path) -> None:
    conclusion = concluded(tmp_path, {"viscosity_pa_s": 1e-3, **table}, **more)
    assert named(conclusion, "diffusion_coefficient").value == pytest.approx(D_M2_S, rel=0.2)
    assert all(found.name != "diffusion_coefficient_corrected" for found in conclusion.properties)
    assert any(why in note for note in conclusion.notes)


def test_what_friction_takes_from_the_diffusion_is_said(tmp_path: Path) -> None:
    drift = Boltzmann * 1400.0 / (ATOMS * 63.546 * atomic_mass * 1e13)
    assert any(f"by {drift:.2g} m²/s" in note for note in concluded(tmp_path, thermostat="langevin").notes)


def test_momentum_that_is_kept_needs_no_remark(tmp_path: Path) -> None:
    assert not any("friction" in note for note in concluded(tmp_path).notes)


def test_cells_that_change_are_those_of_each_frame(tmp_path: Path) -> None:
    job = walk(tmp_path / "walk", 1400.0, D_M2_S, ensemble="npt", thermostat="langevin", cell_angstrom=None)
    grows = np.linspace(1.0, 1.3, FRAMES)[:, None, None]
    places = 120.0 * np.random.default_rng(1).random((ATOMS, 3))
    positions = np.load(tmp_path / "walk" / "positions.npy")
    np.save(tmp_path / "walk" / "positions.npy", places * grows + positions)
    np.save(tmp_path / "walk" / "cells.npy", 120.0 * np.eye(3) * grows)
    spec = spec_of("diffusion", diffusion={"temperatures_k": [1400.0], "segments": 1})
    conclusion = Diffusion().conclude(spec, ANALYSE, Subject("it", (job,)))
    assert named(conclusion, "diffusion_coefficient").value == pytest.approx(D_M2_S, rel=0.2)
