"""When workflows that have ended are archived and removed by themselves: a decision over values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.life_cycle import check_place
from penstock.domain.resources import parse_duration_s

ARCHIVE: Final = "archive"
DELETE: Final = "delete"
KEEP_MAX: Final = 1_000_000


class RetentionTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[retention]`: how long after its end a workflow is archived, and removed here. Empty: never.

    The newest `keep_last` that have ended in the same work directory are spared. `destination` is a directory or URL;
    without one, `archives` in the work directory.
    """

    archive_after: str = ""
    delete_after: str = ""
    keep_last: int = 0
    destination: str = ""

    @property
    def is_set(self) -> bool:
        """Whether anything is ever to be done."""
        return bool(self.archive_after or self.delete_after)


class Ended(msgspec.Struct, frozen=True):
    """A workflow that has ended, and whether an archive of it as it is now is known."""

    id: str
    work_root: str
    ended_at: float
    policy: RetentionTable
    is_archived: bool


class Due(msgspec.Struct, frozen=True):
    """What is to be done to a workflow, and when; not while it is `spared` as one of the newest."""

    id: str
    action: str
    at: float
    spared: bool
    policy: RetentionTable


def check_retention(table: RetentionTable) -> None:
    """SpecError names the key that cannot be used."""
    archive_s = age_s(table.archive_after, "retention.archive_after")
    delete_s = age_s(table.delete_after, "retention.delete_after")
    if archive_s is not None and delete_s is not None and delete_s < archive_s:
        message = f"{table.delete_after!r} is before archive_after ({table.archive_after!r})"
        raise SpecError(message, key="retention.delete_after")
    if not 0 <= table.keep_last <= KEEP_MAX:
        raise SpecError(f"must be between 0 and {KEEP_MAX}, not {table.keep_last}", key="retention.keep_last")
    if table.destination:
        check_place(table.destination, "retention.destination")


def age_s(text: str, key: str) -> float | None:
    """Seconds from text such as `30d`; None where it is empty."""
    return parse_duration_s(text, key) if text else None


def decide(ended: Iterable[Ended]) -> list[Due]:
    """What is to be done, soonest first. What is to be archived is never removed before it is."""
    newest = sorted(ended, key=lambda workflow: (-workflow.ended_at, workflow.id))
    seen: dict[str, int] = {}
    due: list[Due] = []
    for workflow in newest:
        rank = seen[workflow.work_root] = seen.get(workflow.work_root, 0) + 1
        due += _of(workflow, spared=rank <= workflow.policy.keep_last)
    return sorted(due, key=lambda one: (one.at, one.id, one.action))


def _of(workflow: Ended, *, spared: bool) -> Sequence[Due]:
    policy = workflow.policy
    found = []
    archive_s = age_s(policy.archive_after, "retention.archive_after")
    delete_s = age_s(policy.delete_after, "retention.delete_after")
    if archive_s is not None and not workflow.is_archived:
        found.append(Due(workflow.id, ARCHIVE, workflow.ended_at + archive_s, spared, policy))
    if delete_s is not None:
        found.append(Due(workflow.id, DELETE, workflow.ended_at + delete_s, spared, policy))
    return found
