"""Where a workflow keeps its things, as a value: the three modes of isolation differ in nothing but this."""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import StoreError

WORK_FOLDER: Final = ".penstock"
DATABASE_NAME: Final = "workflow.db"
CONTEXT_NAME: Final = "context.toml"
LIBRARY: Final = "library"
"""The recipe of workflows that library users make; nobody can submit one."""
LOCK_NAME: Final = "penstockd.lock"
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
    base = Path(work_root, WORK_FOLDER)
    own, shared = base / workflow_id, base / SHARED
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


def read_context(directory: Path) -> Context:
    """The context of the workflow in `directory` (absolute). StoreError when its `context.toml` cannot be used.

    Where there is none, or one of the first releases, which names places from when it was written, it is isolated.
    """
    path = directory / CONTEXT_NAME
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return alone_in(directory, directory.name)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}", healable=True) from error
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}; restore it from a backup", healable=False) from error
    values |= {"directory": str(directory)}
    try:
        if values.get("mode", Mode.ISOLATED) == Mode.ISOLATED and Path(str(values["storage"])).is_absolute():
            return alone_in(directory, str(values["workflow_id"]))
        for name in ("database", "storage", "locks"):
            values[name] = os.path.normpath(directory / str(values[name]))
        return msgspec.convert(values, Context)
    except (KeyError, msgspec.ValidationError) as error:
        raise StoreError(f"{path} is damaged: {error}; restore it from a backup", healable=False) from error


def alone_in(directory: Path, workflow_id: str) -> Context:
    """The context of an isolated workflow whose directory (absolute) is anywhere."""
    return Context(
        workflow_id,
        Mode.ISOLATED,
        workflow_id,
        str(directory),
        str(directory / DATABASE_NAME),
        str(directory / "storage"),
        str(directory / "locks"),
    )
