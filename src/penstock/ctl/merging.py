"""The command merge."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from penstock.ctl.options import DaemonPath, command, id_argument
from penstock.ctl.output import Ctl
from penstock.ctl.text import number
from penstock.domain.errors import NotFoundError, UnreachableError
from penstock.domain.views import MergeConflict, MergeReport, OnConflict

_UNDECIDED: Final = 2
_SHOWN: Final = 20


@command("merge")
@id_argument()
@click.option(
    "--into",
    type=DaemonPath(),
    metavar="PATH",
    help="Another work directory, or a database. Default: .penstock/shared.",
)
@click.option(
    "--on-conflict",
    type=click.Choice([str(choice) for choice in OnConflict]),
    help="keep: what is there stays. replace: others find these from now on. both: both are there.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def merge(ctl: Ctl, id: str, into: str | None, on_conflict: str | None, dry_run: bool) -> int | None:
    """Bring a workflow's results among those that shared workflows find.

    One that no daemon knows is looked for below the working directory.
    """
    path = None if into is None else str(Path(into).absolute())
    choice = OnConflict(on_conflict) if on_conflict else None
    try:
        report = ctl.client.merge(id, path, choice, dry_run).report
    except (NotFoundError, UnreachableError):
        from penstock.context.listing import list_contexts
        from penstock.context.merging import merge as merge_here

        if all(info.id != id for info in list_contexts(Path.cwd())):
            raise
        report = merge_here(id, work_root=Path.cwd(), into=path, on_conflict=on_conflict, dry_run=dry_run)
    if ctl.json:
        ctl.emit(report)
    else:
        _show(ctl, report, dry_run=dry_run)
    return None if report.applied or dry_run else _UNDECIDED


def _show(ctl: Ctl, report: MergeReport, *, dry_run: bool) -> None:
    did = "merged" if report.applied else "would be merged" if dry_run else "could be merged"
    ctl.line(f"{report.new + report.changed} results of {report.source} {did} into {report.target}")
    counts = {
        "new": report.new,
        "changed since they were merged": report.changed,
        "there already": report.unchanged,
        "the same from elsewhere": report.present,
        "in conflict": report.conflicts,
        "not ended, left out": report.left,
        "cancelled or skipped, left out": report.pointless,
    }
    ctl.pairs((str(count), what) for what, count in counts.items() if count)
    if report.shown:
        ctl.line()
        columns = ("material", ">job", "conflict with", ">energy/Eh", ">there", ">max force/(Eh/bohr)", ">there")
        ctl.table(columns, (_cells(conflict) for conflict in report.shown[:_SHOWN]))
        if report.conflicts > _SHOWN:
            ctl.note(f"{report.conflicts - _SHOWN} more; --json shows the first {len(report.shown)}")
    if not report.applied and not dry_run:
        ctl.note("nothing was merged: say what becomes of conflicts, --on-conflict keep, replace or both")


def _cells(conflict: MergeConflict) -> tuple[str, ...]:
    other = f"{conflict.other_workflow} job {conflict.other_job}"
    if conflict.kind == "material":
        other = f"another structure of {conflict.other_workflow}"
    return (
        conflict.material,
        str(conflict.job),
        other,
        number(conflict.energy_hartree, 8),
        number(conflict.other_energy_hartree, 8),
        number(conflict.max_force_hartree_per_bohr),
        number(conflict.other_max_force_hartree_per_bohr),
    )


COMMANDS: Final = {"merge": merge}
