"""What every message is, and what every request names: its reply."""

from __future__ import annotations

from typing import ClassVar, Final, Generic, TypeVar

import msgspec

PROTOCOL: Final = 1
"""The protocol this program speaks. `Hello` gives the range a client can speak; the daemon picks or refuses."""
MAX_FRAME: Final = 16 * 1024 * 1024
"""Bytes of the largest payload; a longer one ends the connection."""
MAX_CALLS: Final = 64
"""Calls that one connection may have in flight; a further one is answered `busy`."""
R_co = TypeVar("R_co", covariant=True)


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=False, omit_defaults=True, tag_field="type", tag=True):
    """Base of everything on the wire; a newer peer's extra fields are ignored."""


class Done(Message, frozen=True):
    """The end of a stream, or a request done that has nothing to say."""

    id: int = 0


class Request(Message, Generic[R_co], frozen=True):
    """Base of all requests; R_co is the type of the reply."""

    reply: ClassVar[type[Message]] = Done
