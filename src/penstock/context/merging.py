"""Results brought among those that shared workflows find, by a library user."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.context.place import find_place, known_ids, plan_place, read_place
from penstock.domain.context import Mode
from penstock.domain.errors import NotFoundError, SpecError
from penstock.domain.spec import nearest
from penstock.domain.views import MergeReport, OnConflict
from penstock.store.merging import merge as merge_results
from penstock.store.merging import plan_merge


def merge(
    id: str | None = None,
    *,
    work_root: str | os.PathLike[str] | None = None,
    into: str | os.PathLike[str] | None = None,
    on_conflict: str | None = None,
    dry_run: bool = False,
) -> MergeReport:
    """Merges the results of a workflow (named as for `open_context`) into the database of shared workflows.

    `into` is another work root, or a database. With conflicts nothing is done, and the report lists them, unless
    `on_conflict` says what becomes of them: `keep`, `replace` or `both`. Doing it again does only what is missing.
    """
    place = find_place(id, work_root, os.environ)
    if not place.exists:
        hint = nearest(place.workflow_id, known_ids(place.work_root)) or "see penstock.list_contexts"
        raise NotFoundError(f"there is no workflow {place.workflow_id!r} in {place.directory}; {hint}")
    try:
        choice = None if on_conflict is None else OnConflict(on_conflict)
    except ValueError:
        message = f"unknown choice {on_conflict!r}; use {', '.join(OnConflict)}"
        raise SpecError(message, key="on_conflict") from None
    target = None if into is None else str(Path(into).absolute())
    usual = plan_place(place, Mode.SHARED).database
    return merge_results(plan_merge(read_place(place, None), usual, target, choice, dry_run=dry_run))
