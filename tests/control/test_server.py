"""The server against clients that are slow, dead, strange, too new, too old or too many."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog.testing
from anyio.abc import SocketStream, UNIXSocketStream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control import listener as control_listener
from penstock.control import server
from penstock.control.client import Client
from penstock.control.framing import HEADER, FrameDecoder, decode_daemon, encode
from penstock.control.listener import Peer, bind_listener, is_allowed
from penstock.control.messages import (
    MAX_FRAME,
    PROTOCOL,
    AnyItem,
    AnyRequest,
    Call,
    Changed,
    ClientFrame,
    DaemonFrame,
    Done,
    Fail,
    GetStatus,
    Hello,
    Item,
    Lagged,
    ListWorkflows,
    LogChunk,
    Logs,
    Pause,
    Ping,
    Pong,
    Reply,
    Watch,
    Welcome,
    Workflows,
)
from penstock.control.server import Limits, serve
from penstock.domain.errors import ConflictError, SpecError
from penstock.domain.views import EventInfo
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

pytestmark = pytest.mark.anyio

HELLO = Hello(PROTOCOL, PROTOCOL, "test")


class Raw:
    """A client that sends exactly what a test wants."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.decoder = FrameDecoder()
        self.frames: list[DaemonFrame] = []

    async def send(self, *frames: ClientFrame | bytes) -> None:
        await self.stream.send(b"".join(f if isinstance(f, bytes) else encode(f) for f in frames))

    async def call(self, number: int, request: AnyRequest) -> None:
        await self.send(Call(number, request))

    async def receive(self) -> DaemonFrame:
        with anyio.fail_after(20):
            while not self.frames:
                data = await self.stream.receive()
                self.frames += [decode_daemon(payload) for payload in self.decoder.feed(data)]
        return self.frames.pop(0)

    async def closed(self) -> bool:
        with anyio.fail_after(20):
            try:
                while await self.stream.receive():
                    pass
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return True
        return False


class Running:
    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def client(self, *, greet: bool = True) -> AsyncIterator[Raw]:
        async with await anyio.connect_unix(self.path) as stream:
            raw = Raw(stream)
            if greet:
                await raw.send(HELLO)
                assert isinstance(await raw.receive(), Welcome)
            yield raw


@asynccontextmanager
async def running(path: Path, script: Script, limits: Limits = Limits(), **options: Any) -> AsyncIterator[Running]:  # noqa: B008
    listener = bind_listener(path, options.get("group_gid"))
    owner_uid = options.pop("owner_uid", os.getuid())
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await serve(listener, script, owner_uid=owner_uid, limits=limits, **options)

        tasks.start_soon(run)
        yield Running(path)
        tasks.cancel_scope.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "penstockd.sock"


# ---- opening ------------------------------------------------------------------------------------------------------


async def test_hello_is_answered_with_the_protocol_and_the_daemons_pid(path: Path, script: Script) -> None:
    async with running(path, script) as daemon, daemon.client(greet=False) as raw:
        await raw.send(Hello(0, 99, "wide"))
        welcome = await raw.receive()
        assert isinstance(welcome, Welcome)
        assert (welcome.protocol, welcome.pid) == (PROTOCOL, os.getpid())


@pytest.mark.parametrize(
    ("hello", "older", "remedy"),
    [
        (
            Hello(PROTOCOL - 1, PROTOCOL - 1, "penstock 0.0"),
            "this client (penstock 0.0) is older",
            "upgrade the client",
        ),
        (Hello(PROTOCOL + 1, PROTOCOL + 4, "penstock 9"), "the daemon (penstock", "upgrade the daemon and restart it"),
    ],
)
async def test_a_version_that_is_not_shared_is_refused_saying_who_is_older(
    path: Path, script: Script, hello: Hello, older: str, remedy: str
) -> None:
    async with running(path, script) as daemon, daemon.client(greet=False) as raw:
        await raw.send(hello)
        fail = await raw.receive()
        assert isinstance(fail, Fail)
        assert (fail.id, fail.code) == (0, "version")
        assert older in fail.message
        assert remedy in fail.message
        assert await raw.closed()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "was announced, the limit is"),
        ((MAX_FRAME + 1).to_bytes(HEADER), "was announced, the limit is"),
        (b"\x00\x00\x00\x03abc", "no message of this protocol"),
        (b"\x00\x00\x00\x00", "no message of this protocol"),
        (encode(Call(1, Ping())), "begins with Hello"),
        (encode(HELLO) * 2, "one hello"),
        (encode(HELLO) + encode(Call(0, Ping())), "begins at 1"),
    ],
)
async def test_what_breaks_the_protocol_is_answered_and_ends_the_connection(
    path: Path, script: Script, sent: bytes, said: str
) -> None:
    async with running(path, script) as daemon, daemon.client(greet=False) as raw:
        await raw.send(sent)
        frame = await raw.receive()
        if isinstance(frame, Welcome):
            frame = await raw.receive()
        assert isinstance(frame, Fail)
        assert (frame.id, frame.code) == (0, "protocol")
        assert said in frame.message
        assert await raw.closed()
        async with daemon.client() as other:  # and nobody else's
            await other.call(1, Ping())
            assert isinstance(await other.receive(), Reply)


async def test_no_hello_in_time_ends_the_connection(path: Path, script: Script) -> None:
    async with running(path, script, Limits(hello_s=0.01)) as daemon, daemon.client(greet=False) as raw:
        fail = await raw.receive()
        assert isinstance(fail, Fail)
        assert "no hello came within 0.01 s" in fail.message


async def test_a_frame_not_completed_in_time_ends_the_connection(path: Path, script: Script) -> None:
    async with running(path, script, Limits(frame_s=0.01)) as daemon, daemon.client() as raw:
        await raw.send(encode(Call(1, Ping()))[:-1])
        fail = await raw.receive()
        assert isinstance(fail, Fail)
        assert "begun and not ended within 0.01 s" in fail.message


async def test_only_the_time_since_a_frame_began_counts(path: Path, script: Script) -> None:
    async with running(path, script, Limits(frame_s=2.0)) as daemon, daemon.client() as idle:
        async with daemon.client() as other:  # its partial frame runs into the limit while `idle` says nothing
            await other.send(b"\x00")
            assert isinstance(await other.receive(), Fail)
        frame = encode(Call(1, Ping()))
        await idle.send(frame[:5])
        async with daemon.client() as other:  # by now the daemon has read the first part
            await other.call(1, Ping())
            assert isinstance(await other.receive(), Reply)
        await idle.send(frame[5:])
        assert isinstance(await idle.receive(), Reply)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    pieces=st.lists(
        st.binary(max_size=80)
        | st.sampled_from([encode(HELLO), encode(Call(1, Ping())), encode(Call(2, Watch())), b"\0\0\0\5hello"]),
        max_size=8,
    )
)
def test_random_bytes_on_the_socket_harm_only_their_own_connection(daemon: ScriptedDaemon, pieces: list[bytes]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(daemon.path))
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        answered, decoder = b"", FrameDecoder()
        with suppress(ConnectionResetError):
            while data := connection.recv(65536):
                answered += data
        for payload in decoder.feed(answered):
            decode_daemon(payload)
        assert not decoder.partial
    with Client(daemon.path) as client:
        assert client.ping().version == "9"


async def test_passing_trouble_with_accepting_is_waited_out() -> None:
    class Troubled:
        def __init__(self) -> None:
            self.errors = [errno.EMFILE, errno.ECONNABORTED, errno.EBADF]

        async def accept(self) -> SocketStream:
            raise anyio.BrokenResourceError from OSError(self.errors.pop(0), "trouble")

    troubled = Troubled()
    with pytest.raises(anyio.BrokenResourceError):
        await server._accept(troubled)  # type: ignore[arg-type]
    assert troubled.errors == []


# ---- peers --------------------------------------------------------------------------------------------------------


async def test_a_stranger_is_refused(path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_listener, "peer_of", lambda _: Peer(uid=12345, gid=12345, pid=1))
    async with running(path, script, owner_uid=4242) as daemon, daemon.client(greet=False) as raw:
        fail = await raw.receive()
        assert isinstance(fail, Fail)
        assert (fail.id, fail.code) == (0, "forbidden")
        assert "uid 4242" in fail.message
        assert "uid 12345" in fail.message
        assert await raw.closed()
    assert script.seen == []


async def test_a_member_of_the_group_is_served(path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = Peer(uid=12345, gid=os.getgid(), pid=1)
    monkeypatch.setattr(control_listener, "peer_of", lambda _: stranger)
    async with running(path, script, owner_uid=4242, group_gid=os.getgid()) as daemon, daemon.client() as raw:
        await raw.call(1, Ping())
        assert isinstance(await raw.receive(), Reply)
    assert script.peers == [stranger]


def test_membership_counts_supplementary_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(uid=os.getuid(), gid=os.getgid(), pid=1)
    monkeypatch.setattr(os, "getgrouplist", lambda _user, gid: [gid, 777])
    assert is_allowed(peer, owner_uid=peer.uid, group_gid=None)
    member = Peer(uid=65534, gid=65534, pid=1)  # nobody
    assert is_allowed(member, owner_uid=4242, group_gid=777)
    assert not is_allowed(member, owner_uid=4242, group_gid=778)
    assert not is_allowed(Peer(uid=3_999_999_999, gid=1, pid=1), owner_uid=4242, group_gid=777)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can connect as somebody else")
async def test_another_account_is_refused_by_the_kernels_word(path: Path, script: Script) -> None:
    async with running(path, script, owner_uid=4242) as daemon:
        await anyio.to_thread.run_sync(open_to_all, path)
        async with await UNIXSocketStream.from_socket(connected_as(65534, daemon.path)) as stream:
            fail = await Raw(stream).receive()
        assert isinstance(fail, Fail)
        assert fail.code == "forbidden"
        assert "uid 65534" in fail.message


# ---- calls --------------------------------------------------------------------------------------------------------


async def test_a_slow_call_stalls_neither_its_connection_nor_others(path: Path, script: Script) -> None:
    finish = anyio.Event()

    async def slow(_: Pause) -> Changed:
        await finish.wait()
        return Changed(1)

    script.answers[Pause] = slow
    async with running(path, script) as daemon, daemon.client() as raw, daemon.client() as other:
        await raw.call(1, Pause("a"))
        await raw.call(2, Ping())
        assert await raw.receive() == Reply(2, Pong(pid=1, version="9", uptime_s=1.5))
        await other.call(1, Ping())
        assert isinstance(await other.receive(), Reply)
        finish.set()
        assert await raw.receive() == Reply(1, Changed(1))


async def test_errors_travel_with_code_and_place_and_the_unforeseen_stays_in_the_log(
    path: Path, script: Script
) -> None:
    def refuse(_: Pause) -> Changed:
        raise ConflictError("it has ended")

    def complain(_: GetStatus) -> Changed:
        raise SpecError("unknown key", file="/a/spec.toml", line=8, key="retry.x")

    def crash(_: ListWorkflows) -> Changed:
        raise RuntimeError("secret detail")

    script.answers |= {Pause: refuse, GetStatus: complain, ListWorkflows: crash}
    with structlog.testing.capture_logs() as logs:
        async with running(path, script) as daemon, daemon.client() as raw:
            await raw.call(1, Pause("a"))
            assert await raw.receive() == Fail(1, "conflict", "it has ended")
            await raw.call(2, GetStatus("a"))
            assert await raw.receive() == Fail(2, "spec", "unknown key", "/a/spec.toml", 8, "retry.x")
            await raw.call(3, ListWorkflows())
            fail = await raw.receive()
            assert isinstance(fail, Fail)
            assert (fail.id, fail.code) == (3, "internal")
            assert "see the daemon's log" in fail.message
            assert "secret" not in fail.message
    failed = [entry for entry in logs if entry["event"] == "control_call_failed"]
    assert [(entry["request"], str(entry["exc_info"])) for entry in failed] == [("ListWorkflows", "secret detail")]


async def test_an_error_about_a_file_whose_name_is_not_unicode_still_arrives(path: Path, script: Script) -> None:
    def complain(_: Ping) -> Pong:
        raise ConflictError("cannot read \udcff.csv" + "x" * 100_000)

    script.answers[Ping] = complain
    async with running(path, script) as daemon, daemon.client() as raw:
        await raw.call(1, Ping())
        fail = await raw.receive()
        assert isinstance(fail, Fail)
        assert fail.message.startswith("cannot read \\udcff.csv")
        assert fail.message.endswith("(shortened)")


async def test_an_answer_too_large_for_a_frame_fails_that_call_only(path: Path, script: Script) -> None:
    script.answers[Ping] = lambda _: Pong(1, "x" * MAX_FRAME, 0)
    async with running(path, script) as daemon, daemon.client() as raw:
        await raw.call(1, Ping())
        fail = await raw.receive()
        assert isinstance(fail, Fail)
        assert (fail.id, fail.code) == (1, "protocol")
        script.answers[Ping] = lambda _: Pong(1, "x", 0)
        await raw.call(2, Ping())
        assert isinstance(await raw.receive(), Reply)


async def test_calls_in_flight_are_limited_per_connection(path: Path, script: Script) -> None:
    finish = anyio.Event()

    async def slow(_: Pause) -> Changed:
        await finish.wait()
        return Changed(0)

    script.answers[Pause] = slow
    async with running(path, script, Limits(calls=2)) as daemon, daemon.client() as raw:
        for number in (1, 2, 3):
            await raw.call(number, Pause("a"))
        fail = await raw.receive()
        assert isinstance(fail, Fail)
        assert (fail.id, fail.code) == (3, "busy")
        finish.set()
        answered = [await raw.receive(), await raw.receive()]
        assert sorted(frame.id for frame in answered if isinstance(frame, Reply)) == [1, 2]
        await raw.call(4, Ping())
        assert isinstance(await raw.receive(), Reply)


async def test_connections_are_limited_and_a_place_that_falls_free_is_used(path: Path, script: Script) -> None:
    async with running(path, script, Limits(connections=1)) as daemon:
        async with daemon.client(), daemon.client(greet=False) as second:
            fail = await second.receive()
            assert isinstance(fail, Fail)
            assert (fail.id, fail.code) == (0, "busy")
        frame: DaemonFrame = Fail(0, "busy", "")
        while isinstance(frame, Fail):  # until the daemon has seen the first client leave
            async with daemon.client(greet=False) as third:
                await third.send(HELLO)
                frame = await third.receive()
        assert isinstance(frame, Welcome)


# ---- clients that leave or do not read -----------------------------------------------------------------------------


async def test_a_request_is_carried_out_though_its_client_has_left(path: Path, script: Script) -> None:
    begun, finish, done = anyio.Event(), anyio.Event(), anyio.Event()

    async def slow(_: Pause) -> Changed:
        begun.set()
        await finish.wait()
        done.set()
        return Changed(1)

    script.answers[Pause] = slow
    async with running(path, script) as daemon:
        async with daemon.client() as raw:
            await raw.call(1, Pause("a"))
            await begun.wait()
        async with daemon.client() as other:  # the daemon has had time to see that the first one left
            await other.call(1, Ping())
            assert isinstance(await other.receive(), Reply)
        finish.set()
        with anyio.fail_after(20):
            await done.wait()


async def test_a_stream_ends_with_its_client(path: Path, script: Script) -> None:
    ended = anyio.Event()

    async def forever(_: Watch) -> AsyncGenerator[AnyItem]:
        try:
            yield event(1)
            await anyio.sleep_forever()
        finally:
            ended.set()

    script.streams[Watch] = forever
    async with running(path, script) as daemon:
        async with daemon.client() as raw:
            await raw.call(1, Watch())
            assert await raw.receive() == Item(1, event(1))
        with anyio.fail_after(20):
            await ended.wait()


async def test_a_stream_ends_with_done_or_with_its_error(path: Path, script: Script) -> None:
    async def short(request: Watch) -> AsyncGenerator[AnyItem]:
        yield event(7)
        if request.id == "broken":
            raise ConflictError("no more")

    script.streams[Watch] = short
    async with running(path, script) as daemon, daemon.client() as raw:
        await raw.call(1, Watch())
        assert [await raw.receive(), await raw.receive()] == [Item(1, event(7)), Done(1)]
        await raw.call(2, Watch("broken"))
        assert [await raw.receive(), await raw.receive()] == [Item(2, event(7)), Fail(2, "conflict", "no more")]


async def test_a_watcher_that_does_not_read_is_told_how_much_it_missed_and_stalls_nobody(
    path: Path, script: Script
) -> None:
    total = 20_000
    produced = anyio.Event()

    async def burst(_: Watch) -> AsyncGenerator[AnyItem]:
        for number in range(total):
            yield event(number, "x" * 200)
        produced.set()

    script.streams[Watch] = burst
    limits = Limits(outbox_bytes=10_000, stall_s=0.01)
    async with running(path, script, limits) as daemon, daemon.client() as sleeper, daemon.client() as other:
        await sleeper.call(1, Watch())
        with anyio.fail_after(20):
            await produced.wait()  # the daemon went through all events though nobody reads
        await other.call(1, Ping())
        assert isinstance(await other.receive(), Reply)
        seen = missed = 0
        while not isinstance(frame := await sleeper.receive(), Done):
            assert isinstance(frame, Item)
            if isinstance(frame.body, Lagged):
                missed += frame.body.dropped
            else:
                seen += 1
        assert missed > 0
        assert seen + missed == total


async def test_log_text_is_never_left_out_for_a_slow_reader(path: Path, script: Script) -> None:
    async def text(_: Logs) -> AsyncGenerator[AnyItem]:
        for number in range(300):
            yield LogChunk("out", bytes([number % 256]) * 10_000)

    script.streams[Logs] = text
    limits = Limits(outbox_bytes=10_000, stall_s=0.001)
    async with running(path, script, limits) as daemon, daemon.client() as raw, daemon.client() as other:
        await raw.call(1, Logs("a", 1))
        await other.call(1, Ping())
        assert isinstance(await other.receive(), Reply)
        chunks = []
        while not isinstance(frame := await raw.receive(), Done):
            assert isinstance(frame, Item)
            assert isinstance(frame.body, LogChunk)
            chunks.append(frame.body.data[0])
        assert chunks == [number % 256 for number in range(300)]


async def test_a_client_that_takes_nothing_is_cut_off(path: Path, script: Script) -> None:
    script.answers[Ping] = lambda _: Pong(1, "x" * 4_000_000, 0)
    with structlog.testing.capture_logs() as logs:
        async with running(path, script, Limits(write_s=0.05)) as daemon, daemon.client() as raw:
            for number in (1, 2, 3):
                await raw.call(number, Ping())
            with anyio.fail_after(20):
                while not any(entry["event"] == "control_client_does_not_read" for entry in logs):
                    async with daemon.client() as other:
                        await other.call(1, Pause("a"))
                        assert isinstance(await other.receive(), Fail)
            assert await raw.closed()


async def test_stopping_answers_what_is_in_flight_and_gives_up_on_what_hangs(path: Path, script: Script) -> None:
    begun, finish, cancelled = anyio.Event(), anyio.Event(), anyio.Event()

    async def slow(request: Pause) -> Changed:
        try:
            if request.id == "hangs":
                begun.set()
                await anyio.sleep_forever()
            await finish.wait()
        except anyio.get_cancelled_exc_class():
            cancelled.set()
            raise
        return Changed(5)

    script.answers[Pause] = slow
    listener = bind_listener(path)
    async with anyio.create_task_group() as tasks:
        stopping = anyio.CancelScope()
        stopped = anyio.Event()

        async def run() -> None:
            with stopping:
                await serve(listener, script, owner_uid=os.getuid(), limits=Limits(drain_s=0.5))
            stopped.set()

        tasks.start_soon(run)
        daemon = Running(path)
        async with daemon.client() as raw, daemon.client() as other:
            await raw.call(1, Pause("ends"))
            await other.call(1, Pause("hangs"))
            await begun.wait()
            stopping.cancel()
            finish.set()
            assert await raw.receive() == Reply(1, Changed(5))
            assert await raw.closed()
            assert await other.closed()
            with anyio.fail_after(20):
                await stopped.wait()
            assert cancelled.is_set()


# ---- the socket's file --------------------------------------------------------------------------------------------


def test_the_socket_is_its_owners_alone_and_so_is_its_directory(path: Path) -> None:
    bind_listener(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_group_may_use_the_socket_and_pass_its_directory(path: Path) -> None:
    group = os.getgroups()[-1] if os.getgroups() else os.getgid()
    bind_listener(path, group).close()
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o660, group)
    assert (stat.S_IMODE(path.parent.stat().st_mode), path.parent.stat().st_gid) == (0o710, group)


def test_a_directory_that_exists_is_not_narrowed(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o755)
    bind_listener(path).close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


async def test_a_stale_socket_is_replaced(path: Path, script: Script) -> None:
    bind_listener(path).close()  # which leaves the file, as a killed daemon does
    async with running(path, script) as daemon, daemon.client() as raw:
        await raw.call(1, Ping())
        assert isinstance(await raw.receive(), Reply)


def test_what_is_no_socket_is_not_replaced(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(SpecError, match="is no socket"):
        bind_listener(path)
    assert path.read_text() == "precious"


def test_a_path_too_long_for_a_socket_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"107 bytes.*set PENSTOCK_SOCKET"):
        bind_listener(tmp_path / ("d" * 100) / "s.sock")


async def test_workflows_reach_the_client_whole(path: Path, script: Script) -> None:
    script.answers[ListWorkflows] = lambda _: Workflows(())
    async with running(path, script) as daemon, daemon.client() as raw:
        data = encode(Call(3, ListWorkflows()))
        for byte in data:  # one byte at a time
            await raw.send(bytes([byte]))
        assert await raw.receive() == Reply(3, Workflows(()))


def connected_as(uid: int, path: Path) -> socket.socket:
    """A connection that the kernel ascribes to `uid`: it notes the effective ids of the moment."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.setegid(uid)
    os.seteuid(uid)
    try:
        connection.connect(str(path))
    finally:
        os.seteuid(0)
        os.setegid(0)
    return connection


def open_to_all(path: Path) -> None:
    path.chmod(0o666)
    for directory in path.parents:
        if directory != Path("/tmp") and directory.is_relative_to("/tmp"):
            directory.chmod(0o755)


def event(number: int, text: str = "") -> EventInfo:
    return EventInfo("g2", number, 0.0, "job_completed", 1, text)
