"""Settings in layers: what a workflow uses where its spec is silent, and where the daemon keeps its state."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.retention import RetentionTable
from penstock.domain.spec import (
    BatchTable,
    ResourceTable,
    RetryTable,
    SchedulerTable,
    WorkflowSpec,
    decode_spec,
    locate_key,
    parse_toml,
    unknown_key,
)

ENVIRONMENT: Final = "environment"
COMMAND_LINE: Final = "command line"
BUILT_IN: Final = "built-in"
SETTINGS_FILE: Final = ".penstock.toml"

_TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "": WorkflowSpec,
    "resources": ResourceTable,
    "retry": RetryTable,
    "scheduler": SchedulerTable,
    "batch": BatchTable,
    "retention": RetentionTable,
}
_VARIABLES: Final = {
    "cluster": "PENSTOCK_CLUSTER",
    "slots": "PENSTOCK_SLOTS",
    "priority": "PENSTOCK_PRIORITY",
    "isolation": "PENSTOCK_ISOLATION_MODE",
    "resources.cores": "PENSTOCK_CORES",
    "resources.memory": "PENSTOCK_MEMORY",
    "resources.walltime": "PENSTOCK_WALLTIME",
    "retry.max_attempts": "PENSTOCK_MAX_ATTEMPTS",
    "retry.delay": "PENSTOCK_RETRY_DELAY",
    "scheduler.partition": "PENSTOCK_PARTITION",
    "scheduler.account": "PENSTOCK_ACCOUNT",
    "scheduler.qos": "PENSTOCK_QOS",
    "batch.style": "PENSTOCK_BATCH_STYLE",
    "retention.archive_after": "PENSTOCK_ARCHIVE_AFTER",
    "retention.delete_after": "PENSTOCK_DELETE_AFTER",
    "retention.keep_last": "PENSTOCK_KEEP_LAST",
    "retention.destination": "PENSTOCK_ARCHIVE_DESTINATION",
}
_WHOLE_NUMBERS: Final = frozenset({"slots", "priority", "resources.cores", "retry.max_attempts", "retention.keep_last"})
_OTHER_WORD: Final = {"partition": "queue", "queue": "partition"}
_SMALLEST_SPEC: Final[dict[str, Any]] = {"recipe": "any", "structures": {"source": "any"}, "engine": {"name": "any"}}
"""What a layer is added to when it is checked, so that the spec's own rules judge it."""

SYSTEM_SOCKET: Final = Path("/run/penstock/penstockd.sock")
"""Where the system's daemon listens, if there is one."""

KEYS: Final = tuple(_VARIABLES)
"""Every setting, dotted as in the spec."""


class Layer(msgspec.Struct, frozen=True):
    """Settings from one place: `origin` is a file, "built-in", "environment" or "command line".

    `values` are nested as in a spec, for example `{"slots": 4, "retry": {"max_attempts": 3}}`.
    """

    origin: str
    values: dict[str, Any]


class Setting(NamedTuple):
    """A setting's effective value and the origin of the layer that set it."""

    value: Any
    origin: str


def state_dir(environ: Mapping[str, str]) -> Path:
    """Where the daemon keeps its catalogue, lock and socket: PENSTOCK_STATE_DIR, else below XDG_STATE_HOME."""
    if given := environ.get("PENSTOCK_STATE_DIR"):
        return Path(given).expanduser().absolute()
    if xdg := environ.get("XDG_STATE_HOME"):
        return Path(xdg) / "penstock"
    return Path(environ.get("HOME") or Path.home()) / ".local" / "state" / "penstock"


def socket_path(environ: Mapping[str, str], system: Path = SYSTEM_SOCKET) -> Path:
    """The control socket: PENSTOCK_SOCKET, else `penstockd.sock` in the state directory.

    Who never had a state directory, and may use the socket of the `system`'s daemon, means that one.
    """
    if given := environ.get("PENSTOCK_SOCKET"):
        return Path(given).expanduser().absolute()
    own = state_dir(environ)
    has_own = environ.get("PENSTOCK_STATE_DIR") or os.access(own, os.F_OK)
    return system if not has_own and os.access(system, os.W_OK) else own / "penstockd.sock"


def find_config(environ: Mapping[str, str]) -> Path | None:
    """PENSTOCK_CONFIG, else ~/.config/penstock/config.toml where that exists."""
    if given := environ.get("PENSTOCK_CONFIG"):
        return Path(given).expanduser()
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".config")
    path = Path(base) / "penstock" / "config.toml"
    return path if path.is_file() else None


def project_layer(folder: Path) -> Layer | None:
    """The settings in `.penstock.toml` of `folder`, None where there is none. SpecError says what is wrong with it."""
    path = folder / SETTINGS_FILE
    if not path.exists():
        return None
    text = read_text(path)
    return check_layer(Layer(str(path), parse_toml(text, str(path))), text)


def read_text(path: Path) -> str:
    """The text of a file the user names; SpecError says why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise SpecError(f"not UTF-8 text (byte {error.start})", file=str(path)) from error
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=str(path)) from error


def built_in_layer() -> Layer:
    """The lowest layer: the defaults of the spec itself."""
    fields = {
        (f"{table}.{field.name}" if table else field.name): field.default
        for table, struct in _TABLES.items()
        for field in msgspec.structs.fields(struct)
    }
    return Layer(BUILT_IN, _nest({key: fields[key] for key in KEYS}))


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """The settings that environment variables give; SpecError names the variable that cannot be read."""
    values: dict[str, Any] = {}
    for key, variable in _VARIABLES.items():
        text = environ.get(variable)
        if not text:
            continue
        if key in _WHOLE_NUMBERS:
            try:
                values[key] = int(text)
            except ValueError:
                raise SpecError(f"{text!r} is not a whole number", file=ENVIRONMENT, key=variable) from None
        else:
            values[key] = text
    layer = Layer(ENVIRONMENT, _nest(values))
    try:
        return check_layer(layer)
    except SpecError as error:
        named = _VARIABLES.get(error.key or "", error.key)
        raise SpecError(error.message, file=ENVIRONMENT, key=named) from error


def command_line_layer(values: Mapping[str, Any]) -> Layer:
    """The settings given as options, by dotted key (and `id`); None means that the option was not given."""
    return check_layer(Layer(COMMAND_LINE, _nest({key: value for key, value in values.items() if value is not None})))


def check_layer(layer: Layer, text: str = "", table: str = "") -> Layer:
    """`layer` itself if every key is a setting and every value fits, else SpecError with the layer's origin.

    `text` is the TOML the layer comes from, where there is one, and `table` the table in it that holds the settings;
    they serve to say where an error is. The command line may also give the workflow's `id`.
    """
    try:
        _check_values(layer)
    except SpecError as error:
        key = ".".join(part for part in (table, error.key) if part)
        raise SpecError(error.message, file=layer.origin, line=locate_key(text, key), key=key or None) from error
    return layer


def _check_values(layer: Layer) -> None:
    top = {key.partition(".")[0] for key in KEYS} | ({"id"} if layer.origin == COMMAND_LINE else set())
    for given in layer.values:
        if given not in top:
            raise unknown_key(given, sorted(top))
    decode_spec(_SMALLEST_SPEC | {key: value for key, value in layer.values.items() if value is not None}, "", "")


def resolve(layers: Iterable[Layer]) -> dict[str, Setting]:
    """Every setting that `layers`, lowest rank first, give a value, with the origin of that value."""
    resolved: dict[str, Setting] = {}
    for layer in layers:
        for key, value in _flatten(layer.values):
            resolved["scheduler.partition" if key == "scheduler.queue" else key] = Setting(value, layer.origin)
    return resolved


def apply(tables: Mapping[str, Any], layers: Iterable[Layer]) -> dict[str, Any]:
    """The spec's raw `tables` with `layers` (lowest rank first) around them, ready for `decode_spec`.

    The command line ranks above the spec, every other layer below it. Raises SpecError with the origin of a layer that
    does not fit.
    """
    checked = [check_layer(layer) for layer in layers]
    ranked = [layer.values for layer in checked if layer.origin != COMMAND_LINE]
    ranked += [dict(tables)]
    ranked += [layer.values for layer in checked if layer.origin == COMMAND_LINE]
    merged: dict[str, Any] = {}
    for values in ranked:
        merged = overlay(merged, values)
    return merged


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`; only tables that hold settings are merged key by key, others replace."""
    merged = dict(below)
    for key, value in above.items():
        beneath = merged.get(key)
        if key in _TABLES and isinstance(beneath, dict) and isinstance(value, dict):
            hidden = {_OTHER_WORD[name] for name in value if key == "scheduler" and name in _OTHER_WORD} - value.keys()
            merged[key] = {name: given for name, given in beneath.items() if name not in hidden} | value
        else:
            merged[key] = value
    return merged


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        table, _, name = key.rpartition(".")
        (nested.setdefault(table, {}) if table else nested)[name] = value
    return nested


def _flatten(values: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value
