"""Programs as attempts find them: along a PATH, by a full path, or only once an attempt is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.clusters.program import find_program, is_of_attempt


def program(folder: Path, mode: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "code.x"
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_the_first_on_the_path_that_can_be_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dull, sharp = program(tmp_path / "a", 0o644), program(tmp_path / "b", 0o755)
    assert find_program("code.x", f"{dull.parent}:{sharp.parent}") == (str(sharp), True)
    assert find_program("code.x", str(dull.parent)) == (str(dull), False)
    assert find_program("code.x", str(tmp_path)) == (None, False)
    assert find_program(str(sharp), "") == (str(sharp), True)
    monkeypatch.setenv("PATH", str(sharp.parent))
    assert find_program("code.x").is_executable


def test_what_is_said_of_one_that_cannot_be_called(tmp_path: Path) -> None:
    path = program(tmp_path, 0o644)
    said = find_program("code.x", str(tmp_path)).complaint("code.x", "the daemon")
    assert said == f"the program {path} is not executable; chmod +x it"
    said = find_program("other", str(tmp_path)).complaint("other", "the daemon")
    assert said == "there is no program 'other' where the daemon looks (PATH)"
    assert find_program("/no/such", str(tmp_path)).complaint("/no/such", "the daemon") == "there is no program /no/such"
    path.chmod(0o755)
    assert find_program("code.x", str(tmp_path)).complaint("code.x", "the daemon") is None


def test_which_are_the_attempt_s_own() -> None:
    assert [is_of_attempt(name) for name in ("./run", "bin/run", "run", "/bin/run")] == [True, True, False, False]
