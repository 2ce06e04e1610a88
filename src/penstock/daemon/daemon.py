"""The daemon as a whole: what is started in which order, what signals do, and how it stops."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import structlog

from penstock import __version__
from penstock.actors.board import Board
from penstock.actors.clock import Clock, SystemClock
from penstock.actors.locks import Locks
from penstock.actors.supervisor import Supervisor, innermost
from penstock.actors.workers import WorkerPool
from penstock.actors.workflow import Surroundings
from penstock.actors.workflow_messages import DrainWorkflow, ReloadSlots
from penstock.control.event_loop import EventLoop
from penstock.control.listener import bind_listener
from penstock.control.server import serve
from penstock.daemon.clusters import Clusters
from penstock.daemon.completion import Completions
from penstock.daemon.completion_acts import completion_acts
from penstock.daemon.config import Config, load_config, merge_reload
from penstock.daemon.creation import claim_of
from penstock.daemon.health import Health, status_line
from penstock.daemon.life_cycle import LifeCycle
from penstock.daemon.locks import LockDesk
from penstock.daemon.log_place import leave_log_place
from penstock.daemon.logs import Logs
from penstock.daemon.metrics.address import MetricsAddress
from penstock.daemon.metrics.endpoint import Endpoint
from penstock.daemon.metrics.registry import Metrics
from penstock.daemon.metrics.sources import Sources
from penstock.daemon.metrics.survey import Survey
from penstock.daemon.retention import Retention
from penstock.daemon.service import Service
from penstock.daemon.state_directory import check_kind, locked
from penstock.daemon.systemd import ServiceManager
from penstock.daemon.workflows import Workflows
from penstock.domain.errors import PenstockError, SpecError
from penstock.domain.settings import BUILT_IN, Layer, find_config, resolve
from penstock.files.kinds import ENVIRONMENT as NETWORK_TYPES
from penstock.files.room import Room
from penstock.store.catalogue import Catalogue
from penstock.store.placement import Placement

_LOADING_AT_ONCE: Final = 16
_LAG_EVERY_S: Final = 1.0
_DRAIN_STEP_S: Final = 0.05
_REPEATS_EVERY_S: Final = 5.0
_BESIDES_DRAIN_S: Final = 20.0
"""What stopping may take besides `drain_s`: calls in flight are ended, states are written, actors let go."""


class BrokeDownError(PenstockError):
    """A daemon that was up has ended by itself; a new one may have better luck."""

    code = "broke_down"


class Daemon:
    """Everything, wired."""

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        environ: Mapping[str, str],
        clock: Clock | None = None,
        logs: Logs | None = None,
        manager: ServiceManager | None = None,
    ) -> None:
        self.is_up = False
        self._asked_to_stop = False
        self._config = config
        self._logs = logs or Logs()
        self._manager = manager or ServiceManager()
        self._config_path = config_path
        self._state_dir = config.state_dir(environ)
        self._socket_path = config.socket_path(environ)
        self._clock = clock or SystemClock()
        self._board = Board()
        self._workers = WorkerPool(config.daemon.workers, self._clock, self._board.figures.observe_task)
        self._clusters = Clusters(config.clusters, self._state_dir, self._clock, self._board)
        self._loading = Room(_LOADING_AT_ONCE)
        self._log = structlog.get_logger()
        self._catalogue = Catalogue(self._state_dir / "catalogue.db", self._clock.busy)
        self._locks = Locks(self._state_dir, self._clock)
        self._placement = Placement(str(self._state_dir), config.daemon.network_databases)
        self._workflows = Workflows(self._catalogue, self._around, self._board, self._clock, self._placement)
        self._movers = WorkerPool(2, self._clock)  # for archives, which may take hours
        self._life_cycle = LifeCycle(self._workflows, self._catalogue, self._movers, self._clock)
        self._retention = Retention(self._life_cycle, self._board, self._catalogue, self._movers, self._clock)
        self._survey = Survey(self._state_dir, lambda: list(self._board.workflows.values()), self._clock)
        self._health = Health(self._supervisors, self._manager, self._clock, self._status)
        self._metrics = Metrics(self._sources(), config.daemon.metrics_workflows)
        self._endpoint: Endpoint | None = None
        self._database = self._health.outside(self._metrics.timed(self._clock.busy))

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises PenstockError when it cannot start."""
        async with AsyncExitStack() as stack:
            check_kind(self._state_dir, force=self._config.daemon.force_network_state)
            stack.enter_context(locked(self._state_dir))
            with self._clock.busy():
                await anyio.to_thread.run_sync(leave_log_place, self._state_dir, os.environ)
            await self._catalogue.open()
            stack.push_async_callback(self._catalogue.close)
            stack.push_async_callback(self._locks.close)
            self._locks.configure(self._config.capacities())
            listener = self._listen(stack)
            stack.callback(self._workers.close)
            stack.callback(self._movers.close)
            self._serve_metrics(stack)
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                async with self._clusters.supervisor, self._workflows.supervisor, anyio.create_task_group() as tasks:
                    self._clusters.start()
                    await self._workflows.find_again(tasks, self._life_cycle.resume_one)
                    acts = completion_acts(self._workflows, self._workers, self._life_cycle, self._clock)
                    completions = Completions(self._workflows, self._board, self._clock, acts)
                    locks = LockDesk(self._locks, self._board, lambda: self._config.resources)
                    service = Service(
                        *(self._workflows, self._board, self._workers, self._metrics, self._layers, self._clusters),
                        locks=locks,
                        completions=completions,
                        whole=self._retention,
                        ring=self._logs.ring,
                        config=lambda: self._config,
                    )
                    gid = self._config.group_gid()
                    serving = anyio.CancelScope()
                    served = anyio.Event()
                    tasks.start_soon(self._serve, listener, service, gid, serving, served)
                    for work in (
                        self._workflows.keep_catalogue,
                        completions.run,
                        self._life_cycle.resume,
                        self._retention.keep,
                        self._measure_lag,
                        self._tell_repeats,
                    ):
                        tasks.start_soon(work)
                    if self._endpoint is not None:
                        tasks.start_soon(self._survey.keep)
                    tasks.start_soon(self._health.watch)
                    self._log.info(
                        "penstockd is up", version=__version__, pid=os.getpid(), socket=str(self._socket_path)
                    )
                    self.is_up = True
                    self._manager.ready(self._status())
                    await self._obey(signals)
                    self._asked_to_stop = True
                    limit_s = self._config.daemon.drain_s + _BESIDES_DRAIN_S
                    self._manager.stopping(limit_s, "stopping; jobs run on")
                    stack.callback(self._leave_after(limit_s).cancel)
                    serving.cancel()
                    await served.wait()
                    await self._drain()
                    await self._workflows.flush()
                    tasks.cancel_scope.cancel()
            if not self._asked_to_stop:  # a group of tasks that is cancelled by nobody we know ends without a word
                raise BrokeDownError("the daemon's tasks have ended though nobody asked them to")
            self._log.info("penstockd has stopped; jobs that run go on and are found again")

    def _listen(self, stack: AsyncExitStack) -> socket.socket:
        """The control socket: the service manager's where it has opened one, which stays when we end; else our own."""
        given = self._manager.listener()
        if given is None:
            listener = bind_listener(self._socket_path, self._config.group_gid())
            stack.callback(self._socket_path.unlink, missing_ok=True)
        else:
            listener, path = given
            if path != self._socket_path:
                advice = f"set PENSTOCK_SOCKET={path} for them and the daemon"
                self._log.warning(
                    "clients look elsewhere", socket=str(path), expected=str(self._socket_path), do=advice
                )
            self._socket_path = path
        stack.callback(listener.close)
        return listener

    async def _serve(
        self, listener: Any, service: Service, gid: int | None, scope: anyio.CancelScope, served: anyio.Event
    ) -> None:
        with scope:
            await serve(
                listener,
                service,
                owner_uid=os.getuid(),
                group_gid=gid,
                on_connections=self._metrics.count_connections,
            )
        served.set()

    def _serve_metrics(self, stack: AsyncExitStack) -> None:
        address = self._config.metrics_address()
        if address is None:
            return
        token = self._config.metrics_token()
        try:
            self._endpoint = Endpoint(address, self._metrics.render, token)
        except OSError as error:
            raise SpecError(unserved(address, error), file=self._config.file, key="daemon.metrics") from error
        except SpecError as error:
            raise SpecError(error.message, file=self._config.file, key="daemon.metrics") from error
        stack.callback(self._endpoint.close)

    async def _obey(self, signals: Any) -> None:
        async for number in signals:
            if number != signal.SIGHUP:
                self._log.info("stopping", signal=signal.Signals(number).name)
                return
            self._manager.reloading()
            await self._reload()
            self._manager.ready(self._status())

    async def _drain(self) -> None:
        """Begins nothing new and records what has ended, for a bounded time. What is cut off is found again.

        What lies on a file system that does not answer is not waited for.
        """
        with anyio.move_on_after(self._config.daemon.drain_s):
            while True:
                unread = 0
                for id_, ref in self._workflows.running().items():
                    with anyio.move_on_after(1.0):
                        try:
                            answer = await ref.ask(DrainWorkflow(), 1.0)
                            assert isinstance(answer, int)
                            if self._workers.hanging(self._workflows.info(id_).directory) is None:
                                unread += answer
                        except PenstockError:
                            continue
                if not unread:
                    return
                await self._clock.sleep(_DRAIN_STEP_S)

    def _leave_after(self, limit_s: float) -> threading.Timer:
        """Ends the process if stopping takes longer, since a call hangs in a file system; it is as if it were killed.

        What was begun is found again, as after a kill.
        """

        def leave() -> None:
            self._log.warning("stopping takes too long, leaving as it stands", limit_s=limit_s)
            self._logs.close()
            os._exit(0)

        timer = threading.Timer(limit_s, leave)
        timer.daemon = True
        timer.start()
        return timer

    # ---- reloading --------------------------------------------------------------------------------------------------

    async def _reload(self) -> None:
        """SIGHUP.

        The log's level, format and size in memory, the time for a drain, the clusters' limits, the counts of resources,
        what metrics show and their token, the settings of workflows to come, and the slots of those that took theirs
        from the configuration. The log names what changed and needs a restart.
        """
        path = self._config_path or find_config(os.environ)
        try:
            config, waiting = merge_reload(self._config, load_config(path))
            token = config.metrics_token()
        except SpecError as error:
            self._log.error("configuration not reloaded, the old one stays", error=str(error))
            return
        self._config = config
        self._logs.set_level(config.daemon.log_level)
        self._logs.set_format(config.daemon.log_format)
        self._logs.ring.resize(config.daemon.log_keep)
        if waiting:
            self._log.warning("these changes wait for a restart", keys=waiting)
        self._metrics.workflows_most = config.daemon.metrics_workflows
        if self._endpoint is not None:
            self._endpoint.token = token
        self._clusters.reconfigure(self._config.clusters)
        self._locks.configure(self._config.capacities())
        slots = resolve(self._layers())["slots"].value
        for ref in self._workflows.running().values():
            ref.post("reload", ReloadSlots(slots, frozenset({BUILT_IN, config.file})))
        self._log.info("configuration reloaded", file=config.file, slots=slots, log_level=config.daemon.log_level)

    def _layers(self) -> list[Layer]:
        return self._config.layers()

    def _around(self, cluster: str) -> Surroundings | None:
        if cluster not in self._clusters.refs:
            return None
        return Surroundings(
            self._clock,
            self._workers,
            self._board,
            self._clusters.refs[cluster],
            self._loading,
            self._database,
            self._locks,
            claim_of(self._state_dir),
        )

    # ---- standing ---------------------------------------------------------------------------------------------------

    def _status(self) -> str:
        """A line for `systemctl status`."""
        clusters = {name: info.state for name, info in self._board.clusters.items()}
        return status_line(len(self._workflows.running()), clusters)

    def _supervisors(self) -> tuple[Supervisor, Supervisor]:
        return self._clusters.supervisor, self._workflows.supervisor

    def _sources(self) -> Sources:
        return Sources(
            board=self._board,
            clock=self._clock,
            clusters=self._clusters.refs.copy,
            workflows=self._workflows.running,
            supervisors=self._supervisors(),
            workers=self._workers,
            locks=self._locks,
            survey=self._survey,
            log_lines=lambda: self._logs.counts,
            silent=self._health.silent,
        )

    async def _tell_repeats(self) -> None:
        while True:
            await self._clock.sleep(_REPEATS_EVERY_S)
            self._logs.tell_repeats()

    async def _measure_lag(self) -> None:
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(_LAG_EVERY_S)
            self._metrics.observe_lag(self._clock.monotonic() - before - _LAG_EVERY_S)


def unserved(address: MetricsAddress, error: OSError) -> str:
    """What is said where metrics cannot be served on an address."""
    message = f"metrics cannot be served on {address}: {error.strerror}; choose another address"
    if error.errno == errno.EADDRINUSE and address.port:
        message += f", or see who has this one: ss -ltnp 'sport = :{address.port}'"
    return message


def run_daemon(
    config: Config,
    config_path: Path | None,
    environ: Mapping[str, str],
    logs: Logs,
    manager: ServiceManager | None = None,
) -> None:
    """Runs a daemon to its end. Raises what kept it from starting, BrokeDownError for what ended it later."""
    if types := config.daemon.network_file_systems:
        os.environ.setdefault(NETWORK_TYPES, ",".join(types))  # for its workers, too
    daemon = Daemon(config, config_path, environ, logs=logs, manager=manager)
    main: Callable[[], Any] = daemon.run
    try:
        anyio.run(main, backend_options={"loop_factory": EventLoop})
    except Exception as error:
        cause = innermost(error)
        if daemon.is_up and isinstance(cause, (PenstockError, OSError)):
            raise BrokeDownError(str(cause)) from error
        raise
