"""One SSH connection that everybody shares: opened when first needed, opened again after it is lost, never hurried."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal, Protocol, TypeAlias

import anyio
import asyncssh
import msgspec

from penstock.clusters.shell import Way
from penstock.clusters.ssh_dial import SshTarget, dial, hang_up
from penstock.domain.errors import ClusterError

Process: TypeAlias = asyncssh.SSHClientProcess[bytes]
SSH_ERRORS: Final = (asyncssh.Error, OSError)
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
_SESSION_PAUSES_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
_CLOSE_S: Final = 2.0


class Timing(Protocol):
    """Time as the link needs it; any of the project's clocks will do."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""


class LinkState(msgspec.Struct, frozen=True):
    """What to tell a person about the connection."""

    name: Literal["up", "connecting", "down"]
    reason: str
    since_s: float
    """Seconds since the epoch."""


class SshLink:
    """The connection to one host and the sessions on it. Belongs to one event loop.

    After a failure it is left alone for a time that doubles from 0.5 s to 60 s, of which a random part (`jitter`, 0 to
    1) is really waited, so that a server that comes back is not run over; meanwhile every operation fails at once.
    """

    def __init__(self, target: SshTarget, clock: Timing, jitter: Callable[[], float] = random.random) -> None:
        self.target = target
        self.connects = 0
        self.state = LinkState("down", "not connected yet", clock.time())
        self._clock = clock
        self._jitter = jitter
        self._connections: list[asyncssh.SSHClientConnection] = []
        self._dialling = anyio.Lock()
        self._slots = anyio.CapacityLimiter(target.sessions)
        self._dials = 0
        self._proven = False
        self._failures = 0
        self._failure: ClusterError | None = None
        self._down_since_s: float | None = None
        self._next_dial_s = 0.0
        self._closed = False

    @property
    def sessions_in_use(self) -> int:
        """Operations that run now."""
        return self._slots.borrowed_tokens

    def way(self) -> Way:
        """The same for people who do not know what is at the other end."""
        is_up = self.state.name == "up" or self._failure is None
        wait_s = self._next_dial_s - self._clock.monotonic()
        return Way(
            is_up=is_up,
            reason=self.state.reason,
            down_since=None if is_up else self.state.since_s,
            next_try_at=self._clock.time() + wait_s if wait_s > 0 and not is_up else None,
            connects=self.connects,
            sessions=self.sessions_in_use,
            sessions_max=self.target.sessions,
        )

    @contextlib.asynccontextmanager
    async def process(self, command: str) -> AsyncIterator[Process]:
        """A remote process, on a session of its own; killed as far as possible when it lives longer than the context.

        ClusterError when there is no connection or the server grants no session.
        """
        for pause_s in _SESSION_PAUSES_S:
            await self._clock.sleep(pause_s)
            async with self._slots:
                process = await self._start(await self._connection(), command)
                if process is None:  # others may hold what this server grants: be content with less than now
                    self._slots.total_tokens = max(1, int(min(self._slots.total_tokens, self.sessions_in_use - 1)))
                    continue
                try:
                    yield process
                    self._proven, self._failures = True, 0
                finally:
                    await _end(process)
                return
        raise ClusterError(
            f"{self.target.host} grants no further session on its connection; other programs may use them up"
            f" (MaxSessions in its sshd_config)",
            transient=True,
        )

    async def close(self) -> None:
        """Ends the connection; what still runs fails."""
        self._closed = True
        async with self._dialling:
            await self._hang_up()
        self._set_state("down", "closed")

    async def _connection(self) -> asyncssh.SSHClientConnection:
        dials = self._dials
        if not self._connections:
            async with self._dialling:
                if self._closed:
                    raise ClusterError(f"the connection to {self.target.host} is closed", transient=False)
                if not self._connections:
                    if self._failure and (dials != self._dials or self._clock.monotonic() < self._next_dial_s):
                        raise self._refusal(self._failure)
                    await self._dial()
        return self._connections[-1]

    async def _dial(self) -> None:
        self._dials += 1
        self._set_state("connecting", f"connecting to {self.target.host}")
        over: list[str] = []
        connections: list[asyncssh.SSHClientConnection] = []

        def lost(error: Exception | None) -> None:
            reason = f"connection lost: {error}" if error else "connection closed"
            over.append(reason)
            if connections and connections is self._connections:
                self._lost(reason)

        try:
            connections += await dial(self.target, lost)
        except ClusterError as error:
            self._fail(error)
            raise
        except BaseException:
            self._set_state("down", "connecting was interrupted")
            raise
        if over:  # between its being made and our hearing of it
            await hang_up(connections)
            self._fail(failure := ClusterError(f"{self.target.host}: {over[0]}", transient=True))
            raise failure
        self._connections = connections
        self._slots.total_tokens = self.target.sessions
        self._proven, self._failure, self._down_since_s = False, None, None
        self.connects += 1
        self._set_state("up", f"connected to {self.target.host}")

    def _lost(self, reason: str) -> None:
        """The server, the network or we ourselves have ended the connection; its hops are of no use any more."""
        for hop in self._connections[:-1]:
            hop.abort()
        self._connections = []
        if self._proven:
            self._set_state("down", reason)
        else:  # a server that only accepts and hangs up is to be left alone, too
            self._fail(ClusterError(f"{self.target.host}: {reason}", transient=True))

    def _fail(self, error: ClusterError) -> None:
        self._failure = error
        longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failures, 20))
        self._failures += 1
        self._next_dial_s = self._clock.monotonic() + self._jitter() * longest_s
        self._set_state("down", str(error))

    def _refusal(self, failure: ClusterError) -> ClusterError:
        wait_s = max(0.0, self._next_dial_s - self._clock.monotonic())
        return ClusterError(
            f"no connection to {self.target.host} since {_local_time(self.state.since_s)}, next attempt after"
            f" {_local_time(self._clock.time() + wait_s)}: {failure}",
            transient=failure.transient,
        )

    async def _start(self, connection: asyncssh.SSHClientConnection, command: str) -> Process | None:
        """The process; None when the server grants no session for it."""
        process: Process | None = None
        try:
            # whoever is cancelled here would leave a session behind that nobody knows of
            with anyio.CancelScope(shield=True), anyio.fail_after(self.target.connect_timeout_s):
                process = await connection.create_process(
                    command, encoding=None, request_pty=False, x11_forwarding=False, term_type=None
                )
        except asyncssh.ChannelOpenError as error:
            if not connection.is_closed():
                return None
            raise self._lost_error(error) from error
        except TimeoutError as error:
            connection.abort()
            raise self._lost_error("it did not answer") from error
        except SSH_ERRORS as error:
            raise self._lost_error(error) from error
        return process

    def _lost_error(self, reason: object) -> ClusterError:
        return ClusterError(f"the connection to {self.target.host} was lost: {reason}", transient=True)

    async def _hang_up(self) -> None:
        connections, self._connections = self._connections, []
        await hang_up(connections)

    def _set_state(self, name: Literal["up", "connecting", "down"], reason: str) -> None:
        now_s = self._clock.time()
        if name == "down":
            self._down_since_s = now_s = now_s if self._down_since_s is None else self._down_since_s
        self.state = LinkState(name, reason, now_s)


async def _end(process: Process) -> None:
    if process.exit_status is None and process.exit_signal is None:
        with contextlib.suppress(*SSH_ERRORS):
            process.send_signal(signal.SIGKILL.name.removeprefix("SIG"))
    process.close()
    with anyio.move_on_after(_CLOSE_S, shield=True):
        await process.wait_closed()


def _local_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
