"""Simulation codes: each renders inputs from values and reads outputs into values. `get` finds one by its name."""

from __future__ import annotations

import difflib
from typing import Any, Final

from penstock.domain.errors import SpecError
from penstock.engines.command import CommandEngine
from penstock.engines.emt import EmtEngine
from penstock.engines.engine import Engine, PythonEngine
from penstock.engines.tblite import TbliteEngine

__all__ = ["Engine", "PythonEngine", "get", "get_python", "names"]

_PYTHON: Final[dict[str, PythonEngine[Any]]] = {"tblite": TbliteEngine(), "emt": EmtEngine()}
_ENGINES: Final[dict[str, Engine[Any]]] = {**_PYTHON, "command": CommandEngine()}


def get(name: str) -> Engine[Any]:
    """The engine called `name`; SpecError names those there are."""
    if name in _ENGINES:
        return _ENGINES[name]
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise SpecError(f"unknown engine {name!r}; {hint}known: {', '.join(names())}", key="engine.name")


def get_python(name: str) -> PythonEngine[Any]:
    """The engine called `name`, which runs in Python; KeyError if it does not."""
    return _PYTHON[name]


def names() -> list[str]:
    """The engines there are."""
    return list(_ENGINES)
