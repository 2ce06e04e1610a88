"""About the daemon itself: whether it is there, its settings, clusters and locks."""

from __future__ import annotations

from typing import Any

from penstock.control.messages.base import Done, Message, Request
from penstock.domain.settings import Layer
from penstock.domain.views import ClusterInfo, ClusterReport, LockInfo


class SettingInfo(Message, frozen=True):
    """One setting's effective value and the layer that set it."""

    key: str
    value: Any
    origin: str


class Pong(Message, frozen=True):
    """The daemon is there. `config`: the file of its configuration ("built-in": none), read at `config_read_at`."""

    pid: int
    version: str
    uptime_s: float
    config: str = ""  # empty: an older daemon
    config_read_at: float | None = None


class LockList(Message, frozen=True):
    """Locks and shared resources."""

    locks: tuple[LockInfo, ...]


class LockReleased(Message, frozen=True):
    """How much was taken from a holder of a lock."""

    name: str
    holder: str
    count: int


class Clusters(Message, frozen=True):
    """All clusters."""

    clusters: tuple[ClusterInfo, ...]


class ClusterReported(Message, frozen=True):
    """What a site's administrators would ask about our use of their scheduler."""

    report: ClusterReport


class Settings(Message, frozen=True):
    """Every setting, its value and its origin."""

    settings: tuple[SettingInfo, ...]


class Ping(Request[Pong], frozen=True):
    """Is the daemon there?"""

    reply = Pong


class ListClusters(Request[Clusters], frozen=True):
    """All clusters."""

    reply = Clusters


class ReportCluster(Request[ClusterReported], frozen=True):
    """Calls, latencies, limits and jobs of one cluster with a scheduler."""

    name: str
    reply = ClusterReported


class CheckCluster(Request[Done], frozen=True):
    """Stream `Finding`s: what works on a cluster from connecting to a first job, and how to mend what does not."""

    name: str


class ReadLog(Request[Done], frozen=True):
    """Stream the newest `lines` `LogLine`s of the daemon's log that fit, as far as it still has them.

    They fit that are of this workflow, job (of that workflow) and cluster, of this level or above, and not older than
    `since` (seconds since the epoch). With `after`, all that came after the line of that number instead. With
    `follow`, those that come, too, until the client leaves. A workflow or cluster that is neither there nor in the log
    is refused.
    """

    id: str | None = None
    lines: int = 100
    follow: bool = False
    level: str = "debug"
    job: int | None = None
    cluster: str | None = None
    since: float | None = None
    after: int | None = None


class GetSettings(Request[Settings], frozen=True):
    """Every setting that a submission with these layers would use, and where it came from."""

    layers: tuple[Layer, ...] = ()
    reply = Settings


class ListLocks(Request[LockList], frozen=True):
    """The shared resources and all locks; with `id`, those that this workflow needs or could hold."""

    id: str | None = None
    reply = LockList


class ReleaseLock(Request[LockReleased], frozen=True):
    """Take a lock from a holder that does not give it back.

    `id` names a workflow in whose namespace the lock is; without it, it is a shared resource. What a submission holds
    whose attempts may still run is left alone without `force`.
    """

    name: str
    holder: str
    id: str | None = None
    force: bool = False
    reply = LockReleased


DaemonRequest = Ping | ListClusters | ReportCluster | CheckCluster | ReadLog | GetSettings | ListLocks | ReleaseLock


DaemonReply = Pong | Clusters | ClusterReported | Settings | LockList | LockReleased
