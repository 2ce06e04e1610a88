"""`[clusters.NAME]`: one table type for each kind of cluster, checked by value."""

from __future__ import annotations

import os
import re
import shlex
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.resources import parse_duration_s, parse_memory_mb
from penstock.domain.scheduling import SchedulerOptions, check_options
from penstock.domain.spec import readable_error, unknown_key

LOCAL: Final = "local"
_MEMORY_SHARE: Final = 0.8
_PORT_MAX: Final = 65535
_SESSIONS_MAX: Final = 100
_PER_MIN_MAX: Final = 6000.0
_SPOOL: Final = ".penstock/spool"
_OF_SSH: Final = ("user", "port", "identity", "known_hosts", "ssh_config", "proxy_jump", "proxy_command")
_LASTING: Final = ("host", *_OF_SSH, "sessions", "spool", "work_dir")
"""What cannot change while the daemon runs: connections and what is already on its way depend on it."""
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]+")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*")


class _Table(msgspec.Struct, frozen=True, tag_field="kind"):
    @property
    def kind(self) -> str:
        """What the file calls this kind of cluster."""
        return str(self.__struct_config__.tag)


class LocalTable(_Table, frozen=True, tag=LOCAL):
    """The machine that the daemon runs on."""

    cores: int = 0
    memory: str = ""
    nice: int = 5

    def cores_or_all(self) -> int:
        """How many cores attempts may use together."""
        return self.cores or len(os.sched_getaffinity(0))

    def memory_mb_or_share(self) -> int:
        """How much memory attempts may use together, in megabytes."""
        if self.memory:
            return parse_memory_mb(self.memory, "memory")
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return int(total * _MEMORY_SHARE / 1e6)

    def check(self) -> None:
        """SpecError for a value that cannot be."""
        if self.cores < 0:
            raise SpecError(f"must be at least 1, or 0 for all, not {self.cores}", key="cores")
        if not 0 <= self.nice <= 19:
            raise SpecError(f"must be between 0 and 19, not {self.nice}", key="nice")
        if self.memory:
            parse_memory_mb(self.memory, "memory")


class QueueTable(_Table, frozen=True):
    """A cluster with a scheduler, on this host or over SSH. Empty text means what the manual says is the default."""

    host: str = ""
    user: str = ""
    port: int = 0
    identity: str | tuple[str, ...] = ""
    known_hosts: str = ""
    ssh_config: str = ""
    proxy_jump: str = ""
    proxy_command: str = ""
    sessions: int = 8
    spool: str = ""
    work_dir: str = ""
    python: str = ""
    account: str = ""
    constraint: str = ""
    launcher: str | tuple[str, ...] = ""
    setup: str = ""
    directives: tuple[str, ...] = ()
    width_max: int = 0
    jobs_max: int = 0
    queries_idle_per_min: float = 2.0
    queries_active_per_min: float = 12.0
    submits_per_min: float = 150.0
    listing: str = "0.5s"
    lag: str = "60s"
    grace: str = "180s"
    question_after: str = "15min"
    command_timeout: str = "60s"

    def ssh(self) -> dict[str, Any] | None:
        """How to get to the host, as the fields of an `SshTarget`; None where it is the daemon's own."""
        if not self.host:
            return None
        plain = ("user", "port", "known_hosts", "ssh_config", "proxy_jump", "proxy_command")
        given = {key: value for key in plain if (value := getattr(self, key))}
        return given | {"host": self.host, "identity_files": _listed(self.identity), "sessions": self.sessions}

    def spool_path(self) -> str:
        """The spool on the cluster: absolute, or relative to the account's home there."""
        return _from_home(self.spool) or _SPOOL

    def work_path(self) -> str | None:
        """Where attempts run on the cluster, absolute or relative to the home there.

        None: in the workflow's own directory, which the cluster shares with the daemon's host.
        """
        return _from_home(self.work_dir) or None

    @property
    def listing_s(self) -> float:
        """How often the spool is listed while something runs."""
        return parse_duration_s(self.listing, "listing")

    @property
    def lag_s(self) -> float:
        """How long what a compute node wrote may take to be seen here."""
        return parse_duration_s(self.lag, "lag")

    @property
    def grace_s(self) -> float:
        """How long a doubt is looked into before an empty answer is believed."""
        return parse_duration_s(self.grace, "grace")

    @property
    def question_after_s(self) -> float:
        """How long a doubt lasts before a person is asked."""
        return parse_duration_s(self.question_after, "question_after")

    @property
    def command_timeout_s(self) -> float:
        """How long a command of the scheduler may take."""
        return parse_duration_s(self.command_timeout, "command_timeout")

    def options(self) -> SchedulerOptions:
        """What submissions ask of the scheduler where their spec does not say otherwise."""
        return SchedulerOptions(
            account=self.account,
            constraint=self.constraint,
            launcher=_listed(self.launcher, split=True),
            setup=self.setup,
            directives=self.directives,
        )

    def check(self) -> None:
        """SpecError for a value that cannot be."""
        self._check_way()
        _check_path("spool", self.spool)
        _check_path("work_dir", self.work_dir)
        _check_printable("python", self.python)
        if "/" in self.python and not self.python.startswith("/"):
            message = f"{self.python!r} is neither an absolute path nor a name; write it like '/home/me/env/bin/python'"
            raise SpecError(message, key="python")
        self._check_limits()
        self._check_durations()

    def _check_way(self) -> None:
        for key in ("identity", "known_hosts", "ssh_config", "proxy_jump", "proxy_command"):
            for value in _listed(getattr(self, key)):
                _check_printable(key, value)
        if self.host and not _HOST.fullmatch(self.host):
            message = f"{self.host!r} is no host; write its name or alias, and user and port as keys of their own"
            raise SpecError(message, key="host")
        if self.user and not _USER.fullmatch(self.user):
            raise SpecError(f"{self.user!r} is no account", key="user")
        if not 0 <= self.port <= _PORT_MAX:
            raise SpecError(
                f"must be between 1 and {_PORT_MAX}, or 0 for SSH's own choice, not {self.port}", key="port"
            )
        if not 1 <= self.sessions <= _SESSIONS_MAX:
            raise SpecError(f"must be between 1 and {_SESSIONS_MAX}, not {self.sessions}", key="sessions")
        if self.proxy_jump and self.proxy_command:
            raise SpecError("there is a proxy_jump already; give one of the two", key="proxy_command")
        if not self.host:
            for key in _OF_SSH:
                if getattr(self, key):
                    raise SpecError("means nothing without host; add the host, or remove this", key=key)

    def _check_limits(self) -> None:
        for key in ("width_max", "jobs_max"):
            if getattr(self, key) < 0:
                raise SpecError(f"must be at least 1, or 0 for the site's own, not {getattr(self, key)}", key=key)
        for key in ("queries_idle_per_min", "queries_active_per_min", "submits_per_min"):
            if not 0 < getattr(self, key) <= _PER_MIN_MAX:
                message = f"must be more than 0 and at most {_PER_MIN_MAX:g}, not {getattr(self, key):g}"
                raise SpecError(message, key=key)
        if self.queries_idle_per_min > self.queries_active_per_min:
            message = f"is more than queries_active_per_min ({self.queries_active_per_min:g}); lower it"
            raise SpecError(message, key="queries_idle_per_min")

    def _check_durations(self) -> None:
        for key, least_s in (
            ("listing", 0.05),
            ("lag", 0.0),
            ("grace", 0.0),
            ("question_after", 0.0),
            ("command_timeout", 1.0),
        ):
            if parse_duration_s(getattr(self, key), key) < least_s:
                raise SpecError(f"{getattr(self, key)!r} is shorter than {least_s:g} s", key=key)
        if self.question_after_s < self.grace_s:
            message = f"is shorter than grace ({self.grace}); a person is asked when evidence has not settled it"
            raise SpecError(message, key="question_after")


class SlurmTable(QueueTable, frozen=True, tag="slurm"):
    """A cluster with Slurm."""

    partition: str = ""
    qos: str = ""
    licenses: str = ""
    reservation: str = ""

    def options(self) -> SchedulerOptions:
        """See `QueueTable.options`."""
        return msgspec.structs.replace(
            super().options(),
            partition=self.partition,
            qos=self.qos,
            licenses=self.licenses,
            reservation=self.reservation,
        )


class FluxTable(QueueTable, frozen=True, tag="flux"):
    """A cluster with Flux."""

    queue: str = ""

    def options(self) -> SchedulerOptions:
        """See `QueueTable.options`. Flux's queue is what Slurm calls a partition."""
        return msgspec.structs.replace(super().options(), partition=self.queue)


ClusterTable = LocalTable | SlurmTable | FluxTable
KINDS: Final[dict[str, type[ClusterTable]]] = {LOCAL: LocalTable, "slurm": SlurmTable, "flux": FluxTable}


def read_clusters(tables: dict[str, Any]) -> dict[str, ClusterTable]:
    """The checked tables by name; SpecError carries the dotted key from `clusters` on."""
    clusters: dict[str, ClusterTable] = {}
    for name, table in tables.items():
        try:
            clusters[name] = _read_cluster(table)
        except SpecError as error:
            key = f"clusters.{name}.{error.key}" if error.key else f"clusters.{name}"
            raise SpecError(error.message, key=key) from error
    return clusters


def _read_cluster(table: Any) -> ClusterTable:
    if not isinstance(table, dict):
        raise SpecError("must be a table of its own")
    kind = table.get("kind", LOCAL)
    if not isinstance(kind, str) or kind not in KINDS:
        raise SpecError(f"there is no kind of cluster {kind!r}; the kinds: {', '.join(KINDS)}", key="kind")
    known = ["kind", *KINDS[kind].__struct_fields__]
    for given in table:
        if given not in known:
            wrong = unknown_key(given, known)
            raise SpecError(wrong.message.replace(f"{given!r}", f"{given!r} of a {kind} cluster", 1), key=given)
    try:
        read = msgspec.convert(table | {"kind": kind}, KINDS[kind])
    except msgspec.ValidationError as error:
        message, key = readable_error(str(error))
        raise SpecError(message, key=key.split("[")[0] or None) from error
    read.check()
    if isinstance(read, QueueTable):
        _check_options(read)
    return read


def _check_options(table: QueueTable) -> None:
    try:
        check_options(table.options(), "options")
    except SpecError as error:
        key = (error.key or "").removeprefix("options.")
        word = "queue" if key == "partition" and table.kind == "flux" else key
        raise SpecError(error.message.replace("scheduler.", ""), key=word) from error


def keep_lasting(before: ClusterTable, after: ClusterTable) -> tuple[ClusterTable, list[str]]:
    """`after` with what a running cluster cannot change as it was, and the changed keys that this holds for."""
    if before.kind != after.kind:
        return before, ["kind"]
    changed = [key for key in _LASTING if getattr(before, key, None) != getattr(after, key, None)]
    return msgspec.structs.replace(after, **{key: getattr(before, key) for key in changed}), changed


def _listed(value: str | tuple[str, ...], *, split: bool = False) -> tuple[str, ...]:
    """One text or several as several; with `split` one text is a command line."""
    if not isinstance(value, str):
        return value
    if not split:
        return (value,) if value else ()
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise SpecError(f"{value!r} is no command line: {str(error).lower()}", key="launcher") from error


def _from_home(path: str) -> str:
    """A path without what says that it begins at the home."""
    return path.removeprefix("~/").rstrip("/")


def _check_printable(key: str, value: str) -> None:
    if _UNPRINTABLE.search(value):
        raise SpecError(f"{value!r} holds a character that cannot be printed", key=key)


def _check_path(key: str, path: str) -> None:
    """A path on the cluster: absolute or below the home, and nothing that a shell would have to expand."""
    _check_printable(key, path)
    plain = path.removeprefix("~/")
    if ".." in plain.split("/") or plain.startswith("~") or "$" in plain or (path and not plain.strip("/")):
        message = f"{path!r} is no plain path; write it absolute, or as '~/...' for the home on the cluster"
        raise SpecError(message, key=key)
