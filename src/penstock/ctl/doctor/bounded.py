"""Looking at things that may never answer: a network file system that hangs must not hang the doctor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from penstock.ctl.doctor.finding import SERVER_REMEDY, problem
from penstock.domain.errors import PenstockError
from penstock.domain.views import Finding

T = TypeVar("T")
PATIENCE_S: Final = 5.0
"""How long one check may take."""


class Check(NamedTuple):
    """Something to look at: its findings belong to `group`, and `what` names it where it does not answer."""

    group: str
    what: str
    look: Callable[[], Iterable[Finding]]
    patience_s: float = PATIENCE_S


class _Look(Generic[T]):
    """A function that runs in a thread of its own, which nobody waits for longer than `patience_s`."""

    def __init__(self, function: Callable[[], T], patience_s: float) -> None:
        self._function = function
        self._ends_at = time.monotonic() + patience_s
        self._patience_s = patience_s
        self._results: list[T] = []
        self._errors: list[Exception] = []
        # A daemon thread: one that is stuck in the kernel is left behind when the program ends.
        self._thread = threading.Thread(target=self._run, name="doctor", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            self._errors.append(error)

    def result(self) -> T:
        """What the function returned or raised; TimeoutError when it has done neither."""
        self._thread.join(max(0.0, self._ends_at - time.monotonic()))
        if self._errors:
            raise self._errors[0]
        if not self._results:
            raise TimeoutError(f"did not answer within {self._patience_s:g} s")
        return self._results[0]


def within(function: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """What `function` returns or raises. TimeoutError when it takes longer; it goes on then, and is forgotten."""
    return _Look(function, patience_s).result()


def run_checks(checks: Iterable[Check]) -> Iterator[Finding]:
    """The findings of all checks, in their order. All begin at once, so that together they take as long as one."""
    begun = [(check, _Look(partial(_all_of, check), check.patience_s)) for check in checks]
    for check, look in begun:
        for finding in _findings(check, look):
            yield msgspec.structs.replace(finding, group=check.group)


def _all_of(check: Check) -> list[Finding]:
    return list(check.look())


def _findings(check: Check, look: _Look[list[Finding]]) -> list[Finding]:
    try:
        return look.result()
    except Exception as error:  # noqa: BLE001 - a doctor that dies of one check says nothing of the others
        return [unanswered(check.what, error)]


def unanswered(what: str, error: Exception) -> Finding:
    """What is said of a check that did not come to its end."""
    match error:
        case TimeoutError():
            remedy = f"if it lies on a file server: {SERVER_REMEDY}"
            return problem(what, str(error) or "did not answer in time", remedy)
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            return problem(what, f"{place}{error.strerror or error}", "see that this account may look at it")
        case PenstockError():
            return problem(what, str(error), "mend what it says, then ask again")
        case _:
            return problem(
                what, f"the check itself broke: {error!r}", "please report this; the other checks still hold"
            )
