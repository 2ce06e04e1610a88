"""`penstockctl contexts`: what lies on disk, without a daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import penstock
from penstock.ctl.main import main


def test_contexts_are_listed_without_a_daemon(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with penstock.open_context("alpha"), penstock.open_context("beta", mode="hybrid"):
        pass
    (root / ".penstock" / "beta" / "context.toml").write_text("?")
    assert main(["contexts"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["alpha", "isolated", "completed"],
        ["beta", "-", "?"],
    ]
    assert "beta: " in err
    assert main(["contexts", str(root), "--json"]) == 0
    assert [info["id"] for info in json.loads(capsys.readouterr().out)["contexts"]] == ["alpha", "beta"]
    assert main(["contexts", str(root / "none")]) == 2
    (root / "empty").mkdir()
    assert main(["contexts", str(root / "empty")]) == 0
    assert "there is no workflow" in capsys.readouterr().err
