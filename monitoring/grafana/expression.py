"""PromQL that the dashboards have in common. `$here` and `$daemon` are explained in `board`."""

from __future__ import annotations

from typing import Final

FAILED: Final = 'penstock_attempts_ended_total{$here,end=~"failed|timeout"}'
"""Attempts that ended badly."""
JUDGED: Final = 'penstock_attempts_ended_total{$here,end=~"completed|failed|timeout"}'
"""Attempts that ended by themselves, well or badly: not those that were cancelled or never began."""
ENDED: Final = 'state=~"completed|failed|timeout|cancelled|skipped"'
"""A job's states that are ends."""


def per_minute(counter: str, by: str = "", matchers: str = "$here") -> str:
    """How much a counter grows in a minute, summed up for each value of the labels `by`."""
    grouping = f" by ({by})" if by else ""
    return f"60 * sum{grouping} (rate({counter}{{{matchers}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "", matchers: str = "$here") -> str:
    """What `share` of a histogram's values are below, for each value of the labels `by`."""
    labels = ", ".join(filter(None, ["le", by]))
    buckets = f"rate({histogram}_bucket{{{matchers}}}[$__rate_interval])"
    return f"histogram_quantile({share:g}, sum by ({labels}) ({buckets}))"


def or_zero(expression: str) -> str:
    """0 where there is nothing to count."""
    return f"{expression} or vector(0)"
