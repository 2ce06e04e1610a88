"""Whether a spec can be meant, as far as no daemon is needed to say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from penstock import engines
from penstock.domain.errors import SpecError
from penstock.domain.property_tables import PROPERTY_TABLES
from penstock.domain.settings import read_text
from penstock.domain.spec import WorkflowSpec, decode_spec, in_file, parse_toml
from penstock.recipes.recipe import View
from penstock.recipes.registry import get_recipe

_LEAST: Final[Mapping[str, dict[str, Any]]] = {"diffusion": {"temperatures_k": [300.0]}}
"""What a recipe must be told before anything else of it can be looked at."""


def check_spec(text: str, file: Path) -> WorkflowSpec:
    """The checked spec of `text`, which is or will be in `file`; files it names are looked for beside that."""
    tables = parse_toml(text, str(file))
    try:
        return check_tables(tables, text, file)
    except SpecError as error:
        raise in_file(error, text, str(file)) from error


def check_tables(tables: dict[str, Any], text: str, file: Path) -> WorkflowSpec:
    """The checked spec of `tables`: its keys, its recipe's steps, its engine's table. Raises SpecError."""
    spec = decode_spec(tables, text, str(file))
    get_recipe(spec.recipe).steps(View(spec, ()))
    own = {key: value for key, value in spec.engine.items() if key != "name"}
    engines.get(spec.engine_name).parameters(own, lambda name: read_text(file.parent / name))
    return spec


def engines_for(recipe: str, tables: Mapping[str, Any] = MappingProxyType({})) -> list[str]:
    """The engines that a recipe can run, with what `tables` of the spec say of it."""
    return [name for name in engines.names() if why_not(recipe, name, tables) is None]


def why_not(recipe: str, engine: str, tables: Mapping[str, Any] = MappingProxyType({})) -> str | None:
    """Why the engine cannot do what the recipe needs, with what `tables` say; None where it can."""
    own = {recipe: _LEAST.get(recipe, {}) | dict(tables.get(recipe, {}))} if recipe in PROPERTY_TABLES else {}
    try:
        spec = decode_spec(
            {"recipe": recipe, "structures": {"source": "any"}, "engine": {"name": engine}} | own, "", ""
        )
        get_recipe(recipe).steps(View(spec, ()))
    except SpecError as error:
        return error.message if error.key == "engine.name" else None
    return None
