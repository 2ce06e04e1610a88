"""Elastic constants through the real daemon: what it comes to, whatever happens on the way."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa
from tests.system.conftest import Penstockd, query
from tests.system.test_kill import storm

KILLS = 6
SPEC = """\
id = "{id}"
recipe = "elastic"
slots = 2
{more}
[structures.build]
system = "{system}"
[engine]
name = "emt"
"""
TROUBLED = '''\
"""A calculator that knows EMT, and breaks over cells that are sheared to one side."""

from ase.calculators.emt import EMT


class Troubled(EMT):
    def calculate(self, atoms=None, properties=None, system_changes=None):
        cell = atoms.cell.array
        sheared = cell[1, 1] / cell[1, 0]
        if {rule}:
            raise RuntimeError("the cell is askew")
        super().calculate(atoms, properties or ["energy"], system_changes or ["positions", "cell"])
'''


def spec(id: str, system: str = "Cu", more: str = "") -> str:
    return SPEC.format(id=id, system=system, more=more)


def results(daemon: Penstockd, id: str) -> dict[str, Any]:
    """By name, the properties that are printed for programs."""
    printed = daemon.ctl("results", id, "--json")
    assert printed.returncode == 0, printed.stderr
    found = json.loads(printed.stdout)
    assert found["workflow"] == id
    return {one["name"]: one for one in found["properties"]}


def stiffness_gpa(symbol: str) -> tuple[float, float, float]:
    """C11, C12 and C44 of a cubic metal by EMT's energies, without stresses: second derivatives by strain."""
    relaxed = bulk(symbol, cubic=True)
    volumes = np.linspace(0.97, 1.03, 13)
    energies = [energy(relaxed, np.eye(3) * v ** (1 / 3)) for v in volumes]
    polynomial = np.polynomial.Polynomial.fit(volumes, energies, 6)
    turns = [float(root.real) for root in polynomial.deriv().roots() if abs(root.imag) < 1e-9]
    best = min(turns, key=lambda volume: abs(volume - 1))
    relaxed.set_cell(relaxed.cell * best ** (1 / 3), scale_atoms=True)
    volume = relaxed.get_volume()
    h = 0.002

    def second(strain: np.ndarray[Any, Any]) -> float:
        one, other, none = (energy(relaxed, np.eye(3) + s * strain) for s in (h, -h, 0.0))
        return float((one + other - 2 * none) / h**2 / volume / GPa)

    c11 = second(np.diag([1.0, 0.0, 0.0]))
    both = second(np.diag([1.0, 1.0, 0.0]))
    shear = np.zeros((3, 3))
    shear[1, 2] = shear[2, 1] = 0.5
    return c11, (both - 2 * c11) / 2, second(shear)


def energy(atoms: Any, gradient: np.ndarray[Any, Any]) -> float:
    strained = atoms.copy()
    strained.set_cell(atoms.cell @ gradient.T, scale_atoms=True)
    strained.calc = EMT()
    return float(strained.get_potential_energy())


@pytest.mark.parametrize("symbol", ["Cu", "Al"])
def test_constants_equal_those_of_an_independent_calculation(daemon: Penstockd, symbol: str) -> None:
    daemon.submit(spec("metal", symbol))
    assert daemon.wait("metal").workflow.state == "completed"
    found = results(daemon, "metal")
    tensor = np.array(found["elastic_tensor"]["value"])
    c11, c12, c44 = stiffness_gpa(symbol)
    assert tensor[0, 0] == pytest.approx(c11, rel=5e-3)
    assert tensor[0, 1] == pytest.approx(c12, rel=5e-3)
    assert tensor[3, 3] == pytest.approx(c44, rel=5e-3)
    assert found["bulk_modulus_vrh"]["value"] == pytest.approx((c11 + 2 * c12) / 3, rel=5e-3)
    assert found["elastic_tensor"]["unit"] == "GPa"
    assert np.all(np.array(found["elastic_tensor"]["uncertainty"])[:3, :3] < 0.5)
    assert found["lattice_parameter"]["conditions"]["axis"] == "a"
    attempts = found["elastic_tensor"]["attempts"]
    assert len(attempts) == len(set(attempts)) == 9


def test_a_storm_of_kills_changes_nothing_of_the_result(daemon: Penstockd) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")  # shown when it fails
    daemon.submit(spec("calm"))
    daemon.wait("calm")
    expected = results(daemon, "calm")
    directory = Path(daemon.submit(spec("storm")).directory)
    daemon.kill()
    storm(daemon, random.Random(seed), KILLS)
    daemon.start()
    assert daemon.wait("storm").workflow.state == "completed"
    found = results(daemon, "storm")
    for name, one in expected.items():
        np.testing.assert_allclose(found[name]["value"], one["value"], rtol=1e-9, atol=1e-9, err_msg=name)
    names = Counter(name for (name,) in query(directory, "SELECT name FROM job"))
    assert set(names.values()) == {1}
    assert sum(names.values()) == 9
    assert query(directory, "SELECT count(*) FROM conclusion") == [(1,)]


def troubled(daemon: Penstockd, rule: str) -> str:
    """A spec whose calculator breaks over some cells."""
    folder = daemon.home / "lib"
    folder.mkdir()
    (folder / "askew.py").write_text(TROUBLED.format(rule=rule))
    daemon.stop()
    daemon.environment["PYTHONPATH"] = ":".join([str(folder), *filter(None, [daemon.environment.get("PYTHONPATH")])])
    daemon.start()
    return spec("askew").replace('name = "emt"', 'name = "ase"\ncalculator = "askew.Troubled"')


def test_the_fit_goes_on_without_a_strain_that_failed(daemon: Penstockd) -> None:
    daemon.submit(troubled(daemon, "sheared > 0.004"))
    status = daemon.wait("askew").workflow
    assert status.state == "completed", status.reason
    assert status.statuses == {"completed": 8, "failed": 1}
    printed = daemon.ctl("results", "askew").stdout
    assert "left out: Cu" in printed
    assert "the cell is askew" in printed
    assert results(daemon, "askew")["elastic_tensor"]["value"][3][3] == pytest.approx(stiffness_gpa("Cu")[2], rel=0.02)


def test_what_too_few_strains_leave_open_is_said(daemon: Penstockd) -> None:
    daemon.submit(troubled(daemon, "abs(sheared) > 1e-4"))
    status = daemon.wait("askew").workflow
    assert status.state == "failed"
    assert "not determined: C44" in (status.reason or "")
    found = results(daemon, "askew")
    assert found["elastic_tensor"]["value"][3][3] is None
    assert found["elastic_tensor"]["value"][0][0] == pytest.approx(stiffness_gpa("Cu")[0], rel=5e-3)
    assert "bulk_modulus_vrh" not in found


def test_mistakes_are_answered_before_anything_runs(daemon: Penstockd) -> None:
    for mistake, answer in (
        (spec("m", more="[elastic]\namplitudes = [0.5]"), "0.5 is no amplitude"),
        (spec("m", more="[elastic]\namplitudes = []"), "empty"),
        (spec("m").replace('"emt"', '"orca"'), "engine 'orca' gives no stress, which an elastic tensor needs"),
        (spec("m").replace('"emt"', '"emt"\ntask = "gradient"'), "decides what each step does"),
        (spec("m", more="[diffusion]\ntemperatures_k = [300]"), "belongs to recipe 'diffusion'"),
        (spec("m", more="[steps.strains.engine]\nfmax = 0.1"), "'strains' is no step of recipe 'elastic'"),
        (spec("m", more="[elastic]\namplitude = [0.01]"), "did you mean 'amplitudes'"),
    ):
        (daemon.work / "spec.toml").write_text(mistake)
        said = daemon.ctl("submit", "spec.toml")
        assert said.returncode != 0
        assert answer in said.stderr, said.stderr
        assert "spec.toml" in said.stderr
    assert not list(daemon.work.glob(".penstock/*"))
