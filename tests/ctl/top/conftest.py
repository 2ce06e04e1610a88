"""The live view on a terminal of textual's own, and a daemon that says what `seen` holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from pytest_textual_snapshot import SVGImageExtension
from tests.ctl.top.seen import CLUSTERS, DETAIL, JOBS, WHY, WORKFLOWS
from textual.pilot import Pilot

from penstock.control import messages
from penstock.control.aio import AsyncClient
from penstock.control.messages import AnyItem, LogChunk
from penstock.ctl.top.app import TopApp
from penstock.ctl.top.feed import Feed
from penstock.ctl.top.picture import News
from penstock.ctl.top.state import State
from penstock.domain.errors import ConflictError
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

SVGImageExtension.file_extension = "svg"  # as the plugin means it, under a name that syrupy does not know any more

LIMIT_S = 60.0
INTERVAL_S = 0.05


class Heard:
    """What a feed told, and a way to wait for it."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self.all: list[News] = []
        self._more = anyio.Event()

    def __call__(self, news: News) -> None:
        self.news.append(news)
        self.all.append(news)
        self._more.set()

    async def until(self, is_it: Callable[[Any], object]) -> Any:
        """The first news of which `is_it` holds; what came before it is forgotten."""
        with anyio.fail_after(LIMIT_S):
            while True:
                while self.news:
                    if is_it(news := self.news.pop(0)):
                        return news
                self._more = anyio.Event()
                await self._more.wait()


class Live(TopApp):
    """The live view, which can be waited for."""

    def __init__(self, client: AsyncClient, state: State) -> None:
        self._more = anyio.Event()
        super().__init__(state, lambda hear: Feed(client, hear, INTERVAL_S))

    def _turn(self, state: State) -> None:
        super()._turn(state)
        self._more.set()

    @property
    def text(self) -> str:
        """What stands on the terminal."""
        strips = self.screen._compositor.render_strips(self.size)
        return "\n".join(strip.text.rstrip() for strip in strips)

    async def until(self, is_it: Callable[[str], object] | str) -> str:
        """What stands there when it holds a text, or `is_it` holds of it."""
        holds = (lambda text: is_it in text) if isinstance(is_it, str) else is_it
        with anyio.move_on_after(LIMIT_S):
            while True:
                self._more = anyio.Event()
                if holds(text := self.text):
                    return text
                await self._more.wait()
        pytest.fail(f"never shown: {is_it}\n{self.text}")


@asynccontextmanager
async def live(
    daemon: ScriptedDaemon, state: State | None = None, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[Live, Pilot[None]]]:
    """The live view of a daemon, while the context lasts."""
    app = Live(AsyncClient(daemon.path), state or State())
    async with app.run_test(size=size) as pilot:
        yield app, pilot


def _answer(reply: messages.AnyReply, _: messages.Request[Any]) -> messages.AnyReply:
    return reply


def _report(request: messages.ReportCluster) -> messages.ClusterReported:
    raise ConflictError(f"cluster {request.name} has no scheduler")


@pytest.fixture
def script(script: Script) -> Script:
    """What `seen` holds; nothing happens by itself."""
    said: dict[type[messages.Request[Any]], messages.AnyReply] = {
        messages.ListWorkflows: messages.Workflows(WORKFLOWS),
        messages.ListClusters: messages.Clusters(CLUSTERS),
        messages.GetStatus: messages.WorkflowStatus(WORKFLOWS[0], (JOBS[0],), ()),
        messages.Explain: WHY,
        messages.GetJob: DETAIL,
    }
    script.answers |= {kind: partial(_answer, reply) for kind, reply in said.items()}
    script.answers[messages.ListJobs] = lambda request: messages.Jobs(JOBS[: request.limit], len(JOBS))
    script.answers[messages.ReportCluster] = _report

    async def watch(_: messages.Watch) -> AsyncGenerator[AnyItem]:
        await anyio.sleep_forever()
        yield LogChunk("", b"")

    async def logs(_: messages.Logs) -> AsyncGenerator[AnyItem]:
        yield LogChunk("stdout", b"begin\nfinish\xc3")
        yield LogChunk("stdout", b"\xa4d\n")

    script.streams |= {messages.Watch: watch, messages.Logs: logs}
    return script
