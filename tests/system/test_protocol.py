"""Whatever comes over the socket, the daemon says what is wrong with it and goes on serving others."""

from __future__ import annotations

import random
import socket
import struct
import sys

import msgspec
import pytest
from tests.system.conftest import LIMIT_S, Gate, Penstockd

from penstock.control.framing import FrameDecoder, decode_daemon, encode
from penstock.control.messages import MAX_FRAME, PROTOCOL, DaemonFrame, Fail, Hello, Welcome

HELLO = encode(Hello(PROTOCOL, PROTOCOL, "test"))
FUZZED = 150


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def converse(daemon: Penstockd, data: bytes) -> list[DaemonFrame]:
    """Everything the daemon answers to `data` and the end of the stream, until it closes the connection."""
    decoder, payloads = FrameDecoder(), []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT_S)
        connection.connect(str(daemon.state / "penstockd.sock"))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while answer := connection.recv(65536):
                payloads += decoder.feed(answer)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it closed before it had heard everything
    assert not decoder.partial
    return [decode_daemon(payload) for payload in payloads]


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (struct.pack(">I", MAX_FRAME + 1), "protocol", f"a frame of {MAX_FRAME + 1} bytes was announced, the limit is"),
        (b"GET / HTTP/1.1\r\n\r\n", "protocol", "is the peer speaking the control protocol of Penstock?"),
        (frame(b"\xc1"), "protocol", "the client sent what is no message of this protocol"),
        (frame(b""), "protocol", "the client sent what is no message of this protocol"),
        (frame(b"\x91" * 100_000), "protocol", "the client sent what is no message of this protocol"),
        (frame(msgspec.msgpack.encode({"type": "Shutdown"})), "protocol", "no message of this protocol"),
        (encode(Welcome(1, "x", 1)), "protocol", "no message of this protocol"),
        (HELLO + HELLO, "protocol", "a connection has one hello"),
        (HELLO + struct.pack(">I", 2**32 - 1), "protocol", "bytes was announced, the limit is"),
        (encode(Hello(PROTOCOL + 1, PROTOCOL + 3, "penstock 9")), "version", "is older than this client (penstock 9)"),
        (encode(Hello(PROTOCOL - 1, PROTOCOL - 1, "penstock 0")), "version", "this client (penstock 0) is older than"),
    ],
    ids=range(11),
)
def test_what_is_wrong_is_said_before_the_connection_ends(
    data: bytes, code: str, message: str, daemon: Penstockd
) -> None:
    (*_, last) = converse(daemon, data)
    assert isinstance(last, Fail)
    assert last.id == 0
    assert last.code == code
    assert message in last.message
    assert daemon.client.ping().pid == daemon.pid


def test_random_bytes_beside_a_running_workflow(daemon: Penstockd, gate: Gate) -> None:
    daemon.submit_command("beside", gate.script, *gate.paths, jobs=2)
    gate.next_started()
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")  # shown when it fails
    chance = random.Random(seed)
    for _ in range(FUZZED):
        noise = chance.randbytes(chance.randrange(200))
        torn = bytearray(HELLO + frame(noise))
        torn[chance.randrange(len(torn))] ^= 1 << chance.randrange(8)
        for data in (noise, frame(noise), HELLO + noise, HELLO + frame(noise), bytes(torn), HELLO[: len(noise)]):
            frames = converse(daemon, data)
            assert all(isinstance(answer, Welcome | Fail) for answer in frames)
    gate.release(2)
    assert daemon.wait("beside").workflow.statuses == {"completed": 2}
    assert daemon.client.ping().pid == daemon.pid
    assert "Traceback" not in daemon.log.read_text()
