"""What a revision makes of a spec, and what it may not touch."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.domain.errors import SpecError
from penstock.domain.property_tables import CHANGEABLE, PROPERTY_TABLES
from penstock.domain.revision import SpecChange, assign, differences, parameter_differences, revise
from penstock.domain.spec import decode_spec, parse_toml

SPEC = """
id = "w"
recipe = "campaign"
slots = 2
[structures]
source = "source/m.csv"
[engine]
name = "tblite"
accuracy = 1.0
[retry]
max_attempts = 3
"""


def stored() -> Any:
    return decode_spec(parse_toml(SPEC, "f"), SPEC, "f")


def test_single_keys_are_set_and_the_rest_stays() -> None:
    values = {"engine.accuracy": 0.1, "resources.memory": "2GB", "engine.electronic_temperature_k": 500.0, "slots": 4}
    revised = revise(stored(), {}, values, "", "command line")
    assert differences(stored(), revised) == (
        SpecChange("engine.accuracy", 1.0, 0.1),
        SpecChange("slots", 2, 4),
        SpecChange("resources.memory", "1GB", "2GB"),
        SpecChange("engine.electronic_temperature_k", None, 500.0),
    )
    assert revised.retry.max_attempts == 3
    assert differences(stored(), stored()) == ()


def test_a_file_replaces_the_engine_and_adds_to_settings() -> None:
    text = SPEC.replace("source/m.csv", "../elsewhere/m.csv").replace("accuracy = 1.0", "").replace("slots = 2", "")
    text = text.replace("max_attempts = 3", 'delay = "5s"')
    revised = revise(stored(), parse_toml(text, "f"), {}, text, "f")
    changed = {change.key: change.new for change in differences(stored(), revised)}
    assert changed == {"engine.accuracy": None, "retry.delay": "5s"}
    assert revised.structures.source == "source/m.csv"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "other"),
        ("recipe", "crystal"),
        ("structures.charge", 1),
        ("isolation", "shared"),
        ("cluster", "hpc"),
        ("engine.name", "emt"),
    ],
)
def test_what_a_workflow_is_cannot_change(key: str, value: Any) -> None:
    with pytest.raises(SpecError, match=r"cannot change from .* to .*workflow for that") as raised:
        revise(stored(), {}, {key: value}, "", "command line")
    assert raised.value.key == key


def test_another_source_is_refused_by_its_name() -> None:
    with pytest.raises(SpecError, match="cannot change") as raised:
        revise(stored(), {"structures": {"source": "n.csv"}}, {}, "", "f")
    assert raised.value.key == "structures.source"


BUILT = SPEC.replace(
    '[structures]\nsource = "source/m.csv"', '[structures.build]\nelements = ["Cu", "Au"]\nlattices = ["fcc"]'
)


def built() -> Any:
    return decode_spec(parse_toml(BUILT, "f"), BUILT, "f")


def test_what_is_built_stays_whether_the_file_says_it_again_or_not() -> None:
    again = BUILT.replace("slots = 2", "slots = 3").replace(
        "[structures.build]", "[structures.build]\nreferences = false"
    )
    for text in (again, "slots = 3"):
        revised = revise(built(), parse_toml(text, "f"), {}, text, "f")
        assert [change.key for change in differences(built(), revised)] == ["slots"]
        assert revised.structures == built().structures
    assert revise(built(), {}, {"structures.build.lattices": ["fcc"]}, "", "f") == built()


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"structures.build.lattices": ["bcc"]}, "structures.build.lattices"),
        ({"structures.build.max_atoms": 5}, "structures.build.max_atoms"),
        ({"structures.source": "m.csv"}, "structures.source"),
        ({"structures.build": {"system": "Cu"}}, "structures.build.system"),
    ],
)
def test_what_is_built_cannot_change(values: dict[str, Any], key: str) -> None:
    with pytest.raises(SpecError, match=r"cannot .*what has been read of the source is jobs already") as raised:
        revise(built(), {}, values, "", "command line")
    assert raised.value.key == key


@pytest.mark.parametrize(
    "structures", ['source = "m.csv"', 'build = { system = "Cu" }', "build.max_atoms = 3", "build = 3"]
)
def test_a_file_cannot_change_what_is_built(structures: str) -> None:
    text = BUILT.replace(
        '[structures.build]\nelements = ["Cu", "Au"]\nlattices = ["fcc"]', f"[structures]\n{structures}"
    )
    with pytest.raises(SpecError, match=r"structures\.(source|build): cannot change from"):
        revise(built(), parse_toml(text, "f"), {}, text, "f")


@pytest.mark.parametrize("key", ["structures.build", "structures.build.system"])
def test_what_was_read_from_a_file_cannot_be_built(key: str) -> None:
    value: Any = "Si" if key.endswith("system") else {"system": "Si"}
    with pytest.raises(SpecError, match="cannot be set: what has been read"):
        revise(stored(), {}, {key: value}, "", "command line")
    text = SPEC.replace('[structures]\nsource = "source/m.csv"', '[structures.build]\nsystem = "Si"')
    with pytest.raises(SpecError, match=r"structures\.build: cannot change from nothing to"):
        revise(stored(), parse_toml(text, "f"), {}, text, "f")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"slotz": 3}, "slotz: unknown key 'slotz'; did you mean 'slots'"),
        ({"slots": 0}, "slots: must be between 1"),
        ({"slots.many": 3}, "slots.many: slots is no table"),
        ({"resources.memory": "lots"}, "resources.memory"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        revise(stored(), {}, values, "", "command line")


def test_tables_are_made_on_the_way_and_nothing_given_is_touched() -> None:
    tables: dict[str, Any] = {"a": {"b": 1}}
    assert assign(tables, {"a.c": 2, "x.y.z": 3}) == {"a": {"b": 1, "c": 2}, "x": {"y": {"z": 3}}}
    assert tables == {"a": {"b": 1}}


def test_parameters_are_told_apart_by_their_values() -> None:
    assert parameter_differences('{"a": 1, "t": {"x": "old"}}', '{"a": 1, "t": {"x": "new"}}') == (
        SpecChange("engine.t.x", "old", "new"),
    )


ELASTIC = {
    "recipe": "elastic",
    "structures": {"build": {"system": "Cu"}},
    "engine": {"name": "emt"},
}


def test_of_a_property_only_what_adds_jobs_or_is_analysis_may_change() -> None:
    elastic = decode_spec(ELASTIC, "", "f")
    values: dict[str, Any]
    for values in ({"elastic.amplitudes": [0.002]}, {"elastic.symmetry": False}):
        assert [change.key for change in differences(elastic, revise(elastic, {}, values, "", "f"))] == [*values]
    for key, value in {"pressure_gpa": 5.0, "relax": False, "symprec_angstrom": 0.1}.items():
        with pytest.raises(SpecError, match=rf"elastic\.{key}: cannot change from .* was calculated that way"):
            revise(elastic, {}, {f"elastic.{key}": value}, "", "f")
    diffusion = decode_spec(ELASTIC | {"recipe": "diffusion", "diffusion": {"temperatures_k": [300.0]}}, "", "f")
    assert revise(diffusion, {}, {"diffusion.species": ["Cu"]}, "", "f").diffusion.species == ["Cu"]
    with pytest.raises(SpecError, match="temperatures_k: cannot change"):
        revise(diffusion, {}, {"diffusion.temperatures_k": [300.0, 400.0]}, "", "f")
    table: dict[str, Any] = {"refine_below_ev_per_atom": 0.01, "refine": {"fmax": 0.001}}
    phases = decode_spec(ELASTIC | {"recipe": "phase_diagram", "phase_diagram": table}, "", "f")
    values = {"phase_diagram.refine_below_ev_per_atom": 0.05, "phase_diagram.references_ev_per_atom.Cu": -1.0}
    assert len(differences(phases, revise(phases, {}, values, "", "f"))) == 2
    with pytest.raises(SpecError, match=r"refine\.fmax: cannot change"):
        revise(phases, {}, {"phase_diagram.refine.fmax": 0.01}, "", "f")


def test_every_table_of_a_property_says_what_may_change() -> None:
    assert CHANGEABLE.keys() == PROPERTY_TABLES.keys()
    for name, keys in CHANGEABLE.items():
        assert keys <= set(PROPERTY_TABLES[name].__struct_fields__)
