"""The command new: with options alone, and as a conversation on a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from penstock import engines
from penstock.control import messages
from penstock.ctl.questions import BY_ENGINE, BY_RECIPE, OPTIONS, engine_questions
from penstock.ctl.spec_check import check_spec
from penstock.ctl.spec_words import ISOLATION, MEANINGS
from penstock.domain.context import Mode
from penstock.domain.errors import SpecError
from penstock.domain.property_tables import PROPERTY_TABLES
from penstock.domain.spec import parse_toml
from penstock.recipes.registry import recipe_names
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

Run = Callable[..., Any]
TABLE = 'name,geometry,charge\nwater,"O 0 0 0\nH 0 0 1\nH 0 1 0",0\nbad,"X",0\n'


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "here"
    work.mkdir()
    (work / "m.csv").write_text(TABLE)
    monkeypatch.chdir(work)
    monkeypatch.setenv("PENSTOCK_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("PENSTOCK_CONFIG", raising=False)
    return work


def names_here() -> list[str]:
    return sorted(path.name for path in Path.cwd().iterdir())


def spec(path: str = "n.toml") -> dict[str, Any]:
    return parse_toml(Path(path).read_text(), path)


def test_every_recipe_engine_and_isolation_is_asked_for() -> None:
    assert set(BY_ENGINE) == set(engines.names())
    assert set(BY_RECIPE) == set(recipe_names())
    assert set(ISOLATION) == {str(mode) for mode in Mode}


def test_structures_that_are_built_are_not_asked_for(run: Run) -> None:
    build = ("--set", "structures.build.system=Cu", "--set", "structures.build.a_angstrom=3.6")
    ran = run("new", "n.toml", "--engine", "emt", *build)
    assert ran.code == 0, ran.err
    assert "structures  built: 1 records" in ran.out
    assert spec()["structures"] == {"build": {"system": "Cu", "a_angstrom": 3.6}}
    assert "# of the conventional cell" in Path("n.toml").read_text()
    check_spec(Path("n.toml").read_text(), Path("n.toml").absolute())
    for wrong, message in {"Qq": "there is no element 'Qq'", "SiO2": "has no prototype here"}.items():
        ran = run("new", "m.toml", "--engine", "emt", "--set", f"structures.build.system={wrong}")
        assert ran.code == 2
        assert message in ran.err
    ran = run("new", "m.toml", "--engine", "emt", *build, "--structures", "m.csv")
    assert "--structures: give a source or [structures.build], not both" in ran.err
    assert "m.toml" not in names_here()


def test_a_property_needs_few_words(run: Run) -> None:
    Path("specs").mkdir()
    ran = run("new", "specs/n.toml", "--recipe", "elastic", "--structures", "Cu", "--engine", "emt", "--yes")
    assert ran.code == 0, ran.err
    made = spec("specs/n.toml")
    assert made["structures"] == {"build": {"system": "Cu"}}
    assert made["elastic"] == {"amplitudes": [0.005, 0.01], "relax": True}
    assert made["engine"] == {"name": "emt"}
    text = Path("specs/n.toml").read_text()
    check_spec(text, Path("specs/n.toml").absolute())
    assert all("#" in line for line in text.splitlines() if "=" in line)


def test_a_file_goes_before_a_formula(run: Run) -> None:
    Path("Cu").mkdir()
    Path("Cu/a.xyz").write_text("1\n\nCu 0 0 0\n")
    assert run("new", "n.toml", "--recipe", "elastic", "--structures", "Cu", "--engine", "emt", "--yes").code == 0
    assert spec()["structures"] == {"source": "Cu"}


def test_elements_become_orderings(run: Run) -> None:
    options = ("--recipe", "phase_diagram", "--structures", "Cu-Au", "--engine", "emt", "--yes")
    ran = run("new", "n.toml", *options, "--set", "structures.build.max_atoms=2")
    assert ran.code == 0, ran.err
    assert spec()["structures"]["build"] == {
        "elements": ["Cu", "Au"],
        "references": True,
        "lattices": ["fcc"],
        "max_atoms": 2,
    }
    assert spec()["phase_diagram"] == {"relax": "cell", "error_ev_per_atom": 0.0}
    ions = ("--set", "phase_diagram.relax=ions", "--set", "engine.method=HF", "--overwrite")
    assert run("new", "n.toml", *options, *ions, "--engine", "orca").code == 0


def test_nothing_is_asked_of_an_engine_that_the_recipe_decides() -> None:
    for name in engines.names():
        keys = {question.key for question in engine_questions("phase_diagram", name, are_decks=False)}
        assert not keys & {"engine.task", "engine.order", "engine.fmax", "chain.template"}, name
    assert "engine.task" in {question.key for question in engine_questions("campaign", "emt", are_decks=False)}


def test_a_conversation_about_a_property_asks_for_it_and_for_engines_that_can() -> None:
    answers = [
        "n.toml",
        "diffusion",
        "Qq",
        "SiO2",
        "Al",
        *["", "none", "800, 1000 1200"],  # a temperature is needed
        "30",
        "0",
        "2",
        "",  # all species
        "espresso",
        "emt",
        *["", "", "", "", "", "", ""],
    ]
    code, shown = converse("new", "--offline", typed="".join(f"{answer}\n" for answer in answers))
    assert code == 0, shown
    for said in (
        "or a formula that is built, such as Cu",
        "there is no file or folder",
        "SiO2 has no prototype here",
        "built: 1 records",
        "must be between 1 and 1000, not 0",
        "does no molecular dynamics",
    ):
        assert said.replace("built: ", "") in shown, shown
    made = spec()
    assert made["diffusion"] == {"temperatures_k": [800, 1000, 1200], "produce_ps": 30, "segments": 2}
    assert made["structures"] == {"build": {"system": "Al"}}
    assert made["engine"] == {"name": "emt"}


def test_options_and_defaults_make_a_spec(run: Run) -> None:
    ran = run("new", "n.toml", "--structures", "m.csv", "--engine", "tblite", "--slots", "4", "--set", "priority=-1")
    assert ran.code == 0, ran.err
    assert spec() == {
        "id": "n",
        "recipe": "campaign",
        "cluster": "local",
        "slots": 4,
        "priority": -1,
        "isolation": "isolated",
        "structures": {
            "source": "m.csv",
            "geometry_column": "geometry",
            "charge_column": "charge",
            "name_column": "name",
        },
        "engine": {"name": "tblite", "method": "GFN2-xTB", "task": "gradient"},
    }
    text = Path("n.toml").read_text()
    check_spec(text, Path("n.toml"))
    assert all("#" in line for line in text.splitlines() if "=" in line)
    assert "2 records; 1 of them cannot be taken in" in ran.out
    assert "wrote n.toml" in ran.out


def test_programs_get_one_object(run: Run) -> None:
    ran = run("new", "n.toml", "--structures", "m.csv", "--engine", "emt", "--offline", "--json")
    made = json.loads(ran.out)
    assert set(made) == {"path", "template", "spec", "plan"}
    assert made["spec"] == spec()
    assert made["plan"] is None
    assert ran.err == ""


def test_a_spec_elsewhere_names_its_structures_from_there(run: Run) -> None:
    Path("specs").mkdir()
    assert run("new", "specs/n.toml", "--structures", "m.csv", "--engine", "emt", "--yes").code == 0
    assert spec("specs/n.toml")["structures"]["source"] == "../m.csv"


def test_settings_and_clusters_come_from_the_daemons_file_where_it_does_not_answer(
    run: Run, tmp_path: Path, work: Path
) -> None:
    (tmp_path / "config" / "penstock").mkdir(parents=True)
    (tmp_path / "config" / "penstock" / "config.toml").write_text(
        '[clusters.hpc]\nkind = "slurm"\n[workflow]\nslots = 9\n'
    )
    (work / ".penstock.toml").write_text('cluster = "hpc"\n')
    assert run("new", "n.toml", "--structures", "m.csv", "--engine", "emt", "--yes").code == 0
    assert (spec()["cluster"], spec()["slots"]) == ("hpc", 9)


@pytest.fixture
def settled(daemon: ScriptedDaemon, script: Script) -> ScriptedDaemon:
    """A daemon that has settings."""
    known = {"cluster": "local", "slots": 1, "isolation": "isolated"}
    infos = tuple(messages.SettingInfo(key, value, "built-in") for key, value in known.items())
    script.answers[messages.GetSettings] = lambda _: messages.Settings(infos)
    return daemon


def test_a_daemon_that_answers_tries_it_dry(run: Run, settled: ScriptedDaemon, work: Path) -> None:
    ran = run("new", "n.toml", "--structures", str(work / "m.csv"), "--engine", "emt", "--yes")
    assert ran.code == 0, ran.err
    assert "dry run     40 jobs, at most 40.0 core hours, 1 records rejected" in ran.out
    (planned,) = [request for request in settled.script.seen if isinstance(request, messages.Plan)]
    assert planned.text == Path("n.toml").read_text()
    assert planned.file == str(Path("n.toml").absolute())


def test_what_the_daemon_refuses_is_not_written(run: Run, settled: ScriptedDaemon, script: Script, work: Path) -> None:
    def refuse(_: messages.Request[Any]) -> messages.AnyReply:
        raise SpecError("is not there", key="engine.command")

    script.answers[messages.Plan] = refuse
    ran = run(
        "new", "n.toml", "--structures", str(work / "m.csv"), "--engine", "orca", "--set", "engine.method=HF", "--yes"
    )
    assert ran.code == 2
    assert "engine.command: is not there" in ran.err
    assert not Path("n.toml").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--engine emt", "--structures is missing"),
        ("--structures none.csv --engine emt", "--structures: there is no file or folder"),
        ("--structures m.csv", "--engine is missing"),
        ("--structures m.csv --engine emtt", "--engine: 'emtt' is none of them; did you mean 'emt'?"),
        ("--structures m.csv --engine orca", "--set engine.method=... is missing"),
        ("--structures m.csv --engine emt --slots 0", "--slots: must be between 1 and 100000, not 0"),
        ("--structures m.csv --engine emt --cluster hpc", "--cluster: 'hpc' is none of them"),
        ("--structures m.csv --engine emt --id a/b", "--id: "),
        ("--structures m.csv --engine emt --set resources.cores=x", "--set resources.cores=...: expected `int`"),
        ("--structures m.csv --engine emt --set engine.fmx=1", "--set engine.fmx=...: unknown key 'fmx'"),
        ("--structures m.csv --engine emt --set slots", "write KEY=VALUE"),
        ("--structures m.csv --engine emt --set structures.name_column=nme", "did you mean 'name'?"),
        ("--structures m.csv --recipe crystal --engine emt", '--engine: recipe "crystal" runs the engine "crystal"'),
        (
            "--structures m.csv --recipe elastic --engine orca",
            "--engine: engine 'orca' gives no stress, which an elastic",
        ),
        ("--structures m.csv --recipe equilibrate --engine command", "--engine: engine 'command' relaxes no cells"),
        ("--structures m.csv --recipe phase_diagram --engine orca", "--engine: engine 'orca' relaxes no cells, which"),
        ("--structures m.csv --recipe diffusion --engine emt", "--set diffusion.temperatures_k=... is missing"),
        (
            "--structures m.csv --recipe diffusion --set diffusion.temperatures_k=[300] --engine espresso",
            "--engine: engine 'espresso' does no molecular dynamics",
        ),
        (
            "--structures m.csv --recipe elastic --engine emt --set elastic.amplitudes=[0.5]",
            "--set elastic.amplitudes=...: 0.5 is no amplitude",
        ),
        (
            "--structures m.csv --recipe elastic --engine emt --set engine.task=energy",
            "--set engine.task=...: recipe 'elastic' decides what each step does",
        ),
        ("--structures Qq --recipe elastic --engine emt", "--structures: there is no file or folder"),
        ("--structures SiO2 --recipe elastic --engine emt", "--structures: SiO2 has no prototype here"),
        ("--structures Cu --engine emt", "--structures: there is no file or folder"),
        ("--structures d/Cu --recipe elastic --engine emt", "--structures: there is no file or folder"),
        ("--from none", "there is no template 'none'"),
    ],
)
def test_what_is_missing_or_wrong_is_named_by_its_option(options: str, told: str, run: Run) -> None:
    ran = run("new", "n.toml", *options.split(), "--offline", "--yes")
    assert ran.code == 2
    assert told in ran.err
    assert not Path("n.toml").exists()


def test_nothing_is_written_over_without_being_told(run: Run) -> None:
    options = ("--structures", "m.csv", "--engine", "emt", "--offline", "--yes")
    Path("n.toml").write_text("mine")
    ran = run("new", "n.toml", *options)
    assert (ran.code, Path("n.toml").read_text()) == (2, "mine")
    assert "exists; choose another name or add --overwrite" in ran.err
    assert run("new", "n.toml", *options, "--overwrite").code == 0
    assert spec()["engine"]["name"] == "emt"
    assert run("new", "none/n.toml", *options).code == 2
    assert names_here() == ["m.csv", "n.toml"]


def test_a_column_cannot_write_to_the_terminal(work: Path) -> None:
    (work / "evil.csv").write_text('"\x1b[31mgeometry",b\n"H 0 0 0",1\n')
    code, shown = converse("new", "n.toml", "--offline", "--structures", "evil.csv", typed="\n\x04")
    assert code == 130
    assert "\\x1b[31mgeometry" in shown
    assert "\x1b[31m" not in shown


def test_what_is_said_otherwise_is_not_asked(run: Run) -> None:
    Path("i.inp").write_text("! HF\n* xyz $charge $multiplicity\n$geometry\n*\n")
    options = ("--engine", "orca", "--set", "engine.template=i.inp")
    assert run("new", "n.toml", "--structures", "m.csv", "--offline", "--yes", *options).code == 0
    assert "method" not in spec()["engine"]


def test_a_table_of_unusual_columns_needs_a_word(run: Run) -> None:
    Path("odd.csv").write_text("a,b\nx,y\n")
    ran = run("new", "n.toml", "--structures", "odd.csv", "--engine", "emt", "--yes")
    assert ran.code == 2
    assert "--set structures.geometry_column=... is missing: Column of the geometries (a, b)" in ran.err


def converse(*argv: str, typed: str, interrupt_at: str = "\0") -> tuple[int, str]:
    """Run the command on a terminal and type; its exit code and what the terminal showed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "penstock.ctl.main", *argv]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    with suppress(OSError):  # EIO is a terminal's end of file
        while data := os.read(ours, 65536):
            shown += data
            if interrupt_at.encode() in shown:
                process.send_signal(signal.SIGINT)
                os.write(ours, b"\n")  # where the signal came before the read, that ends with the line
                interrupt_at = "\0"
    os.close(ours)
    return process.wait(60), shown.decode()


def test_a_conversation_asks_again_what_cannot_be() -> None:
    answers = [
        "n.toml",
        "campain",
        "",  # campaign
        "none.csv",
        "m.csv",
        "",  # the geometries
        "",  # the charges
        "",  # no unpaired electrons
        "",  # no multiplicities
        "-",  # no names
        "orca",
        "./orca",
        "/opt/orca",
        "HF # bad",
        "HF",
        "def2-SVP",
        "energy",
        "",  # cluster
        "sharde",
        "hybrid",
        "0",
        "3",
        *["soon", "30d", "90d"],
        "-",
        "",
    ]
    code, shown = converse("new", "--offline", typed="".join(f"{answer}\n" for answer in answers))
    assert code == 0, shown
    for why in (
        "did you mean 'campaign'?",
        "there is no file or folder",
        "depends on the directory",
        "cannot stand in a line of keywords",
        "did you mean 'shared'?",
        "must be between 1 and 100000, not 0",
        "one database with others here",
        "taken for csv: 2 records",
    ):
        assert why in shown
    made = spec()
    assert made["engine"] == {
        "name": "orca",
        "command": "/opt/orca",
        "method": "HF",
        "basis": "def2-SVP",
        "task": "energy",
    }
    assert made["structures"] == {"source": "m.csv", "geometry_column": "geometry", "charge_column": "charge"}
    assert (made["isolation"], made["slots"], "id" in made) == ("hybrid", 3, False)


@pytest.mark.parametrize(("typed", "interrupt_at"), [("n.toml\n", "Recipe"), ("n.toml\n\x04", "\0")], ids=["^C", "^D"])
def test_who_leaves_leaves_nothing(typed: str, interrupt_at: str) -> None:
    code, _ = converse("new", "--offline", "--structures", "m.csv", typed=typed, interrupt_at=interrupt_at)
    assert code == 130
    assert names_here() == ["m.csv"]


def test_an_answer_of_no_writes_nothing() -> None:
    typed = "".join(f"{answer}\n" for answer in ["", "", "", "", "", "", "", "", "", "", "", "", "", "n"])
    code, shown = converse("new", "n.toml", "--offline", "--structures", "m.csv", "--engine", "emt", typed=typed)
    assert (code, "nothing is written" in shown) == (2, True), shown
    assert names_here() == ["m.csv"]


def test_every_option_answers_for_a_key(run: Run) -> None:
    shown = run("new", "--help").out
    assert all(option in shown for option in OPTIONS.values())


def test_every_key_of_a_property_has_its_words() -> None:
    for name, table in PROPERTY_TABLES.items():
        for key in table.__struct_fields__:
            assert f"{name}.{key}" in MEANINGS or f"{name}.{key}.*" in MEANINGS, f"{name}.{key}"
    for questions in BY_RECIPE.values():
        assert all(question.key in MEANINGS for question in questions)


def test_a_templates_structures_may_be_a_formula(run: Run, work: Path) -> None:
    (work / "Si.UPF").write_text(
        '<UPF version="2.0.1">\n<PP_HEADER\nelement="Si"\npseudo_type="NC"\nfunctional="PBE"\nhas_so="F"\n'
        'wfc_cutoff="30"\nrho_cutoff="120"/>\n'
    )
    options = ("--structures", "Si", "--set", f"engine.pseudo_dir={work}", "--offline", "--yes")
    ran = run("new", "n.toml", "--from", "elastic-espresso", *options)
    assert ran.code == 0, ran.err
    assert spec()["structures"] == {"build": {"system": "Si"}}
    check_spec(Path("n.toml").read_text(), Path("n.toml").absolute())
    asked = ("--structures", "Al", "--set", "engine.calculator=ase.calculators.emt.EMT", "--offline", "--yes")
    ran = run("new", "d.toml", "--from", "diffusion-potential", *asked, "--set", "diffusion.temperatures_k=[900.0]")
    assert ran.code == 0, ran.err
    assert spec("d.toml")["diffusion"]["temperatures_k"] == [900.0]
