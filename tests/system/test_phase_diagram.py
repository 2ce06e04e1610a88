"""The copper-gold phase diagram of EMT through the real daemon, and by direct calculation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from scipy.optimize import linprog, minimize

from .conftest import Penstockd

NEAR_EV = 0.003
SPEC = f"""\
id = "cuau"
recipe = "phase_diagram"
slots = 2
[structures.build]
elements = ["Cu", "Au"]
lattices = ["fcc"]
max_atoms = 4
[engine]
name = "emt"
fmax = 0.05
smax_gpa = 0.2
[phase_diagram]
refine_below_ev_per_atom = {NEAR_EV}
[phase_diagram.refine]
fmax = 0.002
smax_gpa = 0.005
"""
FCC = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
ORDERED = {  # atoms in tetragonal cells of one or two cubes: all positions follow from symmetry, a and c are free
    "Cu": ("CuCuCuCu", FCC),
    "Au": ("AuAuAuAu", FCC),
    "L1_2 Cu3Au": ("AuCuCuCu", FCC),
    "L1_0 CuAu": ("AuCuCuAu", FCC),
    "L1_2 CuAu3": ("CuAuAuAu", FCC),
    "D0_22 Cu3Au": (
        "AuCuCuCuCuCuCuAu",
        (*((x, y, z / 2) for x, y, z in FCC), *((x, y, z / 2 + 0.5) for x, y, z in FCC)),
    ),
}  # fmt: skip


def direct_ev_per_atom(symbols: str, places: Any) -> float:
    """The energy of an ordered structure, minimised over its a and c, without anything of ours."""
    layers = len(places) // 4

    def energy(lengths: Any) -> float:
        a, c = lengths
        atoms = Atoms(symbols, scaled_positions=places, cell=(a, a, c * layers), pbc=True)
        atoms.calc = EMT()
        return float(atoms.get_potential_energy()) / len(atoms)

    found = minimize(energy, (3.85, 3.85), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-7})
    assert found.success
    return float(found.fun)


def above_by_linear_programming(fractions: Any, energies: Any) -> Any:
    x, e = np.asarray(fractions), np.asarray(energies)
    rows = np.array([x, 1 - x])
    return e - [linprog(e, A_eq=rows, b_eq=(one, 1 - one), bounds=(0, None)).fun for one in x]


def test_ground_states_of_copper_gold_are_those_of_a_direct_calculation(daemon: Penstockd) -> None:
    daemon.submit(SPEC)
    status = daemon.wait("cuau").workflow
    assert status.state == "completed", status.reason
    found = json.loads(daemon.ctl("results", "cuau", "--json").stdout)
    first, refined = (
        [p for p in found["properties"] if ("refined" in p["method"]) is better] for better in (False, True)
    )
    above = {p["subject"]: p for p in first if p["name"] == "energy_above_hull"}
    formation = {p["subject"]: p["value"] for p in first if p["name"] == "formation_energy"}
    assert len(above) == 29

    fractions = [gold_share(p["conditions"]["formula"]) for p in above.values()]
    expected = above_by_linear_programming(fractions, [formation[name] for name in above])
    np.testing.assert_allclose([p["value"] for p in above.values()], expected, atol=1e-7)

    direct = {name: direct_ev_per_atom(*structure) for name, structure in ORDERED.items()}
    shares = [symbols.count("Au") / symbols.count("u") for symbols, _ in ORDERED.values()]
    formed = np.array(list(direct.values())) - np.interp(shares, (0, 1), (direct["Cu"], direct["Au"]))
    by_group = {
        (p["conditions"]["formula"], p["conditions"]["space_group"]): p["value"]
        for p in refined
        if p["name"] == "formation_energy"
    }
    groups = {
        "L1_2 Cu3Au": ("Cu3Au", "Pm-3m"),
        "L1_0 CuAu": ("CuAu", "P4/mmm"),
        "D0_22 Cu3Au": ("Cu3Au", "I4/mmm"),
    }
    ours = dict(zip(ORDERED, formed, strict=True))
    for name, group in groups.items():
        assert by_group[group] == pytest.approx(ours[name], abs=1e-4), name

    # Under EMT L1_2 Cu3Au lies just above D0_22, and CuAu3 decays: into gold and L1_0.
    directly = dict(zip(ORDERED, above_by_linear_programming(shares, formed), strict=True))
    stable = {
        (p["conditions"]["formula"], p["conditions"]["space_group"]) for p in refined if p["conditions"]["stable"]
    }
    assert stable == {("Cu", "Fm-3m"), ("Au", "Fm-3m"), groups["L1_0 CuAu"], groups["D0_22 Cu3Au"]}
    assert {name for name, value in directly.items() if value < 1e-9} == {"Cu", "Au", "L1_0 CuAu", "D0_22 Cu3Au"}
    assert 1e-4 < directly["L1_2 Cu3Au"] < NEAR_EV
    (gold,) = [
        p for p in above.values() if p["conditions"]["formula"] == "CuAu3" and p["conditions"]["space_group"] == "Pm-3m"
    ]
    assert gold["value"] == pytest.approx(directly["L1_2 CuAu3"], abs=1e-3)
    assert gold["value"] > NEAR_EV
    assert gold["conditions"]["decomposition"].startswith("0.5 fcc-Au-")
    figures = {figure["name"] for one in found["conclusions"] for figure in one["figures"]}
    assert figures == {"hull", "hull_chemical_potential", "refined_hull", "refined_hull_chemical_potential"}


def gold_share(formula: str) -> float:
    from penstock.domain.formula import read_formula

    counts = read_formula(formula)
    return counts.get("Au", 0) / sum(counts.values())
