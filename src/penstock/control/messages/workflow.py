"""About workflows: what there are, how they stand, and what is changed about one of them."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.control.messages.base import Done, Message, Request
from penstock.domain.revision import SpecChange
from penstock.domain.views import (
    AnalysisInfo,
    CompletionInfo,
    ConclusionInfo,
    DatabaseInfo,
    JobInfo,
    RejectedInfo,
    Selection,
    WorkflowInfo,
)


class Workflows(Message, frozen=True):
    """Workflows, newest last."""

    workflows: tuple[WorkflowInfo, ...]


class WorkflowStatus(Message, frozen=True):
    """One workflow, with its most recent failures."""

    workflow: WorkflowInfo
    failures: tuple[JobInfo, ...]
    rejected: tuple[RejectedInfo, ...]  # at most the first 1000
    database: DatabaseInfo | None = None  # None: its file system does not answer, or an older daemon
    completions: tuple[CompletionInfo, ...] = ()  # what was done at its newest end, or will be
    analyses: tuple[AnalysisInfo, ...] = ()
    failed_analyses: tuple[ConclusionInfo, ...] = ()  # at most the first 10


class Changed(Message, frozen=True):
    """How many jobs a request touched, and how many of the selection it left alone and why."""

    changed: int
    left: int = 0
    note: str | None = None


class Revised(Message, frozen=True):
    """What a revision of a spec changed, or would change in a dry run.

    `jobs` are ready again by it; of all that will run, `keeping` have engine parameters of their own, by a remedy.
    """

    changes: tuple[SpecChange, ...]
    jobs: int
    keeping: int
    dry_run: bool


class StoredSpec(Message, frozen=True):
    """A workflow's spec as it was accepted: every key, defaults included, settings and the source's copy put in."""

    id: str
    spec: dict[str, Any]


class Lagged(Message, frozen=True):
    """The client read too slowly: `dropped` events, or lines of the log, were left out here."""

    dropped: int


class ListWorkflows(Request[Workflows], frozen=True):
    """All workflows the daemon knows; `state` narrows."""

    state: str | None = None
    reply = Workflows


class GetStatus(Request[WorkflowStatus], frozen=True):
    """One workflow."""

    id: str
    reply = WorkflowStatus


class Pause(Request[Changed], frozen=True):
    """Start nothing more of the workflow; with a selection, hold those jobs only."""

    id: str
    selection: Selection | None = None
    reply = Changed


class Resume(Request[Changed], frozen=True):
    """Go on: undo a pause, heal a fault, run again what failed or was cancelled and read the rest of the source.

    With a selection, release those jobs only, where they are held.
    """

    id: str
    selection: Selection | None = None
    reply = Changed


class Revise(Request[Revised], frozen=True):
    """Go on with a workflow under a changed spec: one that failed, was cancelled, or is paused and has come to rest.

    `text` is that of a spec file whose keys replace the stored ones, `file` its absolute path (or any file beside the
    templates), `values` are single keys by dotted name and come last. With `dry_run` nothing is changed.
    """

    id: str
    values: dict[str, Any] = msgspec.field(default_factory=dict)
    text: str = ""
    file: str = ""
    dry_run: bool = False
    reply = Revised


class Cancel(Request[Changed], frozen=True):
    """Stop the workflow, or the selected jobs, running ones included."""

    id: str
    selection: Selection | None = None
    reply = Changed


class SetWorkflow(Request[WorkflowStatus], frozen=True):
    """Change a workflow's slot budget or priority."""

    id: str
    slots: int | None = None
    priority: int | None = None
    reply = WorkflowStatus


class RepeatCompletion(Request[WorkflowStatus], frozen=True):
    """Do again what failed of a workflow's `[[on_complete]]` and what was held back for it, or one action by number."""

    id: str
    position: int | None = None
    reply = WorkflowStatus


class GetSpec(Request[StoredSpec], frozen=True):
    """What a workflow was asked to do."""

    id: str
    reply = StoredSpec


class Watch(Request[Done], frozen=True):
    """Stream `EventInfo` (and `Lagged`) of one workflow or all, until the client leaves.

    With `until_end`, until the workflow has ended (at once, when it already has). `since` replays the history after
    that event number first (one workflow only).
    """

    id: str | None = None
    since: int | None = None
    until_end: bool = False


WorkflowRequest = (
    ListWorkflows | GetStatus | Pause | Resume | Revise | Cancel | SetWorkflow | RepeatCompletion | GetSpec | Watch
)


WorkflowReply = Workflows | WorkflowStatus | Changed | Revised | StoredSpec
