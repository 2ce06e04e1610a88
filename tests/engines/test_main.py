"""A Python engine in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock import engines
from penstock.domain.calculation import Calculation, Exit, FailureClass

COPPER = '2\nLattice="3.6 0 0 0 3.6 0 0 0 3.6" pbc="T T T"\nCu 0 0 0\nCu 1.8 1.8 0\n'


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "penstock.engines", "run", *arguments]
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)
    (directory / "stderr").write_text(done.stderr)
    return done


def render(directory: Path, charge: int = 0) -> None:
    engine = engines.get_python("emt")
    rendered = engine.render(Calculation("x", COPPER, charge, 1, 1, 100), engine.parameters({"task": "energy"}, str))
    for name, text in rendered.files.items():
        (directory / name).write_text(text)


@pytest.mark.parametrize("named", [False, True])
def test_a_result_is_left_in_the_directory(tmp_path: Path, named: bool) -> None:
    engine = engines.get_python("emt")
    render(tmp_path)
    done = run(tmp_path, "emt", *([str(tmp_path)] if named else []))
    assert (done.returncode, done.stderr) == (0, "")
    assert engine.read(tmp_path, Exit(0, None, 0.0, 1.0), engine.parameters({"task": "energy"}, str)).failure is None


def test_what_it_raises_is_the_last_line_and_the_outcome(tmp_path: Path) -> None:
    engine = engines.get_python("emt")
    render(tmp_path, charge=1)
    done = run(tmp_path, "emt")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    last = "InputError: EMT knows no charge, this structure has +1; use another engine for it"
    assert done.stderr.splitlines()[-1] == last
    found = engine.read(tmp_path, Exit(1, None, 0.0, 1.0), engine.parameters({}, str))
    assert (found.failure, found.message) == (FailureClass.INPUT_ERROR, last)


def test_programs_and_the_unknown_are_refused(tmp_path: Path) -> None:
    for name, words in (("command", "is a program"), ("zzz", "unknown engine 'zzz'")):
        done = run(tmp_path, name)
        assert done.returncode == 1
        assert words in done.stderr.splitlines()[-1]


def test_without_words_the_exit_code_is_the_message(tmp_path: Path) -> None:
    engine = engines.get_python("emt")
    found = engine.read(tmp_path, Exit(1, None, 0.0, 1.0), engine.parameters({}, str))
    assert (found.failure, found.message) == (FailureClass.EXIT_CODE, "the process ended with code 1")


def test_outputs_are_what_is_read_or_kept() -> None:
    command = engines.get("command")
    table = {"command": "x", "results": {"file": "r.json"}, "keep": ["a.gbw", "stdout"]}
    assert command.outputs(command.parameters(table, str)) == ("stdout", "stderr", "r.json", "a.gbw")
    table = {"command": "x", "results": {"from": "log", "success": "done"}}
    assert command.outputs(command.parameters(table, str)) == ("stdout", "stderr", "log")
    for name in ("emt", "tblite"):
        engine = engines.get(name)
        assert engine.outputs(engine.parameters({}, str)) == ("result.json", "stderr")
        optimize = engine.outputs(engine.parameters({"task": "optimize"}, str))
        assert optimize == ("result.json", "stderr", "trajectory.xyz")
