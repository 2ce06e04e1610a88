"""Penstock runs simulation workflows on clusters without losing or doubling a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.context import OpenContext, current_context, list_contexts, merge, open_context

__version__ = "0.1.0"
__all__ = ["OpenContext", "__version__", "current_context", "list_contexts", "merge", "open_context"]


def __getattr__(name: str) -> object:
    """What library users need is loaded when it is asked for: the package itself stays light."""
    if name in __all__:
        from penstock import context

        return getattr(context, name)
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")
