"""The way out for lines of the log. Whoever logs never waits for a reader: a thread of its own does.

Standard error may be a pipe that nobody reads, a terminal that is held, a journal that hangs, a file on a disk that
does: a write there may take for ever, and the event loop logs, too.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import Final, TextIO

BYTES_MAX: Final = 2**20
"""What may wait to be written; lines beyond that are lost."""
CLOSE_S: Final = 2.0
"""How long the end waits for what has not been written yet."""


class Outlet:
    """Writes to `stream`, one text after the other. What has no file descriptor takes no time, and is written at once.

    `lost` counts what could not be written: there was no room, or nobody to read it. Texts may come from any thread.
    """

    def __init__(self, stream: TextIO) -> None:
        self.lost = 0
        self._stream = stream
        self._fd = _descriptor(stream)
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def put(self, text: str) -> None:
        """Has `text` written, soon."""
        if self._fd is None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):  # no reason to break whoever logs
                self.lost += 1
            return
        data = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._is_closed or self._bytes + len(data) > BYTES_MAX:
                self.lost += 1
                return
            self._waiting.append(data)
            self._bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, args=(self._fd,), name="penstock-log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """Takes no more. Returns when all is written, or after CLOSE_S."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _run(self, fd: int) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                data = self._waiting[0]
            is_written = _write(fd, data)
            with self._changed:
                self._waiting.popleft()
                self._bytes -= len(data)
                self.lost += not is_written


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _write(fd: int, data: bytes) -> bool:
    """Waits for as long as it takes. False: a full disk, a reader that is gone."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # whoever shares the descriptor has it so
            waiting = select.poll()
            waiting.register(fd, select.POLLOUT)
            waiting.poll()
        except OSError:
            return False
    return True
