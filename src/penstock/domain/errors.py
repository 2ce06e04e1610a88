"""Errors, by who must act on them. Every message says what happened, where, and what to do next."""

from __future__ import annotations


class PenstockError(Exception):
    """Base of every error Penstock raises on purpose; `code` is the stable name sent over the wire."""

    code = "error"


class SpecError(PenstockError):
    """The user's file or request is wrong: `file`, `line` and `key` say where, when known."""

    code = "spec"

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.key = key
        super().__init__(self.located())

    def located(self) -> str:
        """The message with the place in front of it, as compilers print it."""
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        key = f"{self.key}: " if self.key else ""
        return f"{place}: {key}{self.message}" if place else f"{key}{self.message}"


class NotFoundError(PenstockError):
    """What was named does not exist (a workflow, a job, a cluster)."""

    code = "not_found"


class ConflictError(PenstockError):
    """The request does not fit the present state (a duplicate id, a finished workflow)."""

    code = "conflict"


class BusyError(PenstockError):
    """The daemon cannot take the request now; the same request may be sent again later."""

    code = "busy"


class ClusterError(PenstockError):
    """A cluster did not do what it was asked; `transient` says whether trying again can help."""

    code = "cluster"

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class OutputError(PenstockError):
    """An output file could not be read as what it should be."""

    code = "output"

    def __init__(self, message: str, *, file: str, line: int | None = None) -> None:
        self.file = file
        self.line = line
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {message}")


class StoreError(PenstockError):
    """A database could not be read or written; `healable` says whether waiting can help (full disk, lock)."""

    code = "store"

    def __init__(self, message: str, *, healable: bool) -> None:
        super().__init__(message)
        self.healable = healable


class ProtocolError(PenstockError):
    """The peer broke the control protocol."""

    code = "protocol"


class VersionError(ProtocolError):
    """Client and daemon share no version of the control protocol; the message says which one is older."""

    code = "version"


class ForbiddenError(PenstockError):
    """The daemon does not serve this user."""

    code = "forbidden"


class InternalError(PenstockError):
    """The daemon met an error nobody foresaw; its log has the details."""

    code = "internal"


class UnreachableError(PenstockError):
    """No daemon answers on the control socket."""

    code = "unreachable"
