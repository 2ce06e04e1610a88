"""The workflow file: TOML, strict, every error with file, line and key."""

from __future__ import annotations

import difflib
import math
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from penstock.domain.budget import Batch
from penstock.domain.build_table import BUILT, BuildTable, check_build
from penstock.domain.build_table import KEY as BUILD
from penstock.domain.calculation import FailureClass
from penstock.domain.completion import CompletionAction, check_actions
from penstock.domain.context import Mode
from penstock.domain.errors import SpecError
from penstock.domain.ids import check_workflow_id
from penstock.domain.locks import COUNT_MAX, check_lock_name
from penstock.domain.property_tables import (
    PROPERTY_TABLES,
    DiffusionTable,
    ElasticTable,
    EquilibrateTable,
    PhaseDiagramTable,
    check_property_table,
)
from penstock.domain.remedy import Change, RemedyTable, Rule, check_table
from penstock.domain.resources import Resources, parse_memory_mb, parse_walltime_s
from penstock.domain.retention import RetentionTable, check_retention
from penstock.domain.scheduling import SchedulerOptions, check_options

GOAL: Final = "goal"
"""The key that makes a file a goal's."""
IMPORTED: Final = "imported"
"""The format of a source that was read once, by an import, and never is again."""


class StructureSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a campaign's structures come from: a `source`, which may be a file, a folder or a glob, or a `build`.

    `format` is guessed from the name when absent. Column names apply to CSV, Parquet and, as keys of
    `key_value_pairs`/comment lines, to ASE databases and ext-XYZ; `select` to ASE databases.
    """

    source: str = ""
    format: str | None = None  # csv, parquet, xyz, extxyz, cif, vasp, ase, d12
    select: str | None = None  # rows, as ASE writes it: "id=3"
    geometry_column: str | None = None
    charge_column: str | None = None
    unpaired_column: str | None = None
    multiplicity_column: str | None = None
    name_column: str | None = None
    charge: int = 0  # used where no column says otherwise
    multiplicity: int | None = None
    build: BuildTable | None = None

    @property
    def kept(self) -> str:
        """What the daemon reads once the workflow is made: the copy, or what was built, below its directory."""
        return self.source if self.build is None else BUILT


class ResourceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[resources]` as a person writes it."""

    cores: int = 1
    memory: str = "1GB"
    walltime: str = "1h"
    nodes: int = 1
    tasks: int = 1
    gpus: int = 0


class RetryTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[retry]`: how often a job is tried in all, how long to wait before the next try, and what it gets more then.

    After a timeout walltime is multiplied by `walltime_growth`, after an attempt that ran out of memory memory by
    `memory_growth`, up to the greatest amounts given.
    """

    max_attempts: int = 1
    delay: str | None = None
    walltime_growth: float = 1.0
    walltime_max: str | None = None
    memory_growth: float = 1.0
    memory_max: str | None = None


class SchedulerTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[scheduler]` as a person writes it; `queue` is Flux's word for `partition`."""

    partition: str = ""
    queue: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    licenses: str = ""
    reservation: str = ""
    launcher: str | list[str] = ""
    setup: str = ""
    directives: list[str] = []

    def options(self) -> SchedulerOptions:
        """The checked options; SpecError names the key that cannot be used."""
        if self.partition and self.queue:
            raise SpecError("is another word for partition; give one of the two", key="scheduler.queue")
        return check_options(
            SchedulerOptions(
                partition=self.partition or self.queue,
                account=self.account,
                qos=self.qos,
                constraint=self.constraint,
                licenses=self.licenses,
                reservation=self.reservation,
                launcher=_words(self.launcher, "scheduler.launcher"),
                setup=self.setup,
                directives=tuple(self.directives),
            )
        )


class BatchTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[batch]`: how jobs are put together into submissions on a cluster with a scheduler."""

    style: Literal["auto", "array", "bundle"] = "auto"
    size: int = 1000  # attempts in one submission, at most


class CheckpointTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[checkpoint]`: what saves an attempt whose walltime is over, and which files the next attempt goes on from."""

    command: str | list[str] = ""
    carry: list[str] = []


class LockNeeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[locks]`: what each attempt needs while it is active beside its resources: licences and instruments.

    `resources` are those of the daemon's configuration, with how many of each; of the locks in `names`, which belong to
    the workflow's namespace, there is one each.
    """

    resources: dict[str, int] = {}
    names: list[str] = []


class LimitTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: what a workflow may have at its cluster at once, and begin there in one `cycle`."""

    max_jobs: int | None = None
    reserve: int = 0  # of max_jobs, left free for others
    per_cycle: int | None = None
    cycle: str = "1min"

    def slots(self, wanted: int) -> int:
        """How many of the `wanted` slots the workflow may use."""
        return wanted if self.max_jobs is None else min(wanted, self.max_jobs - self.reserve)


class ChainTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[chain]`: the steps that every material goes through, by a template's name or one by one.

    `optional` steps may fail without failing the chain. `usual_resources`: each step asks for what is usual for its
    kind, where the spec says nothing else for it.
    """

    template: str = ""
    steps: list[str] = []
    optional: list[str] = []
    usual_resources: bool = False


class StepTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[steps.NAME]`: what one step has of its own, over the spec's `[engine]` and `[resources]`."""

    engine: dict[str, Any] = {}
    resources: dict[str, Any] = {}


class WorkflowSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A workflow as submitted. `engine` keeps `name` beside the engine's own parameters, which the engine checks."""

    recipe: str
    structures: StructureSource
    engine: dict[str, Any]
    id: str | None = None
    cluster: str = "local"
    slots: int = 1
    priority: int = 0
    isolation: str = "isolated"
    resources: ResourceTable = ResourceTable()
    retry: RetryTable = RetryTable()
    scheduler: SchedulerTable = SchedulerTable()
    batch: BatchTable = BatchTable()
    checkpoint: CheckpointTable = CheckpointTable()
    remedies: RemedyTable = RemedyTable()
    limits: LimitTable = LimitTable()
    locks: LockNeeds = LockNeeds()
    chain: ChainTable = ChainTable()
    retention: RetentionTable = RetentionTable()
    elastic: ElasticTable = ElasticTable()
    equilibrate: EquilibrateTable = EquilibrateTable()
    diffusion: DiffusionTable = DiffusionTable()
    phase_diagram: PhaseDiagramTable = PhaseDiagramTable()
    steps: dict[str, StepTable] = {}
    metadata: dict[str, Any] = {}
    on_complete: list[CompletionAction] = []

    @property
    def engine_name(self) -> str:
        """The engine's name; presence is checked by `decode_spec`."""
        return str(self.engine["name"])

    def needs(self) -> Resources:
        """`[resources]` in machine units; SpecError names the key that cannot be read."""
        return needs_of(self.resources, "resources")

    def needs_of_step(self, name: str, usual: ResourceTable | None = None) -> Resources:
        """What a step asks for: its own `[steps.NAME.resources]` over `usual`, or over `[resources]` without it."""
        where = f"steps.{name}.resources"
        own = self.steps[name].resources if name in self.steps else {}
        known = [field.name for field in msgspec.structs.fields(ResourceTable)]
        for given in own:
            if given not in known:
                raise unknown_key(given, known, where)
        try:
            table = msgspec.convert(msgspec.to_builtins(usual or self.resources) | own, ResourceTable)
        except msgspec.ValidationError as error:
            message, key = readable_error(str(error))
            raise SpecError(message, key=f"{where}.{key}") from error
        _check_resources(table, where)
        return needs_of(table, where)

    def batching(self) -> Batch:
        """`[batch]` as the decision about submissions takes it."""
        return Batch(self.batch.style, self.batch.size)

    def checkpoint_argv(self) -> tuple[str, ...]:
        """The command that saves an attempt whose walltime is over; empty where none is given."""
        return _words(self.checkpoint.command, "checkpoint.command")


def needs_of(table: ResourceTable, where: str) -> Resources:
    """A table of resources in machine units; SpecError names the key below `where` that cannot be read."""
    return Resources(
        cores=table.cores,
        memory_mb=parse_memory_mb(table.memory, f"{where}.memory"),
        walltime_s=parse_walltime_s(table.walltime, f"{where}.walltime"),
        nodes=table.nodes,
        tasks=table.tasks,
        gpus=table.gpus,
    )


_DURATION: Final = '; write it like "10min" or "02:00:00"'
_AMOUNT: Final = '; write it like "1GB"'
_WRITTEN_LIKE: Final = {
    "resources.walltime": _DURATION,
    "retry.delay": _DURATION,
    "retry.walltime_max": _DURATION,
    "resources.memory": _AMOUNT,
    "retry.memory_max": _AMOUNT,
    "batch.style": '; use "auto", "array" or "bundle"',
}
SLOTS_MAX: Final = 100_000
NODES_MAX: Final = 100_000
BATCH_MAX: Final = 100_000
GROWTH_MAX: Final = 100.0
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,@-]{0,199}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
CORES_MAX: Final = 1_000_000
CHARGE_MAX: Final = 10_000
_FAILURES: Final = [str(failure) for failure in FailureClass]
_TABLE_OF: Final[dict[str, type[msgspec.Struct]]] = {
    "": WorkflowSpec,
    "structures": StructureSource,
    "resources": ResourceTable,
    "retry": RetryTable,
    "scheduler": SchedulerTable,
    "batch": BatchTable,
    "checkpoint": CheckpointTable,
    "remedies": RemedyTable,
    "limits": LimitTable,
    "locks": LockNeeds,
    "chain": ChainTable,
    "retention": RetentionTable,
    **PROPERTY_TABLES,
}


def parse_toml(text: str, file: str) -> dict[str, Any]:
    """The tables of `text`; SpecError carries the line of a syntax error."""
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        number = int(line[1]) if line else len(text.splitlines())  # "at end of document"
        raise SpecError(f"not valid TOML: {error}", file=file, line=number) from error
    except RecursionError:
        raise SpecError("not valid TOML: tables or lists are nested too deeply", file=file) from None


def is_goal(tables: Mapping[str, Any]) -> bool:
    """Whether the tables of a file are those of a goal, from which a full spec grows, and not a spec's."""
    return GOAL in tables


def locate_key(text: str, key: str) -> int | None:
    """The 1-based line on which dotted `key` is set in TOML `text`, or where its table begins.

    `[n]` behind a part names the n-th table of an array, counted from 0.
    """
    wanted = key.split(".")
    arrays: dict[str, int] = {}
    table: list[str] = []
    best: int | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if header := re.match(r"\[\[?\s*([^\]]+?)\s*\]", line):
            table = _numbered(header[1], arrays, is_array=line.startswith("[["))
            if table and _leads_to(table, wanted):
                best = number
        elif assignment := re.match(r"([\w.\-\"']+)\s*=", line):
            full = table + [part.strip("\"'") for part in assignment[1].split(".")]
            if full == wanted:
                return number
            if _leads_to(full, wanted):
                best = number
    return best


def in_file(error: SpecError, text: str, file: str) -> SpecError:
    """`error` with its place in the user's file, whose text it is about, when it has none yet."""
    if error.file is not None or not error.key:
        return error
    return SpecError(error.message, file=file, line=locate_key(text, error.key), key=error.key)


def _numbered(header: str, arrays: dict[str, int], *, is_array: bool) -> list[str]:
    """A header's parts, those that are arrays with the number of their newest table; `arrays` is kept up to date."""
    parts = [part.strip().strip("\"'") for part in header.split(".")]
    names = [".".join(parts[: n + 1]) for n in range(len(parts))]
    if is_array:
        arrays[names[-1]] = arrays.get(names[-1], -1) + 1
    return [f"{part}[{arrays[name]}]" if name in arrays else part for part, name in zip(parts, names, strict=True)]


def _leads_to(parts: list[str], wanted: list[str]) -> bool:
    """Whether `parts` are the beginning of `wanted`, where either may leave the number in an array open."""
    return len(parts) <= len(wanted) and all(
        part == want or part.partition("[")[0] == want or part == want.partition("[")[0]
        for part, want in zip(parts, wanted, strict=False)
    )


def decode_spec(tables: dict[str, Any], text: str, file: str) -> WorkflowSpec:
    """The checked spec of `tables`; `text` and `file` only serve to say where an error is."""
    try:
        _refuse_unknown(tables)
        spec = msgspec.convert(tables, WorkflowSpec)
        _check_values(spec)
    except msgspec.ValidationError as error:
        message, key = readable_error(str(error))
        message += _WRITTEN_LIKE.get(key, "")
        raise SpecError(message, file=file, line=locate_key(text, key) if key else None, key=key or None) from error
    except SpecError as error:
        raise in_file(error, text, file) from error
    return spec


def nearest(given: str, known: Iterable[str], likeness: float = 0.5) -> str:
    """The question whether the most alike of `known` was meant; empty where none is at least `likeness` (0 to 1) so."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=likeness)
    return f"did you mean {near[0]!r}?" if near else ""


def unknown_key(given: str, known: list[str], where: str = "") -> SpecError:
    """The error for a key that does not exist, naming the nearest one that does."""
    hint = nearest(given, known) or f"known keys: {', '.join(sorted(known))}"
    full = f"{where}.{given}" if where else given
    return SpecError(f"unknown key {given!r}; {hint}", key=full)


def _refuse_unknown(tables: dict[str, Any]) -> None:
    if is_goal(tables):
        message = "this is a goal file, and a full spec is wanted; 'penstockctl plan FILE -o SPEC' makes one of it"
        raise SpecError(message, key=GOAL)
    for where, struct in _TABLE_OF.items():
        _refuse_unknown_in(tables if not where else tables.get(where, {}), struct, where)
    _refuse_unknown_in(dict(_entries(tables.get("structures"))).get("build"), BuildTable, BUILD)
    for name, step in _entries(tables.get("steps")):
        _refuse_unknown_in(step, StepTable, f"steps.{name}")
    for number, action in _entries(tables.get("on_complete")):
        _refuse_unknown_in(action, CompletionAction, f"on_complete[{number}]")
    for number, rule in _entries(dict(_entries(tables.get("remedies"))).get("rules")):
        where = f"remedies.rules[{number}]"
        _refuse_unknown_in(rule, Rule, where)
        for name, change in _entries(dict(_entries(rule)).get("change")):
            _refuse_unknown_in(change, Change, f"{where}.change.{name}")
        failure = dict(_entries(rule)).get("on")
        if isinstance(failure, str) and failure not in _FAILURES:
            hint = nearest(failure, _FAILURES) or f"known: {', '.join(_FAILURES)}"
            raise SpecError(f"{failure!r} is no class of failures; {hint}", key=f"{where}.on")


def _entries(table: Any) -> list[tuple[Any, Any]]:
    """What a table or an array holds, by key or number; nothing where it is neither, which is told in its turn."""
    return list(table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ())


def _refuse_unknown_in(table: Any, struct: type[msgspec.Struct], where: str) -> None:
    known = list(struct.__struct_fields__)
    for given in table if isinstance(table, dict) else ():
        if given not in known:
            raise unknown_key(given, known if where else [*known, GOAL], where)


def readable_error(message: str) -> tuple[str, str]:
    """msgspec's message and the dotted key inside it (`$.retry.max_attempts` → `retry.max_attempts`)."""
    match = re.fullmatch(r"(?s)(.*?)(?: - at `\$?\.?(.*)`)?", message)
    assert match is not None
    text, key = match[1], match[2] or ""
    if missing := re.search(r"required field `(\w+)`", text):
        name = f"{key}.{missing[1]}" if key else missing[1]
        return "missing; add it", name
    return f"{text[:1].lower()}{text[1:]}", key


def _check_values(spec: WorkflowSpec) -> None:
    if spec.id is not None:
        check_workflow_id(spec.id)
    if not isinstance(spec.engine.get("name"), str):
        raise SpecError('the engine needs a name, such as name = "tblite"', key="engine.name")
    if not 1 <= spec.slots <= SLOTS_MAX:
        raise SpecError(f"must be between 1 and {SLOTS_MAX}, not {spec.slots}", key="slots")
    if not -1000 <= spec.priority <= 1000:
        raise SpecError(f"must be between -1000 and 1000, not {spec.priority}", key="priority")
    _check_isolation(spec.isolation)
    _check_resources(spec.resources)
    _check_retry(spec.retry)
    check_table(spec.remedies)
    check_actions(spec.on_complete)
    _check_limits(spec.limits)
    _check_locks(spec.locks)
    check_retention(spec.retention)
    check_property_table(spec.recipe, {name: getattr(spec, name) for name in PROPERTY_TABLES})
    if not 1 <= spec.batch.size <= BATCH_MAX:
        raise SpecError(f"must be between 1 and {BATCH_MAX}, not {spec.batch.size}", key="batch.size")
    spec.scheduler.options()
    _check_checkpoint(spec)
    _check_structures(spec.structures)
    spec.needs()


def _check_structures(table: StructureSource) -> None:
    if table.build is not None:
        _check_built(table)
        check_build(table.build)
    elif not table.source:
        message = f"missing; add it, or a table [{BUILD}] that says what is built"
        raise SpecError(message, key="structures.source")
    if table.unpaired_column and table.multiplicity_column:
        raise SpecError("give unpaired_column or multiplicity_column, not both", key="structures.multiplicity_column")
    if table.multiplicity is not None and not 1 <= table.multiplicity <= CHARGE_MAX:
        raise SpecError(f"a multiplicity (2S+1) is between 1 and {CHARGE_MAX}", key="structures.multiplicity")
    if abs(table.charge) > CHARGE_MAX:
        raise SpecError(f"must be between -{CHARGE_MAX} and {CHARGE_MAX}", key="structures.charge")


def _check_built(table: StructureSource) -> None:
    """SpecError where what is built is to be read from a file as well."""
    if table.source:
        raise SpecError(f"give a source or [{BUILD}], not both", key="structures.source")
    for key in ("format", "select", *(name for name in StructureSource.__struct_fields__ if name.endswith("_column"))):
        if getattr(table, key) is not None:
            raise SpecError(f"is about files, and [{BUILD}] reads none; remove it", key=f"structures.{key}")


def _check_limits(table: LimitTable) -> None:
    if table.max_jobs is not None and not 1 <= table.max_jobs <= SLOTS_MAX:
        raise SpecError(f"must be between 1 and {SLOTS_MAX}, not {table.max_jobs}", key="limits.max_jobs")
    if table.reserve < 0:
        raise SpecError(f"must be 0 or more, not {table.reserve}", key="limits.reserve")
    if table.reserve and table.max_jobs is None:
        raise SpecError("needs max_jobs, of which it is left free; give it too", key="limits.reserve")
    if table.max_jobs is not None and table.reserve >= table.max_jobs:
        message = f"must leave at least one of max_jobs ({table.max_jobs}), and {table.reserve} does not"
        raise SpecError(message, key="limits.reserve")
    if table.per_cycle is not None and table.per_cycle < 1:
        raise SpecError(f"must be at least 1, not {table.per_cycle}", key="limits.per_cycle")
    parse_walltime_s(table.cycle, "limits.cycle")


def _check_locks(table: LockNeeds) -> None:
    for name, count in table.resources.items():
        check_lock_name(name, "locks.resources")
        if not 1 <= count <= COUNT_MAX:
            raise SpecError(f"must be between 1 and {COUNT_MAX}, not {count}", key=f"locks.resources.{name}")
    for name in table.names:
        check_lock_name(name, "locks.names")
    if len(set(table.names)) < len(table.names):
        raise SpecError("names a lock twice; name each once", key="locks.names")


def _check_resources(table: ResourceTable, where: str = "resources") -> None:
    for key, value, least, most in (
        ("cores", table.cores, 1, CORES_MAX),
        ("nodes", table.nodes, 1, NODES_MAX),
        ("tasks", table.tasks, 1, CORES_MAX),
        ("gpus", table.gpus, 0, CORES_MAX),
    ):
        if not least <= value <= most:
            raise SpecError(f"must be between {least} and {most}, not {value}", key=f"{where}.{key}")
    if table.tasks < table.nodes:
        message = f"{table.nodes} nodes need at least as many tasks, not {table.tasks}; set {where}.tasks"
        raise SpecError(message, key=f"{where}.nodes")


def _check_retry(table: RetryTable) -> None:
    if not 1 <= table.max_attempts <= 100:
        raise SpecError(f"must be between 1 and 100, not {table.max_attempts}", key="retry.max_attempts")
    for key, growth in (("walltime_growth", table.walltime_growth), ("memory_growth", table.memory_growth)):
        if math.isnan(growth) or not 1.0 <= growth <= GROWTH_MAX:
            message = f"is a factor between 1 (no growth) and {GROWTH_MAX:g}, not {growth:g}"
            raise SpecError(message, key=f"retry.{key}")
    if table.delay:
        parse_walltime_s(table.delay, "retry.delay")
    if table.walltime_max is not None:
        parse_walltime_s(table.walltime_max, "retry.walltime_max")
    if table.memory_max is not None:
        parse_memory_mb(table.memory_max, "retry.memory_max")


def _check_checkpoint(spec: WorkflowSpec) -> None:
    for word in spec.checkpoint_argv():
        if _UNPRINTABLE.search(word):
            raise SpecError(f"{word!r} holds control characters; leave them out", key="checkpoint.command")
    for name in spec.checkpoint.carry:
        if not is_file_name(name):
            message = f"{name!r} is no plain file name; use letters, digits and _ . + = , @ -, and no folders"
            raise SpecError(message, key="checkpoint.carry")


def is_file_name(name: str) -> bool:
    """Whether `name` can only ever name a file in the directory it is used in, and none of our own."""
    return _FILE_NAME.fullmatch(name) is not None


def _words(command: str | list[str], key: str) -> tuple[str, ...]:
    """A command line: a string is split as a shell would split it, a list is taken as it is."""
    if not isinstance(command, str):
        return tuple(command)
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise SpecError(f"cannot be split into words: {error}", key=key) from error


def _check_isolation(mode: str) -> None:
    modes = [str(known) for known in Mode]
    if mode not in modes:
        hint = nearest(mode, modes) or f"use {', '.join(modes)}"
        raise SpecError(f"{mode!r} is no isolation mode; {hint}", key="isolation")
