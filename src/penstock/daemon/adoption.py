"""A workflow's directory from elsewhere becomes a workflow of this daemon: checked, taken over, started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from penstock.control import messages as m
from penstock.daemon.creation import Request
from penstock.daemon.workflows import Workflows
from penstock.domain.context import (
    CONTEXT_NAME,
    DATABASE_NAME,
    Context,
    DaemonPlace,
    Mode,
    read_context,
    render_context,
)
from penstock.domain.errors import ConflictError, SpecError
from penstock.domain.ids import check_workflow_id
from penstock.domain.resources import Resources
from penstock.domain.spec import SLOTS_MAX, WorkflowSpec
from penstock.domain.views import ClusterInfo
from penstock.files.threads import ask_in_thread, in_thread
from penstock.recipes.recipe import View
from penstock.recipes.registry import ONLY_KEPT, get_recipe
from penstock.store.adoption import Arrival, load_arrival, take_over

Refuse = Callable[[WorkflowSpec, Sequence[Resources]], None]


async def adopt(
    request: m.Adopt, workflows: Workflows, refuse_impossible: Refuse, clusters: dict[str, ClusterInfo]
) -> m.Accepted:
    """Takes a workflow over. Killed at any point, the same request does the rest.

    SpecError for what cannot run here, ConflictError for what is somebody else's.
    """
    directory = Path(request.directory)
    context, arrival = await ask_in_thread(directory, _look, directory)
    claim = workflows.claim
    _refuse_others(arrival, claim, force=request.force)
    workflow_id = check_workflow_id(request.id or arrival.workflow_id)
    workflows.refuse_known(workflow_id, directory)
    spec = _revised(arrival, workflow_id, request)
    if spec.cluster not in clusters:
        known = ", ".join(sorted(clusters))
        raise SpecError(f"unknown cluster {spec.cluster!r}; give one of {known} with --cluster", key="cluster")
    context = msgspec.structs.replace(context, workflow_id=workflow_id, namespace=workflow_id)
    if spec.recipe not in ONLY_KEPT:  # what is needed to run its jobs need not be here
        steps = tuple(get_recipe(spec.recipe).steps(View(spec, ())))
        source = directory / spec.structures.kept
        wish = Request(context, spec, arrival.parameters.encode(), source, arrival.slots_origin, steps)
        refuse_impossible(spec, wish.needs())
        await workflows.check(wish, clusters)
    await in_thread(directory, _commit, context, arrival, spec, claim)
    await workflows.adopt(workflow_id, directory, spec.cluster)
    return m.Accepted(workflow_id, str(directory))


def _look(directory: Path) -> tuple[Context, Arrival]:
    if not directory.is_absolute() or not directory.is_dir():
        raise SpecError(f"{directory} is not a directory", key="directory")
    database = directory / DATABASE_NAME
    context = read_context(directory)
    if context.mode is not Mode.ISOLATED:
        message = f"{directory} is of a workflow in mode {context.mode}, whose database has others in it too"
        raise ConflictError(f"{message}; only isolated workflows can move")
    if not database.is_file():
        elsewhere = f"; where it was, it is {context.database}" if context.database != str(database) else ""
        raise SpecError(
            f"there is no {DATABASE_NAME} in {directory}{elsewhere}; 'penstockctl backup ID -o {DATABASE_NAME}' there "
            "makes one",
            key="directory",
        )
    return msgspec.structs.replace(context, database=str(database)), load_arrival(database)


def _refuse_others(arrival: Arrival, claim: str, *, force: bool) -> None:
    ours = msgspec.json.decode(claim, type=DaemonPlace)
    if arrival.daemon is None or arrival.daemon == ours or force:
        return
    there = f"{arrival.daemon.state_dir} on host {arrival.daemon.host}"
    under_way = f", with {arrival.active} attempts under way" if arrival.active else ""
    raise ConflictError(
        f"workflow {arrival.workflow_id} belongs to the daemon of {there}{under_way}; if that will never run it again, "
        "say so with --force: two daemons at one workflow run its jobs twice"
    )


def _revised(arrival: Arrival, workflow_id: str, request: m.Adopt) -> WorkflowSpec:
    spec = msgspec.json.decode(arrival.spec, type=WorkflowSpec)
    slots = arrival.slots if request.slots is None else request.slots
    if not 1 <= slots <= SLOTS_MAX:
        raise SpecError(f"must be between 1 and {SLOTS_MAX}, not {slots}", key="slots")
    return msgspec.structs.replace(spec, id=workflow_id, cluster=request.cluster or spec.cluster, slots=slots)


def _commit(context: Context, arrival: Arrival, spec: WorkflowSpec, claim: str) -> None:
    """The database first: what `context.toml` says of an id and a namespace of one's own follows from it."""
    place = msgspec.json.decode(claim, type=DaemonPlace)
    old = msgspec.json.decode(arrival.spec, type=WorkflowSpec).cluster
    told: dict[str, object] = {"host": place.host, "id": context.workflow_id, "cluster": spec.cluster}
    if arrival.workflow_id != context.workflow_id:
        told["was"] = arrival.workflow_id
    if old != spec.cluster:
        told["cluster_was"] = old
    if arrival.daemon != place or arrival.slots != spec.slots or {"was", "cluster_was"} & told.keys():
        encoded = msgspec.json.encode(spec).decode()
        take_over(
            Path(context.database),
            arrival,
            workflow_id=context.workflow_id,
            spec=encoded,
            slots=spec.slots,
            claim=claim,
            told=told,
        )
    partial = Path(context.directory, f"{CONTEXT_NAME}.partial")
    partial.write_text(render_context(context), encoding="utf-8")
    partial.rename(partial.with_name(CONTEXT_NAME))
