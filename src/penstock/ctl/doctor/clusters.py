"""The clusters: what the daemon says of each, and on request its whole check."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

import msgspec

from penstock.control.client import Client
from penstock.ctl.doctor.finding import Level, level_of, note, problem, warning, well
from penstock.domain.errors import PenstockError
from penstock.domain.views import ClusterInfo, Finding

_LOCAL: Final = "local"
_UP: Final = "up"


def judge_cluster(info: ClusterInfo) -> Finding:
    """One cluster as the daemon sees it."""
    what = f"cluster {info.name}"
    check = (
        "" if info.kind == _LOCAL else f"penstockctl cluster check {info.name} tells which part of the way is broken"
    )
    if info.state != _UP or not info.connected:
        remedy = check or f"look into the daemon's log, and at [clusters.{info.name}]"
        return problem(what, f"down: {info.reason or 'no reason given'}", remedy)
    if info.jobs_in_doubt:
        remedy = f"penstockctl clusters {info.name} --report tells what has been asked; resolve where a person is asked"
        return warning(what, f"{info.jobs_in_doubt} in doubt", remedy)
    if info.reason:
        return warning(what, info.reason, check or "look into the daemon's log")
    if info.excluded_nodes:
        detail = f"up; left out as they failed often: {', '.join(info.excluded_nodes)}"
        return note(what, detail, "they are tried again after a day; tell the site if they are broken")
    return well(what, f"up, {info.version or info.kind}")


def judge_clusters(infos: Iterable[ClusterInfo]) -> list[Finding]:
    """All clusters."""
    return [judge_cluster(info) for info in infos]


def unasked(names: Collection[str]) -> list[Finding]:
    """What is said of clusters where no daemon runs: only a daemon goes there."""
    return [note("clusters", f"{', '.join(sorted(names))}: looked at by a running daemon only")]


def check_whole(client: Client, names: Iterable[str]) -> Iterator[Finding]:
    """All that a job needs on each of these clusters, a job included; takes as long as its queue."""
    for name in names:
        try:
            for finding in client.check_cluster(name):
                yield msgspec.structs.replace(finding, what=f"{name}: {finding.what}", level=level_of(finding))
        except PenstockError as error:
            found = Finding(name, ok=False, detail=str(error), remedy="mend what it says, then ask again")
            yield msgspec.structs.replace(found, level=Level.PROBLEM)
