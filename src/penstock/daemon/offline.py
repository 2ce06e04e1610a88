"""A workflow's directory made where no daemon runs: as a daemon would have made it, waiting for one that adopts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
import msgspec

from penstock.actors.clock import SystemClock
from penstock.actors.task import Task
from penstock.actors.worker_tasks import CheckWork
from penstock.daemon.creation import Request, build_aside, check_request
from penstock.daemon.sweeps import refuse_sweep
from penstock.domain import settings
from penstock.domain.context import Mode, alone_in
from penstock.domain.errors import ConflictError, SpecError, StoreError
from penstock.domain.settings import Layer
from penstock.domain.spec import WorkflowSpec, decode_spec, in_file, parse_toml
from penstock.domain.states import WorkflowState
from penstock.store.adoption import OFFLINE
from penstock.store.layout import discard_aside, passing_aside_of, reveal, sweep_asides

T = TypeVar("T")


class _Here:
    """Does the tasks of worker processes in this one."""

    async def run(self, task: Task[T]) -> T:
        """The result of `task`."""
        return await anyio.to_thread.run_sync(task.run)


def check_offline(text: str, file: str, into: Path, layers: tuple[Layer, ...]) -> Request:
    """The wish that a spec is, checked as far as that goes without clusters. Raises SpecError.

    `into` (absolute) gets the workflow's directory.
    """
    tables: dict[str, Any] = parse_toml(text, file)
    try:
        refuse_sweep(tables)
        spec = decode_spec(settings.apply(tables, [settings.built_in_layer(), *layers]), text, file)
        _refuse_shared(spec)
        wish = check_request(spec, str(into), file, file, None)
        CheckWork(spec.structures, wish.place, spec.engine_name, wish.inputs(), runs_here=False).run()
    except SpecError as error:
        raise in_file(error, text, file) from error
    context = alone_in(into / wish.workflow_id, wish.workflow_id)
    return msgspec.structs.replace(wish, context=context)


def _refuse_shared(spec: WorkflowSpec) -> None:
    if spec.isolation != Mode.ISOLATED:
        raise SpecError("only isolated workflows can be made offline and move", key="isolation")


async def create_offline(request: Request) -> Path:
    """Makes the workflow's directory, whole or not at all. ConflictError when there is something of that name."""
    directory = request.directory
    if directory.exists():
        raise ConflictError(f"{directory} exists; move it away, or choose another --id or --into")
    aside = passing_aside_of(directory)
    try:
        await anyio.to_thread.run_sync(sweep_asides, directory)
        state = {"state": WorkflowState.PAUSED, "reason": OFFLINE}
        await build_aside(request, aside, _Here(), SystemClock(), **state)
        await anyio.to_thread.run_sync(reveal, aside, directory)
    except (OSError, StoreError) as error:
        cause = error.__cause__ or error
        raise SpecError(f"cannot create {directory}: {cause}; it must be writable and have room") from error
    finally:
        await anyio.to_thread.run_sync(discard_aside, aside)
    return directory
