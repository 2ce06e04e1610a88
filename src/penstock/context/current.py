"""Which contexts are open: in this task or thread, the innermost last; and in the whole process."""

from __future__ import annotations

import threading
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from penstock.domain.errors import ConflictError

if TYPE_CHECKING:
    from penstock.context.opened import OpenContext

_STACK: Final[ContextVar[tuple[OpenContext, ...]]] = ContextVar("penstock_contexts", default=())
"""A task begins with what was open where it was made; a thread begins with none, unless it runs in a copy."""
_lock: Final = threading.Lock()
_entered: Final[Counter[OpenContext]] = Counter()


def current_context() -> OpenContext | None:
    """The innermost context that this task or thread is in."""
    stack = _STACK.get()
    return stack[-1] if stack else None


def enter(context: OpenContext) -> None:
    """Makes it the innermost one."""
    with _lock:
        _entered[context] += 1
    _STACK.set((*_STACK.get(), context))


def leave(context: OpenContext) -> None:
    """Restores the one around it. ConflictError when it is not the innermost one here; it is left all the same."""
    with _lock:
        _entered.subtract([context])
        if _entered[context] <= 0:
            del _entered[context]
    stack = _STACK.get()
    if stack and stack[-1] is context:
        _STACK.set(stack[:-1])
        return
    if context not in stack:
        raise ConflictError(
            f"context {context.id} is left in another task or thread than it was entered in; "
            "leave it where it was entered, best by a with statement"
        )
    last = len(stack) - 1 - stack[::-1].index(context)
    _STACK.set(stack[:last] + stack[last + 1 :])
    raise ConflictError(
        f"context {context.id} is left before {stack[-1].id}, which was entered inside it; "
        "leave the innermost first, best by with statements"
    )


def is_entered(context: OpenContext) -> bool:
    """Whether anybody in this process is in it."""
    return _entered[context] > 0


def entered_contexts() -> list[OpenContext]:
    """All that are open in this process, whoever opened them."""
    with _lock:
        return list(_entered)
