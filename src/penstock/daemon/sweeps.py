"""Sweeps: every point is checked before any is made; all are made or none, and after a kill amid it, the rest later."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from penstock.control import messages as m
from penstock.daemon.creation import Request
from penstock.daemon.workflows import Workflows
from penstock.domain import settings
from penstock.domain.errors import NotFoundError, SpecError
from penstock.domain.spec import in_file, parse_toml
from penstock.domain.sweep import KEY, Point, describe_values, read_points, tables_of
from penstock.domain.views import ClusterInfo, SweepInfo, SweepPointInfo
from penstock.files.threads import ask_in_thread, refuse_silent
from penstock.store.catalogue import SweepRow

Check = Callable[[dict[str, Any], m.SubmitSweep, tuple[settings.Layer, ...]], Request]
"""A point's tables as a checked wish for a workflow; SpecError for what is wrong with them."""


async def submit_sweep(
    request: m.SubmitSweep, check: Check, workflows: Workflows, clusters: dict[str, ClusterInfo]
) -> m.SweepStatus:
    """Makes the workflows of a sweep; of one that was broken off while it was made, those that are missing."""
    await refuse_silent(Path(request.file).parent)  # templates are beside it
    try:
        row, wishes = await ask_in_thread(request.work_root, _plan, request, check)
    except SpecError as error:
        raise in_file(error, request.text, request.file) from error
    for point, wish in zip(row.points, wishes, strict=True):
        try:
            await workflows.check(wish, clusters)
        except SpecError as error:
            raise in_file(_of_point(error, row.name, point), request.text, request.file) from error
    if not request.dry_run:
        await workflows.create_sweep(row, wishes)
    return describe_sweep(row, workflows)


def _plan(request: m.SubmitSweep, check: Check) -> tuple[SweepRow, list[Request]]:
    tables = parse_toml(request.text, request.file)
    name, layers = _name_of(tables, request.layers)
    points = read_points(name, tables.get(KEY))
    wishes = []
    for point in points:
        try:
            wishes.append(check(tables_of(tables, name, point), request, layers))
        except SpecError as error:
            raise _of_point(error, name, point) from error
    digest = hashlib.sha256(b"\n".join(msgspec.json.encode(wish.spec) for wish in wishes)).hexdigest()
    return SweepRow(name, digest, points, complete=False, created_at=0.0), wishes


def _name_of(tables: dict[str, Any], layers: tuple[settings.Layer, ...]) -> tuple[str, tuple[settings.Layer, ...]]:
    """The sweep's name, by the command line or else the spec, and the layers without it."""
    given = [layer.values["id"] for layer in layers if "id" in layer.values]
    name = given[-1] if given else tables.get("id")
    if not isinstance(name, str):
        raise SpecError("a sweep needs a name, after which its points are named", key="id")
    kept = (
        settings.Layer(layer.origin, {key: value for key, value in layer.values.items() if key != "id"})
        for layer in layers
    )
    return name, tuple(kept)


def _of_point(error: SpecError, name: str, point: Point) -> SpecError:
    """`error` with the point that it is about, and at the swept key's place where it is about that."""
    key = f"{KEY}.{error.key}" if error.key in point.values else error.key
    line = None if error.key in point.values else error.line
    message = f"point {point.number} of sweep {name} ({describe_values(point.values)}): {error.message}"
    return SpecError(message, file=error.file if line else None, line=line, key=key)


def refuse_sweep(tables: dict[str, Any]) -> None:
    """SpecError for a spec that is many workflows where one is wanted."""
    if KEY in tables:
        raise SpecError("makes many workflows: 'penstockctl submit' and the request SubmitSweep take it", key=KEY)


async def list_sweeps(workflows: Workflows) -> m.Sweeps:
    """All sweeps, oldest first."""
    return m.Sweeps(tuple(describe_sweep(row, workflows).sweep for row in await workflows.sweeps()))


async def find_sweep(name: str, workflows: Workflows) -> m.SweepStatus:
    """One sweep with its points; NotFoundError when there is none."""
    for row in await workflows.sweeps():
        if row.name == name:
            return describe_sweep(row, workflows)
    raise NotFoundError(f"there is no sweep {name!r}; see 'penstockctl sweeps'")


def describe_sweep(row: SweepRow, workflows: Workflows) -> m.SweepStatus:
    """A sweep as people see it: each point with where its workflow stands."""
    points = tuple(_point_info(point, workflows) for point in row.points)
    keys = tuple(row.points[0].values)
    states = dict(Counter(point.state for point in points))
    return m.SweepStatus(SweepInfo(row.name, keys, len(points), states, row.complete, row.created_at), points)


def _point_info(point: Point, workflows: Workflows) -> SweepPointInfo:
    try:
        info = workflows.info(point.id)
    except NotFoundError:
        return SweepPointInfo(point.number, point.id, point.values, "missing", 0, {})
    return SweepPointInfo(point.number, point.id, point.values, info.state, info.jobs, info.statuses)
