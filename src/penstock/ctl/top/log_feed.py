"""Follows what one attempt writes."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from penstock.control.aio import AsyncClient
from penstock.control.messages import JobDetail, LogChunk
from penstock.ctl.top.picture import Logged, News, OneJob
from penstock.domain.errors import PenstockError

_TAIL_BYTES: Final = 16_384
_SHOWN_EVERY_S: Final = 1.0


class LogFeed:
    """One stream at a time; its tasks live in `group`."""

    def __init__(self, client: AsyncClient, hear: Callable[[News], None], interval_s: float, group: TaskGroup) -> None:
        self._client = client
        self._hear = hear
        self._every_s = min(interval_s, _SHOWN_EVERY_S)
        self._group = group
        self._followed: tuple[OneJob, int] | None = None
        self._scope: anyio.CancelScope | None = None

    def follow(self, focus: OneJob, detail: JobDetail) -> None:
        """Follow the attempt that is asked for, by default the newest, unless it is followed or read already."""
        number = focus.attempt or detail.job.attempts
        if self._followed == (focus, number):
            return
        self.stop()
        if number:
            self._followed = (focus, number)
            self._scope = anyio.CancelScope()
            self._group.start_soon(self._stream, focus, number, self._scope)

    def stop(self) -> None:
        """Follow nothing."""
        if self._scope is not None:
            self._scope.cancel()
        self._scope = self._followed = None

    async def _stream(self, focus: OneJob, number: int, scope: anyio.CancelScope) -> None:
        text = _Text()
        try:
            with scope:
                self._hear(Logged(focus, number, "", fresh=True))
                async with anyio.create_task_group() as group:
                    group.start_soon(self._tell, focus, number, text)
                    request = self._client.logs(
                        focus.workflow, focus.job, attempt=number, follow=True, tail_bytes=_TAIL_BYTES
                    )
                    async with request as chunks:
                        async for chunk in chunks:
                            text.add(chunk)
                    group.cancel_scope.cancel()
                if rest := text.take():
                    self._hear(Logged(focus, number, rest))
        except* PenstockError:  # no daemon, or nothing there yet: tried again with the next word on the job
            if self._scope is scope:
                self._followed = None

    async def _tell(self, focus: OneJob, number: int, text: _Text) -> None:
        while True:
            await text.arrived.wait()
            self._hear(Logged(focus, number, text.take()))
            await anyio.sleep(self._every_s)


class _Text:
    """What has come and was not told yet; characters may be cut in two between chunks."""

    def __init__(self) -> None:
        self.arrived = anyio.Event()
        self._parts: list[str] = []
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._name: str | None = None

    def add(self, chunk: LogChunk) -> None:
        """Take a chunk in, with its file's name where that is another than before."""
        if chunk.name != self._name and (self._name is not None or chunk.name != "stdout"):
            self._parts.append(f"==> {chunk.name} <==\n")
        self._name = chunk.name
        decoder = self._decoders.setdefault(chunk.name, codecs.getincrementaldecoder("utf-8")("replace"))
        self._parts.append(decoder.decode(chunk.data))
        self.arrived.set()

    def take(self) -> str:
        """All of it."""
        text = "".join(self._parts)
        self._parts.clear()
        self.arrived = anyio.Event()
        return text
