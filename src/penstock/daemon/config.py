"""The daemon's configuration file: TOML, strict, every error with file, line and key."""

from __future__ import annotations

import grp
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from penstock.domain import settings
from penstock.domain.errors import SpecError
from penstock.domain.resources import parse_memory_mb
from penstock.domain.spec import locate_key, parse_toml, readable_error, unknown_key

_MEMORY_SHARE: Final = 0.8
_PORT_MAX: Final = 65535


ClusterKind = Literal["local"]


class DaemonTable(msgspec.Struct, frozen=True):
    """`[daemon]`."""

    state_dir: str = ""
    socket: str = ""
    group: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"
    metrics: str = ""
    workers: int = 2
    drain_s: float = 10.0


class ClusterTable(msgspec.Struct, frozen=True):
    """`[clusters.NAME]`."""

    kind: ClusterKind = "local"
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


class Config(msgspec.Struct, frozen=True):
    """The whole file."""

    daemon: DaemonTable = DaemonTable()
    clusters: dict[str, ClusterTable] = {}
    workflow: dict[str, Any] = {}
    file: str = settings.BUILT_IN

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

    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port for Prometheus, None for nowhere."""
        if not self.daemon.metrics:
            return None
        host, _, port = self.daemon.metrics.rpartition(":")
        if not host or not port.isdigit() or int(port) > _PORT_MAX:
            message = f"{self.daemon.metrics!r} is not an address; write it like '127.0.0.1:9464'"
            raise SpecError(message, file=self.file, key="daemon.metrics")
        return host.strip("[]"), int(port)

    def layers(self) -> list[settings.Layer]:
        """The layers of settings below everything a client sends."""
        return [settings.built_in_layer(), settings.Layer(self.file, self.workflow)]


def find_config(environ: Mapping[str, str]) -> Path | None:
    """PENSTOCK_CONFIG, else ~/.config/penstock/config.toml where that exists."""
    if given := environ.get("PENSTOCK_CONFIG"):
        return Path(given).expanduser()
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".config")
    path = Path(base) / "penstock" / "config.toml"
    return path if path.is_file() else None


def load_config(path: Path | None) -> Config:
    """The checked configuration; None gives the defaults. Raises SpecError."""
    if path is None:
        return _with_local(Config())
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 text (byte {error.start})", file=str(path)) from error
    return parse_config(text, str(path))


def parse_config(text: str, file: str) -> Config:
    """The checked configuration of `text`."""
    tables = parse_toml(text, file)
    try:
        _refuse_unknown(tables)
        config = msgspec.convert(tables | {"file": file}, Config)
        _check(config)
        settings.check_layer(settings.Layer(file, config.workflow))
    except msgspec.ValidationError as error:
        message, key = readable_error(str(error))
        if key.startswith("clusters[...]"):
            key = key.replace("[...]", f".{_wrong_cluster(tables['clusters'])}")
            if key.endswith(".kind"):
                message += f"; the kinds of cluster in this release: {', '.join(get_args(ClusterKind))}"
        raise SpecError(message, file=file, line=locate_key(text, key), key=key or None) from error
    except SpecError as error:
        key = error.key or ""
        line = error.line or locate_key(text, key) or locate_key(text, f"workflow.{key}")
        raise SpecError(error.message, file=file, line=line, key=key or None) from error
    return _with_local(config)


def _wrong_cluster(clusters: dict[str, Any]) -> str:
    """The cluster that msgspec does not name: the first whose table cannot be converted."""
    for name, table in clusters.items():
        try:
            msgspec.convert(table, ClusterTable)
        except msgspec.ValidationError:
            return name
    raise AssertionError(clusters)


def _refuse_unknown(tables: dict[str, Any]) -> None:
    top = ["daemon", "clusters", "workflow"]
    for given in tables:
        if given not in top:
            raise unknown_key(given, top)
    checked: list[tuple[str, Any, type[msgspec.Struct]]] = [("daemon", tables.get("daemon", {}), DaemonTable)]
    clusters = tables.get("clusters", {})
    if isinstance(clusters, dict):
        checked += [(f"clusters.{name}", table, ClusterTable) for name, table in clusters.items()]
    for where, table, struct in checked:
        for given in table if isinstance(table, dict) else ():
            if given not in struct.__struct_fields__:
                raise unknown_key(given, list(struct.__struct_fields__), where)


def _check(config: Config) -> None:
    if not 1 <= config.daemon.workers <= 256:
        raise SpecError(f"must be between 1 and 256, not {config.daemon.workers}", key="daemon.workers")
    if config.daemon.drain_s < 0:
        raise SpecError("cannot be negative", key="daemon.drain_s")
    config.metrics_address()
    for name, cluster in config.clusters.items():
        if cluster.cores < 0:
            raise SpecError(f"must be at least 1, or 0 for all, not {cluster.cores}", key=f"clusters.{name}.cores")
        if not 0 <= cluster.nice <= 19:
            raise SpecError(f"must be between 0 and 19, not {cluster.nice}", key=f"clusters.{name}.nice")
        if cluster.memory:
            parse_memory_mb(cluster.memory, f"clusters.{name}.memory")


def _with_local(config: Config) -> Config:
    """There is always a local cluster: it needs nothing."""
    if "local" in config.clusters:
        return config
    return msgspec.structs.replace(config, clusters={"local": ClusterTable()} | config.clusters)
