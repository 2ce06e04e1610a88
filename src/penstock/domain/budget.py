"""How many attempts go into one submission: large enough to cost little, small enough to stay fair and responsive."""

from __future__ import annotations

from typing import Final

import msgspec

PROBE_SIZE: Final = 4  # while nobody knows how long an attempt takes
BUNDLE_MAX: Final = 1000
BUNDLE_TARGET_S: Final = 1.5
PREFETCH_BELOW_S: Final = 0.5
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
