"""The table of compounds: each can be built as it says, and is found however its formula is written."""

from __future__ import annotations

from itertools import pairwise

import pytest

from penstock.domain.build_table import BuildTable, check_build
from penstock.domain.formula import read_formula, reduce_counts
from penstock.domain.geometry import parse_geometry
from penstock.recipes.structures.build import build_structures
from penstock.recipes.structures.compounds import COMPOUNDS, Compound, find_compound


@pytest.mark.parametrize("compound", COMPOUNDS, ids=lambda compound: compound.formula)
def test_every_compound_is_built_as_it_says(compound: Compound) -> None:
    table = BuildTable(compound.formula, compound.prototype, compound.a_angstrom, compound.c_angstrom)
    check_build(table)
    [(name, geometry)] = build_structures(table)
    assert name == f"{compound.formula}-{compound.prototype}"
    symbols = parse_geometry(geometry).symbols
    assert reduce_counts({symbol: symbols.count(symbol) for symbol in symbols}) == read_formula(compound.formula)
    assert find_compound(compound.formula) is compound


def test_no_compound_stands_there_twice_and_there_are_few() -> None:
    formulas = sorted(str(sorted(read_formula(compound.formula).items())) for compound in COMPOUNDS)
    assert all(one != other for one, other in pairwise(formulas))
    assert len(formulas) <= 30


def test_compounds_are_found_by_composition_and_prototype() -> None:
    found = find_compound("Au2Cu6")
    assert found is not None
    assert found.formula == "Cu3Au"
    assert find_compound("ClNa", "rocksalt") is find_compound("NaCl")
    assert find_compound("NaCl", "B2") is None
    assert find_compound("SiO2") is None
