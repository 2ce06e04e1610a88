"""Going on with a workflow under a changed spec: checked like a submission, shown, then told to its actor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from penstock.actors.workflow_messages import ResumeWorkflow, Touched
from penstock.control import messages as m
from penstock.daemon.creation import Request, check_request
from penstock.daemon.workflows import Workflows
from penstock.domain.errors import ConflictError, SpecError
from penstock.domain.resources import Resources
from penstock.domain.revision import Revision, differences, parameter_differences, revise
from penstock.domain.settings import COMMAND_LINE
from penstock.domain.spec import WorkflowSpec, in_file, parse_toml
from penstock.domain.states import WorkflowState
from penstock.domain.views import ClusterInfo, WorkflowInfo
from penstock.files.threads import ask_in_thread
from penstock.recipes.registry import ONLY_KEPT
from penstock.store.resuming import Standing, load_standing

_DEADLINE_S: Final = 60.0


async def resume_revised(
    request: m.Revise,
    workflows: Workflows,
    refuse_impossible: Callable[[WorkflowSpec, Sequence[Resources]], None],
    clusters: dict[str, ClusterInfo],
) -> m.Revised:
    """Lets a workflow go on with what the request changes of its spec; a dry run only says what that would be."""
    info = workflows.info(request.id)
    if info.recipe in ONLY_KEPT:
        await workflows.ask(request.id, ResumeWorkflow(None), _DEADLINE_S)  # it says why not
    standing = await ask_in_thread(info.database, load_standing, Path(info.database), request.id)
    if standing.state is WorkflowState.RUNNING:
        raise ConflictError(f"workflow {request.id} is running; pause it, and change it when what runs now has ended")
    try:
        revision, wish = await ask_in_thread(info.directory, plan_revision, request, standing, info, clusters)
        refuse_impossible(wish.spec, wish.needs())
        await workflows.check(wish, clusters)
    except SpecError as error:
        raise _placed(error, request) from error
    if request.dry_run:
        return m.Revised(revision.changes, standing.jobs, standing.keeping, dry_run=True)
    message = ResumeWorkflow(None, revision if revision.changes else None)
    touched = await workflows.ask(request.id, message, _DEADLINE_S)
    assert isinstance(touched, Touched)
    return m.Revised(revision.changes, touched.changed, standing.keeping, dry_run=False)


def plan_revision(
    request: m.Revise, standing: Standing, info: WorkflowInfo, clusters: dict[str, ClusterInfo]
) -> tuple[Revision, Request]:
    """What a request makes of a workflow's spec, and that as a checked wish. SpecError for what cannot be."""
    stored = msgspec.json.decode(standing.spec, type=WorkflowSpec)
    stored = msgspec.structs.replace(stored, slots=standing.slots, priority=standing.priority)
    tables = parse_toml(request.text, request.file) if request.text else {}
    revised = revise(stored, tables, request.values, request.text, request.file if request.text else COMMAND_LINE)
    root = str(Path(info.directory).parent)
    wish = check_request(revised, root, request.file, standing.slots_origin, clusters)
    wish = msgspec.structs.replace(wish, source=Path(info.directory, revised.structures.kept))
    parameters = wish.parameters.decode()
    changes = differences(stored, revised)
    if not any(change.key.startswith("engine.") for change in changes):  # a template may have another text by now
        changes += parameter_differences(standing.parameters, parameters)
    return (
        Revision(
            before=standing.spec,
            spec=msgspec.json.encode(revised).decode(),
            parameters=parameters,
            slots=revised.slots,
            priority=revised.priority,
            changes=changes,
        ),
        wish,
    )


def _placed(error: SpecError, request: m.Revise) -> SpecError:
    """`error` with its place: the line in the file, or the command line, whichever named the key."""
    if error.file is not None or error.key is None:
        return error
    if not request.text or error.key in request.values:
        return SpecError(error.message, file=COMMAND_LINE, key=error.key)
    return in_file(error, request.text, request.file)
