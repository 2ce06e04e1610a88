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
    "orca": ("engine.command=/bin/true", "engine.method=HF"),
    "crystal": ("engine.command=true",),
    "espresso": ("engine.command=true", "engine.pseudo_dir={work}"),
    "command": ("engine.command=true $name", "engine.templates={{ 'job.inp' = 'job.template' }}"),
}


def test_every_recipe_with_every_engine_is_taken(
    daemon: Penstockd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = daemon.work
    for name, text in {"molecule.xyz": MOLECULE, "crystal.xyz": CRYSTAL, "Si.UPF": UPF, "job.template": "$xyz"}.items():
        (work / name).write_text(text)
    monkeypatch.chdir(work)
    monkeypatch.setenv("PENSTOCK_SOCKET", str(daemon.state / "penstockd.sock"))
    for recipe in recipe_names():
        for engine in sorted(NEEDS.keys() & engines_for(recipe)):
            source = "crystal.xyz" if engine in {"crystal", "espresso"} else "molecule.xyz"
            settings = [setting.format(work=work) for setting in NEEDS[engine]]
            if recipe == "crystal":
                settings.append("engine.properties=true")
            options = [word for setting in settings for word in ("--set", setting)]
            file = f"{recipe}-{engine}.toml"
            argv = ["new", file, "--recipe", recipe, "--engine", engine, "--structures", source, "--json", *options]
            assert main(argv) == 0, file
            made = json.loads(capsys.readouterr().out)  # with a dry run of the text that is in the file
            assert made["plan"]["jobs"] == len(made["plan"]["steps"]), file


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
