"""The engine of workflows that are records of what another tool did: nothing says how their jobs would be run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome, Rendered
from penstock.domain.errors import SpecError
from penstock.domain.remedy import Rule
from penstock.engines.engine import Ability, ReadFile, Role, fail

_MESSAGE = "nothing says how to run it: the workflow was imported without a spec"


class NoParameters(msgspec.Struct, frozen=True):
    """There are none."""


class NoEngine:
    """Runs nothing and reads nothing of its own; what other tools left is read all the same."""

    name = "none"
    kind: Literal["program"] = "program"
    tasks: frozenset[str] = frozenset()
    roles: Mapping[Role, Mapping[str, Any]] = MappingProxyType({})
    abilities: frozenset[Ability] = frozenset()
    rules: tuple[Rule, ...] = ()
    parameters_type = NoParameters

    def parameters(self, table: Mapping[str, Any], read_file: ReadFile) -> NoParameters:  # noqa: ARG002
        """SpecError: nobody can choose it."""
        raise SpecError("'none' is the engine of imported records; name the engine that is to run", key="engine.name")

    def comparable(self, parameters: NoParameters, geometry: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing: nothing is calculated."""
        return {}

    def render(self, calculation: Calculation, parameters: NoParameters) -> Rendered:  # noqa: ARG002
        """SpecError."""
        raise SpecError(_MESSAGE, key="engine.name")

    def read(self, directory: Path, exit: Exit, parameters: NoParameters) -> Outcome:  # noqa: A002, ARG002
        """A failure: there can be no such attempt."""
        return fail(FailureClass.OUTPUT_INVALID, _MESSAGE)

    def programs(self, parameters: NoParameters) -> Mapping[str, str]:  # noqa: ARG002
        """None."""
        return {}

    def outputs(self, parameters: NoParameters) -> tuple[str, ...]:  # noqa: ARG002
        """None."""
        return ()

    def load(self) -> None:
        """Nothing."""
