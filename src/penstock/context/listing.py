"""Which contexts there are: those below a work root, and those that this process has open."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from penstock.context.current import entered_contexts
from penstock.context.place import Place, find_place, known_ids
from penstock.domain.context import WORK_FOLDER, Context, Mode, read_context
from penstock.domain.errors import StoreError
from penstock.store.queries import list_states


class ContextInfo(msgspec.Struct, frozen=True):
    """A workflow that can be opened. `state` is None, and `problem` says why, where it cannot be read."""

    id: str
    directory: str
    mode: Mode | None
    state: str | None
    is_open: bool  # in this process
    problem: str | None = None


def list_contexts(work_root: str | os.PathLike[str] | None = None) -> list[ContextInfo]:
    """Those below `work_root` (default as for `open_context`), and those that this process has open elsewhere."""
    root = Path(work_root).absolute() if work_root is not None else find_place(None, None, os.environ).work_root
    places = [Place(name, root / WORK_FOLDER / name) for name in known_ids(root)]
    opened = {context.directory for context in entered_contexts()}
    places += [Place(path.name, path) for path in sorted(opened - {place.directory for place in places})]
    states: dict[str, dict[str, str] | StoreError] = {}
    return [_info(place, states, is_open=place.directory in opened) for place in places]


def _info(place: Place, states: dict[str, dict[str, str] | StoreError], *, is_open: bool) -> ContextInfo:
    """`states` by database, so that a shared one is read once."""
    try:
        context = read_context(place.directory)
        state = _states(context, states).get(place.workflow_id)
    except StoreError as error:
        return ContextInfo(place.workflow_id, str(place.directory), None, None, is_open, str(error))
    problem = None if state is not None else f"{context.database} holds no workflow of this name"
    return ContextInfo(place.workflow_id, str(place.directory), context.mode, state, is_open, problem)


def _states(context: Context, known: dict[str, dict[str, str] | StoreError]) -> dict[str, str]:
    if context.database not in known:
        try:
            known[context.database] = list_states(Path(context.database))
        except StoreError as error:
            known[context.database] = error
    found = known[context.database]
    if isinstance(found, StoreError):
        raise found
    return found
