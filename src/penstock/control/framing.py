"""Frames without I/O: a u32 big-endian length, then that many bytes of msgpack holding one message."""

from __future__ import annotations

import functools
from typing import Final

import msgspec

from penstock.control.messages import MAX_FRAME, ClientFrame, DaemonFrame
from penstock.domain.errors import ProtocolError

HEADER: Final = 4
"""Bytes of the length in front of every payload."""

_ENCODER: Final = msgspec.msgpack.Encoder()
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, ValueError, OverflowError)


class FrameDecoder:
    """Cuts a byte stream, in whatever pieces it arrives, into payloads. It never holds more than one frame's bytes."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes.

        A length above the limit raises ProtocolError before any of that payload is kept; the stream is lost then.
        """
        self._buffer += data
        payloads: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= HEADER:
            size = int.from_bytes(self._buffer[start : start + HEADER])
            if size > self._max_frame:
                self._buffer.clear()
                raise ProtocolError(
                    f"a frame of {size} bytes was announced, the limit is {self._max_frame}; "
                    "is the peer speaking the control protocol of Penstock?"
                )
            end = start + HEADER + size
            if end > len(self._buffer):
                break
            payloads.append(bytes(self._buffer[start + HEADER : end]))
            start = end
        del self._buffer[:start]
        return payloads


def encode(message: ClientFrame | DaemonFrame) -> bytes:
    """`message` as one frame; ProtocolError if it is larger than a frame may be or holds what msgpack cannot."""
    frame = bytearray(HEADER)
    try:
        _ENCODER.encode_into(message, frame, HEADER)
    except UnicodeEncodeError as error:
        raise ProtocolError(f"text that is not valid Unicode cannot be sent: {error.object!r}") from error
    except OverflowError as error:
        raise ProtocolError("a whole number of more than 64 bits cannot be sent") from error
    size = len(frame) - HEADER
    if size > MAX_FRAME:
        raise ProtocolError(
            f"a message of {size} bytes does not fit into a frame of {MAX_FRAME}; ask for less at a time"
        )
    frame[:HEADER] = size.to_bytes(HEADER)
    return bytes(frame)


def decode_client(payload: bytes) -> ClientFrame:
    """What a client sent; ProtocolError if it is no message a client may send."""
    try:
        return _client_decoder().decode(payload)
    except _UNDECODABLE as error:
        raise ProtocolError(f"the client sent what is no message of this protocol: {error}") from error


def decode_daemon(payload: bytes) -> DaemonFrame:
    """What the daemon sent; ProtocolError if it is no message a daemon may send."""
    try:
        return _daemon_decoder().decode(payload)
    except _UNDECODABLE as error:
        raise ProtocolError(f"the daemon sent what is no message of this protocol: {error}") from error


# Building a decoder takes milliseconds that a command-line client should pay only for the side it needs.


@functools.cache
def _client_decoder() -> msgspec.msgpack.Decoder[ClientFrame]:
    return msgspec.msgpack.Decoder(ClientFrame)


@functools.cache
def _daemon_decoder() -> msgspec.msgpack.Decoder[DaemonFrame]:
    return msgspec.msgpack.Decoder(DaemonFrame)
