"""What a scrape says of workflows: of the largest active ones each, of the rest together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from penstock.actors.figures import Standing
from penstock.actors.histogram import OTHERS
from penstock.daemon.metrics import families as f
from penstock.daemon.metrics.exposition import Page
from penstock.daemon.metrics.sources import Sources
from penstock.domain.pause import PauseKind, kind_of_pause
from penstock.domain.states import UNENDED, AttemptState, WorkflowState
from penstock.domain.views import WorkflowInfo

_SUPERVISOR: Final = "workflows"
_FROM_THE_START: Final = (AttemptState.COMPLETED, AttemptState.FAILED)
"""Ends that are there from the first scrape, at 0: the increase of what appears with a value is not seen."""


class Shown(msgspec.Struct, frozen=True):
    """The active workflows: those with series of their own, the largest first, and the rest."""

    own: Sequence[WorkflowInfo]
    rest: Sequence[WorkflowInfo]

    def named(self) -> Iterable[tuple[str, WorkflowInfo]]:
        """Each with the name that it goes by."""
        yield from ((info.id, info) for info in self.own)
        yield from ((OTHERS, info) for info in self.rest)


def choose_shown(workflows: Iterable[WorkflowInfo], most: int) -> Shown:
    """Which of all workflows are shown: active ones, and `most` of them by themselves."""
    active = sorted((info for info in workflows if info.state in UNENDED), key=lambda info: (-info.jobs, info.id))
    return Shown(active[:most], active[most:])


def add_workflows(page: Page, sources: Sources, everything: Sequence[WorkflowInfo], shown: Shown) -> None:
    """All families of workflows."""
    page.add(f.WORKFLOWS, (((state,), count) for state, count in _by_state(everything)))
    page.add(f.WORKFLOWS_PAUSED, _by_pause(everything, sources.board.clusters.copy()).items())
    standings = sources.board.figures.standings.copy()
    _add_gauges(page, shown, standings)
    _add_counters(page, shown, sources)
    sizes = sources.survey.database_bytes(sources.clock.monotonic())
    page.add(f.WORKFLOW_DATABASE_BYTES, (((info.id,), sizes[info.id]) for info in shown.own if info.id in sizes))


def _by_state(everything: Iterable[WorkflowInfo]) -> list[tuple[str, int]]:
    found = Counter({str(state): 0 for state in WorkflowState})
    found.update(info.state for info in everything)
    return sorted(found.items())


def _by_pause(everything: Iterable[WorkflowInfo], clusters: Iterable[str]) -> Counter[tuple[str, ...]]:
    """Whatever the number of workflows, so that none is too small to be missed; kinds by their reasons alone."""
    found = Counter[tuple[str, ...]]({(cluster, str(kind)): 0 for cluster in clusters for kind in PauseKind})
    paused = (info for info in everything if info.state == WorkflowState.PAUSED)
    found.update((info.cluster, str(kind_of_pause(info.reason))) for info in paused)
    return found


def _add_gauges(page: Page, shown: Shown, standings: dict[str, Standing]) -> None:
    states, jobs, slots, used, awaiting = (Counter[tuple[str, ...]]() for _ in range(5))
    rejected = Counter[str]()
    progress: dict[tuple[str, ...], float] = {}
    for name, info in shown.named():
        cluster, standing = info.cluster, standings.get(info.id)
        states[name, cluster, info.state] += 1
        for state, count in info.states.items():
            if count:
                jobs[name, cluster, state] += count
        if standing and standing.awaiting is not None:
            awaiting[name, cluster] += standing.awaiting
        slots[name, cluster] += standing.slots if standing else info.slots
        used[name, cluster] += standing.slots_used if standing else 0
        if info.rejected:
            rejected[name] += info.rejected
        if name != OTHERS or info.state == WorkflowState.RUNNING:  # of the rest, that which has stood still longest
            at = standing.progressed_at if standing else info.updated_at
            progress[name, cluster] = min(progress.get((name, cluster), at), at)
    page.add(f.WORKFLOW_STATE, states.items())
    page.add(f.WORKFLOW_PROGRESS, progress.items())
    page.add(f.JOBS, jobs.items())
    page.add(f.JOBS_AWAITING, awaiting.items())
    page.add(f.WORKFLOW_SLOTS, slots.items())
    page.add(f.WORKFLOW_SLOTS_USED, used.items())
    page.add(f.REJECTED_RECORDS, (((name,), count) for name, count in rejected.items()))


def _add_counters(page: Page, shown: Shown, sources: Sources) -> None:
    """Only of those with series of their own: a sum over workflows that come and go is no counter."""
    ended: dict[tuple[str, ...], int] = {}
    ends = sources.board.figures.ends.copy()
    for info in shown.own:
        ended |= {(info.id, info.cluster, end): 0 for end in _FROM_THE_START}
        if (counted := ends.get(info.id)) is not None:
            ended |= {(info.id, cluster, end): count for (cluster, end), count in dict(counted).items()}
    page.add(f.WORKFLOW_ATTEMPTS_ENDED, ended.items())
