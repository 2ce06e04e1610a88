"""Why a workflow is paused: the sentence that people read, and the few kinds that programs tell apart."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

PAUSED_BY_REQUEST: Final = "paused by request"
"""The reason of a workflow that a person has paused, and that so waits for nobody."""
_REFUSED: Final = re.compile(r"the scheduler of cluster .+? refuses its jobs: ")


class PauseKind(StrEnum):
    """What it takes to go on."""

    REQUEST = "request"  # the person who paused it wants it so
    REFUSED = "refused"  # somebody mends what the scheduler refuses
    OTHER = "other"  # restored, imported, not adopted yet


def refused_reason(cluster: str, workflow_id: str, said: str) -> str:
    """The reason of a workflow whose jobs the scheduler will never take; `said`: in its own words."""
    return (
        f"the scheduler of cluster {cluster} refuses its jobs: {said}; change what it names in "
        f"[clusters.{cluster}] or at the site and say 'penstockctl resume {workflow_id}', or cancel the workflow "
        "and submit it with another [scheduler] or [resources]"
    )


def kind_of_pause(reason: str | None) -> PauseKind:
    """The kind of a paused workflow's reason, which alone outlives the daemon that paused it."""
    if reason == PAUSED_BY_REQUEST:
        return PauseKind.REQUEST
    return PauseKind.REFUSED if reason and _REFUSED.match(reason) else PauseKind.OTHER
