"""A workflow's context for library users, without a daemon: materials, calculations, results, export."""

from penstock.context.current import current_context
from penstock.context.listing import ContextInfo, list_contexts
from penstock.context.merging import merge
from penstock.context.opened import OpenContext, open_context

__all__ = ["ContextInfo", "OpenContext", "current_context", "list_contexts", "merge", "open_context"]
