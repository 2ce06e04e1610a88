"""Which workflow is meant, and where it is: from arguments, the context around, the environment, the settings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from penstock.context.current import current_context
from penstock.domain.context import (
    CONTEXT_NAME,
    DATABASE_NAME,
    LIBRARY,
    SHARED,
    WORK_FOLDER,
    Context,
    Mode,
    plan_context,
    read_context,
)
from penstock.domain.errors import ConflictError, SpecError, StoreError
from penstock.domain.ids import check_workflow_id, generate_workflow_id
from penstock.domain.settings import (
    Layer,
    built_in_layer,
    check_layer,
    environment_layer,
    find_config,
    project_layer,
    read_text,
    resolve,
)
from penstock.domain.spec import nearest, parse_toml

ID_VARIABLE: Final = "PENSTOCK_WORKFLOW_ID"
DIRECTORY_VARIABLE: Final = "PENSTOCK_WORKFLOW_DIR"
MODE_VARIABLE: Final = "PENSTOCK_ISOLATION_MODE"


class Place(msgspec.Struct, frozen=True):
    """The workflow that is meant: its id, and its directory (absolute), which need not exist.

    `inherited` when whoever started us says that it does.
    """

    workflow_id: str
    directory: Path
    inherited: bool = False

    @property
    def work_root(self) -> Path:
        """The directory that has `.penstock`."""
        return self.directory.parent.parent

    @property
    def exists(self) -> bool:
        """Whether there is a workflow."""
        return (self.directory / CONTEXT_NAME).exists() or (self.directory / DATABASE_NAME).exists()


def find_place(workflow_id: str | None, work_root: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Place:
    """Which workflow is meant. SpecError for an id or a root that cannot be.

    Without an id it is that of the context around, then that of the environment (as jobs and child processes have it),
    else a new one. Without a root a workflow is looked for beside the one around, then in the working directory.
    """
    around = _around(environ)
    if workflow_id is None and work_root is None and around is not None:
        return around
    if workflow_id is None:
        inherited = environ.get(ID_VARIABLE)
        workflow_id = inherited if inherited and around is None else generate_workflow_id(LIBRARY)
    check_workflow_id(workflow_id)
    if work_root is not None:
        root = Path(work_root).expanduser().absolute()
    else:
        root = around.work_root if around is not None else Path.cwd()
    if not root.is_dir():
        raise SpecError(f"the work directory {root} is not a directory", key="work_root")
    return Place(workflow_id, root / WORK_FOLDER / workflow_id)


def _around(environ: Mapping[str, str]) -> Place | None:
    """The workflow that we are in: of the context around, or of the job or process that started us."""
    if (current := current_context()) is not None:
        return Place(current.id, current.directory)
    directory = environ.get(DIRECTORY_VARIABLE)
    if not directory or not Path(directory).is_absolute():
        return None
    path = Path(os.path.normpath(directory))
    if path.parent.name != WORK_FOLDER:
        return None
    return Place(environ.get(ID_VARIABLE) or path.name, path, inherited=True)


def settled_mode(environ: Mapping[str, str], folder: Path) -> Mode:
    """The mode for a new workflow where nobody says otherwise. SpecError says which setting cannot be."""
    layers = [built_in_layer(), _configured(environ), project_layer(folder), environment_layer(environ)]
    return Mode(resolve(layer for layer in layers if layer is not None)["isolation"].value)


def _configured(environ: Mapping[str, str]) -> Layer | None:
    """`[workflow]` of config.toml; its other tables are the daemon's business."""
    path = find_config(environ)
    if path is None:
        return None
    text = read_text(path)
    table = parse_toml(text, str(path)).get("workflow", {})
    return check_layer(Layer(str(path), table if isinstance(table, dict) else {}), text, "workflow")


def as_mode(mode: str | None) -> Mode | None:
    """A mode as a person writes it; SpecError for what is none."""
    if mode is None:
        return None
    try:
        return Mode(mode)
    except ValueError:
        known = [str(one) for one in Mode]
        raise SpecError(
            f"unknown mode {mode!r}; {nearest(mode, known) or 'use ' + ', '.join(known)}", key="mode"
        ) from None


def read_place(place: Place, mode: Mode | None) -> Context:
    """The context of a workflow that exists. ConflictError when it is of another mode than asked for."""
    context = read_context(place.directory)
    if context.workflow_id != place.workflow_id:
        raise ConflictError(
            f"{place.directory} holds workflow {context.workflow_id!r}, not {place.workflow_id!r}; "
            "was it renamed? Give it its name back"
        )
    if mode is not None and mode is not context.mode:
        raise ConflictError(
            f"workflow {context.workflow_id!r} in {place.directory} is {context.mode}, not {mode}; "
            "leave the mode out, or choose another id: what it shares was decided when it was made"
        )
    return context


def plan_place(place: Place, mode: Mode) -> Context:
    """The context of a new workflow; its shared database is the one that others below the same root use already.

    That is not in its usual place where a daemon keeps it in its state directory, away from a network file system.
    """
    context = plan_context(mode, str(place.work_root), place.workflow_id)
    if not context.shares_database or Path(context.database).exists():
        return context
    for name in known_ids(place.work_root):
        with contextlib.suppress(StoreError):
            other = read_context(place.directory.with_name(name))
            if other.shares_database and Path(other.database).exists():
                return msgspec.structs.replace(context, database=other.database)
    return context


def known_ids(work_root: Path) -> list[str]:
    """The workflows below a work root, by name."""
    try:
        entries = sorted(entry.name for entry in (work_root / WORK_FOLDER).iterdir())
    except OSError:
        return []
    return [
        name
        for name in entries
        if name != SHARED and not name.startswith(".") and Place(name, work_root / WORK_FOLDER / name).exists
    ]
