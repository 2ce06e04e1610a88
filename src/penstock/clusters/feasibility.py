"""Whether a site could ever run what is asked for, judged from its limits before anything is submitted."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from penstock.clusters.scheduler import Limits, Partition
from penstock.domain.resources import Resources
from penstock.domain.scheduling import SchedulerOptions

_UNITS_S: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def impossible(resources: Resources, walltime_s: int, options: SchedulerOptions, limits: Limits) -> str | None:
    """Why no partition that may be meant could ever run it; None when one may, or nobody knows."""
    if not limits.partitions:
        return None
    by_name = {partition.name: partition for partition in limits.partitions}
    asked = [name for name in options.partition.split(",") if name]
    unknown = [name for name in asked if name not in by_name]
    if unknown:
        return f"there is no partition {unknown[0]!r}; there are {_listed(by_name)}"

    def why(partition: Partition) -> str | None:
        return _why_not(partition, resources, walltime_s, has_qos=bool(options.qos))

    meant = [by_name[name] for name in asked] or _defaults(limits.partitions)
    reasons = [reason for partition in meant if (reason := why(partition)) is not None]
    if len(reasons) < len(meant):
        return None
    return f"{'; '.join(reasons)}; {_advice(limits.partitions, why)}"


def largest(options: SchedulerOptions, limits: Limits) -> Partition | None:
    """The most that one job may have in any partition that may be meant: None where nobody knows."""
    asked = {name for name in options.partition.split(",") if name}
    meant = [p for p in limits.partitions if p.name in asked] if asked else _defaults(limits.partitions)
    if not meant:
        return None
    return Partition(
        name="",
        is_default=False,
        is_up=True,
        nodes=max(p.nodes for p in meant),
        memory_mb_per_node=_most(p.memory_mb_per_node for p in meant),
        walltime_s=_most(p.walltime_s for p in meant),
    )


def _most(amounts: Iterable[int | None]) -> int | None:
    known = list(amounts)
    return None if None in known else max(amount for amount in known if amount is not None)


def reserved_directive(options: SchedulerOptions, reserved: Collection[str]) -> str | None:
    """Why a raw directive cannot be given: it is Penstock's own (abbreviated, too), or no option at all."""
    for directive in options.directives:
        name = directive.partition("=")[0]
        if not name.startswith("--") or len(name) < 3 or any(part.isspace() for part in name):
            return f"{directive!r} is no option; write it like '--comment=text'"
        if any(own.startswith(name) for own in reserved):
            return f"{name} is set by Penstock itself; take it out of the directives"
    return None


def _defaults(partitions: Sequence[Partition]) -> list[Partition]:
    """The default partition; all where none is known, since the site may choose by rules of its own."""
    return [partition for partition in partitions if partition.is_default] or list(partitions)


def _advice(partitions: Sequence[Partition], why: Callable[[Partition], str | None]) -> str:
    fitting = [partition.name for partition in partitions if partition.is_up and why(partition) is None]
    return f"partition {_listed(fitting)} would do" if fitting else "no other partition would do; ask for less"


def _why_not(partition: Partition, resources: Resources, walltime_s: int, *, has_qos: bool) -> str | None:
    """Why this partition never can run it. A QOS may lift limits of time and nodes, but makes no node larger."""
    name = f"partition {partition.name!r}" if partition.name else "the site"
    tasks_per_node = math.ceil(resources.tasks / max(1, resources.nodes))
    if not has_qos and partition.walltime_s is not None and walltime_s > partition.walltime_s:
        return f"{name} allows {_duration(partition.walltime_s)} of walltime, {_duration(walltime_s)} is asked for"
    if not has_qos and resources.nodes > partition.nodes:
        return f"{name} has {_counted(partition.nodes, 'node')}, {resources.nodes} are asked for"
    amounts = (
        ("cores", resources.cores * tasks_per_node, partition.cores_per_node),
        ("MB of memory", resources.memory_mb, partition.memory_mb_per_node),
        ("GPUs", resources.gpus * tasks_per_node, partition.gpus_per_node),
    )
    for unit, wanted, largest in amounts:
        if largest is not None and wanted > largest:
            return f"the largest node of {name} has {largest} {unit}, {wanted} are asked for on one"
    return None


def _duration(seconds: int) -> str:
    parts = []
    for length, unit in _UNITS_S:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(repr(name) for name in names)
