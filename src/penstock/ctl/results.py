"""The commands results and report: what a workflow's analyses have found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import click
import msgspec

from penstock.control.messages import Exported, Results, WorkflowStatus
from penstock.ctl.options import DaemonPath, Whole, command, id_argument
from penstock.ctl.output import Ctl
from penstock.domain.measured import conditions, is_matrix, is_small, largest_error, listed, matrix_of, measured
from penstock.domain.properties import PropertyResult
from penstock.domain.states import UNENDED
from penstock.domain.views import AnalysisInfo, ConclusionInfo

_PAGE: Final = 100
_WHOLE_PAGE: Final = 5000
_NOTED: Final = 10
_LISTED: Final = 12  # numbers of a list that are worth a line
_ORDERS: Final = ("value", "uncertainty", "name", "subject")


@command("results")
@id_argument()
@click.option("--name", "names", multiple=True, metavar="NAME", help="Only properties of this name; may be repeated.")
@click.option("--subject", metavar="TEXT", help="Only subjects with this text in their name.")
@click.option("--order", default="", metavar="ORDER", help=f"{', '.join(_ORDERS)}; -ORDER for falling.")
@click.option("--limit", type=Whole(1, 10_000), help=f"Properties on a page.  [default: {_PAGE}; with --json: all]")
@click.option("--offset", type=Whole(0), default=0, help="Properties to leave out before it.")
@click.option("-o", "--output", type=DaemonPath(), metavar="FILE", help="Write all to a .csv, .json or .parquet file.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def results(  # noqa: PLR0917 - options
    ctl: Ctl,
    id: str,
    names: tuple[str, ...],
    subject: str | None,
    order: str,
    limit: int | None,
    offset: int,
    output: str | None,
    overwrite: bool,
) -> None:
    """Show the properties that a workflow's analyses have found, or write them to a file."""
    if output is not None:
        if order or limit is not None or offset:
            raise click.UsageError("a file has all properties; leave --order, --limit and --offset out")
        _write(ctl, ctl.client.write_results(id, _absolute(output), names, subject, overwrite))
        return

    def page(limit: int, offset: int, conclusions_offset: int) -> Results:
        return ctl.client.results(id, names, subject, limit, offset, order, conclusions_offset)

    if not ctl.json:
        _show(ctl, page(limit or _PAGE, offset, 0), names, offset)
    elif limit is not None:
        ctl.emit(page(limit, offset, 0))
    else:
        ctl.emit(_whole(page, offset))


def show_results(ctl: Ctl, id: str) -> None:
    """The first page of what a workflow's analyses have found, for people."""
    _show(ctl, ctl.client.results(id, limit=_PAGE), (), 0)


@command("report")
@id_argument()
@click.option("-o", "--output", type=DaemonPath(), metavar="FILE", help="Default: the workflow's own directory.")
@click.option("--figures", type=DaemonPath(), metavar="DIR", help="Also write every figure, as SVG and PNG.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def report(ctl: Ctl, id: str, output: str | None, figures: str | None, overwrite: bool) -> None:
    """Write a workflow's report: one HTML page with its results, figures, and how they were found."""
    path = None if output is None else _absolute(output)
    place = None if figures is None else str(Path(figures).absolute())
    reply = ctl.client.report(id, path, place, overwrite)
    if ctl.json:
        ctl.emit(reply)
        return
    ctl.line(f"report with {_figures(reply.figures)} written to {reply.path}")
    if reply.files:
        ctl.line(f"{len(reply.files)} files of figures written to {place}")
    for trouble in reply.troubles:
        ctl.note(f"not drawn: {trouble}")


def _absolute(output: str) -> str:
    if output == "-":
        raise click.UsageError("this writes a file; give -o the path it shall have, or ./- for a file of that name")
    return str(Path(output).absolute())


def _write(ctl: Ctl, reply: Exported) -> None:
    if ctl.json:
        ctl.emit(reply)
    else:
        ctl.line(f"{reply.jobs} {reply.of} written to {reply.path}")


def _whole(page: Callable[[int, int, int], Results], offset: int) -> Results:
    """Everything from `offset` on, fetched page by page."""
    first = reply = page(_WHOLE_PAGE, offset, 0)
    properties, conclusions = list(reply.properties), list(reply.conclusions)
    while offset + len(properties) < reply.total or len(conclusions) < reply.conclusions_total:
        reply = page(_WHOLE_PAGE, offset + len(properties), len(conclusions))
        if not reply.properties and not reply.conclusions:
            break  # what was there is being calculated anew
        properties += reply.properties
        conclusions += reply.conclusions
    return msgspec.structs.replace(first, properties=tuple(properties), conclusions=tuple(conclusions))


def _show(ctl: Ctl, reply: Results, names: tuple[str, ...], offset: int) -> None:
    _show_standing(ctl, reply)
    failed = [one for one in reply.conclusions if one.failure is not None]
    if failed:
        ctl.line()
        ctl.line("could not be concluded, or not all of it:")
        _show_some(ctl, failed, lambda one: [one.failure or ""])
    _show_scalars(ctl, [found for found in reply.properties if is_small(found.value)])
    for found in (found for found in reply.properties if not is_small(found.value)):
        ctl.line()
        about = f" ({conditions(found.conditions)})" if found.conditions else ""
        ctl.line(f"{found.name} of {found.subject}, {found.unit}{about}")
        for line in lines_of(found):
            ctl.line(f"  {line}")
    _show_methods(ctl, reply.properties)
    if noted := [one for one in reply.conclusions if one.notes]:
        ctl.line()
        ctl.line("notes:")
        _show_some(ctl, noted, lambda one: one.notes)
    _show_more(ctl, reply, names, offset)


def _show_standing(ctl: Ctl, reply: Results) -> None:
    """Where the workflow stands, and what is still to come."""
    ctl.line(f"{reply.workflow}: {reply.recipe}, {reply.state}" + (f": {reply.reason}" if reply.reason else ""))
    to_come = [f"{a.step} of {a.subjects - a.concluded}" for a in reply.analyses if a.concluded < a.subjects]
    if reply.state in UNENDED and (to_come or reply.open_jobs):
        jobs = f"{reply.open_jobs} job{'' if reply.open_jobs == 1 else 's'} open"
        ctl.line("still to come: " + "; ".join([*to_come, jobs]))


def _show_some(ctl: Ctl, found: list[ConclusionInfo], said: Callable[[ConclusionInfo], Iterable[str]]) -> None:
    for one in found[:_NOTED]:
        for text in said(one):
            ctl.line(f"  {one.step} of {one.subject}: {text}")
    if len(found) > _NOTED:
        ctl.line(f"  ... and {len(found) - _NOTED} more; --subject TEXT narrows, --json has all")


def _show_scalars(ctl: Ctl, found: list[PropertyResult]) -> None:
    if not found:
        return
    ctl.line()
    has_conditions = any(one.conditions for one in found)
    last = ("conditions",) if has_conditions else ()
    rows = (
        (
            *(one.subject, one.name, measured(one.value, one.uncertainty), "" if one.unit == "1" else one.unit),
            *((conditions(one.conditions),) if has_conditions else ()),
        )
        for one in found
    )
    ctl.table(("subject", "property", ">value", "unit", *last), rows)


def lines_of(found: PropertyResult) -> list[str]:
    """A value that is more than a number, on lines of its own: matrices with their axes, lists on one line."""
    if is_matrix(found.value):
        return [*_matrix(found), *largest_error(found)]
    numbers = listed(found.value, found.uncertainty)
    if numbers is None:
        return ["a value of several parts; --json has them"]
    return [", ".join(numbers) if len(numbers) <= _LISTED else f"{len(numbers)} numbers; --json has them"]


def _matrix(found: PropertyResult) -> list[str]:
    matrix = matrix_of(found.value, found.uncertainty)
    width = max(len(text) for text in (*matrix.across, *(cell for row in matrix.cells for cell in row)))
    power = f"   x 1e{matrix.power:+03d}" if matrix.power else ""
    head = " " * 4 + "".join(f"  {name:>{width}}" for name in matrix.across) + power
    body = (
        f"{name:>4}" + "".join(f"  {cell:>{width}}" for cell in row)
        for name, row in zip(matrix.down, matrix.cells, strict=True)
    )
    return [head, *body]


def _show_methods(ctl: Ctl, found: Iterable[PropertyResult]) -> None:
    """How they were found, each way once."""
    by_method: dict[str, dict[str, None]] = {}
    for one in found:
        if one.method:
            by_method.setdefault(one.method, {})[one.name] = None
    if by_method:
        ctl.line()
    for method, named in by_method.items():
        ctl.line(f"{', '.join(named) if len(by_method) > 1 else 'method'}: {method}")


def _show_more(ctl: Ctl, reply: Results, names: tuple[str, ...], offset: int) -> None:
    last = offset + len(reply.properties)
    if unknown := [name for name in names if name not in reply.names]:
        there = ", ".join(reply.names) or "none yet"
        ctl.note(f"there is no property {unknown[0]!r}; there are: {there}")
    elif not reply.properties and reply.total:
        ctl.note(f"there are {reply.total} properties, and none on this page")
    elif len(reply.properties) < reply.total:
        more = f"; the next: --offset {last}" if last < reply.total else ""
        ctl.note(f"properties {offset + 1} to {last} of {reply.total}{more}")
    elif not reply.total:
        ctl.note("no properties yet" if reply.state in UNENDED else "no properties")
    figures = sum(len(one.figures) for one in reply.conclusions)
    if figures and reply.properties:
        ctl.note(f"{_figures(figures)}: penstockctl report {reply.workflow}")


def _figures(count: int) -> str:
    return f"{count} figure{'' if count == 1 else 's'}"


def counted_analyses(analyses: tuple[AnalysisInfo, ...]) -> str:
    """`3 of 4 concluded, 1 of them failed`."""
    subjects, concluded, failed = (
        sum(getattr(one, name) for one in analyses) for name in ("subjects", "concluded", "failed")
    )
    return f"{concluded} of {subjects} concluded" + (f", {failed} of them failed" if failed else "")


def show_failed_analyses(ctl: Ctl, reply: WorkflowStatus) -> None:
    """The first analyses that could not say all that was asked for."""
    if not reply.failed_analyses:
        return
    ctl.line()
    ctl.line(f"analyses that failed (all results: penstockctl results {reply.workflow.id}):")
    for one in reply.failed_analyses:
        ctl.line(f"  {one.step} of {one.subject}: {one.failure}")


COMMANDS: Final = {"results": results, "report": report}
