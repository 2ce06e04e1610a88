"""What `new` writes is what a real daemon takes, and a workflow becomes a template again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.system.conftest import Penstockd

from penstock.ctl.main import main
from penstock.ctl.spec_check import engines_for
from penstock.recipes.registry import recipe_names

MOLECULE = "3\ncharge=0\nO 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"
CRYSTAL = '1\nLattice="0 2.7 2.7 2.7 0 2.7 2.7 2.7 0" pbc="T T T"\nSi 0 0 0\n'
UPF = (
    '<UPF version="2.0.1">\n<PP_HEADER\nelement="Si"\npseudo_type="NC"\nfunctional="PBE"\nhas_so="F"\n'
    'wfc_cutoff="30"\nrho_cutoff="120"/>\n'
)
NEEDS: dict[str, tuple[str, ...]] = {  # but orca-sella, which takes a worker seconds to import
    "tblite": (),
    "emt": (),
    "ase": ("engine.calculator=ase.calculators.emt.EMT",),
    "orca": ("engine.command=/bin/true", "engine.method=HF"),
    "crystal": ("engine.command=true",),
    "espresso": ("engine.command=true", "engine.pseudo_dir={work}"),
    "command": ("engine.command=true $name", "engine.templates={{ 'job.inp' = 'job.template' }}"),
}
ASKED: dict[str, tuple[str, ...]] = {
    "crystal": ("engine.properties=true",),
    "diffusion": ("diffusion.temperatures_k=[300, 400]",),
}
CAN: dict[str, set[str]] = {
    "campaign": set(NEEDS),
    "crystal": {"crystal"},
    "elastic": {"tblite", "emt", "ase", "espresso"},
    "equilibrate": {"tblite", "emt", "ase", "espresso", "crystal"},
    "diffusion": {"tblite", "emt", "ase"},
    "phase_diagram": {"tblite", "emt", "ase", "espresso", "crystal"},
}
DRY_RUNS = {("campaign", engine) for engine in NEEDS} | {("crystal", "crystal"), ("elastic", "espresso")}
DRY_RUNS |= {("equilibrate", "crystal"), ("diffusion", "ase"), ("phase_diagram", "emt")}


@pytest.fixture
def sources(daemon: Penstockd, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = daemon.work
    for name, text in {"molecule.xyz": MOLECULE, "crystal.xyz": CRYSTAL, "Si.UPF": UPF, "job.template": "$xyz"}.items():
        (work / name).write_text(text)
    monkeypatch.chdir(work)
    monkeypatch.setenv("PENSTOCK_SOCKET", str(daemon.state / "penstockd.sock"))
    return work


def asked_for(recipe: str, engine: str, work: Path) -> list[str]:
    is_crystal = engine in {"crystal", "espresso"} or recipe not in {"campaign", "crystal"}
    settings = [setting.format(work=work) for setting in (*NEEDS[engine], *ASKED.get(recipe, ()))]
    return [
        *("new", f"{recipe}-{engine}.toml", "--recipe", recipe, "--engine", engine, "--json"),
        *("--structures", "crystal.xyz" if is_crystal else "molecule.xyz"),
        *(word for setting in settings for word in ("--set", setting)),
    ]


def test_every_recipe_with_every_engine_is_taken(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(CAN) == set(recipe_names())
    for recipe in recipe_names():
        assert NEEDS.keys() & engines_for(recipe) == CAN[recipe], recipe
        for engine in sorted(CAN[recipe]):
            is_tried = (recipe, engine) in DRY_RUNS
            code = main([*asked_for(recipe, engine, sources), *([] if is_tried else ["--offline"])])
            made = json.loads(capsys.readouterr().out)
            assert code == 0, (recipe, engine, made)
            if is_tried:  # of the text that is in the file
                assert made["plan"]["jobs"] >= 1, (recipe, engine)
                if recipe in {"campaign", "crystal"}:
                    assert made["plan"]["jobs"] == len(made["plan"]["steps"]), (recipe, engine)


def test_an_engine_that_cannot_is_refused_with_what_it_lacks(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for recipe in recipe_names():
        for engine in sorted(NEEDS.keys() - CAN[recipe]):
            assert main([*asked_for(recipe, engine, sources), "--offline"]) == 2
            said = json.loads(capsys.readouterr().err)["error"]["message"]
            assert said.startswith("--engine: "), said
            assert repr(engine) in said
            assert recipe == "crystal" or "engines that do: " in said, said
    assert not list(sources.glob("elastic-*.toml"))


def test_a_workflow_becomes_a_template_and_that_another_workflow(
    daemon: Penstockd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(daemon.work)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(daemon.home / "config"))
    monkeypatch.setenv("PENSTOCK_SOCKET", str(daemon.state / "penstockd.sock"))
    daemon.submit_command("first", "exit 0", retry={"max_attempts": 2}, metadata={"token": "abc"})
    stored = daemon.client.spec("first").spec
    assert stored["engine"]["name"] == "command"
    assert main(["templates", "save", "ours", "--from-workflow", "first"]) == 0
    assert main(["new", "second.toml", "--from", "ours", "--structures", "first.csv", "--yes"]) == 0
    daemon.submit(Path("second.toml").read_text())
    assert daemon.client.spec("second").spec == stored | {"id": "second", "metadata": {}}
    for id in ("first", "second"):
        assert daemon.wait(id).workflow.state == "completed"
