"""What engines say they can do, against what they do, and the refusal of one that cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock import engines
from penstock.domain.calculation import Calculation, Exit
from penstock.domain.errors import SpecError
from penstock.engines.abilities import missing, refuse_missing
from penstock.engines.engine import Ability, Role

from .test_engine import tables

DIAMOND = '2\nLattice="0 1.8 1.8 1.8 0 1.8 1.8 1.8 0" pbc="T T T"\nC 0 0 0\nC 0.9 0.9 0.9\n'
ELASTIC = {Ability.ENERGY: "everything", Ability.STRESS: "an elastic tensor", Ability.CELL: "an elastic tensor"}


def every_engine(folder: Path) -> list[tuple[Any, dict[str, Any]]]:
    return [(engines.get(name), table) for name, table in tables(folder).items()]


def test_what_an_engine_can_do_goes_with_the_roles_that_it_has(tmp_path: Path) -> None:
    for engine, _ in every_engine(tmp_path):
        assert (Ability.CELL in engine.abilities) == (Role.RELAX_CELL in engine.roles), engine.name
        assert (Ability.DYNAMICS in engine.abilities) == (Role.DYNAMICS in engine.roles), engine.name
        assert engine.abilities or not engine.roles
        assert Ability.PRESSURE not in engine.abilities or Ability.CELL in engine.abilities


def test_the_parameters_of_a_role_go_over_checked_ones(tmp_path: Path) -> None:
    for engine, table in every_engine(tmp_path):
        checked = msgspec.to_builtins(engine.parameters(table, str))
        for role, over in engine.roles.items():
            assert over.keys() <= checked.keys(), (engine.name, role)
            done = msgspec.convert(checked | over, engine.parameters_type)
            assert msgspec.to_builtins(done) == checked | over
            assert done.task in engine.tasks


def test_under_pressure_means_a_parameter_of_that_name(tmp_path: Path) -> None:
    able = [(engine, table) for engine, table in every_engine(tmp_path) if Ability.PRESSURE in engine.abilities]
    assert "espresso" in [engine.name for engine, _ in able]
    for engine, table in able:
        assert "pressure_gpa" in msgspec.to_builtins(engine.parameters(table, str))


def test_engines_without_meshes_need_nothing_to_be_comparable(tmp_path: Path) -> None:
    meshless = [(engine, table) for engine, table in every_engine(tmp_path) if engine.name != "espresso"]
    for engine, table in meshless:
        assert engine.comparable(engine.parameters(table, str), DIAMOND) == {}


@pytest.mark.parametrize("name", ["emt", "tblite"])
def test_a_stress_is_given_by_those_who_say_so(tmp_path: Path, name: str) -> None:
    engine = engines.get_python(name)
    checked = msgspec.to_builtins(engine.parameters({}, str))
    parameters = msgspec.convert(checked | engine.roles[Role.SINGLE_POINT], engine.parameters_type)
    rendered = engine.render(Calculation("diamond", DIAMOND, 0, 1, 1, 500), parameters)
    for file, text in rendered.files.items():
        (tmp_path / file).write_text(text)
    engine.run(tmp_path)
    outcome = engine.read(tmp_path, Exit(0, None, 0.0, 1.0), parameters)
    assert outcome.failure is None
    assert (outcome.final_energy_hartree is not None) == (Ability.ENERGY in engine.abilities)
    assert (outcome.max_force_hartree_per_bohr is not None) == (Ability.FORCES in engine.abilities)
    assert ("stress_gpa" in outcome.properties) == (Ability.STRESS in engine.abilities)


def test_what_is_missing_is_told_in_one_order() -> None:
    needed = [Ability.DYNAMICS, Ability.STRESS, Ability.ENERGY]
    assert missing("orca", needed) == [Ability.STRESS, Ability.DYNAMICS]
    assert missing("crystal", ELASTIC) == [Ability.STRESS]
    assert missing("command", needed) == [Ability.ENERGY, Ability.STRESS, Ability.DYNAMICS]


def test_who_can_passes() -> None:
    refuse_missing("espresso", ELASTIC)


def test_who_cannot_is_refused_and_told_who_can() -> None:
    with pytest.raises(SpecError) as raised:
        refuse_missing("orca", ELASTIC)
    assert raised.value.key == "engine.name"
    first, _, able = raised.value.message.partition("; engines that do: ")
    assert first == (
        "engine 'orca' gives no stress, which an elastic tensor needs; "
        "engine 'orca' relaxes no cells, which an elastic tensor needs"
    )
    assert able.split(", ") == [name for name in engines.names() if not missing(name, ELASTIC)]
    assert "espresso" in able.split(", ")


def test_nobody_who_can_is_told_too() -> None:
    both = {Ability.PRESSURE: "one thing", Ability.DYNAMICS: "another"}
    with pytest.raises(SpecError, match="relaxes no cells under pressure, which one thing needs") as raised:
        refuse_missing("command", both)
    able = [name for name in engines.names() if not missing(name, both)]
    assert raised.value.message.endswith(f"engines that do: {', '.join(able)}" if able else "no engine does")


def test_an_unknown_engine_is_refused_as_ever() -> None:
    with pytest.raises(SpecError, match="unknown engine 'expresso'; did you mean 'espresso'"):
        refuse_missing("expresso", ELASTIC)
