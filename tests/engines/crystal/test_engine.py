from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.engines.crystal import outputs as out
from tests.engines.crystal.decks import OPTIMISATION

from penstock.domain.calculation import Calculation, Evidence, Exit, FailureClass, Outcome
from penstock.domain.errors import SpecError
from penstock.domain.spec import is_file_name
from penstock.engines.crystal.engine import CrystalEngine
from penstock.engines.crystal.parameters import CrystalParameters
from penstock.engines.engine import Role

ENGINE = CrystalEngine()
DECK = OPTIMISATION.replace(
    "225\n5.63\n2\n11 0.0 0.0 0.0\n17 0.5 0.5 0.5 Biso 1.0 Cl\n", "227\n3.544\n1\n6 0.125 0.125 0.125 Biso 1.0 C\n"
)
WELL = Exit(0, None, 0.0, 1.0)


def no_files(path: str) -> str:
    raise SpecError(f"no {path}", key="x")


def parameters(**table: Any) -> CrystalParameters:
    return ENGINE.parameters(table, no_files)


def calculation(*previous: str) -> Calculation:
    return Calculation("salt", "1\n\nNa 0 0 0\n", 0, 1, 1, 4000, 8, DECK, previous)


def lines(text: str) -> list[str]:
    return text.splitlines()


def read(directory: Path, text: str, end: Exit = WELL, **table: Any) -> Outcome:
    (directory / "stdout").write_text(text)
    (directory / "DECK").write_text(DECK)
    return ENGINE.read(directory, end, parameters(**table))


def in_role(role: Role, **table: Any) -> CrystalParameters:
    checked = msgspec.to_builtins(parameters(**table))
    return msgspec.convert(checked | ENGINE.roles[role], CrystalParameters)


# ---- what recipes ask for ----


def test_roles_relax_the_atoms_or_the_cell_too_in_the_structure_s_own_deck() -> None:
    cell = ENGINE.render(calculation(), in_role(Role.RELAX_CELL)).files
    ions = ENGINE.render(calculation(), in_role(Role.RELAX_IONS)).files
    point = ENGINE.render(calculation(), in_role(Role.SINGLE_POINT)).files
    assert "OPTGEOM\nFULLOPTG\nMAXCYCLE\n100\n" in cell["INPUT"]
    assert "OPTGEOM\nMAXCYCLE\n100\n" in ions["INPUT"]
    assert "MAXCYCLE\n100\n" not in point["INPUT"]
    assert cell["DECK"] == ions["DECK"]  # what further attempts start from stays the structure's own


def test_a_cell_that_a_molecule_has_not_is_refused() -> None:
    helium = Calculation("helium", "1\n\nHe 0 0 0\n", 0, 1, 1, 1000)
    with pytest.raises(SpecError, match="a molecule has no cell"):
        ENGINE.render(helium, in_role(Role.RELAX_CELL, hamiltonian={}))


def test_the_mesh_that_a_cell_gets_is_kept_for_those_like_it() -> None:
    lattice = 'Lattice="0 {h} {h} {h} 0 {h} {h} {h} 0" pbc="T T T"'
    block = "2\n" + lattice + "\nC 0 0 0\nC {q} {q} {q}\n"
    given = parameters(hamiltonian={}, scf={"toldee": 9})
    small, large = (ENGINE.comparable(given, block.format(h=h, q=h / 2)) for h in (1.785, 1.9))
    assert (small["scf"]["shrink"], large["scf"]["shrink"]) == ((12, 24), (11, 22))
    held = msgspec.convert(msgspec.to_builtins(given) | small, CrystalParameters)
    assert held == msgspec.structs.replace(given, scf=msgspec.structs.replace(given.scf, shrink=(12, 24)))
    assert ENGINE.comparable(held, block.format(h=1.9, q=0.95)) == {}
    assert ENGINE.comparable(parameters(), block.format(h=1.9, q=0.95)) == {}  # a deck has its own
    assert ENGINE.comparable(given, "1\n\nHe 0 0 0\n") == {}


def test_no_mesh_for_what_is_no_crystal() -> None:
    flat = '2\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T"\nC 0 0 0\nC 0 0 0\n'
    with pytest.raises(SpecError) as raised:
        ENGINE.comparable(parameters(hamiltonian={}), flat)
    assert raised.value.key == "structures"


# ---- the table ----


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({"task": "optimize"}, "engine.task", "opt"),
        ({"comand": "x"}, "engine.comand", "command"),
        ({"command": ""}, "engine.command", "empty"),
        ({"properties": "run 'open"}, "engine.properties", "cannot be split"),
        ({"command": ["run", "a\0b"]}, "engine.command", "NUL"),
        ({"input": "pipe"}, "engine.input", "stdin"),
        ({"deck": "x.d12"}, "x", "no x.d12"),
        ({"band": {"point": 3}}, "engine.band.point", "points"),
        ({"band": {"points": 0}}, "engine.band.points", ">= 1"),
        ({"doss": {"projections": "all"}}, "engine.doss.projections", "elements"),
        (
            {"edits": [{"block": "scf", "keyword": "MAXCYCLE", "set": 3}, {"block": "scf"}]},
            "engine.edits[1]",
            "missing",
        ),
        ({"edits": [{"block": "scf", "keyword": "MAXCYCLE", "set": 3, "add": 1}]}, "engine.edits[0]", "exactly one"),
    ],
)
def test_a_wrong_table_is_refused_with_its_key(table: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        parameters(**table)
    assert (raised.value.key or "").startswith(key)
    assert message in raised.value.message


def test_a_template_that_is_no_deck_is_refused_with_its_line() -> None:
    with pytest.raises(SpecError, match=r"engine.deck: x.d12: line 2"):
        ENGINE.parameters({"deck": "x.d12"}, lambda _: "a title\nBALL\n")


def test_what_is_fetched_are_names_of_files() -> None:
    for task in ENGINE.tasks:
        assert all(is_file_name(name) or name in {"stdout", "stderr"} for name in ENGINE.outputs(parameters(task=task)))


# ---- decks ----


def test_a_deck_is_given_the_task_and_the_edits() -> None:
    edits = [{"block": "scf", "keyword": "MAXCYCLE", "set": 500}]
    single = ENGINE.render(calculation(), parameters(task="sp", edits=edits))
    assert set(single.files) == {"INPUT", "DECK"}
    assert single.argv == ["Pcrystal"]
    assert single.carry == {}
    text = lines(single.files["INPUT"])
    assert text[0] == "OPTGEOM"  # the title
    assert "OPTGEOM" not in text[1:]
    assert text[text.index("MAXCYCLE") + 1] == "500"
    assert single.files["DECK"] == DECK
    optimisation = lines(ENGINE.render(calculation(), parameters(task="opt", edits=edits)).files["INPUT"])
    assert [optimisation[place + 1] for place, line in enumerate(optimisation) if line == "MAXCYCLE"] == ["100", "500"]
    assert "FREQCALC" in ENGINE.render(calculation(), parameters(task="freq")).files["INPUT"]


@pytest.mark.parametrize(
    ("task", "previous", "carry", "words"),
    [
        ("sp", ("fort.9",), {"fort.9": "fort.20"}, {"GUESSP"}),
        ("sp", ("fort.20",), {"fort.20": "fort.20"}, {"GUESSP"}),
        ("sp", ("fort.9", "OPTINFO.DAT"), {"fort.9": "fort.20"}, {"GUESSP"}),
        ("opt", ("OPTINFO.DAT",), {"OPTINFO.DAT": "OPTINFO.DAT"}, {"RESTART"}),
        (
            "opt",
            ("fort.79", "OPTINFO.DAT"),
            {"fort.79": "fort.20", "OPTINFO.DAT": "OPTINFO.DAT"},
            {"GUESSP", "RESTART"},
        ),
        ("freq", ("FREQINFO.DAT",), {"FREQINFO.DAT": "FREQINFO.DAT"}, {"RESTART"}),
        ("opt", (), {}, set()),
    ],
)
def test_files_of_a_run_before_are_carried_and_asked_for(
    task: str, previous: tuple[str, ...], carry: dict[str, str], words: set[str]
) -> None:
    rendered = ENGINE.render(calculation(*previous), parameters(task=task))
    assert rendered.carry == carry
    assert {"GUESSP", "RESTART"} & set(lines(rendered.files["INPUT"])) == words
    plain = ENGINE.render(calculation(*previous), parameters(task=task, guess=False, resume=False))
    assert plain.carry == {}
    assert not {"GUESSP", "RESTART"} & set(lines(plain.files["INPUT"]))


def test_what_a_deck_asks_for_without_a_file_is_left_out() -> None:
    text = DECK.replace("FULLOPTG", "FULLOPTG\nRESTART").replace("FMIXING", "GUESSP\nFMIXING")
    asking = Calculation("salt", "1\n\nNa 0 0 0\n", 0, 1, 1, 4000, 8, text)
    assert not {"GUESSP", "RESTART"} & set(lines(ENGINE.render(asking, parameters(task="opt")).files["INPUT"]))


def test_a_program_that_reads_standard_input_gets_it_from_the_file() -> None:
    rendered = ENGINE.render(calculation(), parameters(command="/opt/crystal -x 'a b'", input="stdin"))
    assert rendered.argv == ["sh", "-c", 'exec "$0" "$@" < INPUT', "/opt/crystal", "-x", "a b"]


def test_a_deck_that_cannot_be_read_is_told_with_its_line() -> None:
    wrong = Calculation("salt", "1\n\nNa 0 0 0\n", 0, 1, 1, 4000, 8, "title\nCRYSTAL\n0 0 0\n")
    with pytest.raises(SpecError, match="the deck of salt: line"):
        ENGINE.render(wrong, parameters())


# ---- outcomes ----


def test_a_single_point_hands_on_its_deck_and_wavefunction_but_no_geometry(tmp_path: Path) -> None:
    for name in ("fort.9", "fort.98", "fort.34", "OPTINFO.DAT"):
        (tmp_path / name).write_text("x")
    (tmp_path / "fort.25").write_text("")
    outcome = read(tmp_path, out.SINGLE_POINT)
    assert (outcome.failure, outcome.final_energy_hartree, outcome.scf_cycles) == (None, -76.217192491426, 6)
    assert outcome.checkpoint == ["fort.9", "fort.98"]
    assert outcome.geometry is None
    assert outcome.deck == DECK + "# penstock: 36 orbitals, 12 electrons, atoms 6x2\n"
    assert {"stdout", "fort.9", "fort.98", "fort.34"} <= set(outcome.files)
    assert "fort.25" not in outcome.files


def test_an_optimisation_hands_on_its_geometry(tmp_path: Path) -> None:
    outcome = read(tmp_path, out.OPTIMISATION, task="opt")
    assert outcome.failure is None
    assert outcome.geometry is not None
    assert "3.54497278" in (outcome.deck or "")
    assert outcome.max_force_hartree_per_bohr == 0.000122
    assert outcome.properties["band_gap_ev"] == 6.001


def test_a_deck_whose_atoms_another_keyword_made_hands_on_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_text(out.OPTIMISATION)
    (tmp_path / "DECK").write_text(
        DECK.replace("OPTGEOM\nFULLOPTG", "SUPERCEL\n1 0 0\n0 1 0\n0 0 1\nOPTGEOM\nFULLOPTG")
    )
    text = lines(ENGINE.read(tmp_path, WELL, parameters(task="opt")).deck or "")
    assert text[1:6] == [
        "CRYSTAL",
        "0 0 0",
        "1",
        "2.50667429 2.50667429 2.50667429 60.00000000 60.00000000 60.00000000",
        "2",
    ]
    assert "SUPERCEL" not in text
    assert "OPTGEOM" in text


def test_a_deck_that_is_not_there_is_not_handed_on(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_text(out.SINGLE_POINT)
    outcome = ENGINE.read(tmp_path, WELL, parameters())
    assert (outcome.failure, outcome.deck) == (None, None)


def test_frequencies_that_are_not_printed_are_missed(tmp_path: Path) -> None:
    assert read(tmp_path, out.SINGLE_POINT, task="freq").failure is FailureClass.OUTPUT_INVALID
    whole = out.SINGLE_POINT.replace(out.END, out.FREQUENCIES + out.END)
    outcome = read(tmp_path, whole, task="freq")
    assert outcome.failure is None
    assert outcome.properties["imaginary_frequencies"] == 2


def test_properties_without_their_data_did_not_do_it(tmp_path: Path) -> None:
    text = out.BANNER + out.START + " CRYSTAL - PROPERTIES - TYPE OF CALCULATION :  X\n" + out.END
    assert read(tmp_path, text, task="band").failure is FailureClass.OUTPUT_MISSING
    (tmp_path / "BAND.DAT").write_text("x")
    outcome = read(tmp_path, text, task="band")
    assert (outcome.failure, outcome.deck, outcome.checkpoint) == (None, DECK, [])
    assert "BAND.DAT" in outcome.files


def test_properties_hand_on_the_wavefunction_they_were_given_whether_they_fail_or_not(tmp_path: Path) -> None:
    (tmp_path / "fort.9").write_text("x")
    outcome = read(tmp_path, out.BANNER, Exit(None, 15, 0.0, 1.0, "timeout"), task="doss")
    assert (outcome.failure, outcome.deck, outcome.checkpoint) == (FailureClass.WALLTIME, DECK, ["fort.9"])


@pytest.mark.parametrize("name", ["fort.9", "fort.98"])
def test_properties_need_a_wavefunction(name: str) -> None:
    with pytest.raises(SpecError, match="needs the wavefunction of a step before"):
        ENGINE.render(calculation(), parameters(task="band"))
    rendered = ENGINE.render(calculation(name, "OPTINFO.DAT"), parameters(task="charge_potential", properties="props"))
    assert rendered.carry == {name: name}
    assert rendered.argv == ["props"]
    assert rendered.files["INPUT"].startswith("RDFMWF\n") == (name == "fort.98")
    assert rendered.files["DECK"] == DECK


def test_a_program_that_prints_to_standard_error_is_understood(tmp_path: Path) -> None:
    (tmp_path / "stderr").write_text(out.SINGLE_POINT)
    (tmp_path / "stdout").write_text("module loaded\n")
    (tmp_path / "DECK").write_text(DECK)
    assert ENGINE.read(tmp_path, WELL, parameters()).failure is None
    (tmp_path / "stderr").write_text(out.SINGLE_POINT.replace(out.SCF_END, out.TOO_MANY))
    outcome = ENGINE.read(tmp_path, WELL, parameters())
    assert outcome.evidence is not None
    assert outcome.evidence.file == "stderr"


@pytest.mark.parametrize("tail", ["", out.STARS + "\napplication called MPI_Abort(MPI_COMM_WORLD, 1) - process 7\n"])
def test_an_error_may_stand_in_a_file_of_its_own(tmp_path: Path, tail: str) -> None:
    (tmp_path / "fort.87").write_text("\n ERROR **** NEIGHB **** USE KEYWORD SMALLDIST TO RUN ANYWAY\n")
    outcome = read(tmp_path, out.HEAD + out.SCF_START + tail, Exit(1, None, 0.0, 1.0))
    assert outcome.failure is FailureClass.INPUT_ERROR
    assert outcome.evidence == Evidence("fort.87", 2, "ERROR **** NEIGHB **** USE KEYWORD SMALLDIST TO RUN ANYWAY")


def test_what_the_system_says_explains_an_abort(tmp_path: Path) -> None:
    (tmp_path / "stderr").write_text("forrtl: No space left on device\n")
    text = out.HEAD + "application called MPI_Abort(MPI_COMM_WORLD, 1) - process 7\n"
    assert read(tmp_path, text, Exit(1, None, 0.0, 1.0)).failure is FailureClass.DISK


def test_without_an_output_the_exit_tells(tmp_path: Path) -> None:
    missing = ENGINE.read(tmp_path, WELL, parameters())
    assert (missing.failure, "cannot be read" in (missing.message or "")) == (FailureClass.OUTPUT_MISSING, True)
    assert ENGINE.read(tmp_path, Exit(None, 9, 0.0, 1.0), parameters()).failure is FailureClass.SIGNAL
    assert ENGINE.read(tmp_path, Exit(None, None, 0.0, 1.0, "timeout"), parameters()).failure is FailureClass.WALLTIME


def test_a_good_output_with_a_bad_exit_is_no_success(tmp_path: Path) -> None:
    assert read(tmp_path, out.SINGLE_POINT, Exit(1, None, 0.0, 1.0)).failure is FailureClass.EXIT_CODE


def test_the_newest_wavefunction_is_what_a_failed_run_leaves(tmp_path: Path) -> None:
    import os

    for time, name in enumerate(("fort.20", "fort.9", "fort.79")):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, ns=(time, time))
    killed = Exit(None, 15, 0.0, 1.0, "timeout")
    assert read(tmp_path, out.HEAD, killed).checkpoint == ["fort.79"]
    (tmp_path / "OPTINFO.DAT").write_text("x")
    interrupted = read(tmp_path, out.FIRST_POINT + out.POINT_2 + out.DIAMOND, killed, task="opt")
    assert interrupted.checkpoint == ["fort.79", "OPTINFO.DAT"]
    assert interrupted.deck == DECK
    anew = read(tmp_path, out.FIRST_POINT + out.POINT_2 + out.DIAMOND, killed, task="opt", resume=False)
    assert anew.checkpoint == ["fort.79"]
    assert "3.54497278" in (anew.deck or "")


def test_files_that_may_be_the_main_output() -> None:
    names = ["a.d12", "b.out.gz", "stderr", "SCFOUT.LOG", "a.out", "stdout", "fort.9", "x.o"]
    assert ENGINE.main_output(names) == ["stdout", "stderr", "a.out", "b.out.gz"]


def test_rules_have_names_of_their_own_and_say_why() -> None:
    assert len({rule.name for rule in ENGINE.rules}) == len(ENGINE.rules)
    assert all(rule.why or rule.person for rule in ENGINE.rules)
    ENGINE.load()
