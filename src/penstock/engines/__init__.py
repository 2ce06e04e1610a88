"""Simulation codes: each renders inputs from values and reads outputs into values. `get` finds one by its name."""

from __future__ import annotations

from typing import Any, Final, cast

from penstock.domain.errors import SpecError
from penstock.domain.spec import nearest
from penstock.engines.command import CommandEngine
from penstock.engines.crystal import CrystalEngine
from penstock.engines.emt import EmtEngine
from penstock.engines.engine import Engine, OutputEngine, PythonEngine
from penstock.engines.orca import OrcaEngine
from penstock.engines.sella import SellaEngine
from penstock.engines.tblite import TbliteEngine

__all__ = ["Engine", "OutputEngine", "PythonEngine", "get", "get_python", "names", "output_engines"]

_PYTHON: Final[dict[str, PythonEngine[Any]]] = {
    engine.name: engine for engine in (TbliteEngine(), EmtEngine(), SellaEngine())
}
_ENGINES: Final[dict[str, Engine[Any]]] = _PYTHON | {
    engine.name: engine for engine in (CommandEngine(), OrcaEngine(), CrystalEngine())
}


def get(name: str) -> Engine[Any]:
    """The engine called `name`; SpecError names those there are."""
    if name in _ENGINES:
        return _ENGINES[name]
    hint = " ".join(filter(None, [nearest(name, names()), f"known: {', '.join(names())}"]))
    raise SpecError(f"unknown engine {name!r}; {hint}", key="engine.name")


def get_python(name: str) -> PythonEngine[Any]:
    """The engine called `name`, which runs in Python; KeyError if it does not."""
    return _PYTHON[name]


def names() -> list[str]:
    """The engines there are."""
    return list(_ENGINES)


def output_engines() -> list[OutputEngine[Any]]:
    """The engines whose programs' output files can be read by themselves, in the order they are asked."""
    return [cast("OutputEngine[Any]", engine) for engine in _ENGINES.values() if hasattr(engine, "report")]
