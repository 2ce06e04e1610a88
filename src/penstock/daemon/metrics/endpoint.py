"""The HTTP server of the metrics: one path, in threads, bounded in number and in time.

Its clients are not trusted to be quick or right: eight connections at most are served at a time, none for longer than
fifteen seconds, and what is not a GET of /metrics is refused in a line.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer
from typing import Any, Final

import structlog

from penstock.control.listener import bind_listener
from penstock.daemon.metrics.address import MetricsAddress, Token
from penstock.daemon.metrics.exposition import CONTENT_TYPE
from penstock.domain.errors import SpecError

_AT_ONCE: Final = 8
_WHOLE_S: Final = 15.0  # for a connection, from its beginning to its end
_QUIET_S: Final = 5.0  # without a byte
_LOOK_EVERY_S: Final = 1.0
_PATH: Final = "/metrics"
_BACKLOG: Final = 16


class Endpoint:
    """A server that is listening already. `render` is called in its threads."""

    def __init__(self, address: MetricsAddress, render: Callable[[], bytes], token: Token | None = None) -> None:
        self.token = token
        self.address = address
        self._server = _Server(_listen(address), render, self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_EVERY_S,), name="penstock-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Serves nobody any more; returns when all its threads have ended."""
        self._server.shutdown()
        self._thread.join()
        self._server.close()
        if self.address.path:
            Path(self.address.path).unlink(missing_ok=True)


def _listen(address: MetricsAddress) -> socket.socket:
    """OSError as the system gives it; SpecError for a path where something else is."""
    if address.path:
        _refuse_served(address.path)
        return bind_listener(
            Path(address.path), what="the metrics' socket", advice="set daemon.metrics to another path"
        )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)


def _refuse_served(path: str) -> None:
    """SpecError where another process listens; what nobody listens at is stale."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.settimeout(1.0)
        probe.connect(path)
        raise SpecError(f"another process serves {path}; set daemon.metrics to another path")


class _Server(BaseServer):
    """Hands each connection to a thread of its own."""

    def __init__(self, listener: socket.socket, render: Callable[[], bytes], endpoint: Endpoint) -> None:
        super().__init__(listener.getsockname(), _Handler)
        self.render = render
        self.endpoint = endpoint
        self.socket = listener
        self._open: dict[socket.socket, tuple[threading.Thread, float]] = {}
        self._closing = threading.Event()
        self._log = structlog.get_logger()

    def fileno(self) -> int:
        """For the selector."""
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection."""
        try:
            return self.socket.accept()
        except OSError as error:  # above all want of descriptors: it would be tried again at once, and for ever
            if not self._closing.wait(_LOOK_EVERY_S):
                self._log.warning("metrics refused", reason=str(error))
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serves it, unless too many are being served; called by the serving thread alone."""
        if len(self._open) >= _AT_ONCE:
            self._log.warning("metrics refused: too many scrapes at once", limit=_AT_ONCE)
            self.shutdown_request(request)
            return
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name="penstock-scrape", daemon=True
        )
        self._open[request] = (thread, time.monotonic())
        try:
            thread.start()
        except RuntimeError as error:  # the system grants no more threads
            del self._open[request]
            self._log.warning("metrics refused", reason=str(error))
            self.shutdown_request(request)

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            with contextlib.suppress(OSError):  # it has gone, or was too slow
                self.finish_request(request, client_address)
        except Exception:  # noqa: BLE001 - a defect in one scrape is not the others' affair
            self._log.exception("metrics cannot be shown")
        finally:
            self._open.pop(request, None)
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
        request.close()

    def service_actions(self) -> None:
        """Ends the connections that have taken too long, whatever they do; called once a second."""
        now = time.monotonic()
        for request, (_, began) in self._open.copy().items():
            if now - began > _WHOLE_S:
                _hang_up(request)

    def shutdown(self) -> None:
        """Takes no more connections; returns when nobody waits for them."""
        self._closing.set()
        _hang_up(self.socket)  # wakes who waits for one
        super().shutdown()

    def close(self) -> None:
        """Ends everything; returns when all threads have ended."""
        self.socket.close()
        for request, (thread, _) in self._open.copy().items():
            _hang_up(request)
            thread.join()


def _hang_up(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One request; HTTP/1.0, so that a connection ends with its answer."""

    server: _Server
    server_version = "penstockd"
    sys_version = ""
    timeout = _QUIET_S

    def do_GET(self) -> None:
        """Answers."""
        token = self.server.endpoint.token
        if token is not None and not token.fits(self.headers.get("Authorization")):
            self._refuse(401, "this needs the token of daemon.metrics_token_file", "Bearer")
        elif self.path.partition("?")[0] != _PATH:
            self._refuse(404, f"there is nothing here but {_PATH}")
        else:
            self._send(200, self.server.render(), CONTENT_TYPE)

    do_HEAD = do_GET  # noqa: N815 - named by the base class

    def _refuse(self, status: int, reason: str, challenge: str = "") -> None:
        self._send(status, f"{reason}\n".encode(), "text/plain; charset=utf-8", challenge)

    def _send(self, status: int, body: bytes, kind: str, challenge: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        if not self.server.endpoint.address.is_private and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1)  # over a wire; within a machine it would only cost time
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def address_string(self) -> str:
        """Who asks, for messages; never looked up."""
        return str(self.client_address)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Says nothing: a scrape is no event, and a header may hold the token."""
