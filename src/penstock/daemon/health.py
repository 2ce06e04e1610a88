"""Whether the daemon works: every actor is asked, and the service manager hears of it only while they answer.

What the answers mean is decided by `judge`; why it is decided so is written in decision 30.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import structlog

from penstock.actors.clock import Clock
from penstock.actors.pulse import Signs
from penstock.actors.supervisor import Supervisor
from penstock.daemon.systemd import ServiceManager
from penstock.store.database import BusyGuard

_EVERY_S: Final = 60.0
"""How often it is asked where no service manager waits for it."""
_TURNS: Final = 4  # in the time after which the service manager loses its patience
_LIMIT_TURNS: Final = 2  # an answer may take so many of them
_TOGETHER_TURNS: Final = 10  # all workflows may be silent for so many of them
_TOGETHER_LEAST_S: Final = 300.0
"""Longer than any wait for a database that others have locked."""


class Limits(msgspec.Struct, frozen=True):
    """How long answers may take, in seconds."""

    every_s: float
    answer_s: float
    together_s: float


class Verdict(msgspec.Struct, frozen=True):
    """`trouble` says why the watchdog is not fed; empty: it is. `silent`: by supervisor, who does not answer."""

    trouble: str
    silent: Mapping[str, frozenset[str]]


def limits_for(watchdog_s: float | None) -> Limits:
    """What follows from the service manager's patience."""
    every_s = _EVERY_S if watchdog_s is None else watchdog_s / _TURNS
    return Limits(every_s, _LIMIT_TURNS * every_s, max(_TOGETHER_TURNS * every_s, _TOGETHER_LEAST_S))


def judge(clusters: Signs, workflows: Signs, waiting_outside: int, now: float, limits: Limits) -> Verdict:
    """Whether starting the daemon anew is called for.

    A supervisor or a cluster that does not answer calls for it. A workflow does not: what it waits for (a lock, a file
    system) would be there after a restart, too. Only when all of them, two at least, are silent for long, and more than
    the `waiting_outside` that wait for a database, is the fault within.
    """
    silent: dict[str, frozenset[str]] = {}
    troubles: list[str] = []
    for signs in (clusters, workflows):
        silent[signs.supervisor] = frozenset(name for name in signs.owed if _owes(signs, name, now, limits.answer_s))
        if signs.own is not None and now - signs.own >= limits.answer_s:
            troubles.append(f"the supervisor of {signs.supervisor} does not answer")
    if names := silent[clusters.supervisor]:
        troubles.append(f"cluster {', '.join(sorted(names))} does not answer")
    long_silent = [name for name in workflows.owed if _owes(workflows, name, now, limits.together_s)]
    if len(workflows.owed) > 1 and len(long_silent) == len(workflows.owed) > waiting_outside:
        troubles.append(f"none of {len(long_silent)} workflows answers, and they do not wait for their databases")
    return Verdict("; ".join(troubles), silent)


def _owes(signs: Signs, name: str, now: float, limit_s: float) -> bool:
    since = signs.owed[name]
    return since is not None and now - since >= limit_s


class Health:
    """Asks, judges, tells. `supervisors`: of the clusters and of the workflows; `status` gives the line for people."""

    def __init__(
        self,
        supervisors: Callable[[], tuple[Supervisor, Supervisor]],
        manager: ServiceManager,
        clock: Clock,
        status: Callable[[], str],
    ) -> None:
        self._supervisors = supervisors
        self._manager = manager
        self._clock = clock
        self._status = status
        self._limits = limits_for(manager.watchdog_s)
        self._outside = 0
        self._verdict = Verdict("", {})
        self._log: Any = structlog.get_logger(__name__)

    def silent(self) -> Mapping[str, int]:
        """By supervisor, how many of its actors have not answered in time."""
        return {name: len(names) for name, names in self._verdict.silent.items()}

    def outside(self, guard: BusyGuard) -> BusyGuard:
        """`guard`, with whoever holds it counted as waiting for something that is not ours to mend."""

        @contextlib.contextmanager
        def counted() -> Iterator[None]:
            self._outside += 1
            try:
                with guard():
                    yield
            finally:
                self._outside -= 1

        return counted

    async def watch(self) -> None:
        """Asks and judges for ever."""
        while True:
            self.look()
            for supervisor in self._supervisors():
                supervisor.ask_for_signs()
            await self._clock.sleep(self._limits.every_s)

    def look(self) -> None:
        """Judges what has been answered so far, and tells the service manager."""
        clusters, workflows = (supervisor.signs() for supervisor in self._supervisors())
        before = self._verdict
        self._verdict = verdict = judge(clusters, workflows, self._outside, self._clock.monotonic(), self._limits)
        self._report(before, verdict)
        if verdict.trouble:
            self._manager.say(f"not well: {verdict.trouble}")
        else:
            self._manager.feed_watchdog(self._status())

    def _report(self, before: Verdict, now: Verdict) -> None:
        """Each change once."""
        if now.trouble and now.trouble != before.trouble:
            self._log.error("the watchdog is not fed", reason=now.trouble, watched=self._manager.watchdog_s is not None)
        elif before.trouble and not now.trouble:
            self._log.info("all is well again, the watchdog is fed")
        for supervisor, names in now.silent.items():
            known = before.silent.get(supervisor, frozenset())
            for name in sorted(names - known):
                self._log.warning("actor does not answer", supervisor=supervisor, actor=name)
            for name in sorted(known - names):
                self._log.info("actor answers again, or has been stopped", supervisor=supervisor, actor=name)


def status_line(workflows: int, clusters: Mapping[str, str]) -> str:
    """For `systemctl status`: how many workflows are at work, and the clusters' states by name."""
    down = sorted(name for name, state in clusters.items() if state == "down")
    counts = f"{_counted(workflows, 'workflow')} at work; {_counted(len(clusters), 'cluster')}"
    return f"{counts}, down: {', '.join(down)}" if down else counts


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
