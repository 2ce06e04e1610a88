"""Why does a workflow wait for locks and shared resources? From the standing of a lock table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from penstock.actors.locks import HELD_BY
from penstock.daemon.why_cluster import local_time
from penstock.domain.ids import is_ulid
from penstock.domain.locks import Lease, Standing, can_ever, holders_of

_SHOWN: Final = 3


def submission_of(holder: str) -> tuple[str | None, str | None]:
    """The workflow and the submission that a holder's name tells of; nothing for other holders."""
    workflow, _, ulid = holder.rpartition(HELD_BY)
    return (workflow, ulid) if workflow and is_ulid(ulid) else (None, None)


def explain_line(standing: Standing, workflow_id: str, needs: Mapping[str, int], kind: str) -> list[str]:
    """What a workflow waits for, who holds it, since when; nothing when it does not wait here."""
    mine = next((waiter for waiter in standing.waiters if waiter.name == workflow_id), None)
    if mine is None:
        return []
    if not can_ever(standing, needs):
        short = next(name for name, count in needs.items() if count > standing.capacity(name))
        return [f"{kind} {short}: there is only {standing.capacity(short)}, and each attempt needs {needs[short]}"]
    reasons = [reason for name, count in needs.items() for reason in _explain_one(standing, name, count, kind)]
    ahead = [each.name for each in standing.waiters if each.rank < mine.rank and each.needs.keys() & needs.keys()]
    if ahead:
        reasons.append(f"{len(ahead)} before it in the line for it, {ahead[0]} among them")
    return [*reasons, f"it waits since {local_time(mine.since)}"]


def _explain_one(standing: Standing, name: str, count: int, kind: str) -> list[str]:
    used = standing.used()[name]
    if standing.capacity(name) - used >= count:
        return []
    leases = holders_of(standing, [name])
    reasons = [f"{kind} {name}: {used} of {standing.capacity(name)} in use"]
    reasons += [f"held by {_who(lease)} since {local_time(lease.since)}" for lease in leases[:_SHOWN]]
    if len(leases) > _SHOWN:
        reasons.append(f"and by {len(leases) - _SHOWN} more; all: penstockctl locks")
    return reasons


def _who(lease: Lease) -> str:
    workflow, submission = submission_of(lease.holder)
    return f"workflow {workflow} (submission {submission})" if workflow else lease.holder
