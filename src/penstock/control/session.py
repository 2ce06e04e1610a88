"""A client's half of the conversation without I/O; the sync and the async client both read and write through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, TypeVar

from penstock import __version__
from penstock.control.framing import FrameDecoder, decode_daemon, encode
from penstock.control.messages import (
    PROTOCOL,
    AnyItem,
    AnyRequest,
    Call,
    DaemonFrame,
    Done,
    Fail,
    Hello,
    Item,
    Message,
    Reply,
    Request,
    Welcome,
)
from penstock.domain.errors import (
    BusyError,
    ClusterError,
    ConflictError,
    ForbiddenError,
    InternalError,
    NotFoundError,
    PenstockError,
    ProtocolError,
    SpecError,
    StoreError,
    UnreachableError,
    VersionError,
)
from penstock.domain.states import WorkflowState

R = TypeVar("R", bound=Message)

CONNECT_TIMEOUT_S: Final = 10.0
"""How long a client waits for the connection and the daemon's welcome."""
CHUNK: Final = 65536
"""Bytes asked of the socket at a time."""
ENDED_WORKFLOW: Final = frozenset(
    {WorkflowState.COMPLETED, WorkflowState.FAILED, WorkflowState.CANCELLED, WorkflowState.FAULTED}
)
"""The states in which `wait` returns."""
_LONGEST_MESSAGE: Final = 20_000

_PLAIN_ERRORS: Final = {
    error.code: error
    for error in (
        BusyError,
        ConflictError,
        ForbiddenError,
        InternalError,
        NotFoundError,
        ProtocolError,
        UnreachableError,
        VersionError,
    )
}


class Session:
    """One connection's state: bytes in, frames out, and the number of the next call."""

    def __init__(self) -> None:
        self._decoder = FrameDecoder()
        self._frames: deque[DaemonFrame] = deque()
        self._calls = 0

    def open(self) -> bytes:
        """The bytes that open the conversation."""
        return encode(Hello(PROTOCOL, PROTOCOL, f"penstock {__version__}"))

    def call(self, request: Request[Message]) -> tuple[int, bytes]:
        """The number of a new call and the bytes that make it."""
        if not isinstance(request, AnyRequest):
            raise TypeError(f"{type(request).__name__} is no request")
        self._calls += 1
        return self._calls, encode(Call(self._calls, request))

    def feed(self, data: bytes) -> None:
        """Take in what the socket gave; an empty `data` is the end of the stream and raises UnreachableError."""
        if not data:
            raise UnreachableError(
                "the daemon closed the connection; whether it carried out the last request is not known: "
                "look with `penstockctl status` before repeating it"
            )
        self._frames.extend(decode_daemon(payload) for payload in self._decoder.feed(data))

    def next_frame(self) -> DaemonFrame | None:
        """The next frame that has arrived completely."""
        return self._frames.popleft() if self._frames else None


def check_welcome(frame: DaemonFrame) -> Welcome:
    """`frame` itself if it is the daemon's welcome; else what it says, as an error."""
    if isinstance(frame, Fail):
        raise error_of(frame)
    if not isinstance(frame, Welcome):
        raise ProtocolError(f"the daemon opened with {type(frame).__name__} instead of a welcome")
    if frame.protocol != PROTOCOL:
        raise VersionError(f"the daemon chose protocol {frame.protocol}, this client speaks {PROTOCOL}; upgrade it")
    return frame


def reply_of(frame: DaemonFrame, number: int, kind: type[R]) -> R:
    """The answer, a `kind`, that `frame` brings to call `number`; a Fail is raised as the error it stands for."""
    if isinstance(frame, Fail) and frame.id in {0, number}:
        raise error_of(frame)
    if isinstance(frame, Reply) and frame.id == number and isinstance(frame.body, kind):
        return frame.body
    raise ProtocolError(f"the daemon answered call {number} ({kind.__name__}) with {_described(frame)}")


def item_of(frame: DaemonFrame, number: int) -> AnyItem | None:
    """The element that `frame` adds to stream `number`; None is the stream's end."""
    if isinstance(frame, Item) and frame.id == number:
        return frame.body
    if isinstance(frame, Done) and frame.id == number:
        return None
    if isinstance(frame, Fail) and frame.id in {0, number}:
        raise error_of(frame)
    raise ProtocolError(f"the daemon continued stream {number} with {_described(frame)}")


def error_of(fail: Fail) -> PenstockError:
    """The error that `fail` carried over the wire, as the class its code names."""
    if fail.code == SpecError.code:
        return SpecError(fail.message, file=fail.file, line=fail.line, key=fail.key)
    if fail.code == ClusterError.code:
        return ClusterError(fail.message, transient=False)
    if fail.code == StoreError.code:
        return StoreError(fail.message, healable=False)
    error = _PLAIN_ERRORS.get(fail.code, PenstockError)(fail.message)
    error.code = fail.code
    return error


def fail_of(number: int, error: PenstockError) -> Fail:
    """`error` as it travels: the counterpart of `error_of`, used by the daemon."""
    if isinstance(error, SpecError):
        return Fail(number, error.code, _sendable(error.message), _place(error.file), error.line, _place(error.key))
    return Fail(number, error.code, _sendable(str(error)))


def unreachable(path: str, error: BaseException) -> UnreachableError:
    """The error for a socket that cannot be connected to, with what to do."""
    reason = getattr(error, "strerror", None) or str(error) or "no answer in time"
    hint = "start penstockd, or set PENSTOCK_SOCKET / --socket"
    if isinstance(error, PermissionError):
        hint = "the daemon serves its own account and, if one is configured, a group; ask its owner, or " + hint
    return UnreachableError(f"no daemon answers on {path} ({reason}); {hint}")


def retry_delays_s(patience_s: float) -> Iterator[float]:
    """Pauses between attempts to reach the daemon again: doubling from 50 ms to 2 s, `patience_s` in all."""
    spent, delay = 0.0, 0.05
    while spent < patience_s:
        yield delay
        spent += delay
        delay = min(delay * 2, 2.0)


def _place(text: str | None) -> str | None:
    return None if text is None else _sendable(text)


def _sendable(text: str) -> str:
    """`text` short enough for a frame and without the lone surrogates that undecodable file names leave in it."""
    clipped = text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]} ... (shortened)"
    return clipped.encode("utf-8", "backslashreplace").decode()


def _described(frame: DaemonFrame) -> str:
    body = f" of {type(frame.body).__name__}" if isinstance(frame, Reply | Item) else ""
    number = f" to call {frame.id}" if isinstance(frame, Reply | Item | Done | Fail) else ""
    return f"{type(frame).__name__}{body}{number}"
