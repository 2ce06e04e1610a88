"""The recipes this program knows, by name and version."""

from __future__ import annotations

from typing import Final

from penstock.domain.errors import SpecError
from penstock.domain.spec import nearest
from penstock.recipes.campaign import Campaign
from penstock.recipes.crystal import CrystalChain
from penstock.recipes.recipe import Recipe

_RECIPES: Final[dict[str, Recipe]] = {recipe.name: recipe for recipe in (Campaign(), CrystalChain())}


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`, else SpecError naming the known ones."""
    if name not in _RECIPES:
        hint = nearest(name, _RECIPES) or f"known recipes: {', '.join(sorted(_RECIPES))}"
        raise SpecError(f"unknown recipe {name!r}; {hint}", key="recipe")
    return _RECIPES[name]


def recipe_names() -> list[str]:
    """The recipes there are."""
    return list(_RECIPES)
