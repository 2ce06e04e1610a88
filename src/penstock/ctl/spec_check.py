"""Whether a spec can be meant, as far as no daemon is needed to say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock import engines
from penstock.domain.errors import SpecError
from penstock.domain.settings import read_text
from penstock.domain.spec import WorkflowSpec, decode_spec, in_file, parse_toml
from penstock.recipes.recipe import View
from penstock.recipes.registry import get_recipe


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


def engines_for(recipe: str) -> list[str]:
    """The engines that a recipe can run."""
    return [name for name in engines.names() if _runs(recipe, name)]


def _runs(recipe: str, engine: str) -> bool:
    tables = {"recipe": recipe, "structures": {"source": "any"}, "engine": {"name": engine}}
    try:
        get_recipe(recipe).steps(View(decode_spec(tables, "", ""), ()))
    except SpecError as error:
        return error.key != "engine.name"
    return True
