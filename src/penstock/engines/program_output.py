"""What a program left behind: values from a JSON file, or by patterns from its text, line by line in bounded memory."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.calculation import HARTREE_EV, Exit, FailureClass, Outcome
from penstock.domain.errors import SpecError
from penstock.domain.geometry import normalise
from penstock.domain.spec import nearest
from penstock.engines.engine import (
    classify_exhausted,
    fail,
    last_line_of,
    open_output,
    read_output,
    read_tail,
    read_verdict,
    signal_message,
)

_JSON_MAX: Final = 16 * 1024 * 1024
_LINE_MAX: Final = 64 * 1024
_ENERGIES: Final = ("energy_hartree", "energy_ev")
_FLOATS: Final = frozenset({*_ENERGIES, "max_force_hartree_per_bohr"})
_KNOWN: Final = _FLOATS | {"scf_cycles", "geometry"}
_OFTEN_MEANT: Final = {
    "energy": "energy_hartree",
    "energy_eh": "energy_hartree",
    "energy_au": "energy_hartree",
    "final_energy": "energy_hartree",
    "total_energy": "energy_hartree",
    "force": "max_force_hartree_per_bohr",
    "forces": "max_force_hartree_per_bohr",
    "max_force": "max_force_hartree_per_bohr",
    "max_forces": "max_force_hartree_per_bohr",
    "scf_steps": "scf_cycles",
    "scf_iterations": "scf_cycles",
}
_FORTRAN: Final = re.compile(r"([-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+))[dD]([-+]?[0-9]+)")
_BOM: Final = b"\xef\xbb\xbf"
_JSON: Final = msgspec.json.Decoder(dict[str, Any])

Properties = dict[str, float | int | str | bool | list[float]]


class ResultRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from"}):
    """`[engine.results]`: a JSON `file`, or `patterns` for the text of `from`; `success` must be found in it."""

    file: str | None = None
    source: str = "stdout"
    patterns: dict[str, str] = {}
    success: str | None = None


class _UnreadableError(Exception):
    """An output is not what the rules need; the failure's class and its message."""

    def __init__(self, failure: FailureClass, message: str) -> None:
        super().__init__(failure, message)
        self.failure = failure
        self.message = message


def check_rules(rules: ResultRules) -> ResultRules:
    """`rules` themselves if every pattern is a regular expression with the one group that holds the value."""
    where = "engine.results"
    if rules.file is not None and rules.patterns:
        raise SpecError("give file or patterns, not both", key=f"{where}.patterns")
    if set(_ENERGIES) <= rules.patterns.keys():
        raise SpecError("give energy_hartree or energy_ev, not both", key=f"{where}.patterns.energy_ev")
    if "geometry" in rules.patterns:
        raise SpecError("a geometry can only come from a JSON file", key=f"{where}.patterns.geometry")
    for name, pattern in rules.patterns.items():
        _check_name(name, f"{where}.patterns.{name}")
        groups = _compile(pattern, f"{where}.patterns.{name}").groups
        if groups != 1:
            message = f"needs exactly one group, around the value, but has {groups}; write (?:...) for others"
            raise SpecError(message, key=f"{where}.patterns.{name}")
    if rules.success is not None:
        _compile(rules.success, f"{where}.success")
    return rules


def _check_name(name: str, key: str) -> None:
    """SpecError for a name so near a known result's that a property of that name is not what was meant."""
    if name in _KNOWN:
        return
    meant = _OFTEN_MEANT.get(name.lower())
    if hint := nearest(meant or name.lower(), _KNOWN, 0.85):
        raise SpecError(f"no result is called {name!r}; {hint} Name a property of your own less alike", key=key)


def read_program(directory: Path, exit: Exit, rules: ResultRules, keep: list[str]) -> Outcome:  # noqa: A002
    """The outcome of a program that ran in `directory`; never raises because of what is there."""
    if (ended := read_verdict(exit) or _read_exit(directory, exit)) is not None:
        return ended
    try:
        values = _read_values(directory, rules)
        outcome = _to_outcome(values)
    except _UnreadableError as error:
        return fail(error.failure, error.message)
    wanted = dict.fromkeys([*keep, rules.file] if rules.file else keep)
    return msgspec.structs.replace(outcome, files=[name for name in wanted if _exists(directory / name)])


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _compile(pattern: str, key: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SpecError(f"not a regular expression: {error}", key=key) from error


def _read_exit(directory: Path, exit: Exit) -> Outcome | None:  # noqa: A002
    """The failure of a program that did not end with code 0."""
    if exit.signal is None and exit.code == 0 and exit.message is None:
        return None
    tail = read_tail(directory / "stderr")
    last = last_line_of(tail)
    if exit.signal is not None:
        failure, message = FailureClass.SIGNAL, signal_message(exit.signal)
    else:
        ended = "could not be started" if exit.code is None else f"ended with code {exit.code}"
        failure, message = FailureClass.EXIT_CODE, ended
    detail = exit.message or last
    exhausted = classify_exhausted(f"{exit.message or ''}\n{tail}")
    return fail(exhausted or failure, f"{message}: {detail}" if detail else message)


def _read_values(directory: Path, rules: ResultRules) -> Mapping[str, Any]:
    try:
        found = _search(directory, rules) if rules.patterns or rules.success is not None else {}
        return _read_json(directory, rules.file) if rules.file is not None else found
    except FileNotFoundError as error:
        raise _UnreadableError(FailureClass.OUTPUT_MISSING, f"{Path(error.filename).name} is missing") from error
    except OSError as error:
        name = Path(error.filename).name if error.filename else rules.source
        raise _UnreadableError(FailureClass.OUTPUT_INVALID, f"{name} cannot be read: {error.strerror}") from error


def _read_json(directory: Path, name: str) -> dict[str, Any]:
    data = read_output(directory / name, _JSON_MAX).removeprefix(_BOM)
    try:
        return _JSON.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _UnreadableError(FailureClass.OUTPUT_INVALID, f"{name} is not a JSON object: {error}") from error


def _search(directory: Path, rules: ResultRules) -> dict[str, Any]:
    """The last match of every pattern; a missing energy or success is a failure, another missing value is just none."""
    patterns = {name: re.compile(pattern) for name, pattern in rules.patterns.items()}
    success = None if rules.success is None else re.compile(rules.success)
    succeeded = success is None
    texts: dict[str, str] = {}
    for line in _lines(directory / rules.source):
        for name, pattern in patterns.items():
            if (match := pattern.search(line)) is not None and match[1] is not None:
                texts[name] = match[1]
        succeeded = succeeded or (success is not None and success.search(line) is not None)
    if not succeeded:
        message = f"{rules.source} nowhere matches success = {rules.success!r}"
        raise _UnreadableError(FailureClass.OUTPUT_INVALID, message)
    for name in _ENERGIES:
        if name in patterns and name not in texts:
            message = f"{rules.source} nowhere matches {name} = {rules.patterns[name]!r}"
            raise _UnreadableError(FailureClass.OUTPUT_MISSING, message)
    return {name: _number(text, real=name in _FLOATS) for name, text in texts.items()}


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text; what is beyond `_LINE_MAX` bytes of a line is given as a line of its own."""
    with os.fdopen(open_output(path), "rb") as file:
        while data := file.readline(_LINE_MAX):
            yield data.decode("utf-8", "replace").rstrip("\r\n")


def _number(text: str, *, real: bool) -> float | int | str:
    """`text` as the number it is (Fortran's D exponents too), or as it stands."""
    stripped = text.strip()
    try:
        return float(stripped) if real else int(stripped)
    except ValueError:
        pass
    try:
        return float(_FORTRAN.sub(r"\1e\2", stripped))
    except ValueError:
        return stripped


def _to_outcome(values: Mapping[str, Any]) -> Outcome:
    energy = _real(values, "energy_hartree")
    if energy is None and (energy_ev := _real(values, "energy_ev")) is not None:
        energy = energy_ev / HARTREE_EV
    force = _real(values, "max_force_hartree_per_bohr")
    return Outcome(
        failure=None,
        final_energy_hartree=energy,
        max_force_hartree_per_bohr=None if force is None else abs(force),
        scf_cycles=_count(values, "scf_cycles"),
        geometry=_geometry(values),
        properties=_properties(values),
    )


def _real(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _UnreadableError(FailureClass.OUTPUT_INVALID, f"{name} is not a number: {value!r:.80}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _UnreadableError(FailureClass.OUTPUT_INVALID, f"{name} is not finite")
    return number


def _count(values: Mapping[str, Any], name: str) -> int | None:
    number = _real(values, name)
    if number is None:
        return None
    if number < 0 or number > 2**53 or number != int(number):
        raise _UnreadableError(FailureClass.OUTPUT_INVALID, f"{name} is not a count: {number}")
    return int(number)


def _geometry(values: Mapping[str, Any]) -> str | None:
    text = values.get("geometry")
    if text is None:
        return None
    try:
        return normalise(text).block
    except (ValueError, AttributeError) as error:
        raise _UnreadableError(FailureClass.OUTPUT_INVALID, f"geometry: {error}") from error


def _properties(values: Mapping[str, Any]) -> Properties:
    """Everything that is not one of the known results and has a value a property can have; the rest is left out."""
    return {name: value for name, value in values.items() if name not in _KNOWN and _is_property(value)}


def _is_property(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(part, float | int) and not isinstance(part, bool) and _fits(part) for part in value)
    return isinstance(value, str | bool) or (isinstance(value, float | int) and _fits(value))


def _fits(number: Any) -> bool:
    """Whether a database and JSON can hold it."""
    return math.isfinite(number) if isinstance(number, float) else -(2**63) <= number < 2**63
