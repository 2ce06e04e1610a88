"""Keys of calculations: the same written differently has one key, what differs in anything that counts has another."""

from __future__ import annotations

import pytest

from penstock.domain.geometry import normalise
from penstock.domain.sameness import material_key, method_key

WATER = "O 0.0 0.0 0.1173\nH 0.0 0.7572 -0.4692\nH 0.0 -0.7572 -0.4692"


def key(text: str, charge: int = 0, multiplicity: int = 1, deck: str | None = None, name: str | None = None) -> str:
    return material_key(normalise(text).block, charge, multiplicity, deck, name)


@pytest.mark.parametrize(
    "text",
    [
        "O 0 0 1.173E-1\nH 0.00 7.572e-01 -.4692\nH 0 -0.75720 -4.692D-1".replace("D", "e"),
        "o -0.0 -0 +0.1173\nh 0.0 0.7572 -0.4692\nH -0.0000001 -0.7572 -0.4692",
        "3\nwater, from somewhere\n" + WATER,
        "3\n\n" + WATER + "\n",
        WATER.replace(" ", "   ").replace("\n", "\r\n"),
    ],
)
def test_the_same_written_differently_is_the_same(text: str) -> None:
    assert key(text) == key(WATER)


@pytest.mark.parametrize(
    "other",
    [
        key("\n".join(reversed(WATER.splitlines()))),  # results are by atom: their order counts
        key(WATER.replace("0.1173", "0.11731")),
        key(WATER.replace("O", "S")),
        key(WATER, charge=1),
        key(WATER, multiplicity=3),
        key(WATER, deck="a deck"),
        key(WATER, deck=""),
        key(WATER, name="water"),
        key('3\nLattice="9 0 0 0 9 0 0 0 9" pbc="T T T"\n' + WATER),
    ],
)
def test_what_differs_is_another(other: str) -> None:
    assert other != key(WATER)


def test_cell_and_periodicity_count() -> None:
    cells = ("9 0 0 0 9 0 0 0 9", "9 0 0 0 9 0 0 0 9.1")
    texts = [f'3\nLattice="{cell}" pbc="{pbc}"\n{WATER}' for cell in cells for pbc in ("T T T", "T T F", "T F T")]
    assert len({key(text) for text in texts}) == len(texts)
    assert key(texts[0].replace("9.0", "9")) == key(texts[0])


def test_methods_differ_by_engine_parameters_and_what_came_before() -> None:
    opt = method_key("orca", '{"a": 1, "b": {"c": 2, "d": 3}}')
    assert opt == method_key("orca", '{"b": {"d": 3, "c": 2}, "a": 1}')
    others = [
        method_key("espresso", '{"a": 1, "b": {"c": 2, "d": 3}}'),
        method_key("orca", '{"a": 1, "b": {"c": 2, "d": "3"}}'),
        method_key("orca", '{"a": 1, "b": {"c": 2, "d": 3}}', opt),
        method_key("orca", '{"a": 1, "b": {"c": 2, "d": 3}}', method_key("orca", "{}")),
    ]
    assert len({opt, *others}) == 5
