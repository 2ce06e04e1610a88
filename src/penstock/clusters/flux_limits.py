"""What Flux says of its limits: `flux version`, `flux resource R`, `flux queue list`."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from penstock.clusters.scheduler import Limits, Partition, UnreadableAnswerError

_VERSION: Final = re.compile(r"commands:\s+(\S+)")
_UNITS_S: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)")
_ESCAPE: Final = re.compile(r"\x1b\[[0-9;]*m")
_SPAN: Final = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?")


def parse(version: str, resources: str | None, queues: str | None, remembered_s: int) -> Limits:
    """The limits; resources and queues are None where they could not be asked. UnreadableAnswerError."""
    match = _VERSION.search(version)
    if match is None:
        raise UnreadableAnswerError("`flux version` names no version")
    largest = None if resources is None else _largest(resources)
    partitions = () if largest is None or queues is None else _partitions(queues, *largest)
    return Limits(version=match[1], remembered_s=remembered_s, has_accounting=True, partitions=partitions)


def _largest(text: str) -> tuple[int, int, int] | None:
    """Nodes, and the cores and GPUs of the largest, from a resource set; None for one of an unknown form."""
    try:
        entries: list[dict[str, Any]] = msgspec.json.decode(text)["execution"]["R_lite"]
        nodes = [(_count(entry["rank"]), entry["children"]) for entry in entries]
        cores = max(_count(children.get("core", "")) for _, children in nodes)
        return sum(count for count, _ in nodes), cores, max(_count(children.get("gpu", "")) for _, children in nodes)
    except (msgspec.MsgspecError, RecursionError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _count(idset: str) -> int:
    spans = [_SPAN.fullmatch(part) for part in idset.strip("[]").split(",") if part]
    return sum(int(span[2] or span[1]) - int(span[1]) + 1 for span in spans if span)


def _partitions(text: str, nodes: int, cores: int, gpus: int) -> tuple[Partition, ...]:
    """Each queue with all nodes: which of them it may use is a matter of properties, so that this is an upper bound."""
    partitions = []
    for line in filter(str.strip, _ESCAPE.sub("", text).splitlines()):
        name, _, rest = line.strip().partition("|")
        submission, _, limit = rest.partition("|")
        partitions.append(
            Partition(
                name=name.rstrip("*"),
                is_default=name.endswith("*") or not name,
                is_up=submission.strip() != "disabled",
                nodes=nodes,
                cores_per_node=cores,
                gpus_per_node=gpus,
                walltime_s=_seconds(limit.strip()),
            )
        )
    return tuple(partitions)


def _seconds(text: str) -> int | None:
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    return int(seconds) or None
