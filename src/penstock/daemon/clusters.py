"""The daemon's clusters: how each is started from its table, and what people may ask of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import structlog

from penstock import engines
from penstock.actors.board import Board
from penstock.actors.call_log import CallLog
from penstock.actors.clock import Clock
from penstock.actors.cluster_check import check_cluster
from penstock.actors.local_cluster import LocalCluster, LocalConfig
from penstock.actors.local_cluster import Reconfigure as ReconfigureLocal
from penstock.actors.mailbox import Ref
from penstock.actors.scheduler_cluster import SchedulerCluster, ShellMaker
from penstock.actors.scheduler_link import Link
from penstock.actors.scheduler_messages import Reconfigure, Report, SchedulerConfig
from penstock.actors.supervisor import Policy, Supervisor
from penstock.clusters import kinds
from penstock.clusters.feasibility import impossible
from penstock.clusters.shell import LocalShell, Shell
from penstock.daemon.cluster_tables import ClusterTable, LocalTable, QueueTable
from penstock.domain.budget import Queueing
from penstock.domain.errors import NotFoundError, SpecError
from penstock.domain.ids import new_ulid
from penstock.domain.resources import Resources
from penstock.domain.spec import WorkflowSpec
from penstock.domain.views import ClusterReport, Finding

_POLICY: Final = Policy(restarts=10, period_s=60.0, backoff_s=0.1, backoff_max_s=2.0, again_after_s=60.0)
_REPORT_S: Final = 10.0


class Clusters:
    """All clusters of a daemon. Enter `supervisor` before `start`."""

    def __init__(self, tables: Mapping[str, ClusterTable], state_dir: Path, clock: Clock, board: Board) -> None:
        self.refs: dict[str, Ref[Any]] = {}
        self.supervisor = Supervisor("clusters", clock, _POLICY, self._given_up, child="cluster")
        self._tables = dict(tables)
        self._owners: dict[str, dict[str, Ref[Any]]] = {name: {} for name in tables}
        self._state_dir = state_dir
        self._clock = clock
        self._board = board

    def start(self) -> None:
        """Starts an actor for each."""
        identity = read_identity(self._state_dir)
        for name, table in self._tables.items():
            if isinstance(table, LocalTable):
                self.refs[name] = self.supervisor.start_child(name, partial(self._local, name))
            elif isinstance(table, QueueTable):
                self._board.queueing.setdefault(name, Queueing(width_max=0))  # nothing goes before its limits are known
                self.refs[name] = self.supervisor.start_child(name, partial(self._queueing, name, identity))

    def reconfigure(self, tables: Mapping[str, ClusterTable]) -> None:
        """New limits and rates for those that there are."""
        identity = read_identity(self._state_dir)
        self._tables.update({name: table for name, table in tables.items() if name in self._tables})
        for name, ref in self.refs.items():
            table = self._tables[name]
            if isinstance(table, LocalTable):
                ref.post("reconfigure", ReconfigureLocal(self._local_config(name, table)))
            elif isinstance(table, QueueTable):
                ref.post("reconfigure", Reconfigure(scheduler_config(name, table, identity)))

    def _local(self, name: str, me: Ref[Any]) -> LocalCluster:
        table = self._tables[name]
        assert isinstance(table, LocalTable)
        return LocalCluster(me, self._local_config(name, table), self._clock, self._board, self._owners[name])

    def _local_config(self, name: str, table: LocalTable) -> LocalConfig:
        spool = self._state_dir / "clusters" / name
        return LocalConfig(name, table.cores_or_all(), table.memory_mb_or_share(), table.nice, spool)

    def _queueing(self, name: str, identity: str, me: Ref[Any]) -> SchedulerCluster:
        table = self._tables[name]
        assert isinstance(table, QueueTable)
        config = scheduler_config(name, table, identity)
        way = (shell_maker(table, self._clock), kinds.get(table.kind))
        return SchedulerCluster(me, config, way, self._clock, self._board, self._owners[config.name])

    async def _given_up(self, name: str, error: BaseException) -> None:
        """A cluster is down, the daemon is not. It is tried again, and asks its workflows to attach anew."""
        info = self._board.clusters.get(name)
        if info is not None:
            self._board.clusters[name] = msgspec.structs.replace(info, state="down", reason=str(error))

    def refuse_impossible(self, spec: WorkflowSpec, needs: Sequence[Resources] = ()) -> None:
        """SpecError when the site could never run a job of it, as far as its limits are known.

        `needs`: what the jobs of each of its steps ask for, where that is not what the spec says.
        """
        table, limits = self._tables.get(spec.cluster), self._board.limits.get(spec.cluster)
        if not isinstance(table, QueueTable):
            return
        if not table.python and engines.get(spec.engine_name).kind == "python":
            message = f"{spec.engine_name} runs in Python: give clusters.{spec.cluster} a python with Penstock"
            raise SpecError(message, key="engine.name")
        if limits is None:
            return
        options = spec.scheduler.options().over(table.options())
        for asked in needs or [spec.needs()]:
            if (reason := impossible(asked, asked.walltime_s, options, limits)) is not None:
                raise SpecError(f"cluster {spec.cluster} cannot run it: {reason}", key="resources")

    # ---- what people ask --------------------------------------------------------------------------------------------

    async def report(self, name: str) -> ClusterReport:
        """What a site's administrators would ask."""
        answer = await self.refs[name].ask(Report(), _REPORT_S)
        assert isinstance(answer, ClusterReport)
        return answer

    async def check(self, name: str) -> AsyncGenerator[Finding]:
        """Looks at everything once, by a connection of its own, a job of its own and as a new user would."""
        table = self._tables[name]
        if not isinstance(table, QueueTable):
            raise NotFoundError(f"cluster {name} has no scheduler to check")
        config = scheduler_config(name, table, read_identity(self._state_dir))
        calls = self._board.calls.setdefault(name, CallLog(self._clock))
        link = Link(shell_maker(table, self._clock)(), kinds.get(table.kind), calls, config.command_timeout_s)
        try:
            async for finding in check_cluster(link, config, self._clock):
                yield finding
        finally:
            await link.shell.close()


def scheduler_config(name: str, table: QueueTable, identity: str) -> SchedulerConfig:
    """What a cluster's actor needs to know of its table. Every daemon's every table has a spool of its own."""
    return SchedulerConfig(
        name=name,
        kind=table.kind,
        host=table.host,
        spool=f"{table.spool_path()}/{identity}/{quote(name, safe='')}",
        work=table.work_path(),
        python=table.python,
        options=table.options(),
        width_max=table.width_max,
        jobs_max=table.jobs_max,
        queries_idle_per_min=table.queries_idle_per_min,
        queries_active_per_min=table.queries_active_per_min,
        submits_per_min=table.submits_per_min,
        listing_s=table.listing_s,
        grace_s=table.grace_s,
        lag_s=table.lag_s,
        question_after_s=table.question_after_s,
        command_timeout_s=table.command_timeout_s,
    )


def shell_maker(table: QueueTable, clock: Clock) -> ShellMaker:
    """What makes a cluster's shell; asyncssh is loaded only where a cluster is behind SSH."""
    ssh = table.ssh()
    if ssh is None:
        return LocalShell

    def connect() -> Shell:
        from penstock.clusters.ssh_dial import SshTarget
        from penstock.clusters.ssh_shell import SshShell

        return SshShell(SshTarget(**ssh), clock)

    return connect


def read_identity(state_dir: Path) -> str:
    """What tells this daemon's spool from that of another of the same account; it stays with the state directory."""
    path = state_dir / "identity"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        identity = new_ulid()[-12:].lower()
        partial_path = path.with_suffix(".partial")
        partial_path.write_text(f"{identity}\n", encoding="ascii")
        partial_path.replace(path)
        structlog.get_logger().debug("state directory named", identity=identity)
        return identity
