"""What goal files grow into: the rules, the one way in which keys go over one another, refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import engines
from penstock.domain.errors import SpecError
from penstock.domain.spec import WorkflowSpec, decode_spec, is_goal, parse_toml
from penstock.recipes.goals import (
    Goal,
    Grown,
    Surroundings,
    System,
    find_system,
    grow,
    look_around,
    read_goal,
    surroundings,
)
from penstock.recipes.goals.engine_rules import CAUTIONS
from penstock.recipes.goals.goal import ACCURACIES, GOALS, KEYS, merge, nested, value_at
from penstock.recipes.goals.growing import METADATA, RULES
from penstock.recipes.goals.listing import list_rules
from penstock.recipes.goals.rules import CONVENTION, FACTS, MEASURED, Known, Rule, describe_when
from penstock.recipes.goals.writing import write_text

EXAMPLES = Path(__file__).parents[2] / "examples" / "goals"
PAGE = Path(__file__).parents[2] / "docs" / "goals.md"
UPF = """<UPF version="2.0.1">
<PP_HEADER element="{element}" pseudo_type="{kind}" functional="{functional}"{cutoffs}/>
</UPF>
"""
SYSTEMS = {
    "elastic": ("Si", "Cu", "NaCl", "GaAs", "Fe"),
    "equilibrate": ("Al", "MgO"),
    "diffusion": ("Al", "NaCl"),
    "phase_diagram": ("Cu-Au", "Ni-Al"),
}


def read(text: str) -> Goal:
    return read_goal(parse_toml(text, "goal.toml"))


def grown(text: str, tmp_path: Path, around: Surroundings | None = None) -> Grown:
    goal = read(text)
    system = find_system(goal, tmp_path)
    return grow(goal, system, around or Surroundings(), "/somewhere/goal.toml", text)


def spec_of(found: Grown) -> WorkflowSpec:
    tables = parse_toml(found.text, "grown.toml")
    assert tables == found.tables
    return decode_spec(tables, found.text, "grown.toml")


def refusal(text: str, tmp_path: Path, around: Surroundings | None = None) -> SpecError:
    with pytest.raises(SpecError) as caught:
        grown(text, tmp_path, around)
    return caught.value


@pytest.fixture
def pseudo_dir(tmp_path: Path) -> Path:
    """A folder of pseudopotentials as it might be: several for an element, some that suggest nothing."""
    folder = tmp_path / "pseudo"
    folder.mkdir()
    for name, element, kind, functional, cutoff in (
        ("Si.pbe-a.UPF", "Si", "NC", "PBE", None),
        ("Si.pbe-b.UPF", "Si", "USPP", "PBE", 40.0),
        ("Si.pz.UPF", "Si", "NC", "PZ", 20.0),
        ("Fe.pbe.UPF", "Fe", "PAW", "PBE", 50.5),
        ("Fe.rel-pbe.UPF", "Fe", "PAW", "PBE", 10.0),
        ("Cu.pz.UPF", "Cu", "NC", "PZ", 30.0),
        ("Au.pz.UPF", "Au", "NC", "PZ", None),
    ):
        cutoffs = f' wfc_cutoff="{cutoff}"' if cutoff else ""
        text = UPF.format(element=element, kind=kind, functional=functional, cutoffs=cutoffs)
        (folder / name).write_text(text)
    return folder


# ---- rules ----------------------------------------------------------------------------------------------------------


def test_every_rule_says_what_why_and_on_whose_word() -> None:
    for rule in RULES:
        assert rule.key, rule
        assert rule.value is not None, rule
        assert len(rule.why) > 10, rule
        assert not rule.why.endswith("."), rule
        assert rule.source in {CONVENTION, MEASURED} or re.search(r" (19|20)\d\d, ", rule.source), rule
        assert set(rule.when.goals) <= set(GOALS), rule
        assert set(rule.when.engines) <= set(engines.names()), rule
        assert set(rule.when.accuracies) <= set(ACCURACIES), rule
        assert set(rule.when.known) <= set(FACTS), rule
        if isinstance(rule.value, Known):
            assert rule.value.name in FACTS, rule


def test_every_rule_is_reached_by_some_case() -> None:
    """No rule stands behind one about the same key that always holds before it."""
    for number, rule in enumerate(RULES):
        for before in RULES[:number]:
            assert not (before.key == rule.key and before.when == rule.when), rule


def test_every_key_that_a_rule_sets_is_one_of_the_spec() -> None:
    tables = {field.name: field.type for field in msgspec.structs.fields(WorkflowSpec)}
    for rule in RULES:
        top, _, rest = rule.key.partition(".")
        assert top in tables
        kind = tables[top]
        if rest and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            assert rest.partition(".")[0] in kind.__struct_fields__, rule


def test_the_page_has_all_rules_and_keys() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [f"| `{key}` | {value} | {when} | {why} | {source} |" for key, value, when, why, source in list_rules()]
    table = page.partition("<!-- rules -->\n")[2].partition("<!-- end -->")[0]
    assert table.splitlines()[2:] == rows, "paste this:\n" + "\n".join(rows)
    for key, meaning in KEYS.items():
        assert f"| `{key}` | {meaning} |" in page
    for caution in CAUTIONS:
        assert f"- {caution.text}: {describe_when(caution.when)}" in page


# ---- growth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accuracy", ACCURACIES)
@pytest.mark.parametrize(("goal", "system"), [(goal, system) for goal, some in SYSTEMS.items() for system in some])
def test_every_goal_grows_into_a_valid_spec_in_which_every_line_says_why(
    goal: str, system: str, accuracy: str, tmp_path: Path
) -> None:
    needed = "temperatures_k = [300]\n" if goal == "diffusion" else ""
    engine = '[engine]\nname = "espresso"\npseudo_dir = "/p"\n[engine.pseudopotentials]\nX = "x.UPF"\n'
    by_hand = "" if goal == "diffusion" or system in {"Al", "Cu", "Cu-Au", "Ni-Al"} else engine
    text = f'goal = "{goal}"\nsystem = "{system}"\naccuracy = "{accuracy}"\n{needed}{by_hand}'
    found = grown(text, tmp_path)
    spec = spec_of(found)
    assert spec.recipe == goal
    assert spec.metadata["goal"] == parse_toml(text, "")
    assert found == grown(text, tmp_path)  # the same again
    lines = found.text.splitlines()
    said = {rule.key.rpartition(".")[2] for rule in found.rules if not isinstance(rule.value, dict)}
    for key in said:
        number = next(n for n, line in enumerate(lines) if line.startswith(f"{key} = "))
        assert "#" in lines[number] or lines[number - 1].startswith("# "), lines[number]
    if spec.engine_name != "espresso":  # the files that are named are not there
        table = {key: value for key, value in spec.engine.items() if key != "name"}
        engines.get(spec.engine_name).parameters(table, lambda name: name)


def test_the_first_engine_that_fits_is_chosen(tmp_path: Path, pseudo_dir: Path) -> None:
    def engine(text: str, elements: list[str] | None = None) -> Any:
        around = look_around(elements, str(pseudo_dir), None, {}) if elements else None
        return grown(text, tmp_path, around).tables["engine"]["name"]

    assert engine('goal = "elastic"\nsystem = "Cu"') == "emt"
    assert engine('goal = "elastic"\nsystem = "Si"', ["Si"]) == "espresso"
    assert engine('goal = "phase_diagram"\nsystem = "Cu-Au"', ["Cu", "Au"]) == "espresso"
    assert engine('goal = "elastic"\nsystem = "Si"\nengine = "tblite"', ["Si"]) == "tblite"
    assert engine('goal = "diffusion"\nsystem = "Si"\ntemperatures_k = [2000]', ["Si"]) == "tblite"
    assert engine('goal = "equilibrate"\nsystem = "Cu"\ntemperatures_k = [300]', ["Cu"]) == "emt"


def test_pseudopotentials_are_chosen_with_their_cut_offs(tmp_path: Path, pseudo_dir: Path) -> None:
    silicon = grown('goal = "elastic"\nsystem = "Si"', tmp_path, look_around(["Si"], str(pseudo_dir), None, {}))
    engine = silicon.tables["engine"]
    assert engine["pseudopotentials"] == {"Si": "Si.pbe-b.UPF"}  # it suggests a cut-off, the other does not
    assert (engine["functional"], engine["ecutwfc_ry"], engine["ecutrho_ry"]) == ("PBE", 52, 416)
    engines.get("espresso").parameters({key: value for key, value in engine.items() if key != "name"}, str)
    quick = 'goal = "elastic"\nsystem = "Si"\naccuracy = "quick"'
    assert grown(quick, tmp_path, look_around(["Si"], str(pseudo_dir), None, {})).tables["engine"]["ecutwfc_ry"] == 40
    gold = look_around(["Cu", "Au"], str(pseudo_dir), None, {})
    assert (gold.functional, gold.files, gold.cutoff_ry) == ("LDA", {"Cu": "Cu.pz.UPF", "Au": "Au.pz.UPF"}, None)
    engine = grown('goal = "phase_diagram"\nsystem = "Cu-Au"', tmp_path, gold).tables["engine"]
    assert (engine["ecutwfc_ry"], engine["ecutrho_ry"]) == (60, 240)
    assert look_around(["Si", "Cu"], str(pseudo_dir), "PBE", {}).lacking == ("Cu",)
    assert look_around(["Si"], str(tmp_path / "nothing"), None, {}).lacking == ("Si",)


def test_magnetic_elements_start_polarised(tmp_path: Path, pseudo_dir: Path) -> None:
    around = look_around(["Fe"], str(pseudo_dir), None, {})
    assert around.files == {"Fe": "Fe.pbe.UPF"}
    found = grown('goal = "elastic"\nsystem = "Fe"', tmp_path, around)
    assert found.tables["engine"]["spin"] == "free"
    assert found.tables["engine"]["system"] == {"starting_magnetization": {"Fe": 0.5}}
    assert "ferromagnetic" in found.text.splitlines()[2]
    fixed = grown('goal = "elastic"\nsystem = "Fe"\n[engine]\noccupations = "fixed"', tmp_path, around)
    assert fixed.tables["engine"]["spin"] == "none"
    assert "smearing" not in fixed.tables["engine"]


@pytest.mark.parametrize(("system", "timestep_fs"), [("LiH rocksalt", 0.5), ("MgO", 1.0), ("Al", 2.0)])
def test_the_time_step_follows_the_lightest_atom(system: str, timestep_fs: float, tmp_path: Path) -> None:
    found = grown(f'goal = "diffusion"\nsystem = "{system}"\ntemperatures_k = [300]', tmp_path)
    assert found.tables["diffusion"]["timestep_fs"] == timestep_fs


def test_segments_follow_from_what_is_produced(tmp_path: Path) -> None:
    text = 'goal = "diffusion"\nsystem = "Al"\ntemperatures_k = [900]\n[diffusion]\nproduce_ps = 101.0'
    assert grown(text, tmp_path).tables["diffusion"]["segments"] == 11
    assert grown(f"{text}\nsegments = 2", tmp_path).tables["diffusion"]["segments"] == 2


def test_a_file_is_a_system_too(tmp_path: Path) -> None:
    (tmp_path / "cell.xyz").write_text('1\nLattice="2 2 0 0 2 2 2 0 2" pbc="T T T"\nCu 0 0 0\n')
    found = grown('goal = "diffusion"\nsystem = "cell.xyz"\ntemperatures_k = [900]', tmp_path)
    assert found.tables["structures"] == {"source": "cell.xyz"}
    assert found.tables["diffusion"]["relax"] is False  # the cell is the user's
    same = grown('goal = "diffusion"\ntemperatures_k = [900]\n[structures]\nsource = "cell.xyz"', tmp_path)
    assert same.tables["diffusion"] == found.tables["diffusion"]
    (tmp_path / "molecule.xyz").write_text("2\n\nO 0 0 0\nO 0 0 1.2\n")
    error = refusal('goal = "elastic"\nsystem = "molecule.xyz"', tmp_path)
    assert error.key == "system"
    assert "crystals" in error.message


def test_several_structures_are_one_workflow(tmp_path: Path) -> None:
    for name, edge in (("a", 3.6), ("b", 4.0)):
        (tmp_path / f"{name}.xyz").write_text(f'1\nLattice="{edge} 0 0 0 {edge} 0 0 0 {edge}" pbc="T T T"\nCu 0 0 0\n')
    text = 'goal = "elastic"\n[structures]\nsource = "*.xyz"'
    system = find_system(read(text), tmp_path)
    assert (system.count, system.elements, system.is_built) == (2, ("Cu",), False)
    assert grown(text, tmp_path).tables["structures"] == {"source": "*.xyz"}


def test_a_phase_diagram_needs_every_element_by_itself(tmp_path: Path) -> None:
    for name, atoms in (("cu", ("Cu",)), ("cuau", ("Cu", "Au"))):
        lines = "".join(f"{symbol} {n} 0 0\n" for n, symbol in enumerate(atoms))
        (tmp_path / f"{name}.xyz").write_text(f'{len(atoms)}\nLattice="4 0 0 0 4 0 0 0 4" pbc="T T T"\n{lines}')
    text = 'goal = "phase_diagram"\nengine = "emt"\n[structures]\nsource = "*.xyz"\n[phase_diagram]\n'
    error = refusal(text, tmp_path)
    assert error.key == "structures"
    assert "no structure is of Au alone" in error.message
    for energy in ("references_ev_per_atom.Au = -3.2", "energies_ev_per_atom.Au4 = -3.2"):
        assert grown(text + energy, tmp_path).tables["recipe"] == "phase_diagram"
    with pytest.raises(SpecError, match="Au alone"):
        grown(f"{text}energies_ev_per_atom.CuAu3 = -3.2", tmp_path)


def test_of_a_compound_a_phase_diagram_is_its_elements_written_so(tmp_path: Path) -> None:
    error = refusal('goal = "phase_diagram"\nsystem = "CuAu"\nengine = "emt"', tmp_path)
    assert 'write system = "Cu-Au" for orderings' in error.message


def test_species_that_are_not_there_are_refused_before_anything_runs(tmp_path: Path) -> None:
    text = 'goal = "diffusion"\nsystem = "Cu"\nengine = "emt"\ntemperatures_k = [1500]\ndiffusion.species = ["{}"]'
    assert grown(text.format("Cu"), tmp_path).tables["diffusion"]["species"] == ["Cu"]
    error = refusal(text.format("Al"), tmp_path)
    assert (error.key, error.line) == ("diffusion.species", 5)
    assert error.message == "there is no Al among the atoms; there are Cu"


def test_settings_of_lower_rank_are_left_to_hold(tmp_path: Path) -> None:
    around = Surroundings({"slots": 4, "resources.memory": "5GB"})
    found = grown('goal = "elastic"\nsystem = "Cu"', tmp_path, around)
    assert "slots" not in found.tables
    assert "memory" not in found.tables["resources"]
    assert found.elsewhere == {"slots": 4, "resources.memory": "5GB"}
    assert 'slots = 4, resources.memory = "5GB"' in found.text.splitlines()[3]
    said = grown('goal = "elastic"\nsystem = "Cu"\nslots = 2', tmp_path, around)
    assert said.tables["slots"] == 2


def test_what_the_goal_says_goes_over_the_rules(tmp_path: Path) -> None:
    text = """goal = "elastic"
system = "Cu"
pressure_gpa = 2.5
id = "copper"
cluster = "hpc"
engine.fmax = 0.1
[elastic]
amplitudes = [0.02]
[resources]
cores = 4
[[on_complete]]
action = "export"
format = "csv"
[metadata]
project = "x"
"""
    found = grown(text, tmp_path)
    spec = spec_of(found)
    assert (spec.id, spec.cluster, spec.resources.cores, spec.resources.walltime) == ("copper", "hpc", 4, "1h")
    assert (spec.elastic.amplitudes, spec.elastic.pressure_gpa) == ((0.02,), 2.5)
    assert spec.engine == {"name": "emt", "fmax": 0.1}
    assert spec.metadata == {"project": "x", "goal": parse_toml(text, "")}
    assert "fmax = 0.1                              # as the goal says" in found.text


def test_a_sweep_goes_through(tmp_path: Path) -> None:
    found = grown('goal = "elastic"\nsystem = "Cu"\nid = "s"\n[sweep]\n"engine.fmax" = [0.1, 0.01]', tmp_path)
    assert found.tables["sweep"] == {"engine.fmax": [0.1, 0.01]}
    assert parse_toml(found.text, "") == found.tables


def test_every_example_grows(tmp_path: Path) -> None:
    around = Surroundings({}, "/p", "PBE", {"Si": "Si.UPF"}, (), 30.0)
    names = []
    for path in sorted(EXAMPLES.glob("*.toml")):
        spec = spec_of(grown(path.read_text(), tmp_path, around if path.stem == "silicon" else None))
        names.append(spec.recipe)
    assert set(names) == set(GOALS)


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "told"),
    [
        ('goal = "elstic"\nsystem = "Si"', "goal", "did you mean 'elastic'?"),
        ('goal = "band structure"\nsystem = "Si"', "goal", "penstockctl new"),
        ("goal = 3", "goal", "elastic"),
        ('goal = "elastic"', "system", 'system = "Si"'),
        ('goal = "elastic"\nsystem = 3', "system", "no text"),
        ('goal = "elastic"\nsystem = "Unobtainium"', "system", "Unobtainium"),
        ('goal = "elastic"\nsystem = "Cu"\naccuracy = "quik"', "accuracy", "did you mean 'quick'?"),
        ('goal = "elastic"\nsystem = "Cu"\ntemperature_k = 3', "temperature_k", "did you mean 'temperatures_k'?"),
        ('goal = "elastic"\nsystem = "Cu"\ntemperatures_k = [3]', "temperatures_k", "diffusion and equilibrate"),
        ('goal = "elastic"\nsystem = "Cu"\nrecipe = "campaign"', "recipe", "leave one"),
        ('goal = "elastic"\nsystem = "Cu"\nstructures.source = "a.xyz"', "structures", "leave one"),
        ('goal = "elastic"\nsystem = "Cu"\nstructures = "a.xyz"', "structures", "[structures]"),
        ('goal = "elastic"\nstructures.sorce = "a.xyz"\nsystem = "Cu"', "structures.sorce", "sorce"),
        ('goal = "elastic"\nsystem = "Cu"\npressure_gpa = 1\nelastic.pressure_gpa = 2', "pressure_gpa", "twice"),
        ('goal = "elastic"\nsystem = "Cu"\nelastic.amplitudes = [5]', "elastic.amplitudes", "at most 0.1"),
        ('goal = "elastic"\nsystem = "Cu"\nelastic.amplitude = [5]', "elastic.amplitude", "amplitudes"),
        ('goal = "elastic"\nsystem = "Cu"\npressure_gpa = "high"', "pressure_gpa", "expected"),
        ('goal = "elastic"\nsystem = "Cu"\nslots = 0', "slots", "between 1"),
        ('goal = "elastic"\nsystem = "Cu"\nmetadata.goal = 1', "metadata.goal", "choose others"),
        ('goal = "elastic"\nsystem = "Cu"\nmetadata = 1', "metadata.goal", "a table [metadata]"),
        ('goal = "elastic"\nsystem = "W"\nengine = "emt"', "engine", "not W"),
        ('goal = "elastic"\nsystem = "Cu"\nengine = 3', "engine", "is a name"),
        ('goal = "elastic"\nsystem = "Cu"\nengine.name = 3', "engine", "is a name"),
        ('goal = "elastic"\nsystem = "Cu"\nresources = 3', "resources", "expected"),
        ('goal = "elastic"\nsystem = "Cu"\nelastic = "yes"', "elastic", "expected"),
        ('goal = "diffusion"\nsystem = "Cu"\ntemperatures_k = 900', "temperatures_k", "expected"),
        ('goal = "diffusion"\nsystem = "Cu"\ntemperatures_k = [900]\ndiffusion = 3', "diffusion", "is a table"),
        ('goal = "diffusion"\nsystem = "Cu"', "temperatures_k", "temperatures_k = [800, 1000, 1200]"),
        ('goal = "diffusion"\nsystem = "Cu"\ntemperatures_k = [-1]', "temperatures_k", "above 0"),
        ('goal = "equilibrate"\nsystem = "Cu"\ntemperatures_k = [1, 2]', "temperatures_k", "one temperature"),
        ('goal = "phase_diagram"\nsystem = "Cu"', "system", "at least two elements"),
        ('goal = "phase_diagram"\nsystem = "Cu-Au"\nmax_atoms = 99', "max_atoms", "between 1"),
    ],
)
def test_refusals_name_the_key_and_what_to_write(text: str, key: str, told: str, tmp_path: Path) -> None:
    error = refusal(text, tmp_path)
    assert error.key == key
    assert told in error.message


def test_a_refusal_knows_its_line(tmp_path: Path) -> None:
    error = refusal('goal = "diffusion"\nsystem = "Cu"\ntemperatures_k = [5, 5]', tmp_path)
    assert (error.file, error.line, error.key) == ("/somewhere/goal.toml", 3, "temperatures_k")


@pytest.mark.parametrize("engine", ["", 'engine = "espresso"'])
def test_without_pseudopotentials_a_plan_says_what_to_fill_in(engine: str, tmp_path: Path) -> None:
    found = grown(f'goal = "elastic"\nsystem = "Si"\n{engine}', tmp_path)
    assert (found.tables["engine"]["name"], found.tables["engine"]["pseudo_dir"]) == ("espresso", "")
    assert any("fill in the folder of your pseudopotentials" in caution for caution in found.cautions)
    assert "to be filled in" in found.text


def test_the_usual_folder_is_looked_at_where_nothing_is_named(
    tmp_path: Path, pseudo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "USUAL_FOLDERS", (str(tmp_path / "none"), str(pseudo_dir)))
    assert surroundings.find_pseudo_dir({}) == str(pseudo_dir)
    assert surroundings.find_pseudo_dir({"ESPRESSO_PSEUDO": "/mine"}) == "/mine"


def test_missing_pseudopotentials_are_named(tmp_path: Path, pseudo_dir: Path) -> None:
    text = 'goal = "elastic"\nsystem = "Al"\nengine = "espresso"'
    error = refusal(text, tmp_path, look_around(["Al"], str(pseudo_dir), None, {}))
    assert error.key == "engine.pseudo_dir"
    assert "for Al" in error.message
    given = f"{text}\n".replace('engine = "espresso"', '[engine]\nname = "espresso"\nfunctional = "PBE"')
    assert "of PBE for Al" in refusal(given, tmp_path, look_around(["Al"], str(pseudo_dir), "PBE", {})).message


def test_tight_binding_is_chosen_for_large_cells_only(tmp_path: Path) -> None:
    text = 'goal = "elastic"\nsystem = "Si"'
    goal, system = read(text), find_system(read(text), tmp_path)
    large = msgspec.structs.replace(system, atoms=64)
    assert grow(goal, large, Surroundings()).tables["engine"]["name"] == "tblite"
    forced = grown(f'{text}\nengine = "tblite"', tmp_path)
    assert forced.cautions
    assert "Gamma" in forced.text.splitlines()[2]


def test_no_name_gets_out_of_its_comment(tmp_path: Path) -> None:
    text = 'goal = "elastic"\nsystem = " Cu\\n"'
    goal = read(text)
    found = grow(goal, find_system(goal, tmp_path), Surroundings(), "a\nslots = 9\x1b.toml", text)
    assert found.tables["slots"] == 16
    assert parse_toml(found.text, "") == found.tables


def test_what_is_a_goal() -> None:
    assert is_goal({"goal": "x"})
    assert not is_goal({"recipe": "campaign"})
    with pytest.raises(SpecError, match=r"this is a goal file.*penstockctl plan") as caught:
        decode_spec({"goal": "elastic", "system": "Si"}, 'system = "Si"\ngoal = "elastic"', "g.toml")
    assert caught.value.line == 2


# ---- merging and writing --------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c d", "é"])
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=5),
    st.lists(st.integers(0, 9), max_size=3),
)
TABLES = st.recursive(
    st.dictionaries(NAMES, VALUES, max_size=3), lambda inner: st.dictionaries(NAMES, inner | VALUES, max_size=3)
)


def leaves(table: dict[str, Any], way: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for key, value in table.items():
        found |= leaves(value, (*way, key)) if isinstance(value, dict) else {(*way, key): value}
    return found


@given(TABLES, TABLES, TABLES)
def test_merging_is_one_rule(below: dict[str, Any], above: dict[str, Any], top: dict[str, Any]) -> None:
    merged = merge(below, above)
    assert leaves(above).items() <= leaves(merged).items()  # all that is above holds
    for way, value in leaves(merged).items():  # and nothing is there that nobody said
        assert leaves(above).get(way, leaves(below).get(way)) == value
    assert merge(merged, above) == merged
    assert merge({}, above) == above == merge(above, {})
    assert merge(merge(below, above), top) == merge(below, merge(above, top)) or _replaced(below, above, top)


def _replaced(below: dict[str, Any], above: dict[str, Any], top: dict[str, Any]) -> bool:
    """Whether a value stands between two tables: then what is below it is gone, or not, by the order of merging."""
    return any(
        isinstance(below.get(key), dict) and isinstance(top.get(key), dict) and not isinstance(above.get(key), dict)
        for key in above
    ) or any(
        isinstance(table, dict) and _replaced(table, above[key], top[key])
        for key, table in below.items()
        if isinstance(above.get(key), dict) and isinstance(top.get(key), dict)
    )


@given(TABLES, st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=200))
def test_what_is_written_reads_as_what_it_was(tables: dict[str, Any], comment: str) -> None:
    comments = {".".join(way): comment.strip() for way in leaves(tables)} | {"a": comment.strip()}
    text = write_text(tables, comments, ["heading"])
    assert parse_toml(text, "") == tables


def test_dotted_keys_are_tables() -> None:
    assert nested("a.b.c", 1) == {"a": {"b": {"c": 1}}}
    assert value_at({"a": {"b": 1}}, "a.b") == 1
    assert value_at({"a": 1}, "a.b") is None
    assert METADATA == "metadata.goal"


def test_rules_compare_as_values() -> None:
    assert Rule("a", 1, "because it is", CONVENTION) == Rule("a", 1, "because it is", CONVENTION)
    assert System({}, (), 0, 0, is_crystal=True, is_built=False).with_source("x").structures == {"source": "x"}
