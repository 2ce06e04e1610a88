"""Who holds what, who waits for it, and who is next: decisions about locks and resources, without a database or clock.

A lock is a resource of which there is one. A lease is held until its holder gives it back; that of a library's process
also ends with the time it was taken for, or with that process. A lease without an end (`expires_at` None) belongs to a
submission to a cluster: it ends by evidence of what became of its attempts, never by the clock.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from penstock.domain.errors import ConflictError, SpecError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PRIORITY_S: Final = 60.0
"""How many seconds of waiting one point of priority is worth: priority overtakes, and nobody is overtaken for ever."""
PATIENCE_S: Final = 30.0
"""A waiter that has not asked for so long has gone."""
COUNT_MAX: Final = 1_000_000
_VARIABLE: Final = "PENSTOCK_LOCK_TOKEN"
_NO_LETTER: Final = re.compile(r"[^A-Za-z0-9]")


class LockLostError(ConflictError):
    """A lease is over before its holder was through: what it protects may be another's now."""


class Lease(msgspec.Struct, frozen=True):
    """So much of a resource, held. `token` rises with every lease of that resource and is never used again."""

    resource: str
    token: int
    holder: str
    count: int
    since: float
    expires_at: float | None = None  # None: ends by evidence
    process: str | None = None  # which process holds it, where that can be told


class Waiter(msgspec.Struct, frozen=True):
    """Somebody in the line. `needs` is the least that is of use: so much of each resource, all at once."""

    name: str
    needs: dict[str, int]
    priority: int
    ticket: int
    since: float
    seen_at: float
    process: str | None = None

    @property
    def rank(self) -> tuple[float, float]:
        """Lower goes first. It never changes while somebody waits, so everybody's turn comes."""
        return self.since - PRIORITY_S * self.priority, self.ticket


class Standing(msgspec.Struct, frozen=True):
    """All there is to know: how much there is of each resource, who holds, who waits."""

    capacities: dict[str, int]
    leases: tuple[Lease, ...] = ()
    waiters: tuple[Waiter, ...] = ()
    otherwise: int = 1  # how much there is of a resource that is not named

    def capacity(self, resource: str) -> int:
        """How much there is of a resource."""
        return self.capacities.get(resource, self.otherwise)

    def used(self) -> Counter[str]:
        """How much of each resource is held."""
        held = Counter[str]()
        for lease in self.leases:
            held[lease.resource] += lease.count
        return held


def check_lock_name(name: str, key: str | None = None) -> str:
    """`name` itself if it can name a lock or a resource, else SpecError."""
    if _NAME.fullmatch(name) is None:
        message = (
            f"{name!r} cannot name a lock; use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or "
            "digit"
        )
        raise SpecError(message, key=key)
    return name


class Wish(msgspec.Struct, frozen=True):
    """What is asked for: `needs` up to `most` times, to be held as `holder` by one who stands in the line as `name`."""

    name: str
    holder: str
    needs: dict[str, int]
    most: int = 1
    priority: int = 0
    lease_s: float | None = None  # None: until there is evidence that it is over
    process: str | None = None


def has_run_out(lease: Lease, now: float) -> bool:
    """Whether the time of a lease is over; what ends by evidence has none."""
    return lease.expires_at is not None and lease.expires_at <= now


def has_left(waiter: Waiter, now: float) -> bool:
    """Whether somebody in the line has stopped asking."""
    return waiter.seen_at + PATIENCE_S <= now


def tasks_granted(standing: Standing, needs: Mapping[str, int], most: int, rank: tuple[float, float]) -> int:
    """How many times `needs` can be had now, up to `most`, by one who stands at `rank` in the line.

    None while somebody stands before it who waits for any of the same: so a large wish is not starved by small ones.
    Who asks for more than there is at all holds nobody up.
    """
    wanted = needs.keys()
    for waiter in standing.waiters:
        if waiter.rank < rank and waiter.needs.keys() & wanted and can_ever(standing, waiter.needs):
            return 0
    used = standing.used()
    free = min(((standing.capacity(name) - used[name]) // count for name, count in needs.items()), default=most)
    return max(0, min(most, free))


def can_ever(standing: Standing, needs: Mapping[str, int]) -> bool:
    """Whether there is so much at all."""
    return all(count <= standing.capacity(name) for name, count in needs.items())


def next_in_line(standing: Standing) -> list[Waiter]:
    """Those whose turn it is: each could have what it waits for now."""
    return [waiter for waiter in standing.waiters if tasks_granted(standing, waiter.needs, 1, waiter.rank)]


def without(
    standing: Standing, now: float, is_dead: Callable[[str], bool] = lambda _: False
) -> tuple[list[Lease], list[Waiter]]:
    """The leases and the places in the line that are over: run out, or of a process that is known to be dead."""
    leases = [
        lease
        for lease in standing.leases
        if lease.expires_at is not None
        and (has_run_out(lease, now) or (lease.process is not None and is_dead(lease.process)))
    ]
    waiters = [
        waiter
        for waiter in standing.waiters
        if has_left(waiter, now) or (waiter.process is not None and is_dead(waiter.process))
    ]
    return leases, waiters


def holders_of(standing: Standing, resources: Iterable[str]) -> list[Lease]:
    """The leases of these resources, oldest first."""
    wanted = set(resources)
    return sorted((lease for lease in standing.leases if lease.resource in wanted), key=lambda lease: lease.since)


class Tokens(msgspec.Struct, frozen=True):
    """The fencing tokens of a submission, by resource and by lock, and how much of each a task needs; kept as JSON."""

    resources: dict[str, int] = {}
    names: dict[str, int] = {}
    needs: dict[str, int] = {}  # of the resources

    @property
    def any(self) -> bool:
        """Whether it holds anything."""
        return bool(self.resources or self.names)

    def environment(self) -> dict[str, str]:
        """The variables by which programs know their tokens: one for each, and a short one where there is one only."""
        tokens = self.resources | self.names
        named = {f"{_VARIABLE}_{_NO_LETTER.sub('_', name).upper()}": str(token) for name, token in tokens.items()}
        return named | {_VARIABLE: next(iter(named.values()))} if len(named) == 1 else named

    def encoded(self) -> str | None:
        """As it is kept; None where there are none."""
        return msgspec.json.encode(self).decode() if self.any else None

    def leases(self, holder: str, tasks: int, since: float) -> tuple[list[Lease], list[Lease]]:
        """What it holds of resources, and of locks, while so many of its tasks can run anything."""
        resources = [
            Lease(name, token, holder, self.needs[name] * tasks, since) for name, token in self.resources.items()
        ]
        return resources, [Lease(name, token, holder, 1, since) for name, token in self.names.items()]


NO_TOKENS: Final = Tokens()


def decode_tokens(text: str | None) -> Tokens:
    """The tokens of a submission as its row has them."""
    return msgspec.json.decode(text, type=Tokens) if text else NO_TOKENS
