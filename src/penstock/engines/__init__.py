"""Simulation codes: each renders inputs from values and reads outputs into values. `get` finds one by its name.

An engine is imported when it is first asked for, so that nobody waits for those that a workflow does not use.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Final, cast

from penstock.domain.errors import SpecError
from penstock.domain.spec import nearest
from penstock.engines.engine import Engine, OutputEngine, PythonEngine

__all__ = ["Engine", "OutputEngine", "PythonEngine", "depends_on_name", "get", "get_python", "names", "output_engines"]

_CLASSES: Final = {
    "tblite": "tblite.TbliteEngine",
    "emt": "emt.EmtEngine",
    "ase": "ase_engine.AseEngine",
    "orca": "orca.OrcaEngine",
    "orca-sella": "sella.SellaEngine",
    "crystal": "crystal.CrystalEngine",
    "espresso": "espresso.EspressoEngine",
    "command": "command.CommandEngine",
    "none": "record.NoEngine",
}
_NAME: Final = re.compile(r"(?<!\$)(?:\$\$)*\$\{?name\b")
_NOBODYS: Final = "none"  # of imported records; nobody is shown it to choose
_ENGINES: Final[dict[str, Engine[Any] | None]] = dict.fromkeys(_CLASSES)  # None: not asked for yet


def get(name: str) -> Engine[Any]:
    """The engine called `name`; SpecError names those there are."""
    if name not in _ENGINES:
        hint = " ".join(filter(None, [nearest(name, names()), f"known: {', '.join(names())}"]))
        raise SpecError(f"unknown engine {name!r}; {hint}", key="engine.name")
    engine = _ENGINES[name]
    if engine is None:
        module, _, kind = _CLASSES[name].partition(".")
        engine = _ENGINES[name] = getattr(importlib.import_module(f"{__name__}.{module}"), kind)()
    return engine


def get_python(name: str) -> PythonEngine[Any]:
    """The engine called `name`, which runs in Python; KeyError if it does not."""
    engine = get(name)
    if engine.kind != "python":
        raise KeyError(name)
    return cast("PythonEngine[Any]", engine)


def names() -> list[str]:
    """The engines there are."""
    return [name for name in _ENGINES if name != _NOBODYS]


def output_engines() -> list[OutputEngine[Any]]:
    """The engines whose programs' output files can be read by themselves, in the order they are asked."""
    engines = [get(name) for name in names()]
    return [cast("OutputEngine[Any]", engine) for engine in engines if hasattr(engine, "report")]


def depends_on_name(name: str, parameters: str) -> bool:
    """Whether what the engine called `name` calculates may depend on what a structure is called; parameters as JSON.

    To the others a name is a title. A program may choose its input by it.
    """
    return name == "command" and _NAME.search(parameters) is not None
