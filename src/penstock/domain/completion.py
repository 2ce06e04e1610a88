"""What is done when a workflow has ended (`[[on_complete]]`): the actions, their states, and which comes next."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Literal

import msgspec

from penstock.domain.errors import SpecError


class CompletionState(StrEnum):
    """Where an action of one end of a workflow stands."""

    PENDING = "pending"
    BEGUN = "begun"  # committed before it acts: found after a crash, it is done once more
    DONE = "done"
    FAILED = "failed"
    HELD = "held"  # it takes results away, and one before it has failed
    DROPPED = "dropped"  # the workflow went on before it had its turn


class CompletionAction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`[[on_complete]]` as a person writes it. Which keys an action takes is in `OPTIONS`."""

    action: str
    when: Literal["completed", "ended"] = "completed"
    format: str = "csv"  # export
    path: str | None = None  # export: relative to the work root
    overwrite: bool = False  # export: of a file at `path` that is somebody else's
    into: str | None = None  # merge: a work directory or database; relative to the work root
    on_conflict: Literal["keep", "replace", "both"] | None = None  # merge: what becomes of results that differ
    destination: str = ""  # archive: a path relative to the work root, or a URL
    delete: bool = False  # archive: the workflow itself goes, once its archive is verified
    failed: bool = False  # clean: also attempts of jobs that ended badly
    exports: bool = False  # clean: also what was exported into the workflow's own directory

    def is_due(self, *, failed: bool) -> bool:
        """Whether it is done at an end that was a failure or none."""
        return not failed or self.when == "ended"

    @property
    def takes_away(self) -> bool:
        """Whether results are not where they were once it is done."""
        return self.action == "clean" or self.delete

    @property
    def words(self) -> str:
        """The action in a few words."""
        words = [self.action, self.format if self.action == "export" else ""]
        words += [f"{word} {place}" for word, place in (("to", self.path), ("into", self.into)) if place]
        words += [f"to {self.destination}" if self.destination else "", "and delete" if self.delete else ""]
        return " ".join(filter(None, words))


OPTIONS: Final[dict[str, frozenset[str]]] = {
    "export": frozenset({"format", "path", "overwrite"}),
    "merge": frozenset({"into", "on_conflict"}),
    "archive": frozenset({"destination", "delete"}),
    "clean": frozenset({"failed", "exports"}),
}
"""By action, its own keys beside `action` and `when`."""


class Completion(msgspec.Struct, frozen=True):
    """An action of end number `run` of a workflow (from 1), in the place `position` (from 1) of its list."""

    run: int
    position: int
    action: CompletionAction
    state: CompletionState
    result: str | None  # what it came to, or why it failed
    at: float


def check_actions(actions: Sequence[CompletionAction]) -> None:
    """SpecError, with its key, for what cannot be an action."""
    for number, action in enumerate(actions):
        where = f"on_complete[{number}]"
        if action.action not in OPTIONS:
            message = f"there is no action {action.action!r}; use {', '.join(OPTIONS)}"
            raise SpecError(message, key=f"{where}.action")
        if action.action == "archive" and not action.destination:
            raise SpecError("an archive needs a destination, a path or a URL", key=f"{where}.destination")
        if action.delete and number < len(actions) - 1:
            message = "nothing can be done with a workflow that is deleted; make this action the last"
            raise SpecError(message, key=f"{where}.delete")
        usual = CompletionAction(action.action, action.when)
        for name in CompletionAction.__struct_fields__:
            is_own = name in {"action", "when"} or name in OPTIONS[action.action]
            if not is_own and getattr(action, name) != getattr(usual, name):
                raise SpecError(f"is no option of {action.action}", key=f"{where}.{name}")


def decide_next(completions: Sequence[Completion]) -> Completion | None:
    """The action whose turn it is; None when all are through. One that must be held back is for the caller to hold."""
    waiting = (CompletionState.BEGUN, CompletionState.PENDING)
    return next((completion for completion in completions if completion.state in waiting), None)


def must_hold(completion: Completion, completions: Sequence[Completion]) -> bool:
    """Whether nothing may be taken away yet, because an action before it has not done its part."""
    before = (other for other in completions if other.position < completion.position)
    return completion.action.takes_away and any(other.state is not CompletionState.DONE for other in before)
