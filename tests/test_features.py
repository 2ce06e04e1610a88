"""The page of requirements tells no tales: every test it names exists, and every requirement has its place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
LAST = {"D": 10, "I": 16, "C": 10, "X": 5, "P": 9, "E": 11, "B": 7}
"""The requirements are numbered from 1 to this in each area."""


def defined(path: Path) -> set[str]:
    """The names of a module's test functions."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")}


def test_every_proof_exists() -> None:
    proofs = re.findall(r"`(tests/[\w/.]+)::(\w+)`", PAGE)
    assert len(proofs) == PAGE.count("::")
    known = {path: defined(ROOT / path) if (ROOT / path).is_file() else set() for path, _ in proofs}
    assert [f"{path}::{name}" for path, name in proofs if name not in known[path]] == []


def test_every_requirement_stands_on_the_page_once() -> None:
    done = re.findall(r"^\| ([A-Z]\d+) \|", PAGE, re.MULTILINE)
    rows = PAGE.partition("## Open")[2]
    still_open = re.findall(r"\b([DICXPEB]\d+)\b", rows)
    expected = [f"{area}{number}" for area, last in LAST.items() for number in range(1, last + 1)]
    assert sorted(done + still_open) == sorted(expected)
