"""Where a workflow's database is put when its work directory is on a network file system, and why it is there."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal

import msgspec

from penstock.domain.context import DATABASE_NAME, SHARED, Context, Mode
from penstock.domain.errors import SpecError
from penstock.domain.views import DatabaseInfo
from penstock.files.kinds import file_system_of, network_types
from penstock.store.journal import WAL, choose_journal

FOLDER: Final = "databases"
_DIGEST_CHARS: Final = 16


class Placement(msgspec.Struct, frozen=True):
    """What `[daemon]` says of databases whose usual place is on a network file system; `state_dir` is absolute."""

    state_dir: str
    policy: Literal["local", "in_place"] = "local"

    def place(self, context: Context) -> Context:
        """The context with its database where it belongs. Raises OSError when the file system does not answer."""
        usual = Path(context.database)
        return place_database(context, self, file_system_of(usual.parent), network_types())


def place_database(context: Context, placement: Placement, file_system: str, network: Collection[str]) -> Context:
    """The context with its database in the state directory if it would be on one of `network` otherwise.

    The folder there has its name from the directory that the database would have been in, so that workflows which
    share one there share one here, and two that have the same id in different places do not.
    """
    if placement.policy != "local" or file_system not in network:
        return context
    usual = Path(context.database).parent
    digest = hashlib.sha256(str(usual).encode()).hexdigest()[:_DIGEST_CHARS]
    database = Path(placement.state_dir, FOLDER, f"{usual.name}-{digest}", DATABASE_NAME)
    return msgspec.structs.replace(context, database=str(database))


def is_elsewhere(context: Context) -> bool:
    """Whether the database is not in the place that it usually has."""
    return context.database != _usual_place(context.mode, context.directory)


def _usual_place(mode: str, directory: str) -> str:
    own = Path(directory)  # which is anywhere, where it was adopted
    return str((own if mode == Mode.ISOLATED else own.parent / SHARED) / DATABASE_NAME)


def describe_database(database: str, directory: str, mode: str) -> DatabaseInfo:
    """Where a workflow's database is, and why. Raises OSError when a file system does not answer."""
    usual, network = _usual_place(mode, directory), network_types()
    around = file_system_of(Path(usual).parent)
    journal = choose_journal(file_system_of(Path(database).parent), network)
    why = ""
    if database != usual:
        why = f"{Path(usual).parent} is on a network file system ({around})" if around in network else "moved"
        if mode != Mode.ISOLATED:
            why += "; only workflows of this daemon share it"
    elif journal.mode != WAL:
        why = f"in place, on a network file system ({journal.file_system})"
    return DatabaseInfo(database, journal.file_system, journal.mode, why)


def check_state_dir(state_dir: Path, file_system: str, network: Collection[str], *, force: bool) -> str | None:
    """SpecError when the state directory is on a network file system; a warning where that is wanted all the same."""
    if file_system not in network:
        return None
    if force:
        return (
            f"the state directory {state_dir} is on a network file system ({file_system}), as force_network_state "
            "wants it: never start a second daemon on it from another machine"
        )
    raise SpecError(
        f"the state directory {state_dir} is on a network file system ({file_system}), where locks and databases are "
        "slow and not safe; choose a directory on a local disk (PENSTOCK_STATE_DIR, or state_dir in [daemon]), or set "
        "force_network_state = true in [daemon] if there is none",
        key="daemon.state_dir",
    )
