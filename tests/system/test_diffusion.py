"""Diffusion and thermal expansion by molecular dynamics through the real daemon, whatever happens on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import thermalize_momenta
from numpy.typing import NDArray
from scipy.constants import physical_constants
from tests.engines.segments import block
from tests.system import argon
from tests.system.conftest import Penstockd, ended, eventually, query, quickest_s, toml
from tests.system.test_dynamics import made_progress, runner_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "diffusion" / "argon.toml"
TEMPERATURES_K = (94.4, 130.0, 180.0)
DENSITY_G_CM3 = 1.374
RAHMAN_M2_S: Final = 2.43e-9
"""Of 864 atoms at the first of these temperatures and this density: A. Rahman, Phys. Rev. 136, A405 (1964)."""
K_EV = physical_constants["Boltzmann constant in eV/K"][0]


def liquid() -> Atoms:
    """108 atoms of argon at Rahman's density, on the lattice that they leave at once."""
    length = (4 * 39.948 * 1.66053907 / DENSITY_G_CM3) ** (1 / 3)
    atoms: Atoms = bulk("Ar", "fcc", a=length, cubic=True).repeat(3)
    return atoms


def levesque_verlet_m2_s(temperature_k: float) -> float:
    """D = 0.006423 T/n² + 0.0222 - 0.0280 n in reduced units, n the density, of particles of mass 1/48.

    D. Levesque and L. Verlet, Phys. Rev. A 2, 2514 (1970).
    """
    atoms = liquid()
    density = len(atoms) / atoms.get_volume() * argon.SIGMA**3
    reduced = 0.006423 * K_EV * temperature_k / argon.EPSILON_EV / density**2 + 0.0222 - 0.0280 * density
    time_fs = argon.SIGMA * np.sqrt(39.948 / 48 / argon.EPSILON_EV) / units.fs
    return float(reduced * argon.SIGMA**2 / time_fs * 1e-5)


@pytest.fixture
def argon_daemon(stopped_daemon: Penstockd) -> Penstockd:
    """A daemon whose runners know argon, and which has a structure of it."""
    folder = stopped_daemon.home / "lib"
    folder.mkdir()
    shutil.copy(argon.__file__, folder / "rahman.py")
    paths = [str(folder), *filter(None, [stopped_daemon.environment.get("PYTHONPATH")])]
    stopped_daemon.environment |= {"PYTHONPATH": ":".join(paths), "OMP_NUM_THREADS": "1"}
    stopped_daemon.start()
    stopped_daemon.write_table("argon.csv", [("argon", block(liquid()))])
    return stopped_daemon


def spec(id: str, **tables: Any) -> str:
    """Argon at its temperatures; tables are put over those that are given."""
    given: dict[str, Any] = {
        "structures": {"source": "argon.csv", "geometry_column": "geometry", "name_column": "name"},
        "engine": {"name": "ase", "calculator": "rahman.Argon"},
        "resources": {"memory": "300MB"},
        "diffusion": {
            "temperatures_k": list(TEMPERATURES_K),
            "equilibrate_ps": 4.0,
            "produce_ps": 30.0,
            "segments": 2,
            "timestep_fs": 10.0,
            "sample_fs": 50.0,
        },
    }
    for name, table in tables.items():
        given[name] = given[name] | table if isinstance(table, dict) and name in given else table
    return toml({"id": id, "recipe": "diffusion", "slots": 2} | given)


def properties(daemon: Penstockd, id: str) -> list[dict[str, Any]]:
    printed = daemon.ctl("results", id, "--json")
    assert printed.returncode == 0, printed.stderr
    found: list[dict[str, Any]] = json.loads(printed.stdout)["properties"]
    return found


def values(daemon: Penstockd, id: str) -> dict[str, Any]:
    """Of one temperature: value and uncertainty by name."""
    return {one["name"]: (one["value"], one["uncertainty"]) for one in properties(daemon, id)}


def trajectory(directory: Path) -> NDArray[np.float64]:
    """What the productions of a workflow left, one after the other."""
    sql = (
        "SELECT a.directory FROM attempt a JOIN job j ON a.job_id = j.id JOIN step s ON j.step_id = s.id "
        "WHERE a.state = 'completed' AND s.key LIKE 'produce%' ORDER BY s.key"
    )
    return np.concatenate([np.load(directory / path / "positions.npy") for (path,) in query(directory, sql)])


def test_argon_diffuses_as_rahman_found_it(argon_daemon: Penstockd) -> None:
    argon_daemon.submit(spec("argon"))
    status = argon_daemon.wait("argon").workflow
    assert status.state == "completed", status.reason
    assert status.statuses == {"completed": 1 + 3 * 3}
    found = properties(argon_daemon, "argon")
    by_temperature = {
        one["conditions"]["temperature_k"]: one for one in found if one["name"] == "diffusion_coefficient"
    }
    for temperature_k, one in by_temperature.items():
        # A box of 108 atoms holds D back by a tenth more than one of 864; the formula is good to some 5 %.
        assert one["value"] == pytest.approx(
            levesque_verlet_m2_s(temperature_k), rel=0.15, abs=3 * one["uncertainty"]
        ), temperature_k
        assert one["uncertainty"] < 0.15 * one["value"]
    coldest = by_temperature[TEMPERATURES_K[0]]
    assert coldest["value"] == pytest.approx(RAHMAN_M2_S, rel=0.15, abs=3 * coldest["uncertainty"])
    (energy,) = (one for one in found if one["name"] == "activation_energy")
    slope = np.polyfit([1 / t for t in TEMPERATURES_K], np.log([levesque_verlet_m2_s(t) for t in TEMPERATURES_K]), 1)[0]
    assert energy["value"] == pytest.approx(-slope * K_EV, abs=3 * energy["uncertainty"])
    assert energy["uncertainty"] < 0.25 * energy["value"]
    assert len(energy["attempts"]) == 6
    report = argon_daemon.ctl("report", "argon", "-o", "argon.html")
    assert report.returncode == 0, report.stderr
    assert (argon_daemon.work / "argon.html").read_text().count("<svg") >= 4


def test_it_comes_to_the_same_whatever_stops_it(argon_daemon: Penstockd) -> None:
    """SIGKILL for daemon and runner inside of segments, and their walltime: bit for bit the run that nothing stops."""
    steps = steps_in(2.5)
    table = {"temperatures_k": [130.0], "equilibrate_ps": 1.0, "produce_ps": 2 * steps / 100, "segments": 2}
    engine = {"checkpoint_every": 50}
    hasty = {"produce_130K_2": {"resources": {"memory": "300MB", "walltime": "1s"}}}
    retry = {"max_attempts": 8, "walltime_growth": 1.5}
    stormy = spec("stormy", diffusion=table, engine=engine, steps=hasty, retry=retry)
    directory = Path(argon_daemon.submit(stormy).directory)
    wait_for_progress(directory, "produce_130K_1")
    argon_daemon.kill()
    runner = runner_of(argon_daemon)
    os.kill(runner, signal.SIGKILL)
    assert ended(runner)
    argon_daemon.start()
    wait_for_progress(directory, "produce_130K_2")
    argon_daemon.kill()
    argon_daemon.start()
    status = argon_daemon.wait("stormy").workflow
    assert status.state == "completed", status.reason
    sql = (
        "SELECT s.key, a.failure FROM attempt a JOIN job j ON a.job_id = j.id JOIN step s ON j.step_id = s.id "
        "WHERE a.failure IS NOT NULL ORDER BY s.key, a.number"
    )
    stopped = query(directory, sql)
    assert stopped[0] == ("produce_130K_1", "runner_lost")
    assert len(stopped) > 1
    assert set(stopped[1:]) == {("produce_130K_2", "walltime")}
    calm = Path(argon_daemon.submit(spec("calm", diffusion=table, engine=engine)).directory)
    assert argon_daemon.wait("calm").workflow.state == "completed"
    assert np.array_equal(trajectory(directory), trajectory(calm))
    found = values(argon_daemon, "stormy")
    assert found == values(argon_daemon, "calm")
    assert found["diffusion_coefficient"][0] == pytest.approx(levesque_verlet_m2_s(130.0), rel=0.25)


def steps_in(seconds: float) -> int:
    """How many steps take at least about so long on this machine: of three runs, the one that nothing held up tells."""
    atoms = liquid()
    atoms.calc = argon.Argon()
    thermalize_momenta(atoms, 130.0)
    dynamics = Bussi(atoms, 10 * units.fs, 130.0, 100 * units.fs)
    took_s = quickest_s([lambda: dynamics.run(200)] * 3)
    return max(1500, round(seconds / took_s * 200 / 50) * 50)


def wait_for_progress(directory: Path, step: str) -> None:
    """Until an attempt at a job of `step` that runs has saved a state of its own."""
    sql = (
        "SELECT a.directory FROM attempt a JOIN job j ON a.job_id = j.id JOIN step s ON j.step_id = s.id "
        "WHERE s.key = ? AND a.state IN ('submitted', 'running')"
    )

    def has_come_on() -> bool:
        return any(made_progress(directory / path) for (path,) in query(directory, sql, step))

    eventually(has_come_on, f"an attempt at {step} has come on")


def test_the_example_can_be_submitted(daemon: Penstockd) -> None:
    shown = daemon.ctl("submit", EXAMPLE, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "produce_94.4K_5" in shown.stdout


def test_a_segment_that_fails_leaves_those_before_it(argon_daemon: Penstockd) -> None:
    table = {"temperatures_k": [130.0], "produce_ps": 60.0}
    broken = {"produce_130K_2": {"engine": {"arguments": {"broken": True}}}}
    argon_daemon.submit(spec("short", diffusion=table, steps=broken))
    status = argon_daemon.wait("short").workflow
    assert status.state == "failed"
    assert status.statuses == {"completed": 3, "failed": 1}
    said = argon_daemon.ctl("results", "short").stdout
    assert "analysed without what came after; segment 2 of 2 (produce_130K_2)" in said
    assert "the potential is out of order" in said
    (one,) = (one for one in properties(argon_daemon, "short") if one["name"] == "diffusion_coefficient")
    assert len(one["attempts"]) == 1
    assert one["value"] == pytest.approx(levesque_verlet_m2_s(130.0), rel=0.15, abs=3 * one["uncertainty"])


def test_mistakes_are_answered_before_anything_runs(argon_daemon: Penstockd) -> None:
    for tables, answer in (
        ({"diffusion": {"sample_fs": 20_000.0}}, "diffusion.sample_fs: longer than a segment, which is 15000 fs"),
        ({"engine": {"ensemble": "npt"}}, "displacements take a cell that stays as it is"),
        ({"engine": {"temperature_k": 100.0}}, "engine.temperature_k: follows from [diffusion] temperatures_k"),
        ({"engine": {"thermostat": "langevin", "ensemble": "nve"}}, "the ensemble nve has no thermostat"),
        ({"steps": {"produce_94.4K_1": {"engine": {"seed": 1}}}}, "follows from [diffusion] seed"),
        ({"steps": {"equilibrate_94.4K": {"engine": {"steps": 4}}}}, "must not be more than steps (4)"),
        ({"engine": {"name": "espresso", "pseudo_dir": "/p"}}, "does no molecular dynamics, which diffusion needs"),
    ):
        (argon_daemon.work / "spec.toml").write_text(spec("mistake", **tables))
        said = argon_daemon.ctl("submit", "spec.toml")
        assert said.returncode != 0, tables
        assert answer in said.stderr, said.stderr
        assert "spec.toml" in said.stderr
    assert not list(argon_daemon.work.glob(".penstock/*"))


def test_copper_expands_as_much_as_its_pressure_says(daemon: Penstockd) -> None:
    """What NPT finds is where plain dynamics at constant volume, by another program, has no pressure."""
    tables = {
        "structures": {"build": {"system": "Cu"}},
        "engine": {"name": "emt", "pressure_time_constant_fs": 300.0},
        "resources": {"memory": "300MB"},
    }
    warm = {"temperature_k": 600.0, "produce_ps": 5.0, "timestep_fs": 5.0, "min_atoms": 32, "segments": 2}
    daemon.submit(toml({"id": "cold", "recipe": "equilibrate", **tables}))
    daemon.submit(toml({"id": "warm", "recipe": "equilibrate", **tables, "equilibrate": warm}))
    for id in ("cold", "warm"):
        status = daemon.wait(id).workflow
        assert status.state == "completed", status.reason
    cold, _ = values(daemon, "cold")["lattice_parameter"]
    found, error = values(daemon, "warm")["lattice_parameter"]
    expansion = found / cold - 1
    assert error / cold < 0.1 * expansion
    # Measured: 17e-6 per K at room temperature, 19e-6 at 600 K (CRC Handbook).
    assert 10e-6 < expansion / 600.0 < 30e-6
    stiffness_gpa = 3 * 134.0  # pressure over linear strain
    pressure_gpa = pressure_of_copper_gpa(found, 600.0)
    assert pressure_gpa == pytest.approx(0.0, abs=0.3 + 3 * stiffness_gpa * error / found)
    assert abs(pressure_gpa) < 0.2 * stiffness_gpa * expansion


def pressure_of_copper_gpa(length: float, temperature_k: float) -> float:
    """The mean pressure at constant volume, by ASE alone."""
    random = np.random.default_rng(1)
    atoms = bulk("Cu", cubic=True, a=length).repeat(2)
    atoms.calc = EMT()
    thermalize_momenta(atoms, temperature_k, rng=random)
    dynamics = Bussi(atoms, 5 * units.fs, temperature_k, 50 * units.fs, rng=random)
    pressures = []
    for step, _ in enumerate(dynamics.irun(500)):
        if step > 100 and step % 5 == 0:
            pressures.append(-atoms.get_stress(include_ideal_gas=True)[:3].mean() / units.GPa)
    return float(np.mean(pressures))
