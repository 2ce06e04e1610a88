"""What an engine is, how its table in the spec is checked, and what an exit says before any output is read."""

from __future__ import annotations

import os
import shlex
import signal
import stat
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeVar, get_args, get_type_hints

import msgspec

from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome, Rendered
from penstock.domain.errors import SpecError
from penstock.domain.remedy import Rule
from penstock.domain.report import Report
from penstock.domain.spec import nearest, readable_error, unknown_key

P = TypeVar("P", bound=msgspec.Struct)
ReadFile = Callable[[str], str]
"""Reads a text file named in the spec, relative to it; raises SpecError."""

_DISK: Final = ("no space left on device", "disk quota exceeded", "[errno 28]", "[errno 122]")
_MEMORY: Final = ("memoryerror", "cannot allocate memory", "bad_alloc", "out of memory", "oom-kill")
_TAIL: Final = 64 * 1024
_MESSAGE_MAX: Final = 500
_VERDICTS: Final = {
    "timeout": (FailureClass.WALLTIME, "stopped at its walltime"),
    "oom": (FailureClass.OUT_OF_MEMORY, "ended for using more memory than it asked for"),
    "cancelled": (FailureClass.CANCELLED, "cancelled"),
    "lost": (FailureClass.RUNNER_LOST, "what ran it vanished"),
}


class Role(StrEnum):
    """What a recipe may ask of any engine; each engine says with which parameters of its own it does it.

    What stands behind a role is in the outcome: its energy; `max_force_hartree_per_bohr`; of crystals the property
    `stress_gpa`, nine numbers row by row, positive where the crystal wants to expand. The energy is of the atoms of the
    geometry, or of as many as the property `atoms` says. A role's parameters, like those of `Engine.comparable`, go
    over the checked ones (what `Engine.parameters` returns), not over the table.
    """

    SINGLE_POINT = "single_point"  # energy, forces and stress of the geometry as it is
    RELAX_IONS = "relax_ions"  # the positions relaxed in the cell as it is; also `initial_stress_gpa`, of the beginning
    RELAX_CELL = "relax_cell"  # positions and cell relaxed
    DYNAMICS = "dynamics"  # molecular dynamics, as `engines.dynamics` says


class Ability(StrEnum):
    """What an engine's outcomes hold, or what it can do, so that a recipe knows before anything runs."""

    ENERGY = "energy"
    FORCES = "forces"
    STRESS = "stress"  # of crystals: `stress_gpa`
    CELL = "cell"  # relaxing a cell together with the atoms in it
    PRESSURE = "pressure"  # the same under a pressure: `pressure_gpa` over the parameters
    DYNAMICS = "dynamics"  # molecular dynamics


class Engine(Protocol[P]):
    """A simulation code. Its parameters are a frozen struct that survives JSON and msgpack."""

    @property
    def name(self) -> str:
        """What the spec calls it."""

    @property
    def tasks(self) -> frozenset[str]:
        """What `task` may be; empty where the engine has no such choice."""

    @property
    def kind(self) -> Literal["python", "program"]:
        """Whether it runs in a warm Python process or as a program of its own."""

    @property
    def parameters_type(self) -> type[P]:
        """The struct `parameters` returns, to decode it with."""

    @property
    def roles(self) -> Mapping[Role, Mapping[str, Any]]:
        """The parameters that do what a recipe asks for; a role that is not there is one that the engine cannot do."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What its outcomes can hold and what it can do, whatever the structure; a parameter may still forbid it."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What a failed attempt is followed by, as a table; the first rule that still changes something is taken."""

    def parameters(self, table: Mapping[str, Any], read_file: ReadFile) -> P:
        """The checked parameters of the spec's `[engine]` table (without `name`); SpecError says what is wrong."""

    def comparable(self, parameters: P, geometry: str) -> Mapping[str, Any]:
        """Parameters, to put over `parameters`, with which cells a little different from `geometry` are comparable.

        What depends on the cell by steps, such as a grid of k-points from a spacing, is held as it is for `geometry` (a
        block). Ask once, for the cell that a workflow begins with, and put it over the parameters of all its steps.
        SpecError for a structure that cannot be calculated.
        """

    def render(self, calculation: Calculation, parameters: P) -> Rendered:
        """The files and the command line of one attempt. Pure."""

    def read(self, directory: Path, exit: Exit, parameters: P) -> Outcome:  # noqa: A002 - the contract's word
        """What the attempt in `directory` came to; never raises because of what it finds there."""

    def programs(self, parameters: P) -> Mapping[str, str]:
        """The programs that an attempt calls, names or paths, by the key of the spec that says so; none for Python."""

    def outputs(self, parameters: P) -> tuple[str, ...]:
        """The names, in an attempt's directory, of all that `read` looks at or a person wants to keep."""

    def load(self) -> None:
        """Import what running attempts needs, once for all; nothing for a program."""


class PythonEngine(Engine[P], Protocol[P]):
    """An engine that runs inside a warm Python process, many attempts one after another."""

    def run(self, directory: Path) -> None:
        """Calculate what `directory` holds and leave the result there; raises what the calculator raises."""


class OutputEngine(Engine[P], Protocol[P]):
    """A program whose output files can be told and read by themselves, without an attempt around them."""

    def recognises(self, head: bytes) -> bool:
        """Whether an output that begins so (the first 64 KiB, unpacked) is one of its program's."""

    def report(self, path: Path) -> Report:
        """What the file says, in one pass and bounded memory; OSError where it cannot be read, no other error."""

    def main_output(self, names: Iterable[str]) -> list[str]:
        """Of the file names in a directory, those that may be a run's main output, the likeliest first."""


def check_table(table: Mapping[str, Any], parameters_type: type[P], where: str = "engine") -> P:
    """`table` as a struct; SpecError carries the key and the nearest right one or the values allowed."""
    known = [field.encode_name for field in msgspec.structs.fields(parameters_type)]
    for given in table:
        if given not in known:
            raise unknown_key(given, known, where)
    _check_choices(table, parameters_type, where)
    try:
        return msgspec.convert(dict(table), parameters_type)
    except msgspec.ValidationError as error:
        message, key = readable_error(str(error))
        raise SpecError(message, key=f"{where}.{key}" if key else where) from error


def _check_choices(table: Mapping[str, Any], parameters_type: type[P], where: str) -> None:
    """A string that is none of a field's literals gets an error that names them."""
    hints = get_type_hints(parameters_type)
    for given, value in table.items():
        choices = get_args(hints.get(given))
        if not choices or not all(isinstance(choice, str) for choice in choices):
            continue
        if value not in choices:
            hint = " ".join(filter(None, [nearest(str(value), choices), f"use one of {', '.join(choices)}"]))
            raise SpecError(f"{value!r} is not known; {hint}", key=f"{where}.{given}")


def split_command(command: str | list[str], key: str) -> list[str]:
    """A command line as arguments: a text is split as a shell would split it. SpecError for what starts no program."""
    try:
        argv = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise SpecError(f"cannot be split into arguments: {error}", key=key) from error
    if not argv or not argv[0]:
        raise SpecError("empty; give the program to run", key=key)
    if any("\0" in argument for argument in argv):
        raise SpecError("an argument holds a NUL character", key=key)
    return argv


def fail(failure: FailureClass, message: str) -> Outcome:
    """An outcome that is nothing but a failure."""
    return Outcome(failure, message)


def read_verdict(exit: Exit) -> Outcome | None:  # noqa: A002
    """The failure of an attempt that was ended from outside; None where the outputs must tell."""
    if exit.verdict is None:
        return None
    failure, message = _VERDICTS.get(exit.verdict, (FailureClass.RUNNER_LOST, f"ended as {exit.verdict!r}"))
    return fail(failure, f"{message}: {exit.message}" if exit.message else message)


def classify_exhausted(message: str) -> FailureClass | None:
    """DISK or OUT_OF_MEMORY where a message tells of one."""
    lowered = message.lower()
    if any(sign in lowered for sign in _DISK):
        return FailureClass.DISK
    if any(sign in lowered for sign in _MEMORY):
        return FailureClass.OUT_OF_MEMORY
    return None


def open_output(path: Path) -> int:
    """A descriptor to read `path` with; OSError unless it is a regular file (a pipe would block for ever)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file", str(path))
    return descriptor


def read_output(path: Path, bytes_max: int) -> bytes:
    """The whole of an output; OSError where it is missing, no regular file or longer than `bytes_max`."""
    descriptor = open_output(path)
    try:
        size = os.fstat(descriptor).st_size
        if size > bytes_max:
            raise OSError(0, f"{size} bytes long, more than {bytes_max}", str(path))
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.read(size)
    finally:
        os.close(descriptor)


def read_tail(path: Path) -> str:
    """The last lines of a text file, empty where it cannot be read."""
    try:
        descriptor = open_output(path)
        with os.fdopen(descriptor, "rb") as file:
            file.seek(max(0, os.fstat(descriptor).st_size - _TAIL))
            return file.read(_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""


def last_line_of(text: str) -> str:
    """The last line that is not blank, cut to what a message may be long; empty where there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")[:_MESSAGE_MAX]


def signal_message(number: int) -> str:
    """What a signal that nobody of ours sent probably means."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    hint = "; often the kernel, out of memory" if number == signal.SIGKILL else ""
    return f"killed by {name}{hint}"
