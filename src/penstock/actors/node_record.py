"""Which nodes let jobs down, and which are left out for a while because of it."""

from __future__ import annotations

import re
from typing import Final

from penstock.clusters.scheduler import JobRow, Phase

_FAILURES: Final = 2
_REMEMBERED_S: Final = 24 * 3600.0
_NODES_MAX: Final = 20
_NODE: Final = re.compile(r"[A-Za-z0-9._-]+")


class NodeRecord:
    """Failures by node. What was preempted is no node's fault, and of a job on many nodes nobody knows whose."""

    def __init__(self) -> None:
        self._failures: dict[str, dict[str, float]] = {}

    def take(self, row: JobRow, now: float) -> None:
        """A job that has ended; told again, it counts once."""
        if row.phase is Phase.INFRASTRUCTURE and not row.state.startswith("PREEMPT") and _NODE.fullmatch(row.nodes):
            self._failures.setdefault(row.nodes, {}).setdefault(f"{row.ulid}.{row.tasks}", now)

    def excluded(self, now: float, nodes: int | None = None) -> tuple[str, ...]:
        """The nodes that failed repeatedly of late, worst first; less than half of all `nodes` where that is known."""
        for node, failures in list(self._failures.items()):
            self._failures[node] = {row: at for row, at in failures.items() if now - at < _REMEMBERED_S}
            if not self._failures[node]:
                del self._failures[node]
        bad = [node for node, failures in self._failures.items() if len(failures) >= _FAILURES]
        bad.sort(key=lambda node: -len(self._failures[node]))
        return tuple(bad[: _NODES_MAX if nodes is None else min(_NODES_MAX, max(0, (nodes - 1) // 2))])
