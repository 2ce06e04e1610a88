"""`resume` with changes: what is asked of the daemon, and what is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.control import messages
from penstock.domain.revision import SpecChange
from penstock.testing.scripted_daemon import ScriptedDaemon

CHANGES = (SpecChange("engine.accuracy", None, 0.1), SpecChange("slots", 2, 3))


@pytest.fixture
def revising(daemon: ScriptedDaemon) -> ScriptedDaemon:
    daemon.script.answers[messages.Revise] = lambda asked: messages.Revised(CHANGES, 5, 2, dry_run=asked.dry_run)
    return daemon


def test_values_are_read_as_toml_where_they_can_be(revising: ScriptedDaemon, run: Callable[..., Any]) -> None:
    assignments = ["engine.accuracy=0.1", "resources.memory=2GB", "slots=3", 'engine.command=["a", "b"]', "x==y"]
    ran = run("resume", "g2", *(word for text in assignments for word in ("--set", text)))
    assert ran.code == 0, ran.err
    values = {"engine.accuracy": 0.1, "resources.memory": "2GB", "slots": 3, "engine.command": ["a", "b"], "x": "=y"}
    assert revising.script.seen == [messages.Revise("g2", values, "", str(Path.cwd() / "spec.toml"))]
    assert ran.out.splitlines() == [
        "g2: resumed, 5 jobs again",
        "key              was  is",
        "engine.accuracy  -    0.1",
        "slots            2    3",
    ]
    assert "2 of them keep the engine's parameters that a remedy gave them" in ran.err


def test_a_spec_file_is_sent_as_it_is_and_a_dry_run_says_so(revising: ScriptedDaemon, run: Callable[..., Any]) -> None:
    ran = run("resume", "g2", "--spec", "spec.toml", "--dry-run")
    text = Path("spec.toml").read_text()
    assert revising.script.seen == [messages.Revise("g2", {}, text, str(Path.cwd() / "spec.toml"), dry_run=True)]
    assert ran.out.startswith("g2: would run 5 jobs again; nothing was changed\n")
    document = json.loads(run("resume", "g2", "--dry-run", "--json").out)
    assert document["changes"][0] == {"key": "engine.accuracy", "old": None, "new": 0.1}


@pytest.mark.parametrize("line", ["resume g2 --set slots", "resume g2 --set =3", "resume g2 --job 1 --dry-run"])
def test_wrong_use(line: str, revising: ScriptedDaemon, run: Callable[..., Any]) -> None:
    assert run(*line.split()).code == 2
    assert revising.script.seen == []
