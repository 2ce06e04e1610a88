"""Where a workflow keeps its things, as a value: the three modes of isolation differ in nothing but this."""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError, StoreError
from penstock.domain.ids import check_workflow_id

WORK_FOLDER: Final = ".penstock"
DATABASE_NAME: Final = "workflow.db"
CONTEXT_NAME: Final = "context.toml"
LIBRARY: Final = "library"
"""The recipe of workflows that library users make; nobody can submit one."""
LOCK_NAME: Final = "penstockd.lock"
LOG_PLACE_NAME: Final = "penstockd.log-place"
"""In a daemon's state directory, locked for as long as the daemon runs."""
SHARED: Final = "shared"
"""The folder, and the namespace, of all workflows in shared mode; no workflow may have it for an id."""


class Mode(StrEnum):
    """How much of its surroundings a workflow shares with others."""

    ISOLATED = "isolated"  # database, storage, locks and namespace of its own
    SHARED = "shared"  # one of each for several workflows
    HYBRID = "hybrid"  # one database for several workflows; the rest of its own


class Context(msgspec.Struct, frozen=True):
    """A workflow's places, absolute paths all. Its `directory` is its own in every mode."""

    workflow_id: str
    mode: Mode
    namespace: str
    directory: str
    database: str
    storage: str
    locks: str

    @property
    def shares_database(self) -> bool:
        """Whether rows of other workflows may be in the same file."""
        return self.mode is not Mode.ISOLATED


class DaemonPlace(msgspec.Struct, frozen=True):
    """The daemon that works on a workflow, running or not: the host's name, and the state directory (absolute)."""

    host: str
    state_dir: str


def plan_context(mode: Mode, work_root: str, workflow_id: str) -> Context:
    """Where a new workflow of that mode has its things, below `work_root` (absolute)."""
    return _usual(mode, Path(work_root, WORK_FOLDER, workflow_id), workflow_id)


def work_root_of(directory: Path) -> Path:
    """The work root that a workflow's directory belongs to; for one that was adopted, the directory it lies in."""
    around = directory.parent
    return around.parent if around.name == WORK_FOLDER else around


def _usual(mode: Mode, own: Path, workflow_id: str) -> Context:
    """The places of a workflow whose directory is `own`, where nothing is put elsewhere."""
    shared = own.parent / SHARED
    around = shared if mode is Mode.SHARED else own
    return Context(
        workflow_id=workflow_id,
        mode=mode,
        namespace=SHARED if mode is Mode.SHARED else workflow_id,
        directory=str(own),
        database=str((own if mode is Mode.ISOLATED else shared) / DATABASE_NAME),
        storage=str(around / "storage"),
        locks=str(around / "locks"),
    )


def render_context(context: Context) -> str:
    """The text of `context.toml`; what is beside the workflow's directory is named from there, so that it can move."""
    base = str(Path(context.directory).parent)
    values = {
        "workflow_id": context.workflow_id,
        "mode": str(context.mode),
        "namespace": context.namespace,
    }
    for name in ("database", "storage", "locks"):
        path: str = getattr(context, name)
        inside = os.path.commonpath([base, path]) == base
        values[name] = os.path.relpath(path, context.directory) if inside else path
    return "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in values.items())


def read_context(directory: Path, workflow_id: str | None = None) -> Context:
    """The context of the workflow in `directory` (absolute). StoreError when its `context.toml` cannot be used.

    Who knows which workflow it is says so by `workflow_id`: that of another cannot be used either.

    Where there is none, or one of the first releases, which names places from when it was written, it is isolated.
    """
    path = directory / CONTEXT_NAME
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return alone_in(directory, workflow_id or directory.name)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}", healable=True) from error
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}; restore it from a backup", healable=False) from error
    try:
        return _checked(directory, workflow_id, values)
    except (KeyError, ValueError, SpecError) as error:
        raise StoreError(f"{path} is damaged: {error}; restore it from a backup", healable=False) from error


def _checked(directory: Path, workflow_id: str | None, values: dict[str, Any]) -> Context:
    """The context that `values` name. KeyError, ValueError, SpecError where it is none that the workflow can have.

    Only the database may be elsewhere, in the state directory of a daemon: whatever the file says, nothing is ever
    written into another workflow's places, or in its name.
    """
    named = check_workflow_id(str(values["workflow_id"]))
    if workflow_id not in (None, named):
        raise ValueError(f"it is of workflow {named!r}, not of {workflow_id!r}")
    if values.get("mode", Mode.ISOLATED) == Mode.ISOLATED and Path(str(values["storage"])).is_absolute():
        return alone_in(directory, named)
    usual = _usual(Mode(values["mode"]), directory, named)
    for name in ("storage", "locks", "namespace"):
        expected: str = getattr(usual, name)
        given = str(values[name]) if name == "namespace" else os.path.normpath(directory / str(values[name]))
        if given != expected:
            raise ValueError(f"{name} is {given!r}, which is not this workflow's")
    written = str(values["database"])
    database = Path(os.path.normpath(directory / written))
    is_somewhere = Path(written).is_absolute() or database.is_relative_to(directory.parent)
    if not is_somewhere or database.name != DATABASE_NAME or "\0" in written:
        raise ValueError(f"database is {str(database)!r}, which is no place for one")
    return msgspec.structs.replace(usual, database=str(database))


def alone_in(directory: Path, workflow_id: str) -> Context:
    """The context of an isolated workflow whose directory (absolute) is anywhere."""
    return _usual(Mode.ISOLATED, directory, workflow_id)
