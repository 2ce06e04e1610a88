import math
import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.geometry import (
    ATOMIC_NUMBERS,
    SYMBOLS,
    bare_atoms,
    format_geometry,
    is_atom_line,
    normalise,
    parse_comment,
    parse_geometry,
)

WATER = "O 0.0 0.0 0.119\nH 0.0 0.763 -0.477\nH 0.0 -0.763 -0.477"
BLOCK = f"3\n\n{WATER}\n"
coordinates = st.floats(-1e6, 1e6)
atoms = st.lists(st.tuples(st.sampled_from(SYMBOLS), coordinates, coordinates, coordinates), min_size=1, max_size=12)


@pytest.mark.parametrize(
    "text",
    [
        WATER,
        f"{WATER}\n",
        f"\n \n{WATER}\n\n",
        BLOCK,
        f"3\nwater\n{WATER}",
        f"3\nenergy=-76.4 name=water\n{WATER}",
        f" 3 \n\n{WATER}\n\n",
        f"3\n{WATER}",
        BLOCK.replace("\n", "\r\n"),
        WATER.replace("\n", "\r"),
    ],
)
def test_every_form_of_water_is_the_same_block(text: str) -> None:
    assert normalise(text) == ("O;H", 3, 10, BLOCK)


def test_a_blank_comment_does_not_eat_the_first_atom() -> None:
    assert normalise("1\n\nHe 0 0 0\n").natoms == 1
    assert normalise("2\n\nHe 0 0 0\nNe 0 0 3\n").elements == "He;Ne"


def test_coordinates_stay_the_text_they_were() -> None:
    text = "C 0.10000000000000000001 -1e-7 +.5\n"
    assert bare_atoms(normalise(text).block) == text


def test_further_columns_are_dropped_and_letter_case_is_mended() -> None:
    assert normalise("CL 0 0 0 -0.3 label\nh 0 0 1.27").block == "2\n\nCl 0 0 0\nH 0 0 1.27\n"


def test_further_columns_may_be_letters_and_numbers() -> None:
    assert normalise("C 0 0 0 C 12.011 sp3 1 2 3\nH 0 0 1 H\x0c").block == "2\n\nC 0 0 0\nH 0 0 1\n"


def test_properties_may_tell_of_element_names_and_numbers_behind_the_position() -> None:
    text = "1\nProperties=name:S:1:species:S:1:pos:R:3:near:S:1:there:R:3\nx O 0 0 1 H 0 0 2\n"
    assert normalise(text).block == "1\n\nO 0 0 1\n"


def test_the_keys_of_a_comment_may_be_in_any_case() -> None:
    text = "1\nPROPERTIES=id:I:1:species:S:1:pos:R:3 LATTICE='2 0 0 0 2 0 0 0 2' PBC='T F F'\n7 Fe 1 2 3\n"
    assert normalise(text).block == '1\nLattice="2 0 0 0 2 0 0 0 2" pbc="T F F"\nFe 1 2 3\n'
    with pytest.raises(ValueError, match="unknown element '7'"):
        normalise(text.replace("PROPERTIES", "columns"))


def test_properties_say_which_columns_count() -> None:
    text = "1\nProperties=id:I:1:species:S:1:forces:R:3:pos:R:3\n7 Fe 9 9 9 1 2 3\n"
    assert normalise(text).block == "1\n\nFe 1 2 3\n"


def test_a_lattice_is_kept_and_implies_periodicity() -> None:
    text = '1\nname=x Lattice="2 0 0 0 2 0 0 0 2.50"\nCu 0 0 0\n'
    assert normalise(text).block == '1\nLattice="2 0 0 0 2 0 0 0 2.50" pbc="T T T"\nCu 0 0 0\n'
    slab = parse_geometry(text.replace("name=x", 'pbc="T T F"'))
    assert slab.lattice == ((2.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 2.5))
    assert slab.pbc == (True, True, False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("0\n\n", "no atoms"),
        ("3\n\nH 0 0 0", "promises 3 atoms, but 1 lines"),
        ("1\n\nH 0 0 0\nH 0 0 1", "promises 1 atoms, but 2 lines"),
        ("H 0 0", "line 1: expected 'El x y z'"),
        ("H 0 0 0\n\nH 0 0 1", "line 2: blank line"),
        ("H 0 0 0\nXx 0 0 0", "line 2: unknown element 'Xx'"),
        ("8 0 0 0", "unknown element '8'"),
        ("H 0 nan 0", "'nan' is not finite"),
        ("H 0 -inf 0", "'-inf' is not finite"),
        ("H 0 1e999 0", "'1e999' is not finite"),
        ("H 0 1,5 0", "'1,5' is not a number"),
        ("H 0 1_0 0", "'1_0' is not a number"),
        ("H 0 \u0661 0", "is not a number"),
        ("O 0 0 0 H\n0 0 1", "line 2: expected"),
        ('1\nLattice="1 2 3"\nH 0 0 0', "9 numbers, this has 3"),
        ('1\nLattice="1 0 0 0 1 0 0 0 nan"\nH 0 0 0', "not finite"),
        ('1\nLattice="1 0 0 1 0 0 0 0 1"\nH 0 0 0', "no volume"),
        ('1\nLattice="0 0 0 0 1 0 0 0 1"\nH 0 0 0', "length zero"),
        ('1\npbc="T T T"\nH 0 0 0', "pbc without a Lattice"),
        ('1\nLattice="1 0 0 0 1 0 0 0 1" pbc="T maybe F"\nH 0 0 0', "three of T and F"),
        ("1\nProperties=id:I:1\nH 0 0 0", "names no species"),
        ("1\nproperties=id:I:1\nH 0 0 0", "names no species"),
        ("O 0 0 0.119 H 0 0.763 -0.477 H 0 -0.763 -0.477", "line 1: several atoms on one line"),
        ("O 0 0 0.119 | h 0 0.763 -0.477", "line 1: several atoms on one line"),
        ("1\n\nO 0 0 0.119 0.5 H 0 0.763", "line 3: several atoms on one line"),
        ("H 0 0 0\x0bH 0 0 1", "line 1: several atoms on one line"),
        ("1\nProperties=species:S:1:pos:R:3\nH 0 0 0\x0cH 0 0 1", "line 3: several atoms on one line"),
        ("2\nO 0 0 0\nH 0 0 1\nH 0 1 0", "promises 2 atoms, but 3 follow"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, reason: str) -> None:
    for function in (normalise, parse_geometry):
        with pytest.raises(ValueError, match=re.escape(reason)):
            function(text)


@given(atoms)
def test_numbers_survive_being_written_and_read(molecule: list[tuple[Any, ...]]) -> None:
    symbols = [symbol for symbol, *_ in molecule]
    positions = [tuple(position) for _, *position in molecule]
    block = format_geometry(symbols, positions)
    assert parse_geometry(block) == (symbols, positions, None, (False, False, False))
    assert normalise(block).block == block
    assert normalise(block).protons == sum(ATOMIC_NUMBERS[symbol] for symbol in symbols)


@given(atoms, st.sampled_from(["", "\n", "count", "comment"]), st.sampled_from([" ", "\t", "   "]))
def test_normalising_twice_changes_nothing(molecule: list[tuple[Any, ...]], form: str, space: str) -> None:
    body = "\n".join(space.join([symbol, repr(x), repr(y), repr(z), "extra"]) for symbol, x, y, z in molecule)
    head = {"": "", "\n": "\n", "count": f"{len(molecule)}\n", "comment": f"{len(molecule)}\nany = thing\n"}[form]
    once = normalise(head + body)
    assert normalise(once.block) == once
    assert once.natoms == len(molecule)


@given(st.text(alphabet=string.printable + "é\u2028\ufeff\0", max_size=200) | st.text(alphabet="HeC 0123.\n-+eE\t\r"))
def test_no_text_does_anything_but_read_or_raise_a_value_error(text: str) -> None:
    try:
        found = parse_geometry(text)
    except ValueError:
        return
    assert len(found.symbols) == len(found.positions) == normalise(text).natoms
    assert all(math.isfinite(number) for position in found.positions for number in position)


def test_the_pattern_is_linear_in_hostile_text() -> None:
    hostile = "H " + "1" * 200_000 + " 0 0"
    with pytest.raises(ValueError, match="not finite"):
        normalise(hostile)


def test_comments_and_atom_lines() -> None:
    assert parse_comment("a=1 b=\"two words\" c='x y' d={z} plain") == {
        "a": "1",
        "b": "two words",
        "c": "x y",
        "d": "z",
    }
    assert is_atom_line("O 0 0 0.1 extra")
    assert not is_atom_line("generated by hand 1")
    assert not is_atom_line("O 0 0")


def test_the_table_of_elements_is_that_of_ase() -> None:
    from ase.data import chemical_symbols

    assert list(SYMBOLS) == chemical_symbols[1:]
