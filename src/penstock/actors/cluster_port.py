"""What workflows say to a cluster.

Every kind of cluster, the simulated one included, is an actor that understands these.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.actors.mailbox import Ref
from penstock.domain.states import Resolution
from penstock.domain.submission import Submission


class Attach(msgspec.Struct, frozen=True):
    """`owner` wants to hear of its workflow's submissions.

    `open` are those whose end it has not recorded, with the number of attempts of each. Whatever else the cluster keeps
    of the workflow may go. Sent at start and after the cluster's own restart; the cluster answers by `Observed` posts,
    and settles what it cannot find by a tombstone.
    """

    workflow_id: str
    owner: Ref[Any]
    open: tuple[Submission, ...]
    acknowledged: frozenset[str] = frozenset()  # ulids of those of which a cluster has said anything before


class Detach(msgspec.Struct, frozen=True):
    """The workflow has ended; nothing is open."""

    workflow_id: str


class Submit(msgspec.Struct, frozen=True):
    """Run this. The intent is committed."""

    submission: Submission
    manifest: bytes


class Cancel(msgspec.Struct, frozen=True):
    """End these attempts: position → absolute directory."""

    ulid: str
    attempts: dict[int, str]


class Resolve(msgspec.Struct, frozen=True):
    """A person says what became of attempts in doubt; the cluster makes sure of it and answers by `Observed`."""

    ulid: str
    positions: dict[int, Resolution]


class Forget(msgspec.Struct, frozen=True):
    """All ends of the submission are recorded; its traces may go."""

    ulid: str


class ClusterRestarted(msgspec.Struct, frozen=True):
    """From a cluster to every attached workflow: it has lost its memory; attach again."""

    name: str


ClusterMessage = Attach | Detach | Submit | Cancel | Resolve | Forget
