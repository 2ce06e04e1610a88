"""A shell that knows its lines: every call it may get is written down beforehand, with its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Self

import anyio
import msgspec

from penstock.actors.clock import Clock, SystemClock
from penstock.clusters.shell import Completed, Way, check_names
from penstock.domain.errors import ClusterError, NotFoundError


class Expected(msgspec.Struct, frozen=True):
    """A call that is to come, and what it gets.

    `argv` is a pattern for each argument (`*`, `?`, `[...]` as in file names); a last `...` stands for any more.
    """

    argv: tuple[str, ...]
    answer: Completed | Exception = Completed(0, b"", b"")
    latency_s: float = 0.0
    stdin: bytes | None = None  # None: whatever comes

    def matches(self, argv: Sequence[str], stdin: bytes) -> bool:
        """Whether this is that call."""
        patterns, arguments = self.argv, tuple(argv)
        if patterns and patterns[-1] == "...":
            patterns = patterns[:-1]
            arguments = arguments[: len(patterns)]
        return (
            len(patterns) == len(arguments)
            and all(map(fnmatchcase, arguments, patterns))
            and self.stdin in (None, stdin)
        )


class ScriptedShell:
    """A `Shell` that answers `run` by a script, in its order, and keeps files in `files` (absolute path → content).

    A call that does not fit fails at once with AssertionError; lines that were never spoken do when the context ends.
    """

    def __init__(self, script: Sequence[Expected], clock: Clock | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.folders: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self._script = list(script)
        self._clock = clock or SystemClock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._script:
            left = "; ".join(" ".join(expected.argv) for expected in self._script)
            raise AssertionError(f"never called: {left}")

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Completed:
        """The scripted answer; one that comes after `timeout_s` is a transient ClusterError, as of any shell."""
        self.calls.append(tuple(argv))
        if not self._script or not self._script[0].matches(argv, stdin):
            wanted = " ".join(self._script[0].argv) if self._script else "nothing more"
            raise AssertionError(f"called: {' '.join(argv)}; expected: {wanted}")
        expected = self._script.pop(0)
        await self._clock.sleep(min(expected.latency_s, timeout_s))
        if expected.latency_s > timeout_s:
            raise ClusterError(f"{argv[0]} did not end within {timeout_s:g} s", transient=True)
        if isinstance(expected.answer, Exception):
            raise expected.answer
        return expected.answer

    async def put(self, directory: str, files: Mapping[str, bytes]) -> None:
        """Keeps the files."""
        check_names(files)
        await anyio.lowlevel.checkpoint()
        for name, content in files.items():
            path = str(PurePosixPath(directory, name))
            if name.endswith("/"):
                self.folders.add(path)
            else:
                self.files[path] = content

    async def get(self, path: str) -> bytes:
        """A file that was put."""
        await anyio.lowlevel.checkpoint()
        if path not in self.files:
            raise NotFoundError(f"{path} does not exist")
        return self.files[path]

    async def list(self, directory: str) -> list[str]:
        """The names of what was put into `directory`, sorted."""
        await anyio.lowlevel.checkpoint()
        paths = {*self.files, *self.folders}
        names = {PurePosixPath(path).relative_to(directory).parts[0] for path in paths if _below(path, directory)}
        if not names and directory not in self.folders:
            raise NotFoundError(f"{directory} does not exist")
        return sorted(names)

    async def fetch(self, directory: str, names: Sequence[str], into: Path) -> None:
        """Writes those files that were put."""
        check_names(names)
        await anyio.lowlevel.checkpoint()
        for name in names:
            if (content := self.files.get(str(PurePosixPath(directory, name)))) is not None:
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                (into / name).write_bytes(content)

    @property
    def way(self) -> Way:
        """Always up."""
        return Way()

    async def close(self) -> None:
        """Nothing is held."""


def _below(path: str, directory: str) -> bool:
    return PurePosixPath(directory) in PurePosixPath(path).parents
