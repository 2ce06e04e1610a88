"""Templates of specs: those that come along, saving, sharing."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.ctl.test_main import completed_words

from penstock.control import messages
from penstock.ctl.spec_check import check_spec
from penstock.ctl.spec_document import plain, put, render
from penstock.ctl.template_files import BUILT_IN, check_template, folders, load_template
from penstock.ctl.template_saving import template_text
from penstock.domain.errors import ConflictError
from penstock.domain.spec import decode_spec
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

Run = Callable[..., Any]
BUILT_IN_PATHS = sorted(folders()[BUILT_IN].glob("*.toml"))
SPEC = {
    "id": "g2",
    "recipe": "campaign",
    "slots": 3,
    "structures": {"source": "/home/me/secret/m.csv", "geometry_column": "geometry"},
    "engine": {
        "name": "command",
        "command": "python3 /home/me/run.py job.inp",
        "templates": {"job.inp": "job.template"},
        "results": {"patterns": {"energy_hartree": r"E =\s*(\S+)"}},
    },
    "retry": {"max_attempts": 2},
    "remedies": {"rules": [{"name": "r", "on": "walltime", "restart": True}]},
    "metadata": {"token": "abc"},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    work = tmp_path / "here"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def stored(tables: dict[str, Any]) -> dict[str, Any]:
    """A spec as the daemon keeps it: with every default."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(decode_spec(tables, "", "")))
    return found


@pytest.mark.parametrize("path", BUILT_IN_PATHS, ids=lambda path: path.stem)
def test_what_comes_along_is_a_spec_once_its_questions_are_answered(path: Path, tmp_path: Path) -> None:
    template = load_template(path, BUILT_IN)
    check_template(template)
    assert template.header.description
    (tmp_path / "job.template").write_text("$geometry")
    (tmp_path / "Si.UPF").write_text(
        '<UPF version="2.0.1">\n<PP_HEADER\nelement="Si"\npseudo_type="NC"\nfunctional="PBE"\nhas_so="F"\n'
        'wfc_cutoff="30"\nrho_cutoff="120"/>\n'
    )
    document = template.document()
    put(document, "structures.source", "m.csv")
    if "engine.pseudo_dir" in template.header.asks:
        put(document, "engine.pseudo_dir", str(tmp_path))
    text = render(document)
    check_spec(text, tmp_path / "spec.toml")
    assert [line for line in text.splitlines() if "=" in line and "#" not in line] == []


def test_templates_are_listed_and_shown(run: Run) -> None:
    code, out, _ = run("templates")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [[path.stem, BUILT_IN] for path in BUILT_IN_PATHS]
    assert run("templates", "list").out == out
    listed = json.loads(run("templates", "--json").out)["templates"]
    assert set(listed[0]) == {"name", "origin", "path", "description", "problem"}
    assert run("templates", "show", "orca-opt").out == folders()[BUILT_IN].joinpath("orca-opt.toml").read_text()
    shown = json.loads(run("templates", "show", "orca-opt", "--json").out)
    assert set(shown) == {"name", "origin", "path", "description", "asks", "text"}
    assert run("templates", "show", "orca-op").code == 2


def test_a_nearer_template_hides_one_of_its_name_and_a_broken_one_is_told(run: Run, home: Path) -> None:
    (home / ".penstock-templates").mkdir()
    (home / ".penstock-templates" / "orca-opt.toml").write_text('[template]\ndescription = "ours"\n')
    (home / ".penstock-templates" / "broken.toml").write_text("recipe = \n")
    listed = {t["name"]: t for t in json.loads(run("templates", "list", "--json").out)["templates"]}
    assert (listed["orca-opt"]["origin"], listed["orca-opt"]["description"]) == ("project", "ours")
    assert "not valid TOML" in listed["broken"]["problem"]


def test_a_saved_template_has_nothing_of_its_workflows_own() -> None:
    text = template_text(stored(SPEC), "ours")
    tables = msgspec.toml.decode(text)
    assert not [word for word in ("/home", "secret", "abc", "g2", "job.template") if word in text]
    assert tables["retry"] == {"max_attempts": 2}
    assert tables["remedies"] == {"rules": [SPEC["remedies"]["rules"][0] | {"restart": True}]}  # type: ignore[index]
    assert tables["engine"]["results"] == {"patterns": {"energy_hartree": r"E =\s*(\S+)"}}
    assert list(tables["template"]["asks"]) == ["structures.source", "engine.command", 'engine.templates."job.inp"']


def test_what_is_built_is_saved_and_not_asked_for() -> None:
    for build in ({"system": "Si"}, {"elements": ["Cu", "Au"], "lattices": ["fcc"], "references": True}):
        tables = msgspec.toml.decode(template_text(stored(SPEC | {"structures": {"build": build}}), ""))
        assert tables["structures"] == {"build": build}
        assert "structures.source" not in tables["template"]["asks"]


def test_of_what_was_imported_or_made_by_a_program_only_what_runs_is_saved() -> None:
    imported = SPEC | {"structures": {"source": "/old/workflow.db", "format": "imported"}}
    assert "imported" not in template_text(stored(imported), "ours")
    for recipe in ("record", "library"):
        with pytest.raises(ConflictError, match="does not say how to run anything"):
            template_text({"recipe": recipe, "engine": {"name": "command"}}, "")


def test_the_steps_of_a_chain_are_saved_without_their_files() -> None:
    chain = {"template": "charge_analysis", "optional": ["SP"]}
    step = {"engine": {"deck": "sp.d12", "scf": {"maxcycle": 9}}, "resources": {"walltime": "2d"}}
    spec = SPEC | {"recipe": "crystal", "engine": {"name": "crystal"}, "chain": chain, "steps": {"SP": step}}
    tables = msgspec.toml.decode(template_text(stored(spec), ""))
    assert tables["chain"] == chain
    assert tables["steps"] == {"SP": {"engine": {"scf": {"maxcycle": 9}}, "resources": {"walltime": "2d"}}}
    assert list(tables["template"]["asks"]) == ["structures.source", "steps.SP.engine.deck"]


def test_a_workflow_is_saved_shared_and_used(daemon: ScriptedDaemon, script: Script, run: Run, home: Path) -> None:
    script.answers[messages.GetSpec] = partial(_answer, messages.StoredSpec("g2", stored(SPEC)))
    ran = run("templates", "save", "ours", "--from-workflow", "g2")
    assert ran.code == 0, ran.err
    assert "look through it" in ran.err
    assert run("templates", "save", "ours", "--from-workflow", "g2").code == 2  # it exists
    assert run("templates", "save", "ours", "--from-workflow", "g2", "--overwrite").code == 0
    Path("shared.toml").write_text(run("templates", "show", "ours").out)
    assert run("templates", "add", "shared.toml", "--project").code == 0
    assert run("templates", "remove", "shared").code == 2  # it is the project's
    Path("m.csv").write_text('geometry\n"H 0 0 0"\n')
    Path("job.inp.template").write_text("$geometry")
    options = ("--set", "engine.command=true", "--set", 'engine.templates."job.inp"=job.inp.template')
    made = run("new", "n.toml", "--from", "shared", "--structures", "m.csv", "--offline", "--yes", *options)
    assert made.code == 0, made.err
    tables = plain(msgspec.toml.decode(Path("n.toml").read_text()))
    assert tables["engine"]["command"] == "true"
    assert "template" not in tables
    assert run("templates", "remove", "shared", "--project").code == 0
    assert run("templates", "remove", "ours", "--json").code == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('recipe = "campaign"\n', "add a table [template]"),
        ("[template]\ndescripton = 'x'\n", "t.toml:2: template.descripton: unknown key"),
        ("[template]\n[template.asks]\n'a b' = 'x'\n", "'a b' is no key"),
        ("recipe = 'campain'\n[structures]\nsource = 'a'\n[engine]\nname = 'emt'\n[template]\n", "t.toml:1: recipe:"),
        (
            "recipe = 'campaign'\n[structures]\nsource = 'a'\n[engine]\nname = 'emt'\nfmx = 1\n[template]\n",
            "did you mean",
        ),
        ("recipe = 'campaign'\n[engine]\nname = 'emt'\n[template]\n", "structures: missing"),
    ],
)
def test_what_is_no_template_is_not_taken_in(text: str, told: str, run: Run) -> None:
    Path("t.toml").write_text(text)
    ran = run("templates", "add", "t.toml")
    assert ran.code == 2
    assert told in ran.err
    assert "t" not in [t["name"] for t in json.loads(run("templates", "--json").out)["templates"]]


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "x.toml"])
def test_a_name_cannot_lead_elsewhere(name: str, run: Run) -> None:
    ran = run("templates", "remove", name)
    assert ran.code == 2
    assert "is no name for a template" in ran.err


def test_names_complete() -> None:
    assert completed_words("penstockctl templates show or") == ["orca-opt"]
    assert completed_words("penstockctl new --from xt") == ["xtb-optimisation"]


def test_what_comes_along_stays(run: Run) -> None:
    assert "it comes with Penstock and stays" in run("templates", "remove", "orca-opt").err


def _answer(reply: messages.AnyReply, _: messages.Request[Any]) -> messages.AnyReply:
    return reply
