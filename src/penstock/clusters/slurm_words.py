"""Slurm's vocabulary: what its states, reasons, array indices and refusals mean to us."""

from __future__ import annotations

import re
from typing import Final

from penstock.clusters.scheduler import Phase, Refused, Unclear, UnreadableAnswerError

INDEX_MAX: Final = 4_000_001
"""The greatest MaxArraySize Slurm can be given."""

_PHASES: Final = {
    **dict.fromkeys(("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "POWER_UP_NODE"), Phase.QUEUED),
    **dict.fromkeys(("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"), Phase.HELD),
    **dict.fromkeys(
        ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING", "UPDATE_DB"),
        Phase.RUNNING,
    ),
    "COMPLETED": Phase.COMPLETED,
    "FAILED": Phase.FAILED,
    **dict.fromkeys(("TIMEOUT", "DEADLINE"), Phase.TIMEOUT),
    "OUT_OF_MEMORY": Phase.OUT_OF_MEMORY,
    **dict.fromkeys(("NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "RECONFIG_FAIL", "PREEMPTED"), Phase.INFRASTRUCTURE),
    **dict.fromkeys(("CANCELLED", "REVOKED"), Phase.CANCELLED),
}
# Of several words that stand together the first of these counts: what may still do something has not ended.
_WEIGHT: Final = (Phase.UNKNOWN, Phase.HELD, Phase.QUEUED, Phase.RUNNING)

_HELD_REASONS: Final = frozenset({"JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "ReservationDeleted"})
# Only what cannot change unless somebody changes the job or the site's settings. Not here, although they may last:
# ReqNodeNotAvail and PartitionConfig (nodes come back), PartitionDown, limits per user or per group (others' jobs end).
_HOPELESS_REASONS: Final = frozenset(
    {
        "DependencyNeverSatisfied",
        "BadConstraints",
        "Constraints",
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "InvalidAccount",
        "InvalidQOS",
        "AccountNotAllowed",
        "QOSNotAllowed",
        "ReservationInvalid",
        "MaxMemPerLimit",
    }
)
_HOPELESS_LIMIT: Final = re.compile(r"(?:QOS|Assoc)Max\w*Per(?:Job|Node)(?:Limit)?|QOSMin\w*")

_STATE_SPLIT: Final = re.compile(r"[+,\s]+")
_INDEX_PART: Final = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7})(?::([0-9]{1,7}))?)?")

_UNCLEAR: Final = re.compile(
    r"timed? ?out|unable to contact|connect|communicat|unexpected message|zero bytes|(?:send|receive|shutdown) failure"
    r"|message (?:send|receive)|not responding|transport endpoint|broken pipe|reset by peer|insane message"
    r"|incompatible versions|standby mode|terminated|killed",
    re.IGNORECASE,
)
_FINAL: Final = re.compile(r"submission failed: *(.*)")
_LASTING: Final = (
    "Invalid partition name specified",
    "No partition specified or system default partition",
    "Access/permission denied",
    "User's group not permitted to use this partition",
    "Requested nodes not in this partition",
    "More processors requested than permitted",
    "Node count specification invalid",
    "Job size specification needs to be provided",
    "Pathname of a file, directory or other parameter too long",
    "Requested node configuration is not available",
    "Requested topology configuration is not available",
    "Invalid node name specified",
    "Invalid feature specification",
    "Invalid preferred feature specification",
    "Memory required by task is not available",
    "Invalid account or account/partition combination specified",
    "Invalid or unknown association",
    "Invalid qos specification",
    "Invalid license specification",
    "Invalid wckey specification",
    "Requested time limit is invalid",
    "Access denied to requested reservation",
    "Requested reservation is invalid",
    "Invalid generic resource (gres) specification",
    "Invalid GRES specification",
    "Requested GRES option unsupported",
    "Invalid Trackable RESource (TRES) specification",
    "Invalid job array specification",
    "CPU count specification invalid",
    "Task count specification invalid",
    "Job dependency problem",
    "Requested operation not supported on this system",
)
_POLICY: Final = "Job violates accounting/QOS policy"
_PASSING: Final = (
    _POLICY,
    "MaxJobCount limit reached",
    "Unable to create job record, try again",
    "Resource temporarily unavailable",
    "Requested nodes are busy",
    "Requested partition configuration not available now",
    "Required partition not available",
    "Required node not available",
    "Partition in DOWN state",
    "System submissions disabled",
    "Requested operation is presently disabled",
    "Licenses currently unavailable",
    "Requested reservation not usable now",
    "Requested reservation is in use",
    "Requested account has breached requested QOS usage threshold",
    "Rate limit exceeded",
)
_COUNTED: Final = re.compile(r"Submit|Jobs|JobPer|Grp|PerUser|PerAccount", re.IGNORECASE)
_POLICY_LIMIT: Final = re.compile(r"\b(?:QOS|Assoc)(?:Max|Min|Grp)\w*")
# what sbatch finds out by itself, before it talks to anybody
_LOCAL: Final = re.compile(
    r"unrecognized option|invalid option|option '.*' (?:is ambiguous|requires an argument|doesn't allow an argument)"
    r"|Invalid --[a-z-]+ specification|This does not look like a batch script|Batch script is empty"
    r"|Batch script contains DOS line breaks|Unable to open file|Invalid generic resource \(gres\) specification"
)


def phase_of(state: str, reason: str = "") -> Phase:
    """What a state means, as squeue or sacct write it: `CANCELLED by 1000` and `COMPLETED+COMPLETING` are known too."""
    words = [word for word in _STATE_SPLIT.split(re.sub(r"\bby\s+\S+", "", state)) if word]
    phases = {_PHASES.get(word, Phase.UNKNOWN) for word in words} or {Phase.UNKNOWN}
    phase = next((one for one in _WEIGHT if one in phases), min(phases))
    return _pending_phase(reason) if phase is Phase.QUEUED else phase


def _pending_phase(reason: str) -> Phase:
    if reason in _HELD_REASONS or "held" in reason.lower().split():
        return Phase.HELD
    return Phase.HOPELESS if reason in _HOPELESS_REASONS or _HOPELESS_LIMIT.fullmatch(reason) else Phase.QUEUED


def indices_of(text: str) -> tuple[int, ...]:
    """The array indices behind `3` or `1,3,5-9,10-20:2%4`. UnreadableAnswerError for what was cut short."""
    indices: set[int] = set()
    for part in text.partition("%")[0].split(","):
        match = _INDEX_PART.fullmatch(part)
        if match is None:
            raise UnreadableAnswerError(f"array indices {text[:80]!r} are cut short or of an unknown form")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last > INDEX_MAX or step < 1:
            raise UnreadableAnswerError(f"array indices {text[:80]!r} are beyond what Slurm can have")
        indices.update(range(first, last + 1, step))
    return tuple(sorted(indices))


def spell_indices(indices: tuple[int, ...]) -> str:
    """The shortest plain spelling of array indices: `1-3,7`."""
    spans: list[tuple[int, int]] = []
    for index in sorted(indices):
        if spans and spans[-1][1] == index - 1:
            spans[-1] = (spans[-1][0], index)
        else:
            spans.append((index, index))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def why_refused(exit_code: int, text: str) -> Refused | Unclear:
    """What the failure of sbatch proves. Only what is known for certain is a refusal: it may fail with the job made."""
    reason = _told(text) or f"sbatch ended with code {exit_code} and said nothing"
    if exit_code < 0 or 128 < exit_code < 200 or _UNCLEAR.search(text):
        return Unclear(reason)
    finals = _FINAL.findall(text)
    if not finals:
        return Refused(reason, lasting=True) if _LOCAL.search(text) else Unclear(reason)
    if not all(final.startswith(_LASTING + _PASSING) for final in finals):
        return Unclear(reason)
    return Refused(reason, lasting=all(_is_lasting(final, text) for final in finals))


def _is_lasting(final: str, text: str) -> bool:
    if final.startswith(_POLICY):
        limits = _POLICY_LIMIT.findall(text)
        return bool(limits) and not any(
            _COUNTED.search(limit) and not _HOPELESS_LIMIT.fullmatch(limit) for limit in limits
        )
    return not final.startswith(_PASSING)


def _told(text: str) -> str:
    lines = (re.sub(r"^sbatch: (?:error: |fatal: )?", "", line.strip()) for line in text.splitlines())
    return "; ".join(line for line in lines if line)[:1000]
