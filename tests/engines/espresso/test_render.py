"""Tables, pseudopotentials and inputs; no pw.x is needed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.domain.calculation import Calculation, FailureClass
from penstock.domain.errors import SpecError
from penstock.domain.geometry import parse_geometry
from penstock.domain.remedy import NoRemedy, Remedy, decide_remedy
from penstock.domain.resources import Resources
from penstock.engines.engine import Role
from penstock.engines.espresso import EspressoEngine
from penstock.engines.espresso.parameters import EspressoParameters
from penstock.engines.espresso.pseudopotentials import read_header
from penstock.engines.espresso.render import kpoint_counts

ENGINE = EspressoEngine()
CELL = 'Lattice="5 0 0 0 5 0 0 0 5" pbc="T T T"'
SALT = f"2\n{CELL}\nNa 0 0 0\nCl 2.5 2.5 2.5\n"


def upf(
    element: str, functional: str = "PBE", kind: str = "NC", wfc: str = "30", rho: str = "120", so: str = "F"
) -> str:
    return (
        f'<UPF version="2.0.1">\n<PP_INFO>\n</PP_INFO>\n<PP_HEADER\nelement="{element}"\npseudo_type="{kind}"\n'
        f'functional="{functional}"\nhas_so="{so}"\nwfc_cutoff="{wfc}"\nrho_cutoff="{rho}"/>\n'
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "Na.pbe-spn.UPF": upf("Na", wfc="4.01E+001"),
        "Cl.pbe-us.UPF": upf(" Cl", "SLA  PW   PBX  PBC", "US", "35.5", "301.2"),
        "Cl.pz.UPF": upf("Cl", " SLA  PZ   NOGX NOGC"),
        "O.pbe-1.UPF": upf("O"),
        "O.pbe-2.UPF": upf("O"),
        "Fe.rel-pbe.UPF": upf("Fe", so="T"),
        "Si.wrong.UPF": upf("Ge"),
        "notes.txt": "",
        "broken.UPF": "<UPF>",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def parameters(folder: Path, **table: Any) -> EspressoParameters:
    return ENGINE.parameters({"pseudo_dir": str(folder), "functional": "PBE", **table}, lambda name: name)


def job(given: EspressoParameters, geometry: str = SALT, charge: int = 0, multiplicity: int = 1) -> str:
    rendered = ENGINE.render(Calculation("x", geometry, charge, multiplicity, 1, 100), given)
    assert rendered.argv == [*given.command, "-in", "job.in"]
    assert rendered.carry == {}
    return rendered.files["job.in"]


def test_an_input_with_pseudopotentials_and_cutoffs_chosen_by_element(folder: Path) -> None:
    text = job(parameters(folder, task="relax", kpoints=[3, 3, 3]))
    assert "calculation = 'relax'" in text
    assert "ecutwfc = 41.0" in text  # the higher of 40.1 and 35.5
    assert "ecutrho = 302.0" in text
    assert "Na 22.9898 Na.pbe-spn.UPF\nCl 35.4500 Cl.pbe-us.UPF" in text
    assert "K_POINTS automatic\n3 3 3 0 0 0" in text
    assert "CELL_PARAMETERS angstrom\n5.0 0.0 0.0" in text
    assert text.endswith("ATOMIC_POSITIONS angstrom\nNa 0 0 0\nCl 2.5 2.5 2.5\n")


def test_what_the_table_says_goes_over_what_the_files_suggest(folder: Path) -> None:
    given = parameters(folder, ecutwfc_ry=20, ecutrho_ry=160, stress=True, command="pw.x -nk 2")
    text = job(given)
    assert "ecutwfc = 20.0" in text
    assert "ecutrho = 160.0" in text
    assert "tstress = .true." in text
    assert given.command == ["pw.x", "-nk", "2"]


def test_charge_and_multiplicity_are_the_structures(folder: Path) -> None:
    text = job(parameters(folder), charge=1, multiplicity=2)
    assert "tot_charge = 1.0" in text
    assert "nspin = 2\n  tot_magnetization = 1.0" in text
    assert "nspin" not in job(parameters(folder))
    assert "nspin = 1" in job(parameters(folder, spin="none"), multiplicity=2)
    free = parameters(folder, spin="free", occupations="smearing", system={"starting_magnetization": {"Cl": 0.5}})
    text = job(free)
    assert "starting_magnetization(2) = 0.5" in text
    assert "tot_magnetization" not in text
    assert "smearing = 'marzari-vanderbilt'\n  degauss = 0.01" in text


def test_namelists_are_written_as_fortran_reads_them(folder: Path) -> None:
    more = {"title": "it's", "wf_collect": True, "verbosity": "high"}
    text = job(parameters(folder, control=more, electrons={"conv_thr": 1e-9, "electron_maxstep": 50}))
    assert "title = 'it''s'" in text
    assert "wf_collect = .true." in text
    assert "conv_thr = 1e-09\n  electron_maxstep = 50" in text


def test_parameters_survive_json(folder: Path) -> None:
    given = parameters(folder, kpoints=[2, 2, 2], system={"nbnd": 8})
    assert msgspec.json.decode(msgspec.json.encode(given), type=EspressoParameters) == given


def test_k_points_are_no_further_apart_than_asked() -> None:
    geometry = parse_geometry('1\nLattice="3 0 0 0 6 0 0 0 20" pbc="T T F"\nC 0 0 0\n')
    assert geometry.lattice is not None
    assert kpoint_counts(geometry.lattice, geometry.pbc, 0.3) == (7, 4, 1)


def test_cells_a_little_different_get_the_k_points_of_the_first(folder: Path) -> None:
    given = parameters(folder, kspacing_per_angstrom=0.3142)
    long = SALT.replace('0 0 5"', '0 0 4.9"')
    assert "K_POINTS automatic\n4 4 4 0 0 0" in job(given)
    assert "K_POINTS automatic\n4 4 5 0 0 0" in job(given, long)
    over = ENGINE.comparable(given, SALT)
    held = msgspec.convert(msgspec.to_builtins(given) | over, EspressoParameters)
    assert "K_POINTS automatic\n4 4 4 0 0 0" in job(held, long)
    assert ENGINE.comparable(held, long) == over


def test_a_shifted_mesh_compares_nothing(folder: Path) -> None:
    with pytest.raises(SpecError, match="may lack symmetry of the lattice") as raised:
        ENGINE.comparable(parameters(folder, kpoints_shift=[0, 0, 1]), SALT)
    assert raised.value.key == "engine.kpoints_shift"


@pytest.mark.parametrize("geometry", ["1\n\nNa 0 0 0\n", '1\nLattice="5 0 0 5 0 0 0 0 5" pbc="T T F"\nNa 0 0 0\n'])
def test_there_are_no_k_points_without_a_cell(folder: Path, geometry: str) -> None:
    with pytest.raises(SpecError) as raised:
        ENGINE.comparable(parameters(folder), geometry)
    assert raised.value.key == "structures"


def test_roles_are_tight_where_the_table_says_nothing_itself(folder: Path) -> None:
    checked = msgspec.to_builtins(parameters(folder, electrons={"conv_thr": 1e-6}, control={"forc_conv_thr": 1e-3}))
    cell, ions, point = (
        job(msgspec.convert(checked | ENGINE.roles[role], EspressoParameters))
        for role in (Role.RELAX_CELL, Role.RELAX_IONS, Role.SINGLE_POINT)
    )
    for text in (cell, ions, point):
        assert "tstress = .true." in text
        assert "tprnfor = .true." in text
        assert "conv_thr = 1e-06" in text
        assert "etot_conv_thr = 1e-07" in text  # of two atoms
        assert "forc_conv_thr = 0.001" in text
    assert ["calculation = 'vc-relax'" in cell, "press_conv_thr = 0.05" in cell] == [True, True]
    assert ["calculation = 'relax'" in ions, "press_conv_thr" in ions] == [True, False]
    assert "calculation = 'scf'" in point
    usual = job(msgspec.convert(checked | {"electrons": {}, "tight": True}, EspressoParameters))
    assert "conv_thr = 1e-10" in usual


def test_pressure_is_in_kilobar_to_pw_and_needs_a_cell_that_moves(folder: Path) -> None:
    assert "press = 25.0" in job(parameters(folder, task="vc-relax", pressure_gpa=2.5))
    assert "press = 3.0" in job(parameters(folder, task="vc-relax", cell={"press": 3.0}))
    assert "press =" not in job(parameters(folder, task="relax", pressure_gpa=2.5))
    over = msgspec.to_builtins(parameters(folder, task="vc-relax", cell={"press": 3.0})) | {"pressure_gpa": 0.0}
    assert "press = 0.0" in job(msgspec.convert(over, EspressoParameters))


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({"taks": "energy"}, "engine.taks", "task"),
        ({"task": "scf"}, "engine.task", "use one of energy"),
        ({"command": "pw.x -in x"}, "engine.command", "leave -in out"),
        ({"pseudo_dir": "relative"}, "engine.pseudo_dir", "absolute path"),
        ({"pseudo_dir": "/does/not/exist"}, "engine.pseudo_dir", "give pseudopotentials by element"),
        ({"functional": "B3LYP"}, "engine.pseudo_dir", "holds no pseudopotentials of B3LYP"),
        ({"pseudopotentials": {"Xx": "a.UPF"}}, "engine.pseudopotentials.Xx", "no element"),
        ({"pseudopotentials": {"Na": "../a.UPF"}}, "engine.pseudopotentials.Na", "plain file name"),
        ({"pseudopotentials": {"Na": "none.UPF"}}, "engine.pseudopotentials.Na", "No such file"),
        ({"pseudopotentials": {"Na": "broken.UPF"}}, "engine.pseudopotentials.Na", "no UPF file"),
        ({"pseudopotentials": {"Na": "Cl.pz.UPF"}}, "engine.pseudopotentials.Na", "of Cl, not of Na"),
        (
            {"pseudopotentials": {"Na": "Na.pbe-spn.UPF", "Cl": "Cl.pz.UPF"}},
            "engine.pseudopotentials",
            "LDA: Cl Cl.pz.UPF; PBE: Na Na.pbe-spn.UPF",
        ),
        ({"kpoints": [2, 2]}, "engine.kpoints", "length 3"),
        ({"kpoints": [0, 2, 2]}, "engine.kpoints", "from 1 to 1000"),
        ({"kpoints": [2, 2, 2], "kspacing_per_angstrom": 0.2}, "engine.kpoints", "not both"),
        ({"ecutwfc_ry": -1}, "engine.ecutwfc_ry", "above 0"),
        ({"ecutwfc_ry": 50, "ecutrho_ry": 100}, "engine.ecutrho_ry", "less than 4 times"),
        ({"degauss_ry": 0.01}, "engine.degauss_ry", "smearing"),
        ({"pressure_gpa": float("nan")}, "engine.pressure_gpa", "nan is not a number"),
        ({"pressure_gpa": -2e6}, "engine.pressure_gpa", "from -1e+06 to 1e+06"),
        ({"pressure_gpa": 1.0, "cell": {"PRESS": 5}}, "engine.pressure_gpa", "not both"),
        ({"spin": "free"}, "engine.spin", "free magnetisation"),
        ({"control": {"outdir": "/tmp"}}, "engine.control.outdir", "Penstock's to write"),
        ({"system": {"ecutwfc": 30}}, "engine.system.ecutwfc", "use ecutwfc_ry"),
        ({"system": {"celldm(1)": 30}}, "engine.system.celldm(1)", "the structure's"),
        ({"electrons": {"mixing_beta": 7}}, "engine.electrons.mixing_beta", "a number from 1e-06 to 1"),
        ({"electrons": {"electron_maxstep": 1.5}}, "engine.electrons.electron_maxstep", "a whole number"),
        ({"electrons": {"diagonalization": "lapack"}}, "engine.electrons.diagonalization", "use one of david"),
        ({"electrons": {"scf_must_converge": False}}, "engine.electrons.scf_must_converge", "failure"),
        ({"ions": {"x\n/": 1}}, "engine.ions.x\n/", "no name"),
        ({"ions": {"pot_extrapolation": "a\n/\n&x"}}, "engine.ions.pot_extrapolation", "one line"),
        ({"system": {"hubbard_u": {"Qq": 1.0}}}, "engine.system.hubbard_u", "no element"),
        ({"cell": {"press": [1]}}, "engine.cell.press", "a text, a finite number"),
    ],
)
def test_a_wrong_table_is_refused(folder: Path, table: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        parameters(folder, **table)
    assert raised.value.key == key
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ("1\n\nNa 0 0 0\n", "needs a cell"),
        (f"1\n{CELL}\nHe 0 0 0\n", "no pseudopotential for He"),
        (f"1\n{CELL}\nO 0 0 0\n", "several pseudopotentials for O"),
        (f"1\n{CELL}\nFe 0 0 0\n", "no pseudopotential for Fe"),  # the only one is for spin-orbit coupling
        (f"1\n{CELL}\nSi 0 0 0\n", "no pseudopotential for Si"),  # the only one is germanium's
    ],
)
def test_a_structure_that_cannot_be_calculated_is_refused(folder: Path, geometry: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        job(parameters(folder), geometry)


def test_files_chosen_by_element_are_of_one_functional(folder: Path) -> None:
    (folder / "Cl.pbe-us.UPF").unlink()
    given = ENGINE.parameters({"pseudo_dir": str(folder)}, lambda name: name)
    with pytest.raises(SpecError, match="different functionals"):
        job(given)


def test_on_another_host_the_names_are_taken_as_they_are() -> None:
    table = {"pseudo_dir": "/far/away", "pseudopotentials": {"Na": "Na.UPF", "Cl": "Cl.UPF"}}
    with pytest.raises(SpecError, match="suggests no cut-off"):
        job(ENGINE.parameters(table, lambda name: name))
    assert "ecutwfc = 30.0" in job(ENGINE.parameters({**table, "ecutwfc_ry": 30}, lambda name: name))


def test_a_header_of_the_first_version(tmp_path: Path) -> None:
    text = (
        "<PP_HEADER>\n   0                   Version Number\n  C                    Element\n"
        "   US                  Ultrasoft pseudopotential\n    F                  Nonlinear Core Correction\n"
        " SLA  PW   PBE  PBE     PBE  Exchange-Correlation functional\n    4.00      Z valence\n"
        "   25.0    200.0 Suggested cutoff for wfc and rho\n</PP_HEADER>\n"
    )
    (tmp_path / "C.UPF").write_text(text)
    element, found = read_header(tmp_path / "C.UPF")
    assert (element, found.functional, found.is_norm_conserving) == ("C", "PBE", False)
    assert (found.wfc_cutoff_ry, found.rho_cutoff_ry) == (25.0, 200.0)


# ---- rules ----


def decide(
    folder: Path, failure: FailureClass, text: str, used: dict[str, int], **table: Any
) -> Remedy | NoRemedy | None:
    before = msgspec.to_builtins(parameters(folder, **table))
    return decide_remedy(ENGINE.rules, failure, text, before, used, total=9, had=Resources(1, 1000, 600))


def test_an_scf_goes_through_its_rules_in_order(folder: Path) -> None:
    used: dict[str, int] = {}
    before = parameters(folder)
    for name in ("damp-mixing", "local-mixing", "smear"):
        remedy = decide_remedy(
            ENGINE.rules,
            FailureClass.SCF_NOT_CONVERGED,
            "",
            msgspec.to_builtins(before),
            used,
            total=9,
            had=Resources(1, 1000, 600),
        )
        assert isinstance(remedy, Remedy)
        assert remedy.rule == name
        used[name] = 1
        before = msgspec.convert(remedy.parameters, EspressoParameters)
    text = job(before)
    assert "mixing_mode = 'local-TF'" in text
    assert "occupations = 'smearing'" in text
    assert isinstance(decide(folder, FailureClass.SCF_NOT_CONVERGED, "", used), NoRemedy)


@pytest.mark.parametrize(
    ("failure", "text", "rule"),
    [
        (FailureClass.MODULE_CRASH, "c_bands: too many bands are not converged", "conjugate-gradients"),
        (FailureClass.MODULE_CRASH, "cdiaghg: problems computing cholesky", "conjugate-gradients"),
        (FailureClass.MODULE_CRASH, "scale_h: try restarting with a larger cell_factor", "larger-radial-table"),
        (FailureClass.LINEAR_DEPENDENCE, "S matrix not positive definite", "overlap-conjugate-gradients"),
        (FailureClass.INPUT_ERROR, "electrons: charge is wrong: smearing is needed", "smear-charge"),
        (FailureClass.INPUT_ERROR, "electrons: charge is wrong", "random-start"),
        (FailureClass.GEOMETRY_NOT_CONVERGED, "", "smaller-steps"),
        (FailureClass.WALLTIME, "Maximum CPU time exceeded", "more-time"),
        (FailureClass.OUT_OF_MEMORY, "", "more-memory"),
        (FailureClass.BLOWN_UP, "", "gentle-start"),
    ],
)
def test_each_failure_has_its_rule(folder: Path, failure: FailureClass, text: str, rule: str) -> None:
    remedy = decide(folder, failure, text, {})
    assert isinstance(remedy, Remedy)
    assert remedy.rule == rule
    changed = msgspec.convert(remedy.parameters, EspressoParameters)
    job(changed)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (FailureClass.INPUT_ERROR, "read_namelists: bad line"),
        (FailureClass.BASIS_ERROR, ""),
        (FailureClass.DISK, ""),
        (FailureClass.MPI_ERROR, ""),
        (FailureClass.MULTIPLICITY_ERROR, ""),
        (FailureClass.WALLTIME, "stopped by user request"),
    ],
)
def test_what_no_program_can_mend_waits_for_a_person(folder: Path, failure: FailureClass, text: str) -> None:
    remedy = decide(folder, failure, text, {})
    assert isinstance(remedy, NoRemedy)
    assert remedy.person


def test_an_overlap_that_stays_bad_gets_a_finer_density(folder: Path) -> None:
    remedy = decide(folder, FailureClass.LINEAR_DEPENDENCE, "", {"overlap-conjugate-gradients": 1})
    assert isinstance(remedy, Remedy)
    assert "ecutrho = 453.0" in job(msgspec.convert(remedy.parameters, EspressoParameters))


def test_the_example_asks_for_what_there_is_a_key_for(folder: Path) -> None:
    example = Path(__file__).parents[3] / "examples" / "espresso" / "silicon.toml"
    table = tomllib.loads(example.read_text())["engine"]
    (folder / "Si.lda.UPF").write_text(upf("Si", "LDA"))
    (folder / "Na.pbe-spn.UPF").unlink()
    table = {**table, "pseudo_dir": str(folder)}
    assert table.pop("name") == ENGINE.name
    blocks = (example.parent / "silicon.xyz").read_text().split("2\nLattice")[1:]
    assert len(blocks) == 7
    for block in blocks:
        assert "tstress = .true." in job(ENGINE.parameters(table, lambda name: name), f"2\nLattice{block}")


def test_a_wrong_charge_gets_more_bands_where_their_number_was_given(folder: Path) -> None:
    before = msgspec.to_builtins(parameters(folder, system={"nbnd": 11}))
    had = Resources(1, 1000, 600)
    text = "electrons: charge is wrong"
    remedy = decide_remedy(ENGINE.rules, FailureClass.INPUT_ERROR, text, before, {}, total=3, had=had)
    assert isinstance(remedy, Remedy)
    assert "nbnd = 19\n" in job(msgspec.convert(remedy.parameters, EspressoParameters))
