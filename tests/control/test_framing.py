"""Frames survive any chunking; what is no frame is refused with a reason."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.framing import HEADER, FrameDecoder, decode_client, decode_daemon, encode
from penstock.control.messages import (
    MAX_FRAME,
    Call,
    Done,
    Fail,
    GetJob,
    Hello,
    Item,
    Lagged,
    ListJobs,
    LogChunk,
    Ping,
    Pong,
    Reply,
    Submit,
    Welcome,
)
from penstock.domain.errors import ProtocolError
from penstock.domain.settings import Layer
from penstock.domain.views import EventInfo, Filter, Selection

CLIENT_FRAMES = [
    Hello(1, 2, "test"),
    Call(1, Ping()),
    Call(2, ListJobs("g2", Selection((1, 2), ("failed",), (Filter("natoms", ">", "50"),)), 10, 5, "-id")),
    Call(
        2**62, Submit("recipe = 1", "/a/b.toml", "/a", (Layer("environment", {"slots": 3, "retry": {"delay": "1s"}}),))
    ),
]
DAEMON_FRAMES = [
    Welcome(1, "0.1", 7),
    Reply(1, Pong(1, "x", 0.5)),
    Item(1, LogChunk("orca.out", b"\x00\xff")),
    Item(1, EventInfo("g2", 1, 2.0, "job_completed", 4, "text", {"a": [1, None]})),
    Item(1, Lagged(3)),
    Done(4),
    Fail(0, "spec", "no", "f", 3, "k"),
]


@given(st.lists(st.sampled_from(CLIENT_FRAMES), max_size=6), st.data())
def test_frames_arrive_whole_in_any_chunking(frames: list[Hello | Call], data: st.DataObject) -> None:
    stream = b"".join(encode(frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = FrameDecoder()
    got = [
        decode_client(payload)
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for payload in decoder.feed(stream[start:end])
    ]
    assert got == frames
    assert not decoder.partial


@pytest.mark.parametrize("frame", DAEMON_FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_daemons_frame_is_read_back_equal(frame: Welcome) -> None:
    assert decode_daemon(encode(frame)[HEADER:]) == frame


@given(st.binary(max_size=200))
def test_random_payloads_are_refused_as_protocol_errors_only(payload: bytes) -> None:
    for decode in (decode_client, decode_daemon):
        with suppress(ProtocolError):
            decode(payload)


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.binary(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_well_formed_msgpack_that_is_no_message_is_refused(value: object) -> None:
    try:
        payload = msgspec.msgpack.encode(value)
    except OverflowError:
        return
    with pytest.raises(ProtocolError, match="no message of this protocol"):
        decode_client(payload)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_random_bytes_never_do_more_than_raise_protocol_errors(chunks: list[bytes]) -> None:
    decoder = FrameDecoder(max_frame=1000)
    given_bytes = 0
    for chunk in chunks:
        given_bytes += len(chunk)
        try:
            payloads = decoder.feed(chunk)
        except ProtocolError:
            return
        given_bytes -= sum(len(payload) + HEADER for payload in payloads)
        assert given_bytes >= 0
        assert decoder.partial == (given_bytes > 0)


def test_deeply_nested_payload_is_refused() -> None:
    with pytest.raises(ProtocolError):
        decode_client(b"\x91" * 100_000 + b"\xc0")


def test_an_oversized_frame_is_refused_before_it_is_kept() -> None:
    decoder = FrameDecoder()
    with pytest.raises(ProtocolError, match=f"{MAX_FRAME + 1} bytes was announced, the limit is {MAX_FRAME}"):
        decoder.feed((MAX_FRAME + 1).to_bytes(HEADER) + b"x" * 1000)
    assert not decoder.partial


def test_a_frame_of_exactly_the_limit_is_taken() -> None:
    decoder = FrameDecoder(max_frame=8)
    assert decoder.feed((8).to_bytes(HEADER) + b"12345678") == [b"12345678"]


def test_a_message_too_large_for_a_frame_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="ask for less"):
        encode(Item(1, LogChunk("x", bytes(MAX_FRAME))))


def test_text_that_is_not_unicode_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="not valid Unicode"):
        encode(Call(1, Submit("", "/a/\udcff.toml", "/a")))


def test_an_unknown_field_of_a_newer_peer_is_ignored() -> None:
    payload = msgspec.msgpack.encode({"type": "Hello", "oldest": 1, "newest": 3, "client": "x", "colour": "red"})
    assert decode_client(payload) == Hello(1, 3, "x")


def test_a_number_of_more_than_64_bits_cannot_be_sent() -> None:
    with pytest.raises(ProtocolError, match="more than 64 bits"):
        encode(Call(1, GetJob("w", 10**23)))
