"""What may stand in [structures.build], and what is told of what may not."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.domain.build_table import BuildTable, check_build
from penstock.domain.errors import SpecError

PAIR: dict[str, Any] = {"elements": ("Cu", "Au"), "lattices": ("fcc",)}


@pytest.mark.parametrize(
    "given",
    [
        {"system": "Si"},
        {"system": "Cu3Au", "prototype": "L1_2", "a_angstrom": 3.75},
        {"system": "GaN", "prototype": "wurtzite", "a_angstrom": 3.19, "c_angstrom": 5.19},
        PAIR,
        PAIR | {"max_atoms": 6, "references": True},
        {"elements": ("Ni", "Al"), "prototypes": ("B2", "L1_2"), "references": True},
        {"elements": ("Cu",), "prototypes": ("fcc",)},
    ],
)
def test_what_can_be_built_is_taken(given: dict[str, Any]) -> None:
    check_build(BuildTable(**given))


@pytest.mark.parametrize(
    ("given", "key", "message"),
    [
        ({}, "", 'needs system = "Si" (a formula) or elements = ["Cu", "Au"]'),
        (PAIR | {"system": "Si"}, "", "has both system and elements"),
        ({"system": ""}, ".system", "'' is no formula"),
        ({"system": "Xy"}, ".system", "there is no element 'Xy'"),
        ({"system": "Si", "lattices": ("fcc",)}, ".lattices", "goes with elements only; remove it"),
        ({"system": "Si", "prototypes": ("fcc",)}, ".prototypes", "goes with elements only"),
        ({"system": "Si", "references": True}, ".references", "goes with elements only"),
        ({"system": "Si", "max_atoms": 3}, ".max_atoms", "goes with elements only"),
        ({"system": "Si", "a_angstrom": 0.0}, ".a_angstrom", "between 0.5 and 100, not 0"),
        ({"system": "Si", "c_angstrom": float("nan")}, ".c_angstrom", "not nan"),
        (PAIR | {"prototype": "B2"}, ".prototype", "goes with system only; remove it"),
        (PAIR | {"a_angstrom": 4.0}, ".a_angstrom", "goes with system only"),
        (PAIR | {"elements": ("Cu", "Qq")}, ".elements", "there is no element 'Qq'"),
        (PAIR | {"elements": ("Cu", "Au", "Cu")}, ".elements", "names 'Cu' twice"),
        (PAIR | {"lattices": ("fcc", "fcc")}, ".lattices", "names 'fcc' twice"),
        (PAIR | {"elements": ("Cu", "Au", "Ag", "Ni", "Pd")}, ".elements", "has 5; at most 4"),
        ({"elements": ("Cu", "Au")}, "", 'give lattices = ["fcc"]'),
        (PAIR | {"prototypes": ("B2",)}, "", "not both"),
        (PAIR | {"max_atoms": 0}, ".max_atoms", "must be between 1 and 12, not 0"),
        ({"elements": ("Cu",), "prototypes": ("fcc",), "max_atoms": 3}, ".max_atoms", "goes with lattices only"),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_key(given: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        check_build(BuildTable(**given))
    assert raised.value.key == f"structures.build{key}"
    assert message in raised.value.message
