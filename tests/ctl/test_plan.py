"""Goal files on the command line: plan, submit, create, and what takes full specs only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.control import messages
from penstock.domain.errors import SpecError
from penstock.domain.spec import parse_toml
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

Run = Callable[..., Any]
GOAL = 'goal = "elastic"\nsystem = "Cu"\n'


@pytest.fixture(autouse=True)
def no_pseudopotentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies about on this machine."""
    monkeypatch.delenv("ESPRESSO_PSEUDO", raising=False)
    monkeypatch.setattr("penstock.recipes.goals.surroundings.USUAL_FOLDERS", ())


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a goal in it, and no daemon anywhere."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "cu.toml").write_text(GOAL)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PENSTOCK_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("PENSTOCK_CONFIG", raising=False)
    return here


def test_a_goal_is_shown_as_the_spec_it_grows_into(alone: Path, run: Run) -> None:
    ran = run("plan", "cu.toml")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("# Grown from cu.toml: goal elastic, accuracy normal.\n")
    assert parse_toml(ran.out, "")["recipe"] == "elastic"
    found = json.loads(run("plan", "cu.toml", "--json").out)
    assert found["text"] == ran.out
    assert found["spec"] == parse_toml(ran.out, "")
    assert {"key", "value", "why", "source"} == set(found["rules"][0])
    assert found["cautions"][0].startswith("EMT is a model potential")
    assert (found["goal"], found["path"], found["elsewhere"]) == (str(alone / "cu.toml"), None, {})


def test_a_spec_is_written_and_nothing_is_written_over(alone: Path, run: Run) -> None:
    ran = run("plan", "cu.toml", "-o", "full.toml")
    assert (ran.code, ran.out) == (0, "wrote full.toml; run it: penstockctl submit full.toml\n")
    assert "beware: EMT is a model potential" in ran.err
    assert (alone / "full.toml").read_text() == run("plan", "cu.toml").out
    ran = run("plan", "cu.toml", "-o", "full.toml")
    assert ran.code == 2
    assert "exists; choose another name or add --overwrite" in ran.err
    (alone / "cu.toml").write_text(GOAL + "slots = 3\n")
    assert run("plan", "cu.toml", "-o", "full.toml", "--overwrite").code == 0
    assert "slots = 3" in (alone / "full.toml").read_text()


def test_paths_are_as_the_new_file_sees_them(alone: Path, run: Run) -> None:
    (alone / "cell.xyz").write_text('1\nLattice="0 1.8 1.8 1.8 0 1.8 1.8 1.8 0" pbc="T T T"\nCu 0 0 0\n')
    (alone / "cu.toml").write_text('goal = "elastic"\nsystem = "cell.xyz"\n')
    (alone / "below").mkdir()
    assert run("plan", "cu.toml", "-o", "below/full.toml").code == 0
    tables = parse_toml((alone / "below" / "full.toml").read_text(), "")
    assert tables["structures"] == {"source": "../cell.xyz"}
    assert tables["metadata"]["goal"]["system"] == "cell.xyz"


def test_settings_here_are_left_to_hold(alone: Path, run: Run) -> None:
    (alone / ".penstock.toml").write_text('slots = 7\n[resources]\nwalltime = "9h"\n')
    found = json.loads(run("plan", "cu.toml", "--json").out)
    assert found["elsewhere"] == {"slots": 7, "resources.walltime": "9h"}
    assert "slots" not in found["spec"]


def test_a_folder_of_pseudopotentials_chooses_the_engine(
    alone: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (alone / "Cu.UPF").write_text(
        '<UPF version="2.0.1">\n<PP_HEADER element="Cu" pseudo_type="NC" functional="PBE" wfc_cutoff="50"/>\n</UPF>\n'
    )
    monkeypatch.setenv("ESPRESSO_PSEUDO", str(alone))
    engine = json.loads(run("plan", "cu.toml", "--json").out)["spec"]["engine"]
    assert (engine["name"], engine["pseudo_dir"], engine["ecutwfc_ry"]) == ("espresso", str(alone), 65)


def test_a_plan_may_have_gaps_and_a_submission_may_not(alone: Path, run: Run) -> None:
    (alone / "si.toml").write_text('goal = "elastic"\nsystem = "Si"\n')
    ran = run("plan", "si.toml")
    assert ran.code == 0, ran.err
    assert parse_toml(ran.out, "")["engine"]["pseudo_dir"] == ""
    for command in (("submit",), ("create", "--offline")):
        refused = run(*command, "si.toml")
        assert refused.code == 2
        assert "si.toml: engine.pseudo_dir: to be filled in: the folder of your pseudopotentials" in refused.err
    (alone / "si.toml").write_text('goal = "elastic"\nsystem = "Si"\n[elastic]\namplitudes = []\n')
    assert "si.toml:4: elastic.amplitudes: empty" in run("plan", "si.toml").err


def test_all_rules_are_listed(alone: Path, run: Run) -> None:
    listed = json.loads(run("plan", "--rules", "--json").out)["rules"]
    assert {"key", "value", "when", "why", "source"} == set(listed[0])
    assert any(rule["key"] == "elastic.amplitudes" and "de Jong" in rule["source"] for rule in listed)
    assert "elastic.amplitudes" in run("plan", "--rules").out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('goal = "elastc"\nsystem = "Cu"\n', "cu.toml:1: goal: 'elastc' is no goal; did you mean 'elastic'?"),
        (GOAL + "temperature = 300\n", "cu.toml:3: temperature: unknown key 'temperature'"),
        (GOAL + 'engine = "orca"\n', "cu.toml:3: engine: engine 'orca' gives no stress"),
        (GOAL + "engine.fmax = -1\n", "cu.toml:3: engine.fmax: "),
        (GOAL + "\n[elastic]\namplitudes = [0.5]\n", "cu.toml:5: elastic.amplitudes: 0.5 is no amplitude"),
        (GOAL + "[steps.stran]\n", "cu.toml:3: steps.stran: 'stran' is no step of recipe 'elastic'; did you mean"),
        ('goal = "diffusion"\nsystem = "Cu"\n', "temperatures_k: missing"),
        ('recipe = "campaign"\n', 'this is no goal file: it has no goal = "..."'),
        ("goal = \n", "cu.toml:1: not valid TOML"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, told: str, alone: Path, run: Run) -> None:
    (alone / "cu.toml").write_text(text)
    ran = run("plan", "cu.toml")
    assert ran.code == 2
    assert told in ran.err


def test_wrong_use_is_told(alone: Path, run: Run) -> None:
    assert "give a goal file" in run("plan").err
    assert "--overwrite goes with --output" in run("plan", "cu.toml", "--overwrite").err
    assert "cannot be read" in run("plan", "none.toml").err


def test_a_goal_is_submitted_as_what_it_grew_into(daemon: ScriptedDaemon, run: Run) -> None:
    Path("cu.toml").write_text(GOAL)
    ran = run("submit", "cu.toml", "--slots", "5")
    assert ran.code == 0, ran.err
    first, second = ran.out.splitlines()
    assert first == (
        "elastic of Cu (1 structure) with emt, accuracy normal; the spec it grew into: penstockctl plan cu.toml"
    )
    assert second.startswith("accepted g2")
    assert ran.err.startswith("beware: EMT is a model potential")
    sent = daemon.script.seen[-1]
    assert isinstance(sent, messages.Submit)
    assert sent.text == run("plan", "cu.toml").out
    assert sent.file == str(Path.cwd() / "cu.toml")
    assert json.loads(run("submit", "cu.toml", "--json").out)["id"] == "g2"


def test_a_dry_run_of_a_goal_says_what_cannot_be_counted(daemon: ScriptedDaemon, script: Script, run: Run) -> None:
    Path("cu.toml").write_text(GOAL)
    steps = (
        messages.StepPlan("relax", "fan", "emt", 1, (), True, {}, None),
        messages.StepPlan("strain", "unfold", "emt", 8, ("relax",), True, {}, None, "it hangs on results"),
        messages.StepPlan("elastic", "analysis", "emt", 0, ("strain",), True, {}, None),
    )
    script.answers[messages.Plan] = lambda _: messages.Planned(None, steps, 9, (), 0, 9.0, 1)
    lines = [line.split() for line in run("submit", "cu.toml", "--dry-run").out.splitlines()]
    assert ["strain", "unfold", "emt", "8", "+", "?", "relax"] in lines
    assert ["elastic", "analysis", "emt", "-", "strain"] in lines
    assert ["strain:", "not", "counted,", "since", "it", "hangs", "on", "results"] in lines
    assert type(daemon.script.seen[-1]) is messages.Plan


def test_a_sweep_of_a_goal_is_one_of_what_grew(daemon: ScriptedDaemon, run: Run) -> None:
    Path("cu.toml").write_text(GOAL + 'id = "s"\n[sweep]\n"engine.fmax" = [0.1, 0.01]\n')
    run("submit", "cu.toml")
    assert type(daemon.script.seen[-1]) is messages.SubmitSweep


def test_what_the_daemon_refuses_is_told_in_the_goals_words(daemon: ScriptedDaemon, script: Script, run: Run) -> None:
    Path("cu.toml").write_text(GOAL + "slots = 2\n")

    def refuse(request: messages.Submit) -> messages.AnyReply:
        raise SpecError("none of those here", file=request.file, line=99, key=next(keys))

    script.answers[messages.Submit] = refuse
    keys = iter(["slots", "engine.fmax", "structures.build.system"])
    assert "cu.toml:3: slots: none of those here\n" in run("submit", "cu.toml").err
    refused = run("submit", "cu.toml").err
    assert (
        "cu.toml: engine.fmax: none of those here; a rule says it, over which goes what the goal file says" in refused
    )
    assert "cu.toml:2: system: none of those here\n" in run("submit", "cu.toml").err


def test_a_directory_is_made_of_a_goal_without_a_daemon(alone: Path, run: Run) -> None:
    ran = run("create", "--offline", "cu.toml", "--id", "copper", "--json")
    assert ran.code == 0, ran.err
    assert (alone / "copper" / "workflow.db").is_file()
    (alone / "cu.toml").write_text(GOAL + "isolation = 'shared'\n")
    refused = run("create", "--offline", "cu.toml", "--id", "copper2")
    assert "cu.toml:3: isolation: only isolated workflows" in refused.err
