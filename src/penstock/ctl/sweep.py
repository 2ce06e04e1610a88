"""Commands about many workflows: sweeps, sweep, compare."""

from __future__ import annotations

import csv
import sys
import tomllib
from collections.abc import Callable, Iterable
from typing import Any, Final

import click
import msgspec

from penstock.control.messages import Changed, SubmitSweep, SweepStatus, Table
from penstock.ctl.compare import compare, properties_as_table, usual_column
from penstock.ctl.options import command, complete_id
from penstock.ctl.output import Ctl
from penstock.ctl.text import counts, local_time, number
from penstock.domain.errors import ConflictError, NotFoundError
from penstock.domain.properties import PropertyResult
from penstock.domain.states import WorkflowState
from penstock.domain.sweep import KEY
from penstock.recipes.registry import draws_conclusions

_PAGE: Final = 2000


def is_sweep(text: str) -> bool:
    """Whether a spec is that of a sweep; what is no TOML is for the daemon to tell."""
    try:
        return KEY in tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False


def submit_points(ctl: Ctl, request: SubmitSweep, *, wait: bool) -> int | None:
    """Submits a sweep; the exit code, 1 where a workflow that was waited for is not completed."""
    reply = ctl.client.call(request)
    if not ctl.json:
        done = "nothing was submitted" if request.dry_run else "accepted"
        ctl.line(f"sweep {reply.sweep.name}: {reply.sweep.points} workflows, {done}")
        show_sweep(ctl, reply)
    elif not wait:
        ctl.emit(reply)
    if not wait:
        return None
    ended = [ctl.client.wait(point.id).workflow.state for point in reply.points]
    reply = ctl.client.sweep(reply.sweep.name)
    if ctl.json:
        ctl.emit(reply)
    else:
        ctl.line(f"sweep {reply.sweep.name}: {counts(reply.sweep.states)}")
    return int(any(state != WorkflowState.COMPLETED for state in ended))


def for_all_points(ctl: Ctl, name: str, done: str, act: Callable[[str], Changed]) -> int:
    """Changes every workflow of a sweep, whatever the others say; the exit code, 1 where one refused."""
    told: list[tuple[str, int | None, str | None]] = []
    for point in ctl.client.sweep(name).points:
        try:
            told.append((point.id, act(point.id).changed, None))
        except (ConflictError, NotFoundError) as refused:
            told.append((point.id, None, str(refused)))
    if ctl.json:
        ctl.emit({"points": [{"id": id, "changed": changed, "error": error} for id, changed, error in told]})
        return int(any(error for *_, error in told))
    for id, changed, error in told:
        ctl.line(f"{id}: {error}" if error else f"{id}: {done}, {changed} {'job' if changed == 1 else 'jobs'}")
    return int(any(error for *_, error in told))


@command("sweeps")
def sweeps(ctl: Ctl) -> None:
    """Show all sweeps."""
    reply = ctl.client.sweeps()
    if ctl.json:
        ctl.emit(reply)
    elif not reply.sweeps:
        ctl.note("no sweeps")
    else:
        rows = (
            (
                *(sweep.name, str(sweep.points), counts(sweep.states) + ("" if sweep.complete else ", not all made")),
                *(", ".join(sweep.keys), local_time(sweep.created_at)),
            )
            for sweep in reply.sweeps
        )
        ctl.table(("sweep", ">points", "counts", "value", "created"), rows)


@command("sweep")
@click.argument("name")
def sweep(ctl: Ctl, name: str) -> None:
    """Show where the points of a sweep stand."""
    reply = ctl.client.sweep(name)
    if ctl.json:
        ctl.emit(reply)
    else:
        show_sweep(ctl, reply)


def show_sweep(ctl: Ctl, reply: SweepStatus) -> None:
    """Every point with what it has of its own, and its state."""
    rows = (
        (point.id, *(_written(point.values[key]) for key in reply.sweep.keys), point.state, counts(point.statuses))
        for point in reply.points
    )
    ctl.table(("point", *(f">{key}" for key in reply.sweep.keys), "state", "counts"), rows)
    if not reply.sweep.complete and reply.sweep.states.get("missing"):
        ctl.note(f"{reply.sweep.states['missing']} are missing; the same spec submitted again makes them")


@command("compare")
@click.argument("names", nargs=-1, required=True, metavar="SWEEP | ID ID...", shell_complete=complete_id)
@click.option(
    "--column", "wanted", multiple=True, metavar="NAME", help="As in `table`; default: properties, or the last energy."
)
@click.option("--property", "properties", multiple=True, metavar="NAME", help="As in `results`; may be repeated.")
@click.option("--against", metavar="ID|N", help="Show differences from this workflow, or from this point of the sweep.")
@click.option("--summary", is_flag=True, help="One row a workflow: counts and statistics.")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV.")
def compare_(
    ctl: Ctl,
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    properties: tuple[str, ...],
    against: str | None,
    summary: bool,
    as_csv: bool,
) -> None:
    """Show results of a sweep's points, or of several workflows, side by side: one row a material, or a property."""
    points = _points(ctl, names)
    if against is not None:
        against = next((id for n, id in enumerate(points, 1) if against in (id, str(n))), None) or _no_point(against)
    if summary:
        if wanted or properties or against:
            raise click.UsageError("--summary has no columns to choose and no differences")
        _summaries(ctl, points, as_csv=as_csv)
        return
    if wanted and properties:
        raise click.UsageError("choose --column or --property, not both")
    tables = _tables(ctl, points, properties, of_materials=bool(wanted))
    columns = wanted or tuple(filter(None, [usual_column(tables)]))
    known = list(dict.fromkeys(name for table in tables for name in table.columns))
    unknown = [name for name in columns if name not in known]
    if unknown or not columns:
        wrong = f"there is no column {unknown[0]!r}" if unknown else "give --column"
        raise click.UsageError(f"{wrong}; there are {', '.join(known)}")
    found = compare(tables, columns, against)
    if ctl.json:
        told = [{"id": id, "values": values} for id, values in points.items()]
        ctl.emit({"points": told, "compared": list(columns), "against": against, **msgspec.structs.asdict(found)})
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([found.columns, *found.rows])
    else:
        _legend(ctl, points)
        ctl.line(f"{', '.join(columns)}{f', differences from {against}' if against else ''}:")
        heads = (found.columns[0], *(f">{name}" for name in found.columns[1:]))
        ctl.table(heads, (tuple(map(_cell, row)) for row in found.rows))


def _no_point(against: str) -> str:
    raise click.UsageError(f"{against!r} is none of the workflows that are compared")


def _points(ctl: Ctl, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The workflows to compare, by id, with what each has of its own."""
    if len(names) == 1:
        try:
            found = ctl.client.sweep(names[0])
        except NotFoundError:
            raise click.UsageError(f"there is no sweep {names[0]!r}; to compare workflows, name several") from None
        return {point.id: point.values for point in found.points if point.state != "missing"}
    return {name: {} for name in names}


def _tables(ctl: Ctl, ids: Iterable[str], properties: tuple[str, ...], *, of_materials: bool) -> list[Table]:
    """What is compared of each workflow: properties where all have drawn some, or where they are named."""
    firsts = {id: ctl.client.table(id, 1) for id in ids}
    if of_materials or not (properties or all(draws_conclusions(t.workflow.recipe) for t in firsts.values())):
        return [_whole_table(ctl, id) for id in firsts]
    found = [properties_as_table(first, _properties(ctl, id, properties)) for id, first in firsts.items()]
    if not any(table.rows for table in found):
        raise click.UsageError(
            f"none of them has {f'a property {properties[0]!r}' if properties else 'properties'} yet"
        )
    return found


def _properties(ctl: Ctl, id: str, names: tuple[str, ...]) -> list[PropertyResult]:
    page = ctl.client.results(id, names, None, _PAGE, 0)
    found = list(page.properties)
    while len(found) < page.total and page.properties:
        page = ctl.client.results(id, names, None, _PAGE, len(found))
        found.extend(page.properties)
    return found


def _whole_table(ctl: Ctl, id: str) -> Table:
    page = ctl.client.table(id, _PAGE)
    rows = list(page.rows)
    while len(rows) < page.total and page.rows:
        page = ctl.client.table(id, _PAGE, len(rows))
        rows.extend(page.rows)
    return msgspec.structs.replace(page, rows=tuple(rows))


def _legend(ctl: Ctl, points: dict[str, dict[str, Any]]) -> None:
    keys = list(dict.fromkeys(key for values in points.values() for key in values))
    if keys:
        rows = ((id, *(_written(values[key]) for key in keys)) for id, values in points.items())
        ctl.table(("point", *(f">{key}" for key in keys)), rows)
        ctl.line()


def _summaries(ctl: Ctl, points: dict[str, dict[str, Any]], *, as_csv: bool) -> None:
    keys = list(dict.fromkeys(key for values in points.values() for key in values))
    summaries = {id: ctl.client.summary(id) for id in points}
    if ctl.json:
        told = [{"id": id, "values": values, "summary": summaries[id]} for id, values in points.items()]
        ctl.emit({"points": told})
        return
    heads = ("point", *keys, "state", "jobs", "completed", "mean energy/Eh", "min energy/Eh", "mean time/s")
    rows = [
        (
            *(id, *(values[key] for key in keys), found.workflow.state, found.workflow.jobs),
            *(found.workflow.statuses.get("completed", 0), found.energy_hartree.mean, found.energy_hartree.min),
            found.wall_time_s.mean,
        )
        for (id, values), found in zip(points.items(), summaries.values(), strict=True)
    ]
    if as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([heads, *rows])
    else:
        right = {"point", "state"}
        shown = ((row[0], *map(_written, row[1 : 1 + len(keys)]), *map(_cell, row[1 + len(keys) :])) for row in rows)
        ctl.table(tuple(h if h in right else f">{h}" for h in heads), shown)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return number(value, 8)
    return "-" if value is None else value if isinstance(value, str) else _written(value)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


COMMANDS: Final = {"sweeps": sweeps, "sweep": sweep, "compare": compare_}
