"""The recipes this program knows, by name and version."""

from __future__ import annotations

from typing import Final

from penstock.domain.errors import SpecError
from penstock.domain.spec import nearest
from penstock.recipes.campaign import Campaign
from penstock.recipes.crystal import CrystalChain
from penstock.recipes.diffusion import Diffusion
from penstock.recipes.elastic import Elastic
from penstock.recipes.equilibrate import Equilibrate
from penstock.recipes.library import Library
from penstock.recipes.phase_diagram import PhaseDiagramRecipe
from penstock.recipes.recipe import PropertyRecipe, Recipe, UnfoldingRecipe
from penstock.recipes.record import Record

_RECIPES: Final[dict[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        *(Campaign(), CrystalChain(), Elastic(), Equilibrate(), Diffusion(), PhaseDiagramRecipe()),
        *(Record(), Library()),
    )
}


ONLY_KEPT: Final = frozenset({Library.name, Record.name})
"""Recipes of workflows whose jobs no daemon ever runs."""


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`, else SpecError naming the known ones."""
    if name not in _RECIPES:
        known = recipe_names()
        hint = nearest(name, known) or f"known recipes: {', '.join(sorted(known))}"
        raise SpecError(f"unknown recipe {name!r}; {hint}", key="recipe")
    return _RECIPES[name]


def get_property_recipe(name: str) -> PropertyRecipe:
    """The recipe called `name`, which derives something from results; SpecError where it does not."""
    recipe = get_recipe(name)
    if not isinstance(recipe, PropertyRecipe):
        raise SpecError(f"recipe {name!r} derives nothing from results", key="recipe")
    return recipe


def get_unfolding_recipe(name: str) -> UnfoldingRecipe:
    """The recipe called `name`, which makes jobs of results; SpecError where it does not."""
    recipe = get_recipe(name)
    if not isinstance(recipe, UnfoldingRecipe):
        raise SpecError(f"recipe {name!r} makes no jobs of results", key="recipe")
    return recipe


def draws_conclusions(name: str) -> bool:
    """Whether the recipe called `name` derives anything from results."""
    return isinstance(_RECIPES.get(name), PropertyRecipe)


def recipe_names() -> list[str]:
    """The recipes that a spec can have: records are only ever imported, and a library user submits nothing."""
    return [name for name in _RECIPES if name not in ONLY_KEPT]
