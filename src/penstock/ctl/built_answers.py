"""Answers to the question for structures that name no file, but what is to be built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from penstock.domain.formula import read_formula
from penstock.domain.geometry import ATOMIC_NUMBERS
from penstock.recipes.registry import draws_conclusions

_ORDERINGS: Final = frozenset({"phase_diagram"})
"""Recipes that want many structures of some elements rather than one of a formula."""


def source_question(recipe: str) -> str:
    """What is asked for the structures of a recipe."""
    if recipe in _ORDERINGS:
        return "Structures: a file, a folder or a glob; or elements whose orderings are built, such as Cu-Au"
    if draws_conclusions(recipe):
        return "Structures: a file, a folder or a glob; or a formula that is built, such as Cu"
    return "Structures: a file, a folder or a glob"


def built_of(answer: str, recipe: str, folder: Path) -> dict[str, Any] | None:
    """`[structures.build]` where the answer names nothing in `folder`, but what the recipe can have built; else None.

    The elements in their reference states are built too: a hull needs them.
    """
    if not draws_conclusions(recipe) or "/" in answer or (folder / answer).exists():
        return None
    if recipe in _ORDERINGS:
        elements = re.split(r"[-, ]+", answer)
        return {"elements": elements, "references": True} if ATOMIC_NUMBERS.keys() >= set(elements) else None
    try:
        read_formula(answer)
    except ValueError:
        return None
    return {"system": answer}
