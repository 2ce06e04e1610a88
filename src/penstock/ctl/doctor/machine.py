"""The machine that the local cluster is: cores, memory, and directories for what is temporary."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from penstock.ctl.doctor.control_group import GroupLimits, read_limits
from penstock.ctl.doctor.file_facts import Room, judge_room, measure_room
from penstock.ctl.doctor.finding import problem, warning, well
from penstock.ctl.doctor.process import Process, look_at_process
from penstock.domain.views import Finding

_MB: Final = 1e6
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - looked at, never written
_LEAST_SHM: Final = 1_000_000
_FEW_SHM: Final = 64_000_000


class LocalCluster(msgspec.Struct, frozen=True):
    """What attempts on this machine may use together."""

    name: str
    cores: int
    memory_mb: int


class Machine(msgspec.Struct, frozen=True):
    """What there is, by the machine and by the control group."""

    cores: int
    memory_mb: int
    group: GroupLimits


def look_at_machine(daemon: Process | None) -> Machine:
    """The machine, as the daemon sees it, or would."""
    process = daemon if daemon is not None else look_at_process(os.getpid())
    pid = process.pid if process is not None else 0
    try:
        cores = len(os.sched_getaffinity(pid))
    except OSError:
        cores = os.cpu_count() or 1
    memory_mb = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _MB)
    return Machine(cores, memory_mb, read_limits(process.cgroup if process is not None else ""))


def judge_local(local: LocalCluster, machine: Machine) -> list[Finding]:
    """Whether what the cluster may use is there."""
    return [_cores(local, machine), _memory(local, machine)]


def _cores(local: LocalCluster, machine: Machine) -> Finding:
    what = f"cores of {local.name}"
    there = f"{machine.cores} there"
    if machine.group.cores is not None:
        there += f", {machine.group.cores:g} by the control group"
    detail = f"{local.cores} may be used, {there}"
    if local.cores > min(machine.cores, machine.group.cores or machine.cores):
        remedy = (
            f"lower cores in [clusters.{local.name}], or widen CPUQuota= or AllowedCPUs=: jobs slow each other down"
        )
        return warning(what, detail, remedy)
    return well(what, detail)


def _memory(local: LocalCluster, machine: Machine) -> Finding:
    what = f"memory of {local.name}"
    there = f"{machine.memory_mb} MB there"
    most = machine.memory_mb
    if machine.group.memory_bytes is not None:
        most = min(most, int(machine.group.memory_bytes / _MB))
        there += f", {machine.group.memory_bytes / _MB:.0f} MB by the control group"
    detail = f"{local.memory_mb} MB may be used, {there}"
    if local.memory_mb > most:
        remedy = f"lower memory in [clusters.{local.name}], or raise MemoryMax=: the kernel kills what goes over"
        return warning(what, detail, remedy)
    return well(what, detail)


# ---- temporary directories ------------------------------------------------------------------------------------------


class Scratch(msgspec.Struct, frozen=True):
    """A directory for temporary files; `room` is None where it is not there."""

    path: str
    writable: bool
    room: Room | None


def scratch_directories(environ: Mapping[str, str]) -> list[Path]:
    """Where programs put what is temporary: TMPDIR, or what Python takes; and shared memory, which MPI needs."""
    given = environ.get("TMPDIR")
    return [Path(given) if given else Path(tempfile.gettempdir()), _SHARED_MEMORY]


def look_at_scratch(paths: Iterable[Path]) -> list[Scratch]:
    """Whether they are there, may be written and have room."""
    return [
        Scratch(str(path), os.access(path, os.W_OK | os.X_OK), measure_room(path) if path.is_dir() else None)
        for path in paths
    ]


def judge_scratch(scratch: Scratch) -> Finding:
    """What is said of one."""
    what = "temporary files" if scratch.path != str(_SHARED_MEMORY) else "shared memory"
    if scratch.room is None:
        return problem(what, f"{scratch.path} is not there", "make it, or set TMPDIR to another for the daemon")
    if not scratch.writable:
        return problem(
            what, f"{scratch.path} cannot be written", f"chmod 1777 {scratch.path}, or set TMPDIR to another"
        )
    if what == "shared memory":
        return judge_room(what, scratch.room, least_bytes=_LEAST_SHM, few_bytes=_FEW_SHM, whose="others")
    return judge_room(what, scratch.room, whose="others")
