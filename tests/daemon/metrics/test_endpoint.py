"""The HTTP server of the metrics: what it answers, and what no client can do to it."""

from __future__ import annotations

import contextlib
import errno
import gzip
import http.client
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from penstock.daemon.metrics import endpoint as endpoints
from penstock.daemon.metrics.address import MetricsAddress, Token
from penstock.daemon.metrics.endpoint import Endpoint
from penstock.domain.errors import SpecError

BODY = b"penstock_workers 2\n" * 100
WORD = "0123456789abcdef"
PATIENCE_S = 10.0
LOOPBACK = MetricsAddress("127.0.0.1", 0)


class Served:
    """An endpoint and who asks it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def connect(self) -> socket.socket:
        listener = self.endpoint._server.socket
        client = socket.socket(listener.family, socket.SOCK_STREAM)
        client.settimeout(PATIENCE_S)
        client.connect(listener.getsockname())
        return client

    def ask(self, path: str = "/metrics", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        with self.connect() as client:
            lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            client.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
            answer = http.client.HTTPResponse(client, method=method)
            answer.begin()
            answer.body = answer.read()  # type: ignore[attr-defined]
            return answer

    def raw(self, data: bytes) -> bytes:
        with self.connect() as client:
            client.sendall(data)
            return _rest(client)


def _rest(client: socket.socket) -> bytes:
    """What comes until the other side ends, which it must."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            found += piece
    return found


@contextlib.contextmanager
def serve(
    address: MetricsAddress = LOOPBACK,
    render: Callable[[], bytes] = lambda: BODY,
    token: Token | None = None,
) -> Iterator[Served]:
    endpoint = Endpoint(address, render, token)
    try:
        yield Served(endpoint)
    finally:
        endpoint.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_scrape(host: str) -> None:
    with serve(MetricsAddress(host, 0)) as served:
        answer: Any = served.ask(Accept_Encoding="gzip")
        assert (answer.status, answer.body) == (200, BODY)
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert served.ask("/metrics?x=1").status == 200
        head: Any = served.ask(method="HEAD")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(BODY)))
        address = served.endpoint._server.socket.getsockname()
    with (
        pytest.raises(ConnectionRefusedError),
        socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as gone,
    ):
        gone.connect(address)


def test_over_a_wire_it_is_compressed_for_who_asks() -> None:
    with serve(MetricsAddress("0.0.0.0", 0), token=Token(WORD)) as served:
        small: Any = served.ask(Accept_Encoding="gzip, br", Authorization=f"Bearer {WORD}")
        assert small.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(small.body) == BODY
        plain: Any = served.ask(Authorization=f"Bearer {WORD}")
        assert (plain.headers["Content-Encoding"], plain.body) == (None, BODY)


def test_there_is_nothing_else() -> None:
    with serve() as served:
        for path in ("/", "/metrics/", "/favicon.ico", "/../metrics", "http://x/metrics"):
            assert served.ask(path).status == 404
        assert served.ask(method="POST").status == 501
        assert served.ask("/metrics").status == 200


def test_a_token_is_asked_for_before_anything_is_told() -> None:
    with serve(token=Token(WORD)) as served:
        for headers in ({}, {"Authorization": "Bearer 0123456789abcdeF"}, {"Authorization": WORD}):
            answer: Any = served.ask(**headers)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert b"penstock_workers" not in answer.body
            assert served.ask("/elsewhere", **headers).status == 401
        assert served.ask(Authorization=f"Bearer {WORD}").status == 200
        served.endpoint.token = Token("another-word-since-the-reload")
        assert served.ask(Authorization=f"Bearer {WORD}").status == 401


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
        b"\xff\xfe\x00" * 100 + b"\r\n\r\n",
    ],
)
def test_what_is_no_request_harms_nobody(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as served:
        with monkeypatch.context() as patch:
            patch.setattr(endpoints._Handler, "timeout", 0.2)
            served.raw(data)
        assert served.ask().status == 200


def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints._Handler, "timeout", 0.2)
    with serve() as served, served.connect() as silent:
        assert _rest(silent) == b""


def test_a_client_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte now and then would keep any timeout from firing."""
    monkeypatch.setattr(endpoints, "_WHOLE_S", 0.3)
    monkeypatch.setattr(endpoints, "_LOOK_EVERY_S", 0.05)
    with serve() as served, served.connect() as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")
        slow.settimeout(0.05)
        ended = False
        for _ in range(200):
            try:
                slow.sendall(b"x")
                ended = slow.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
            if ended:
                break
        assert ended
        monkeypatch.undo()
        assert served.ask().status == 200


def test_a_client_that_does_not_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints._Handler, "timeout", 0.2)
    with serve(render=lambda: b"x" * (64 << 20)) as served, served.connect() as deaf:
        deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        (thread, _) = _wait_for(
            lambda: next((one for one in served.endpoint._server._open.values() if one[0].ident), None)
        )
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_no_more_than_eight_at_a_time_and_the_next_is_turned_away() -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()

    def render() -> bytes:
        entered.release()
        assert go_on.wait(PATIENCE_S)
        return BODY

    with serve(render=render) as served, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(8)]
        for client in clients:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert entered.acquire(timeout=PATIENCE_S)
        assert served.raw(b"") == b""
        go_on.set()
        for client in clients:
            assert _rest(client).endswith(BODY)
        assert served.ask().status == 200


def test_a_defect_is_one_scrapes_affair() -> None:
    mistakes = [ZeroDivisionError("a mistake of ours")]

    def render() -> bytes:
        if mistakes:
            raise mistakes.pop()
        return BODY

    with serve(render=render) as served:
        assert served.raw(b"GET /metrics HTTP/1.0\r\n\r\n") == b""
        assert served.ask().status == 200


def test_stopping_waits_for_nobody() -> None:
    with serve() as served:
        hanging = served.connect()
        hanging.sendall(b"GET /met")
        _wait_for(lambda: served.endpoint._server._open)
    with hanging:
        assert _rest(hanging) == b""


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.sock"
    address = MetricsAddress(path=str(path))
    with serve(address) as served:
        assert served.ask().status == 200
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with pytest.raises(SpecError, match=r"another process serves .*daemon\.metrics"):
            Endpoint(address, lambda: BODY)
        assert served.ask().status == 200
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serve(address) as served:
        assert served.ask().status == 200
    path.write_text("mine")
    with pytest.raises(SpecError, match=r"is no socket; move it away or set daemon\.metrics"):
        Endpoint(address, lambda: BODY)
    assert path.read_text() == "mine"


def test_want_of_descriptors_is_waited_out() -> None:
    """Tried again at once, it would keep a core busy, and the interpreter that the event loop needs."""
    tries, back = iter([*[OSError(errno.EMFILE, "Too many open files")] * 50, None]), threading.Event()

    class Listener(socket.socket):
        """Has no descriptor to give for fifty times."""

        def accept(self) -> tuple[socket.socket, Any]:
            if error := next(tries, None):
                raise error
            back.set()
            return super().accept()

    with serve() as served, structlog.testing.capture_logs() as log:
        server = served.endpoint._server
        server.socket = Listener(fileno=server.socket.detach())
        with served.connect():
            assert not back.wait(0.5)
        assert [line["event"] for line in log] in ([], ["metrics refused"])


def test_nothing_is_logged_of_a_scrape(capfd: pytest.CaptureFixture[str]) -> None:
    with serve(token=Token(WORD)) as served:
        served.ask(Authorization=f"Bearer {WORD}")
        served.ask(Authorization="Bearer wrong")
        served.raw(b"nonsense\r\n\r\n")
    assert capfd.readouterr() == ("", "")


def _wait_for(look: Callable[[], Any]) -> Any:
    """What is there at last; another thread brings it about."""
    given_up = threading.Event()
    timer = threading.Timer(PATIENCE_S, given_up.set)
    timer.start()
    try:
        while not (found := look()):
            assert not given_up.is_set()
        return found
    finally:
        timer.cancel()
        timer.join()
