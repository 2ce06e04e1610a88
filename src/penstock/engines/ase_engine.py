"""Any calculator of ASE's kind, machine-learned potentials among them, by the name under which Python finds it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.engines.ase_calculation import INPUT, Input, InputError, forget, load_ase, write_result
from penstock.engines.ase_tasks import CalculatorEngine, run_task
from penstock.engines.dynamics import DynamicsParameters
from penstock.engines.engine import ReadFile

_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


class AnyAseParameters(DynamicsParameters, frozen=True, kw_only=True):
    """The `[engine]` table of `ase`.

    `calculator` is the dotted name of a class, or of a function that returns a calculator; it is called with
    `arguments`. What it names is imported and run with the user's rights.
    """

    calculator: str
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


_INPUT_DECODER: Final = msgspec.json.Decoder(Input[AnyAseParameters])


class AseEngine(CalculatorEngine[AnyAseParameters]):
    """A calculator that is named. A charge is an input error, the multiplicity is ignored: neither has a common name.

    The calculator of one attempt is used by the next, if that names the same one with the same arguments: to load a
    model may take longer than to use it. What the calculator lacks shows when it is asked for it.
    """

    name = "ase"
    parameters_type = AnyAseParameters

    def __init__(self) -> None:
        self._kept: tuple[tuple[str, bytes], Any] | None = None

    def parameters(self, table: Mapping[str, Any], read_file: ReadFile) -> AnyAseParameters:
        """The checked `[engine]` table; SpecError says what is wrong with it."""
        parameters = super().parameters(table, read_file)
        if _DOTTED.fullmatch(parameters.calculator) is None:
            message = f"{parameters.calculator!r} is no dotted name; write it like 'ase.calculators.lj.LennardJones'"
            raise SpecError(message, key="engine.calculator")
        try:
            msgspec.json.encode(parameters.arguments)
        except (TypeError, ValueError, OverflowError) as error:
            raise SpecError(f"must be what JSON can hold: {error}", key="engine.arguments") from error
        return parameters

    def load(self) -> None:
        """Import ASE; what the calculator needs is imported by the first attempt, which names it."""
        load_ase()

    def run(self, directory: Path) -> None:
        """Calculate; raises InputError for a charge or a calculator that is none, and what the calculator raises."""
        data = _INPUT_DECODER.decode((directory / INPUT).read_bytes())
        if data.charge != 0:
            raise InputError(
                f"this structure has the charge {data.charge:+d}, which engine 'ase' cannot hand to a calculator; "
                "use another engine for it"
            )
        calculator = self._calculator(data.parameters)
        calculator.directory = str(directory)
        kept, self._kept = self._kept, None  # what raises in the middle of its work is not used again
        write_result(directory, run_task(directory, data, calculator))
        self._kept = kept

    def _calculator(self, parameters: AnyAseParameters) -> Any:
        """The one that is kept, as if it were new, or a new one."""
        key = (parameters.calculator, msgspec.json.encode(parameters.arguments, order="sorted"))
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # two models at a time may not find room
            self._kept = (key, make_calculator(parameters.calculator, parameters.arguments))
        calculator = self._kept[1]
        forget(calculator)
        return calculator


def make_calculator(dotted: str, arguments: Mapping[str, Any]) -> Any:
    """Import what `dotted` names and call it; InputError where it is not there or makes no calculator."""
    module_name, _, name = dotted.rpartition(".")
    try:
        make = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        missing = error.name or module_name
        raise InputError(
            f"engine.calculator {dotted}: {missing!r} cannot be imported ({error}); "
            "install it beside Penstock where attempts run"
        ) from error
    if not callable(make):
        raise InputError(f"engine.calculator {dotted}: {module_name} has no class or function {name!r}")
    try:
        calculator = make(**arguments)
    except TypeError as error:
        raise InputError(f"engine.arguments: {dotted} cannot be called with them: {error}") from error
    if not (hasattr(calculator, "calculate") and hasattr(calculator, "implemented_properties")):
        raise InputError(f"engine.calculator {dotted} made no ASE calculator, but {type(calculator).__name__!r}")
    return calculator
