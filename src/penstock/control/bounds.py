"""The largest numbers that a request may hold: those that a database can hold, too."""

from __future__ import annotations

from typing import Any, Final

from penstock.control.messages import Request
from penstock.domain.errors import SpecError
from penstock.domain.views import Selection

LARGEST: Final = 2**63 - 1


def check_numbers(request: Request[Any]) -> None:
    """SpecError for a whole number above LARGEST; msgpack carries some of those, SQLite takes none."""
    for name in request.__struct_fields__:
        value = getattr(request, name)
        if isinstance(value, Selection):
            value = max(value.jobs, default=0)
        if isinstance(value, int) and value > LARGEST:
            raise SpecError(f"{value} is too large; the largest whole number is {LARGEST}", key=name)
