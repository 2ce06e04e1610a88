"""How a library user calculates, as the key that a daemon would give to the same method."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock import engines
from penstock.domain.errors import SpecError
from penstock.domain.sameness import method_key


def key_of_method(engine: str, parameters: Mapping[str, Any]) -> str:
    """The key of an engine with its parameters (JSON values), which are completed where it is an engine of ours.

    An engine of the user's own, or one of ours used in a way of their own, is known by what was given.
    """
    complete: Any = parameters
    with contextlib.suppress(SpecError):
        complete = engines.get(engine).parameters(parameters, _no_file)
    return method_key(engine, msgspec.json.encode(complete).decode())


def _no_file(name: str) -> str:
    raise SpecError(f"the file {name} is not read here")
