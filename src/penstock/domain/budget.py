"""How many attempts go into one submission: large enough to cost little, small enough to stay fair and responsive."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from penstock.domain.scheduling import SchedulerOptions

PROBE_SIZE: Final = 4  # while nobody knows how long an attempt takes
BUNDLE_MAX: Final = 1000
BUNDLE_TARGET_S: Final = 1.5
PREFETCH_BELOW_S: Final = 0.5
ARRAY_ABOVE_S: Final = 20.0  # an allocation of its own costs little beside that
TASK_TARGET_S: Final = 60.0
_WEIGHT: Final = 0.2


class Pace(msgspec.Struct, frozen=True):
    """A running mean of how long one attempt takes, None while unknown."""

    mean_s: float | None = None

    def with_sample(self, count: int, total_s: float) -> Pace:
        """The mean after `count` attempts took `total_s` in all."""
        if count == 0:
            return self
        sample = max(total_s, 0.0) / count
        if self.mean_s is None:
            return Pace(sample)
        weight = 1.0 - (1.0 - _WEIGHT) ** count
        return Pace(self.mean_s + weight * (sample - self.mean_s))


def bundle_size(pace: Pace, ready: int, lanes: int) -> int:
    """How many of `ready` jobs one submission takes when `lanes` of them can run side by side.

    A bundle lasts about BUNDLE_TARGET_S; near the end the rest is split so that all lanes finish together.
    """
    if pace.mean_s is None:
        wanted = PROBE_SIZE
    else:
        wanted = int(BUNDLE_TARGET_S / max(pace.mean_s, BUNDLE_TARGET_S / BUNDLE_MAX))
    share = -(-ready // (2 * max(lanes, 1)))
    return max(1, min(wanted, share, BUNDLE_MAX, ready))


def may_prefetch(pace: Pace) -> bool:
    """Whether attempts are so short that a lane should have its next submission waiting at the runner."""
    return pace.mean_s is not None and pace.mean_s < PREFETCH_BELOW_S


class Cycle(msgspec.Struct, frozen=True):
    """A stretch of time in which only so many attempts may be begun, and how many were."""

    ends_at: float = 0.0
    begun: int = 0

    def at(self, now: float, length_s: float) -> Cycle:
        """The cycle that `now` is in: itself, or a new one once it has ended."""
        return self if now < self.ends_at else Cycle(now + length_s)

    def with_begun(self, attempts: int) -> Cycle:
        """The same after as many more."""
        return Cycle(self.ends_at, self.begun + attempts)


class Queueing(msgspec.Struct, frozen=True):
    """What a cluster with a scheduler takes: tasks in one submission, and tasks waiting or running in all, if limited.

    A cluster that has this has no lanes: a workflow's slots are the tasks that it may have there.
    """

    width_max: int = 1000  # 0 while the site's limits are not known: nothing may go
    pending_max: int | None = None
    defaults: SchedulerOptions = SchedulerOptions()  # what submissions ask of the scheduler where their spec is silent

    @property
    def is_open(self) -> bool:
        """Whether anything may go."""
        return self.width_max > 0


class Batch(msgspec.Struct, frozen=True):
    """How a person wants jobs put together: as what, and how many in one submission at most."""

    style: Literal["auto", "array", "bundle"] = "auto"
    size: int = 1000


class Shape(msgspec.Struct, frozen=True):
    """A submission of `size` attempts in `width` tasks side by side."""

    width: int
    size: int

    def fitted(self, size: int) -> Shape:
        """The same for fewer attempts: as many to a task as before, in fewer tasks."""
        share = -(-self.size // self.width)
        return Shape(min(self.width, -(-size // share)), size)

    def warmed(self) -> Shape:
        """The same for an engine that a warm runner works through: it has one task, unless each attempt has its own."""
        return self if self.size == self.width else Shape(1, -(-self.size // self.width))

    def expected_s(self, pace: Pace) -> float | None:
        """How long its longest task will probably last, None while nobody knows."""
        return None if pace.mean_s is None else pace.mean_s * -(-self.size // self.width)


def shape(batch: Batch, pace: Pace, ready: int, free: int, slots: int, queueing: Queueing) -> Shape:
    """What the next submission to a scheduler looks like; `ready`, `free` and `slots` are at least 1.

    Attempts that are long, or of unknown length, get a task each: an array over the free slots. Short ones are worked
    through one after another in tasks that last about TASK_TARGET_S. Who asks for bundles gets the ready jobs dealt
    over all slots.
    """
    pending_max = free if queueing.pending_max is None else queueing.pending_max
    width = max(1, min(free, ready, batch.size, queueing.width_max, pending_max))
    if batch.style == "array" or (batch.style == "auto" and (pace.mean_s is None or pace.mean_s >= ARRAY_ABOVE_S)):
        return Shape(width, width)
    if batch.style == "bundle":
        share = -(-ready // max(slots, free))
    else:
        share = int(TASK_TARGET_S / max(pace.mean_s or 0.0, TASK_TARGET_S / BUNDLE_MAX))
    size = min(width * share, ready, batch.size)
    return Shape(min(width, -(-size // share)), size)
