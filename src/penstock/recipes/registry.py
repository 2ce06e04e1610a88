"""The recipes this program knows, by name and version."""

from __future__ import annotations

import difflib
from typing import Final

from penstock.domain.errors import SpecError
from penstock.recipes.campaign import Campaign
from penstock.recipes.recipe import Recipe

_RECIPES: Final[dict[str, Recipe]] = {recipe.name: recipe for recipe in (Campaign(),)}


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`, else SpecError naming the known ones."""
    if name not in _RECIPES:
        near = difflib.get_close_matches(name, _RECIPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known recipes: {', '.join(sorted(_RECIPES))}"
        raise SpecError(f"unknown recipe {name!r}; {hint}", key="recipe")
    return _RECIPES[name]
