"""Who changed something: a line of the log for each request that does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from penstock.control import messages as m
from penstock.control.listener import Peer
from penstock.domain.errors import PenstockError

READING: Final = frozenset(
    {
        *(
            m.Ping,
            m.ListWorkflows,
            m.GetStatus,
            m.ListJobs,
            m.GetJob,
            m.Summarize,
            m.Tabulate,
            m.ListResults,
            m.Explain,
        ),
        *(m.ListSweeps, m.GetSweep, m.Plan, m.GetSettings, m.GetSpec, m.ListLocks, m.ListArchives, m.MeasureUsage),
        *(m.ListClusters, m.ReportCluster, m.ListExecutions, m.GetExecution, m.Watch, m.Logs, m.ReadLog),
    }
)
"""Requests that change nothing, and are not told."""
_TOLD: Final = ("name", "holder", "resolution", "slots", "priority", "never_rerun", "position", "path", "force")


def words(request: m.Request[Any] | m.StreamRequest) -> dict[str, Any] | None:
    """What the log says of a request, None where it says nothing: it changes nothing. Never a spec, nor settings."""
    dry = getattr(request, "dry_run", False) or getattr(request, "apply", True) is False
    if type(request) in READING or dry:
        return None
    fields = {name: value for name in _TOLD if (value := getattr(request, name, None)) not in (None, "", False)}
    workflow = getattr(request, "id", None)
    return ({"workflow": workflow} if workflow else {}) | fields


async def carry_out(
    request: m.Request[Any], peer: Peer, act: Callable[[m.Request[Any]], Awaitable[m.AnyReply]]
) -> m.AnyReply:
    """Does what is asked for, and tells who asked; what is logged meanwhile says it, too."""
    fields = words(request)
    if fields is None:
        return await act(request)
    log = structlog.get_logger()
    with structlog.contextvars.bound_contextvars(request=type(request).__name__, uid=peer.uid, pid=peer.pid):
        try:
            reply = await act(request)
        except PenstockError as error:
            log.info("request refused", **fields, code=error.code, reason=str(error))
            raise
        made = {"workflow": reply.id} if isinstance(reply, m.Accepted | m.Imported | m.Restored) else {}
        changed = {"changed": reply.changed} if isinstance(reply, m.Changed) else {}
        log.info("request carried out", **(fields | made | changed))
        return reply


def tell_stream(request: m.StreamRequest, peer: Peer) -> None:
    """Tells who asked for a stream that does more than look."""
    if (fields := words(request)) is not None:
        who = {"request": type(request).__name__, "uid": peer.uid, "pid": peer.pid}
        structlog.get_logger().info("request taken up", **who, **fields)
