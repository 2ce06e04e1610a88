"""The daemon's end of the control socket: it answers calls and lets no client stall it.

Every connection has one task that reads, one that writes and one for each call in flight. A call that was taken up is
carried out to its end whether or not its client is still there; a stream ends with its client.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final, Protocol

import anyio
import msgspec
import structlog
from anyio.abc import SocketListener, SocketStream, TaskGroup

from penstock import __version__
from penstock.control import listener as control_listener
from penstock.control.bounds import check_numbers
from penstock.control.framing import FrameDecoder, decode_client, encode
from penstock.control.listener import Peer
from penstock.control.messages import (
    MAX_CALLS,
    PROTOCOL,
    AnyItem,
    AnyReply,
    Call,
    DaemonFrame,
    Done,
    Fail,
    Hello,
    Item,
    Lagged,
    Message,
    Reply,
    Request,
    StreamRequest,
    Welcome,
)
from penstock.control.outbox import Outbox
from penstock.control.session import fail_of
from penstock.domain.errors import BusyError, ForbiddenError, InternalError, PenstockError, ProtocolError, VersionError
from penstock.domain.views import EventInfo

_CHUNK: Final = 65536
_PASSING: Final = frozenset({errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BROKEN: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)
_log = structlog.get_logger(__name__)


class Handler(Protocol):
    """What the daemon does about requests. Errors it raises on purpose are PenstockErrors."""

    async def call(self, request: Request[Any], peer: Peer) -> AnyReply:
        """The reply to a plain request, of the type the request names."""
        ...

    def stream(self, request: StreamRequest, peer: Peer) -> AsyncGenerator[AnyItem]:
        """The elements of a stream, from an async generator; it is closed (`aclose`) when the client leaves."""
        ...


class Limits(msgspec.Struct, frozen=True):
    """Bounds that keep one client from harming the others."""

    connections: int = 256
    calls: int = MAX_CALLS  # in flight on one connection
    outbox_bytes: int = 1024 * 1024  # waiting to be written to one connection
    hello_s: float = 10.0  # from the connection to its hello
    frame_s: float = 30.0  # from the first byte of a frame to its last
    write_s: float = 30.0  # for a client to take any bytes at all
    stall_s: float = 1.0  # a watch waits this long for its client before it leaves events out
    drain_s: float = 5.0  # for calls in flight when the server stops


_DEFAULT_LIMITS: Final = Limits()


async def serve(
    listener: socket.socket,
    handler: Handler,
    *,
    owner_uid: int,
    group_gid: int | None = None,
    limits: Limits = _DEFAULT_LIMITS,
    on_connections: Callable[[int], None] = lambda _: None,
) -> None:
    """Answer clients on `listener` (of `bind_listener`, or inherited) until cancelled.

    `on_connections` is told how many connections there are whenever that changes.

    When cancelled, it takes no new calls and gives those in flight `limits.drain_s` to end and be answered.
    """
    server = _Server(handler, owner_uid, group_gid, limits, on_connections)
    await server.run(await SocketListener.from_socket(listener))


class _Server:
    def __init__(
        self,
        handler: Handler,
        owner_uid: int,
        group_gid: int | None,
        limits: Limits,
        on_connections: Callable[[int], None],
    ) -> None:
        self._handler = handler
        self._on_connections = on_connections
        self._owner_uid = owner_uid
        self._group_gid = group_gid
        self._limits = limits
        self._connections: set[_Connection] = set()

    async def run(self, sockets: SocketListener) -> None:
        async with anyio.create_task_group() as tasks:
            try:
                while True:
                    tasks.start_soon(self._welcome, await _accept(sockets))
            finally:
                for connection in self._connections:
                    connection.drain()
                with anyio.CancelScope(shield=True):
                    await sockets.aclose()

    async def _welcome(self, stream: SocketStream) -> None:
        try:
            refusal, peer = await self._judge(stream)
            connection = _Connection(stream, peer, self._handler, self._limits)
            if refusal is not None:
                await connection.refuse(refusal)
                return
            self._connections.add(connection)
            self._on_connections(len(self._connections))
            try:
                await connection.run()
            finally:
                self._connections.discard(connection)
                self._on_connections(len(self._connections))
        except Exception as error:  # noqa: BLE001 - a fault in serving one client is not the others' affair
            _log.error("control_connection_failed", exc_info=error)
        finally:
            await anyio.aclose_forcefully(stream)

    async def _judge(self, stream: SocketStream) -> tuple[PenstockError | None, Peer]:
        peer = control_listener.peer_of(stream.extra(anyio.abc.SocketAttribute.raw_socket))
        allowed = peer.uid in {0, self._owner_uid} or await anyio.to_thread.run_sync(
            control_listener.is_allowed, peer, self._owner_uid, self._group_gid
        )
        if not allowed:
            _log.warning("control_peer_refused", uid=peer.uid, pid=peer.pid)
            return ForbiddenError(
                f"this daemon belongs to uid {self._owner_uid} and does not serve uid {peer.uid}; "
                "run your own penstockd, or ask its owner to configure a group"
            ), peer
        if len(self._connections) >= self._limits.connections:
            _log.warning("control_connections_exhausted", limit=self._limits.connections, pid=peer.pid)
            return BusyError(f"the daemon has {self._limits.connections} connections open; try again later"), peer
        return None, peer


async def _accept(sockets: SocketListener) -> SocketStream:
    while True:
        try:
            return await sockets.accept()
        except anyio.BrokenResourceError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in _PASSING:
                raise
            _log.warning("control_accept_failed", reason=str(cause))
            await anyio.sleep(0.2)


class _Connection:
    """One client. It is shielded from the server's cancellation and ends by itself once drained."""

    def __init__(self, stream: SocketStream, peer: Peer, handler: Handler, limits: Limits) -> None:
        self._stream = stream
        self._peer = peer
        self._handler = handler
        self._limits = limits
        self._decoder = FrameDecoder()
        self._payloads: list[bytes] = []
        self._outbox = Outbox(limits.outbox_bytes)
        self._in_flight = 0
        self._life = anyio.CancelScope(shield=True)
        self._listening = anyio.CancelScope()

    async def run(self) -> None:
        """Converse until the client leaves or breaks the protocol, then see the calls in flight to their end."""
        with self._life:
            async with anyio.create_task_group() as writing:
                writing.start_soon(self._write)
                async with anyio.create_task_group() as calls:
                    with self._listening:
                        async with anyio.create_task_group() as streams:
                            await self._converse(calls, streams)
                            streams.cancel_scope.cancel()
                self._outbox.close()

    async def refuse(self, error: PenstockError) -> None:
        """Say why the client is not served. So few bytes fit into the socket's buffer, so this does not block."""
        with anyio.move_on_after(self._limits.hello_s):
            try:
                await self._stream.send(encode(fail_of(0, error)))
            except _BROKEN:
                return

    def drain(self) -> None:
        """Hear nothing more; end the calls in flight, and the connection with them, within the drain time."""
        self._listening.cancel()
        self._life.deadline = anyio.current_time() + self._limits.drain_s

    # ---- reading --------------------------------------------------------------------------------------------------

    async def _converse(self, calls: TaskGroup, streams: TaskGroup) -> None:
        try:
            await self._greet()
            while (payload := await self._receive(first=False)) is not None:
                frame = decode_client(payload)
                if not isinstance(frame, Call):
                    raise ProtocolError("a connection has one hello, at its beginning")
                await self._take_up(frame, calls, streams)
        except PenstockError as error:
            _log.info("control_connection_refused", pid=self._peer.pid, code=error.code, reason=str(error))
            await self._put(fail_of(0, error))
        except _BROKEN:
            return  # the client is gone

    async def _greet(self) -> None:
        payload = await self._receive(first=True)
        if payload is None:
            raise anyio.EndOfStream
        hello = decode_client(payload)
        if not isinstance(hello, Hello):
            raise ProtocolError(f"a connection begins with Hello, not with {type(hello).__name__}")
        check_versions(hello)
        await self._put(Welcome(PROTOCOL, __version__, os.getpid()))

    async def _receive(self, *, first: bool) -> bytes | None:
        """The next payload; None when the client has ended the conversation between two frames."""
        began = anyio.current_time()
        while not self._payloads:
            deadline = began + self._limits.hello_s if first else float("inf")
            if self._decoder.partial:
                deadline = min(deadline, began + self._limits.frame_s)
            data = b""
            with anyio.CancelScope(deadline=deadline) as patience:
                try:
                    data = await self._stream.receive(_CHUNK)
                except anyio.EndOfStream:
                    return None
            if patience.cancelled_caught:
                what = "no hello came" if first else "a frame was begun and not ended"
                allowed_s = self._limits.hello_s if first else self._limits.frame_s
                raise ProtocolError(f"{what} within {allowed_s:g} s")
            if not self._decoder.partial:
                began = anyio.current_time() if not first else began
            self._payloads = self._decoder.feed(data)[::-1]
        return self._payloads.pop()

    async def _take_up(self, call: Call, calls: TaskGroup, streams: TaskGroup) -> None:
        if call.id < 1:
            raise ProtocolError(f"a call's number begins at 1, not {call.id}")
        if self._in_flight >= self._limits.calls:
            busy = BusyError(f"{self._in_flight} calls of this connection are in flight; wait for answers")
            await self._put(fail_of(call.id, busy))
            return
        self._in_flight += 1
        if isinstance(call.request, StreamRequest):
            streams.start_soon(self._stream_out, call.id, call.request)
        else:
            calls.start_soon(self._answer, call.id, call.request)

    # ---- calls ----------------------------------------------------------------------------------------------------

    async def _answer(self, number: int, request: Request[Any]) -> None:
        try:
            check_numbers(request)
            answer: DaemonFrame = Reply(number, await self._handler.call(request, self._peer))
            frame = encode(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told and the daemon goes on
            frame = encode(_fail(number, error, request))
        await self._outbox.put(frame)
        self._in_flight -= 1

    async def _stream_out(self, number: int, request: StreamRequest) -> None:
        end: DaemonFrame = Done(number)
        try:
            check_numbers(request)
            async with aclosing(self._handler.stream(request, self._peer)) as items:
                await self._forward(number, items)
        except Exception as error:  # noqa: BLE001 - as above
            end = _fail(number, error, request)
        await self._put(end)
        self._in_flight -= 1

    async def _forward(self, number: int, items: AsyncIterator[AnyItem]) -> None:
        """Pass `items` on. Log text waits for its client; events do so for a moment and are left out after that."""
        dropped = 0
        async for item in items:
            if dropped and self._outbox.offer(encode(Item(number, Lagged(dropped)))):
                dropped = 0
            frame = encode(Item(number, item))
            if not isinstance(item, EventInfo):
                await self._outbox.put(frame)
            elif dropped or not await self._put_for_a_moment(frame):
                dropped += 1
                await anyio.lowlevel.checkpoint()
        if dropped:
            await self._put(Item(number, Lagged(dropped)))

    async def _put_for_a_moment(self, frame: bytes) -> bool:
        with anyio.move_on_after(self._limits.stall_s):
            await self._outbox.put(frame)
            return True
        return False

    # ---- writing --------------------------------------------------------------------------------------------------

    async def _put(self, message: DaemonFrame) -> None:
        await self._outbox.put(encode(message))

    async def _write(self) -> None:
        try:
            while (frame := await self._outbox.take()) is not None:
                for start in range(0, len(frame), _CHUNK):
                    with anyio.fail_after(self._limits.write_s):
                        await self._stream.send(frame[start : start + _CHUNK])
        except TimeoutError:
            _log.warning("control_client_does_not_read", pid=self._peer.pid, waited_s=self._limits.write_s)
        except _BROKEN:
            pass  # the client is gone; its calls go on and their answers are forgotten
        self._outbox.break_off()
        self._listening.cancel()


def check_versions(hello: Hello) -> None:
    """VersionError, saying which side is older and what to do, if the client does not speak our protocol."""
    if hello.newest < PROTOCOL:
        raise VersionError(
            f"this client ({hello.client}) is older than the daemon (penstock {__version__}): it speaks protocol "
            f"{hello.newest} and the daemon {PROTOCOL}; upgrade the client"
        )
    if hello.oldest > PROTOCOL:
        raise VersionError(
            f"the daemon (penstock {__version__}) is older than this client ({hello.client}): it speaks protocol "
            f"{PROTOCOL} and the client needs {hello.oldest}; upgrade the daemon and restart it"
        )


def _fail(number: int, error: Exception, request: Message) -> Fail:
    if isinstance(error, PenstockError):
        return fail_of(number, error)
    name = type(request).__name__
    _log.error("control_call_failed", request=name, exc_info=error)
    return fail_of(number, InternalError(f"{name} met an unexpected {type(error).__name__}; see the daemon's log"))
