"""The catalogue of workflows: whole, of a version that we know, and true of what is on the disks."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from penstock.ctl.doctor.bounded import PATIENCE_S
from penstock.ctl.doctor.file_facts import Room, judge_room, measure_room
from penstock.ctl.doctor.finding import note, problem, warning, well
from penstock.ctl.text import duration, local_time
from penstock.domain.errors import StoreError
from penstock.domain.views import Finding
from penstock.files.kinds import file_system_of
from penstock.store.catalogue import CREATING
from penstock.store.inspection import CataloguedWorkflow, Inspection, inspect_catalogue
from penstock.store.layout import MARK

NAME: Final = "catalogue.db"
_CHECK_S: Final = 0.8 * PATIENCE_S
_OLD_S: Final = 3600.0
_AHEAD_S: Final = 60.0
_SHOWN: Final = 5
_NEW: Final = ".new-"
_TRASH: Final = ".deleted-"


class Catalogued(msgspec.Struct, frozen=True):
    """What was found of the catalogue: nothing, an inspection, or an error."""

    path: str
    inspection: Inspection | None = None
    error: StoreError | None = None


def look_at_catalogue(state_dir: Path) -> Catalogued | None:
    """The catalogue in a state directory; None where that may not be entered, which is said of the directory."""
    if not os.access(state_dir, os.X_OK):
        return None
    path = state_dir / NAME
    try:
        return Catalogued(str(path), inspect_catalogue(path, _CHECK_S))
    except StoreError as error:
        return Catalogued(str(path), error=error)


def judge_catalogue(seen: Catalogued) -> list[Finding]:
    """What is said of the file."""
    if seen.error is not None:
        return [_unreadable(seen.error)]
    if seen.inspection is None:
        return [well("catalogue", "not there yet: there are no workflows")]
    return [_inspected(seen.path, seen.inspection)]


def _unreadable(error: StoreError) -> Finding:
    if error.healable:
        remedy = "ask again in a while; if nobody has it open, the next daemon puts it in order when it starts"
        return warning("catalogue", str(error), remedy)
    remedy = "stop the daemon and put a copy back (catalogue.db.vN.bak beside it, or a backup)"
    return problem("catalogue", str(error), remedy)


def _inspected(path: str, found: Inspection) -> Finding:
    what = "catalogue"
    if found.version > found.known:
        detail = f"{path} has schema {found.version}, this program knows {found.known}"
        return problem(what, detail, "upgrade Penstock; nothing was changed")
    if found.complaint:
        remedy = f"stop the daemon; recover it (sqlite3 {shlex.quote(path)} .recover) or put a copy back"
        return problem(what, f"{path} is damaged: {found.complaint}", remedy)
    workflows = f"{len(found.workflows)} workflow{'' if len(found.workflows) == 1 else 's'}, schema {found.version}"
    if found.version < found.known:
        return note(what, f"{workflows}; the next daemon brings it to schema {found.known}, after a copy")
    if not found.finished:
        return note(what, f"{workflows}; too large to be checked whole in {_CHECK_S:g} s")
    return well(what, f"{workflows}, checked")


def judge_moments(seen: Catalogued, now: float) -> list[Finding]:
    """Whether something has been written after now, which only a clock that was set back explains."""
    newest = seen.inspection.newest_at if seen.inspection is not None else None
    if newest is None:
        return []
    if newest - now > _AHEAD_S:
        ahead = duration(newest - now)
        detail = f"the newest is of {local_time(newest)}, {ahead} ahead: the clock was set back, or is wrong"
        return [warning("records", detail, "set the clock; waits for a time (retries, leases) last longer until then")]
    return [well("records", f"none is ahead of the clock, the newest is of {local_time(newest)}")]


# ---- work roots -----------------------------------------------------------------------------------------------------


class WorkRoot(msgspec.Struct, frozen=True):
    """A directory that workflows are in: which of them are gone, and what is left of others."""

    path: str
    exists: bool
    room: Room | None
    file_system: str
    workflows: int
    gone: tuple[str, ...]
    left: tuple[str, ...]  # absolute paths


def group_by_root(workflows: Iterable[CataloguedWorkflow]) -> dict[Path, list[CataloguedWorkflow]]:
    """Workflows by the directory that theirs are in."""
    roots: dict[Path, list[CataloguedWorkflow]] = {}
    for workflow in workflows:
        roots.setdefault(Path(workflow.directory).parent, []).append(workflow)
    return roots


def look_at_root(path: Path, workflows: list[CataloguedWorkflow]) -> WorkRoot:
    """One directory of workflows. It may hang: it is on whatever file system users work on."""
    there = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    done = [w for w in workflows if w.state != CREATING and not w.operation]
    gone = [w.id for w in done if Path(w.directory).name not in there]
    busy = {w.id for w in workflows if w.operation or w.state == CREATING}
    old = (name for name in sorted(there) if is_leftover(name, busy) and _age_s(path / name) > _OLD_S)
    exists = path.is_dir()
    room = measure_room(path) if exists else None
    left = tuple(str(path / name) for name in old)
    return WorkRoot(str(path), exists, room, file_system_of(path), len(workflows), tuple(gone), left)


def is_leftover(name: str, busy: Iterable[str]) -> bool:
    """Whether a directory of this name was being made or removed, and is of no workflow that anything happens to."""
    if name.startswith(_NEW):
        return name.removeprefix(_NEW).partition(MARK)[0] not in busy
    if name.startswith(_TRASH):
        return name.removeprefix(_TRASH).rpartition("-")[0] not in busy
    return False


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def judge_root(seen: WorkRoot) -> list[Finding]:
    """What is said of a directory of workflows."""
    what = "work directory"
    if not seen.exists:
        detail = f"{seen.path} is gone, with {_several(seen.gone)} in it"
        return [problem(what, detail, "mount or move it back; else penstockctl delete ID --force, for each")]
    assert seen.room is not None
    findings = [judge_room(what, seen.room)]
    if seen.gone:
        detail = f"{seen.path} no longer has {_several(seen.gone)}"
        remedy = "move them back, restore them (penstockctl archives), or forget them: penstockctl delete ID --force"
        findings.append(problem("missing workflows", detail, remedy))
    if seen.left:
        shown = " ".join(shlex.quote(path) for path in seen.left[:_SHOWN])
        detail = (
            f"{len(seen.left)} in {seen.path}, of workflows that were being made or removed when something was killed"
        )
        findings.append(warning("left over", detail, f"if nobody works there: rm -r {shown}"))
    return findings


def _several(ids: tuple[str, ...]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more
