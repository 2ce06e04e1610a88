"""Looking into job directories, in a worker process: outputs read again, and outputs that are not there any more."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock import engines
from penstock.domain.calculation import Exit, FailureClass, Outcome
from penstock.engines import foreign
from penstock.engines.command import CommandParameters
from penstock.store.reviews import Look, ReviewKind, Seen

_SLICE_S: Final = 1.0  # a worker is wanted by others, too; what is not done by then is asked for again
_YOUNGER_S: Final = 60.0  # clocks of file servers and nodes differ by less
_JOBS_AHEAD: Final = 16
_AHEAD_BYTES: Final = 1 << 20
_ENDED_WELL: Final = Exit(0, None, 0.0, 0.0)
_NOTHING_SAYS: Final = "nothing in the spec says what a success looks like"


def look_through(
    kind: ReviewKind, engine: engines.Engine[Any], parameters: bytes, root: Path, looks: Sequence[Look]
) -> list[Seen]:
    """What is found of the first of these jobs, at least of one; as many as there is time for."""
    readers: dict[str | None, _Reader] = {}
    until = time.monotonic() + _SLICE_S
    seen: list[Seen] = []
    coming = iter(looks)
    begun: deque[tuple[Look, _Reader]] = deque()
    while True:
        for look in itertools.islice(coming, _JOBS_AHEAD - len(begun)):
            if look.parameters not in readers:
                own = parameters if look.parameters is None else look.parameters.encode()
                readers[look.parameters] = _Reader(engine, decode_parameters(engine, own), root)
            readers[look.parameters].begin(kind, look)
            begun.append((look, readers[look.parameters]))
        if not begun or (seen and time.monotonic() > until):
            return seen
        look, reader = begun.popleft()
        seen.append(_look(reader.method(kind), look))


def _look(read: Callable[[Look], Seen], look: Look) -> Seen:
    try:
        return read(look)
    except FileNotFoundError:
        return _left(look, "no attempt directory")
    except OSError as error:
        return _left(look, "unreadable", f"{error.filename or look.directory}: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - one poisonous directory must not stop the review
        return _left(look, "unreadable", f"{look.directory}: {type(error).__name__}: {error}")


class _Reader:
    """An engine with its parameters, and the workflow's directory."""

    def __init__(self, engine: engines.Engine[Any], parameters: Any, root: Path) -> None:
        self._engine = engine
        self._parameters = parameters
        self._root = root
        self._main_output = getattr(engine, "main_output", None)  # of an OutputEngine
        self._outputs = engine.outputs(parameters)
        self._attempts: dict[int, list[int]] = {}  # of jobs that are begun

    def begin(self, kind: ReviewKind, look: Look) -> None:
        """Has the disk fetch the job's output while others are read: small files would be waited for, one by one.

        Trouble is none of its business: whoever reads the file meets it.
        """
        if kind is ReviewKind.RESET_MISSING or look.elsewhere:
            return
        directory = f"{self._root}/{look.directory}"
        with contextlib.suppress(OSError):
            if kind is ReviewKind.RESCAN:
                self._attempts[look.job] = numbers = _attempts_in(directory)
                directory = f"{directory}/{numbers[0]}" if numbers else directory
            if self._outputs:
                _fetch(f"{directory}/{self._outputs[0]}")

    def method(self, kind: ReviewKind) -> Callable[[Look], Seen]:
        """What is done with each job."""
        return {
            ReviewKind.RESCAN: self.find_success,
            ReviewKind.RECOMPUTE: self.read_again,
            ReviewKind.RESET_MISSING: self.find_missing,
        }[kind]

    def find_success(self, look: Look) -> Seen:
        """The newest attempt on disk that reads as a success; where there is none, what is wrong with the newest."""
        numbers = self._numbers(look)
        if not numbers:
            return _left(look, "no attempt directory")
        newest, reason, detail = numbers[0], "", ""
        if not _can_tell(self._parameters) and not look.elsewhere:
            return _left(look, _NOTHING_SAYS, highest=newest)
        for number in numbers:
            directory = look.elsewhere[number][0] if number in look.elsewhere else f"{look.directory}/{number}"
            if number in look.aside:
                reason, detail = reason or "set aside by a retry", detail or directory
                continue
            outcome = self._read(look, number, directory)
            if outcome.failure is None and (number in look.elsewhere or self._is_told(outcome)):
                return _found(look, newest, number, outcome, directory)
            reason = reason or str(outcome.failure or _NOTHING_SAYS)
            detail = detail or f"{directory}: {outcome.message or outcome.failure or 'none of the patterns matches'}"
        return _left(look, reason, detail, newest)

    def _numbers(self, look: Look) -> list[int]:
        """The numbers of the job's attempts, the newest first: in its own directory, and where another tool made them.

        FileNotFoundError where there is no directory at all.
        """
        own = self._attempts.pop(look.job, None)
        if own is None:
            try:
                own = _attempts_in(f"{self._root}/{look.directory}")
            except FileNotFoundError:
                if not look.elsewhere:
                    raise
                own = []
        return sorted({*own, *look.elsewhere}, reverse=True)

    def _read(self, look: Look, number: int, directory: str) -> Outcome:
        """What an attempt came to. One that another tool made is read for what its program printed."""
        if number in look.elsewhere:
            return _read_elsewhere(*look.elsewhere[number])
        path = Path(f"{self._root}/{directory}")
        return self._engine.read(path, self._exit(directory, look, number), self._parameters)

    def _is_told(self, outcome: Outcome) -> bool:
        return _can_tell(self._parameters) and _tells(self._parameters, outcome)

    def _exit(self, directory: str, look: Look, number: int) -> Exit:
        """How the attempt ended. Unless it was seen to end badly, its outputs alone decide.

        What a person put there after that end was seen is not the work of that process.
        """
        code, signal, ended_at = look.exits.get(number, (0, None, 0.0))
        if (code, signal) == (0, None) or self._changed_at(directory) > ended_at + _YOUNGER_S:
            return _ENDED_WELL
        return Exit(code, signal, ended_at, ended_at)

    def _changed_at(self, directory: str) -> float:
        """When the newest of the attempt's outputs was changed; 0 where there is none."""
        newest = 0.0
        for name in self._outputs:
            try:
                newest = max(newest, (self._root / directory / name).stat().st_mtime)
            except OSError:
                continue
        return newest

    def read_again(self, look: Look) -> Seen:
        """What the outputs of a completed job's attempt say now."""
        number = _number_elsewhere(look)
        if number is not None:
            outcome = foreign.read_directory(Path(look.directory), look.elsewhere[number][1])
        else:
            outcome = self._engine.read(self._root / look.directory, _ENDED_WELL, self._parameters)
        if outcome.failure is not None:
            detail = f"{look.directory}: {outcome.message or outcome.failure}"
            return _left(look, str(outcome.failure), detail)
        number = int(look.directory.rpartition("/")[2]) if number is None else number
        return _found(look, number, number, outcome, look.directory)

    def find_missing(self, look: Look) -> Seen:
        """Found, where the attempt's directory or what its result was read from is gone."""
        try:
            names = os.listdir(self._root / look.directory)  # noqa: PTH208 - names, without an object each
        except FileNotFoundError:
            names = []
        number = _number_elsewhere(look)
        if foreign.outputs_in(names) if number is not None else self._has_results(names):
            return _left(look, "")
        return _found(look)

    def _has_results(self, names: list[str]) -> bool:
        if self._main_output is not None:
            return bool(self._main_output(names))
        if self._engine.kind == "python":
            return self._outputs[0] in names
        if isinstance(self._parameters, CommandParameters) and self._parameters.results.file is not None:
            return self._parameters.results.file in names
        return not self._outputs or not {*self._outputs}.isdisjoint(names)


def _read_elsewhere(directory: str, output: str | None) -> Outcome:
    try:
        return foreign.read_directory(Path(directory), output)
    except OSError as error:
        return Outcome(FailureClass.OUTPUT_MISSING, f"cannot be read: {error.strerror or error}")


def _number_elsewhere(look: Look) -> int | None:
    """The number of the attempt whose directory is looked into, if another tool made it."""
    return next((number for number, (directory, _) in look.elsewhere.items() if directory == look.directory), None)


def _fetch(path: str) -> None:
    """Asks for the beginning of a file to be read into memory, without waiting; OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, 0, _AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)


def _attempts_in(directory: str) -> list[int]:
    """The numbers of the attempts that have a directory there, the newest first."""
    with os.scandir(directory) as entries:
        found = [entry for entry in entries if entry.name.isascii() and entry.name.isdecimal()]
        numbers = [int(entry.name) for entry in found if entry.name[0] != "0" and entry.is_dir()]
    return sorted(numbers, reverse=True)


def _can_tell(parameters: Any) -> bool:
    """Whether outputs alone can tell a success: not those of a program for which the spec has no rules."""
    if not isinstance(parameters, CommandParameters):
        return True
    rules = parameters.results
    return rules.success is not None or rules.file is not None or bool(rules.patterns)


def _tells(parameters: Any, outcome: Outcome) -> bool:
    """Whether a success is one by evidence: patterns that may be missing must not all be missing."""
    if not isinstance(parameters, CommandParameters):
        return True
    rules = parameters.results
    values = (outcome.final_energy_hartree, outcome.max_force_hartree_per_bohr, outcome.scf_cycles)
    return (
        rules.success is not None
        or rules.file is not None
        or bool(outcome.properties)
        or any(value is not None for value in values)
    )


def _found(look: Look, highest: int = 0, number: int = 0, outcome: Outcome | None = None, directory: str = "") -> Seen:
    return Seen(
        look.job,
        look.attempts,
        look.directory,
        found=True,
        highest=highest,
        number=number,
        outcome=outcome,
        outcome_directory=directory,
    )


def _left(look: Look, reason: str, detail: str = "", highest: int = 0) -> Seen:
    return Seen(look.job, look.attempts, look.directory, found=False, highest=highest, reason=reason, detail=detail)


def decode_parameters(engine: engines.Engine[Any], parameters: bytes) -> Any:
    """The engine's parameters as they were when the workflow was submitted."""
    return msgspec.json.decode(parameters, type=engine.parameters_type)
