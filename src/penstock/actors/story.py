"""What the log tells of a workflow's events, and how loudly: an administrator's story, not every job's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
import structlog

from penstock.domain.states import Status, public_counts
from penstock.domain.views import EventInfo

_ENDS: Final = frozenset({"completed", "failed", "cancelled"})
WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "workflow_created": ("info", "workflow created"),
    "workflow_state": ("info", "workflow {state}"),
    "workflow_paused": ("warning", "workflow paused"),
    "workflow_changed": ("info", "workflow changed"),
    "workflow_imported": ("info", "workflow imported"),
    "workflow_adopted": ("info", "workflow adopted"),
    "workflow_restored": ("info", "workflow restored"),
    "workflow_merged": ("info", "results merged in"),
    "workflow_action_done": ("info", "on_complete done"),
    "workflow_action_failed": ("warning", "on_complete failed"),
    "workflow_action_held": ("warning", "on_complete held back"),
    "jobs_ingested": ("info", "structures taken in"),
    "jobs_unfolded": ("debug", "jobs made of results"),
    "jobs_cancelled": ("info", "jobs cancelled"),
    "jobs_given_up": ("info", "jobs given up"),
    "jobs_held": ("info", "jobs held"),
    "jobs_released": ("info", "jobs released"),
    "jobs_reset": ("info", "jobs made ready again"),
    "subject_concluded": ("debug", "analysis concluded"),
    "submission_intended": ("debug", "submission recorded"),
    "job_started": ("debug", "job started"),
    "job_completed": ("debug", "job completed"),
    "job_failed": ("info", "job failed"),
    "job_retried": ("info", "job retried"),
    "job_remedied": ("info", "job remedied"),
    "job_in_doubt": ("warning", "job in doubt"),
    "job_doubt_settled": ("info", "job no longer in doubt"),
    "job_not_run": ("info", "job never started"),
    "job_cancelled": ("debug", "job cancelled"),
    "job_reused": ("debug", "result taken over"),
    "job_awaits": ("debug", "job waits for another workflow's"),
    "job_adopted": ("debug", "job taken for completed"),
    "job_set": ("info", "job set by hand"),
    "job_added": ("debug", "job added"),
    "job_imported": ("debug", "job imported"),
    "job_superseded": ("debug", "result superseded"),
    "metrics_recomputed": ("debug", "outputs read again"),
}
"""By kind of event: the level, and the words. They are few, so that repeats can be counted."""
_RENAMED: Final = {"workflow": "of_workflow", "set": "values", "event": "what", "level": "of_level", "job": "of_job"}
"""Names in an event's data that mean something else in a line."""
_LEFT_OUT: Final = frozenset({"evidence", "slots_origin"})


class Told(msgspec.Struct, frozen=True):
    """A line."""

    level: str
    event: str
    fields: dict[str, Any]


def tell(event: EventInfo, cluster: str = "", states: Mapping[str, int] = MappingProxyType({})) -> Told:
    """The line of an event; `states` counts the workflow's jobs, which are told by public status at its end."""
    level, words = WORDS.get(event.kind, ("debug", event.kind))
    data = event.data
    fields: dict[str, Any] = {"workflow": event.workflow}
    if cluster:
        fields["cluster"] = cluster
    if event.job:
        fields["job"] = event.job
    fields |= {
        _RENAMED.get(name, name): value for name, value in data.items() if name not in _LEFT_OUT and value is not None
    }
    if event.kind == "workflow_state":
        state = fields.pop("state")
        words = words.format(state=state)
        if state in _ENDS:
            counts = public_counts(states)
            fields |= {status: counts[status] for status in Status if counts.get(status)}
        level = "warning" if state == "faulted" else level
    elif event.kind == "subject_concluded" and data.get("failure"):
        level, words = "info", "analysis failed"
    return Told(level, words, fields)


def tell_all(events: Sequence[EventInfo], cluster: str = "", states: Mapping[str, int] = MappingProxyType({})) -> None:
    """Logs what has been committed."""
    log = structlog.get_logger()
    for event in events:
        told = tell(event, cluster, states)
        getattr(log, told.level)(told.event, **told.fields)
