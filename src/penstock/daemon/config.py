"""The daemon's configuration file: TOML, strict, every error with file, line and key."""

from __future__ import annotations

import grp
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from penstock.daemon.cluster_tables import ClusterTable, LocalTable, keep_lasting, read_clusters
from penstock.daemon.metrics.address import MetricsAddress, Token, check_privacy, parse_address, read_token
from penstock.domain import settings
from penstock.domain.errors import SpecError
from penstock.domain.locks import COUNT_MAX, check_lock_name
from penstock.domain.spec import locate_key, parse_toml, readable_error, unknown_key

_LOG_KEEP_MAX: Final = 1_000_000
_METRICS_WORKFLOWS_MAX: Final = 10_000
_RELOADED: Final = frozenset(
    {"log_level", "log_format", "log_keep", "metrics_token_file", "metrics_workflows", "drain_s"}
)
"""Keys of `[daemon]` that a reload takes over."""


class DaemonTable(msgspec.Struct, frozen=True):
    """`[daemon]`."""

    state_dir: str = ""
    socket: str = ""
    group: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"
    log_keep: int = 10_000
    metrics: str = ""
    metrics_token_file: str = ""
    metrics_workflows: int = 200
    workers: int = 2
    drain_s: float = 10.0
    network_databases: Literal["local", "in_place"] = "local"
    network_file_systems: tuple[str, ...] = ()  # none: the usual ones
    force_network_state: bool = False


class ResourceLimit(msgspec.Struct, frozen=True):
    """`[resources.NAME]`: something that all workflows of the daemon share, and how much of it there is."""

    count: int
    description: str = ""


class Config(msgspec.Struct, frozen=True):
    """The whole file."""

    daemon: DaemonTable = DaemonTable()
    clusters: dict[str, ClusterTable] = {}
    workflow: dict[str, Any] = {}
    resources: dict[str, ResourceLimit] = {}
    file: str = settings.BUILT_IN
    read_at: float = 0.0  # when the file was read; a later change has not been taken over

    def state_dir(self, environ: Mapping[str, str]) -> Path:
        """The state directory: the environment's before the file's, as for every setting."""
        if self.daemon.state_dir and not environ.get("PENSTOCK_STATE_DIR"):
            return Path(self.daemon.state_dir).expanduser().absolute()
        return settings.state_dir(environ)

    def socket_path(self, environ: Mapping[str, str]) -> Path:
        """The control socket."""
        if environ.get("PENSTOCK_SOCKET"):
            return settings.socket_path(environ)
        if self.daemon.socket:
            return Path(self.daemon.socket).expanduser().absolute()
        return self.state_dir(environ) / "penstockd.sock"

    def group_gid(self) -> int | None:
        """The trusted group, None when there is none; SpecError when the system does not know it."""
        if not self.daemon.group:
            return None
        try:
            return grp.getgrnam(self.daemon.group).gr_gid
        except KeyError:
            raise SpecError(f"there is no group {self.daemon.group!r}", file=self.file, key="daemon.group") from None

    def metrics_address(self) -> MetricsAddress | None:
        """Where Prometheus finds metrics, None for nowhere. SpecError where that cannot be, or all could read them."""
        if not self.daemon.metrics:
            return None
        try:
            address = parse_address(self.daemon.metrics)
            check_privacy(address, has_token=bool(self.daemon.metrics_token_file))
        except SpecError as error:
            raise SpecError(error.message, file=self.file, key="daemon.metrics") from None
        return address

    def metrics_token(self) -> Token | None:
        """What a scrape has to know, None for nothing. Reads the token's file; SpecError where it cannot be used."""
        if not self.daemon.metrics_token_file:
            return None
        try:
            return read_token(Path(self.daemon.metrics_token_file).expanduser().absolute())
        except SpecError as error:
            raise SpecError(error.message, file=self.file, key="daemon.metrics_token_file") from None
        except (RuntimeError, ValueError) as error:  # the home of nobody, a NUL
            message = f"{self.daemon.metrics_token_file!r} is no path: {error}"
            raise SpecError(message, file=self.file, key="daemon.metrics_token_file") from None

    def capacities(self) -> dict[str, int]:
        """How much there is of each shared resource."""
        return {name: limit.count for name, limit in self.resources.items()}

    def layers(self) -> list[settings.Layer]:
        """The layers of settings below everything a client sends."""
        return [settings.built_in_layer(), settings.Layer(self.file, self.workflow)]


class _Tables(msgspec.Struct, frozen=True):
    """What holds a table for each name."""

    clusters: dict[str, Any] = {}
    resources: dict[str, Any] = {}


def load_config(path: Path | None) -> Config:
    """The checked configuration; None gives the defaults. Raises SpecError."""
    read_at = time.time()
    if path is None:
        return msgspec.structs.replace(_with_local(Config()), read_at=read_at)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 text (byte {error.start})", file=str(path)) from error
    return msgspec.structs.replace(parse_config(text, str(path)), read_at=read_at)


def parse_config(text: str, file: str) -> Config:
    """The checked configuration of `text`."""
    tables = parse_toml(text, file)
    try:
        _refuse_unknown(tables)
        named = msgspec.convert({name: tables.pop(name, {}) for name in _Tables.__struct_fields__}, _Tables)
        config = msgspec.convert(tables | {"file": file}, Config)
        config = msgspec.structs.replace(config, clusters=read_clusters(named.clusters))
        config = msgspec.structs.replace(config, resources=_read_resources(named.resources))
        _check(config)
        settings.check_layer(settings.Layer(file, config.workflow))
    except msgspec.ValidationError as error:
        message, key = readable_error(str(error))
        raise SpecError(message + _hint(key), file=file, line=locate_key(text, key), key=key or None) from error
    except SpecError as error:
        key = error.key or ""
        line = error.line or locate_key(text, key) or locate_key(text, f"workflow.{key}")
        raise SpecError(error.message, file=file, line=line, key=key or None) from error
    return _with_local(config)


def _hint(key: str) -> str:
    """What could stand at `key` instead of a value of the wrong type, where that is worth telling."""
    if key == "daemon.metrics":
        return '; write it like "127.0.0.1:9464", "[::1]:9464" or "unix:/path"'
    table, _, name = key.partition(".")
    wanted = get_type_hints(DaemonTable).get(name) if table == "daemon" else None
    return f"; one of {', '.join(get_args(wanted))}" if get_origin(wanted) is Literal else ""


def _refuse_unknown(tables: dict[str, Any]) -> None:
    top = ["daemon", "clusters", "workflow", "resources"]
    for given in tables:
        if given not in top:
            raise unknown_key(given, top)
    table, known = tables.get("daemon", {}), list(DaemonTable.__struct_fields__)
    for given in table if isinstance(table, dict) else ():
        if given not in known:
            raise unknown_key(given, known, "daemon")


def _read_resources(tables: dict[str, Any]) -> dict[str, ResourceLimit]:
    """`[resources.NAME]`, checked. SpecError with the key."""
    known = list(ResourceLimit.__struct_fields__)
    found: dict[str, ResourceLimit] = {}
    for name, table in tables.items():
        where = f"resources.{name}"
        check_lock_name(name, where)
        for given in table if isinstance(table, dict) else ():
            if given not in known:
                raise unknown_key(given, known, where)
        try:
            found[name] = msgspec.convert(table, ResourceLimit)
        except msgspec.ValidationError as error:
            message, key = readable_error(str(error))
            raise SpecError(message, key=f"{where}.{key}" if key else where) from error
        if not 0 <= found[name].count <= COUNT_MAX:
            raise SpecError(f"must be between 0 and {COUNT_MAX}, not {found[name].count}", key=f"{where}.count")
    return found


def _check(config: Config) -> None:
    if not 1 <= config.daemon.workers <= 256:
        raise SpecError(f"must be between 1 and 256, not {config.daemon.workers}", key="daemon.workers")
    if not 0 <= config.daemon.log_keep <= _LOG_KEEP_MAX:
        message = f"must be between 0 and {_LOG_KEEP_MAX}, not {config.daemon.log_keep}"
        raise SpecError(message, key="daemon.log_keep")
    if config.daemon.drain_s < 0:
        raise SpecError("cannot be negative", key="daemon.drain_s")
    if not 0 <= config.daemon.metrics_workflows <= _METRICS_WORKFLOWS_MAX:
        message = f"must be between 0 and {_METRICS_WORKFLOWS_MAX}, not {config.daemon.metrics_workflows}"
        raise SpecError(message, key="daemon.metrics_workflows")
    config.metrics_address()


def _with_local(config: Config) -> Config:
    """There is always a local cluster: it needs nothing."""
    if "local" in config.clusters:
        return config
    return msgspec.structs.replace(config, clusters={"local": LocalTable()} | config.clusters)


def merge_reload(before: Config, after: Config) -> tuple[Config, list[str]]:
    """`after` with what lasts of `before`, and the changed keys that wait for a restart.

    Since they stay as they were, the next reload names them again.
    """
    daemon, waiting = _merge_daemon(before.daemon, after.daemon)
    waiting += [f"clusters.{name}" for name in sorted(before.clusters.keys() ^ after.clusters.keys())]
    clusters: dict[str, ClusterTable] = {}
    for name, table in before.clusters.items():
        clusters[name], lasting = keep_lasting(table, after.clusters.get(name, table))
        waiting += [f"clusters.{name}.{key}" for key in lasting]
    return msgspec.structs.replace(after, daemon=daemon, clusters=clusters), waiting


def _merge_daemon(before: DaemonTable, after: DaemonTable) -> tuple[DaemonTable, list[str]]:
    changed = [name for name in DaemonTable.__struct_fields__ if getattr(before, name) != getattr(after, name)]
    waiting = [name for name in changed if name not in _RELOADED]
    if "metrics" in waiting and "metrics_token_file" in changed:
        # what was checked for one address (who needs no token there) says nothing of the other
        waiting.append("metrics_token_file")
    kept = {name: getattr(before, name) for name in waiting}
    return msgspec.structs.replace(after, **kept), [f"daemon.{name}" for name in waiting]
