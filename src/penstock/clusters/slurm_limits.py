"""What Slurm says of a site's limits: `scontrol show config`, `scontrol show partition -o`, `sinfo` and `sacctmgr`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from penstock.clusters.scheduler import Limits, Partition, UnreadableAnswerError

_CONFIG = re.compile(r"^(\S+)\s*= ?(.*)$", re.MULTILINE)
_GPU = re.compile(r"(?:^|,)gpu(?::[^,:()]+)?:([0-9]{1,6})")
_NUMBER = re.compile(r"[0-9]{1,12}")
_TIME = re.compile(r"(?:([0-9]{1,6})-)?(?:([0-9]{1,6}):)?([0-9]{1,6}):([0-9]{2})")
_MIB_MB = 1.048576


def parse(config: str, partitions: str, nodes: str, associations: str | None) -> Limits:
    """The site's limits; `associations` is None where accounting could not be asked. UnreadableAnswerError."""
    settings = {match[1]: match[2].strip() for match in _CONFIG.finditer(config)}
    if "SLURM_VERSION" not in settings or "MaxArraySize" not in settings:
        raise UnreadableAnswerError("`scontrol show config` shows neither SLURM_VERSION nor MaxArraySize")
    scheduling = dict(part.partition("=")[::2] for part in settings.get("SchedulerParameters", "").split(","))
    widths = [_number(settings["MaxArraySize"]), _number(scheduling.get("max_array_tasks", ""))]
    routed = settings.get("JobSubmitPlugins", "(null)") not in {"(null)", ""}
    return Limits(
        version=settings["SLURM_VERSION"],
        width_max=_least(widths),
        jobs_max=_number(settings.get("MaxJobCount", "")),
        submit_max=_submit_max(associations),
        remembered_s=_number(settings.get("MinJobAge", "")),
        has_accounting=settings.get("AccountingStorageType") == "accounting_storage/slurmdbd",
        partitions=tuple(_partitions(partitions, _by_partition(nodes), routed=routed)),
    )


def _partitions(text: str, nodes: dict[str, list[_Node]], *, routed: bool) -> Iterable[Partition]:
    for line in filter(str.strip, text.splitlines()):
        facts = dict(part.partition("=")[::2] for part in line.split())
        name = facts.get("PartitionName")
        if name is None:
            raise UnreadableAnswerError(f"`scontrol show partition` says {line[:80]!r}, which names no partition")
        mine = nodes.get(name, [])
        cores = [max((node[0] for node in mine), default=None), _number(facts.get("MaxCPUsPerNode", ""))]
        memory_mib = [max((node[1] for node in mine), default=None), _number(facts.get("MaxMemPerNode", "")) or None]
        least_mib = _least(memory_mib)
        yield Partition(
            name=name,
            # where the site's own plugin may choose the partition, nobody knows which is the default
            is_default=facts.get("Default") == "YES" and not routed,
            is_up=facts.get("State") == "UP",
            nodes=_least([_number(facts.get("TotalNodes", "")), _number(facts.get("MaxNodes", ""))]) or 0,
            cores_per_node=_least(cores),
            memory_mb_per_node=None if least_mib is None else math.ceil(least_mib * _MIB_MB),
            gpus_per_node=max((node[2] for node in mine), default=None),
            walltime_s=_seconds(facts.get("MaxTime", "")),
        )


_Node = tuple[int, int, int]
"""Cores, memory in MiB, GPUs."""


def _by_partition(text: str) -> dict[str, list[_Node]]:
    nodes: dict[str, list[_Node]] = {}
    for line in filter(str.strip, text.splitlines()):
        fields = line.strip().split("|", 4)
        if len(fields) < 5:
            raise UnreadableAnswerError(f"`sinfo` says {line[:80]!r}, which is no node of a partition")
        gpus = sum(int(count) for count in _GPU.findall(fields[4]))
        nodes.setdefault(fields[0], []).append((_number(fields[2]) or 0, _number(fields[3]) or 0, gpus))
    return nodes


def _submit_max(associations: str | None) -> int | None:
    """The greatest of all accounts' limits, since nobody knows which account a job will use; None if one has none."""
    lines = [line.split("|") for line in (associations or "").splitlines() if line.strip()]
    limits = [_least([_number(field) for field in fields]) for fields in lines]
    known = [limit for limit in limits if limit is not None]
    return max(known) if known and len(known) == len(limits) else None


def _number(text: str) -> int | None:
    """The number text begins with, such as `300 sec`; None for UNLIMITED, (null) and the like."""
    match = _NUMBER.match(text.strip())
    return int(match[0]) if match else None


def _seconds(text: str) -> int | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _least(numbers: Sequence[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
