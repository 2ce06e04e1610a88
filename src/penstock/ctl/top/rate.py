"""How fast jobs end, from counts that were looked at from time to time."""

from __future__ import annotations

from typing import Final

import msgspec

WINDOW_S: Final = 300.0
"""Seconds that a rate is taken over."""
_APART_S: Final = 5.0
_SPAN_LEAST_S: Final = 10.0
_SENSIBLE_S: Final = 20.0
_SENSIBLE_ENDS: Final = 3
_MINUTE_S: Final = 60.0


class Track(msgspec.Struct, frozen=True):
    """Moments (monotonic, s) and how many jobs had ended by then since the first look; oldest first."""

    points: tuple[tuple[float, int], ...]
    ended: int  # of the workflow, at the last look

    @property
    def span_s(self) -> float:
        """Seconds between the first and the last look."""
        return self.points[-1][0] - self.points[0][0]

    @property
    def gained(self) -> int:
        """Jobs that ended between the first and the last look."""
        return self.points[-1][1] - self.points[0][1]


def followed(track: Track | None, at: float, ended: int) -> Track:
    """`track` with another look. Counts that went back, as after a retry, are no ends."""
    if track is None:
        return Track(((at, 0),), ended)
    gained = track.points[-1][1] + max(0, ended - track.ended)
    points = track.points
    if len(points) > 1 and points[-1][0] - points[-2][0] < _APART_S:
        points = points[:-1]
    points = (*points, (at, gained))
    while len(points) > 2 and points[1][0] <= at - WINDOW_S:
        points = points[1:]
    return Track(points, ended)


def rate_per_min(track: Track | None) -> float | None:
    """Jobs that end in a minute; None as long as nobody can say."""
    if track is None or track.span_s < _SPAN_LEAST_S:
        return None
    return track.gained / track.span_s * _MINUTE_S


def left_s(track: Track | None, open_jobs: int) -> float | None:
    """Seconds until `open_jobs` have ended if it goes on so; None where that would be a guess."""
    if track is None or track.span_s < _SENSIBLE_S or track.gained < _SENSIBLE_ENDS or not open_jobs:
        return None
    return open_jobs * track.span_s / track.gained
