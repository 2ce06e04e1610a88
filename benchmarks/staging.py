"""The directories of 1,000 jobs to a host behind SSH, beside `tar c | ssh tar x` of the same tree.

Twice: with a connection to be made on both sides, and with one that is open already (OpenSSH's by a ControlMaster).
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import anyio
from tests.services.sshd import RealSshd

from benchmarks.daemon import WrongOutcomeError
from benchmarks.report import Options, Report, compare, ratio_at_most
from benchmarks.schedulers import real_sshd
from penstock.actors.clock import SystemClock
from penstock.clusters.ssh_dial import SshTarget
from penstock.clusters.ssh_shell import SshShell

_GEOMETRY: Final = "3\n\n" + "".join(f"{symbol} 0.000000 0.763000 -0.477000\n" for symbol in "OHH")


def run(options: Options) -> Report:
    """Both ways in turns, each time to a new place."""
    jobs, pairs = (100, 2) if options.quick else (1000, 5)
    files = {
        f"jobs/{n % 100:02}/{n}/1/{name}": text.encode()
        for n in range(jobs)
        for name, text in (("input.json", f'{{"name": "water-{n}", "charge": 0}}\n'), ("start.xyz", _GEOMETRY))
    }
    tree = options.scratch / "tree"
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    with real_sshd() as sshd:
        fresh = anyio.run(_measure, sshd, files, tree, pairs)
        with _open_master(sshd, options.scratch / "master") as control:
            kept = anyio.run(_measure, sshd, files, tree, pairs, control)
    figures = [
        compare("connecting and staging; tar | ssh", "s", *fresh, ratio_at_most(1.5)),
        compare("staging; tar | ssh, both connected before", "s", *kept, ratio_at_most(1.5)),
    ]
    parameters = {"jobs": jobs, "files": len(files), "bytes": sum(map(len, files.values())), "pairs": pairs}
    return Report("staging", f"The directories of {jobs} jobs over SSH, beside one tar", parameters, figures)


async def _measure(
    sshd: RealSshd, files: dict[str, bytes], tree: Path, pairs: int, control: Path | None = None
) -> tuple[list[float], list[float]]:
    """Seconds of ours and of tar; with a master's socket our connection is open beforehand too."""
    home = sshd.run("pwd").strip()
    kept = _shell(sshd)
    await kept.list(home)
    ours, theirs = [], []
    for turn in range(pairs):
        place = f"{home}/{'fresh' if control is None else 'kept'}-{turn}"
        shell = _shell(sshd) if control is None else kept
        began = time.perf_counter()
        await shell.put(f"{place}/ours", files)
        ours.append(time.perf_counter() - began)
        if shell is not kept:
            await shell.close()
        theirs.append(_tar_s(sshd, tree, f"{place}/tar", control))
        _check(sshd, place)
    await kept.close()
    return ours, theirs


def _shell(sshd: RealSshd) -> SshShell:
    target = SshTarget(
        host=sshd.host,
        port=sshd.port,
        user=sshd.user,
        identity_files=(str(sshd.client_key),),
        known_hosts=str(sshd.known_hosts),
        agent=False,
    )
    return SshShell(target, SystemClock())


def _tar_s(sshd: RealSshd, tree: Path, place: str, control: Path | None) -> float:
    there = shlex.quote(place)
    command = f"mkdir -p {there} && tar -xf - -C {there}"
    way = [] if control is None else ["-S", str(control)]
    pipe = f"tar -cf - -C {shlex.quote(str(tree))} . | {shlex.join(_ssh(sshd, *way, sshd.host, command))}"
    began = time.perf_counter()
    subprocess.run(["sh", "-c", pipe], check=True)
    return time.perf_counter() - began


@contextlib.contextmanager
def _open_master(sshd: RealSshd, control: Path) -> Iterator[Path]:
    """The socket of a connection that OpenSSH keeps open."""
    subprocess.run(_ssh(sshd, "-S", str(control), "-M", "-N", "-f", sshd.host), check=True)
    try:
        yield control
    finally:
        subprocess.run(_ssh(sshd, "-S", str(control), "-O", "exit", sshd.host), check=True, capture_output=True)


def _ssh(sshd: RealSshd, *arguments: str) -> list[str]:
    return ["ssh", "-F", str(sshd.config), *arguments]


def _check(sshd: RealSshd, place: str) -> None:
    """Both made the same; and what is there is removed."""
    there = shlex.quote(place)
    found = sshd.run(f"diff -r {there}/ours {there}/tar && find {there}/ours -type f | wc -l; rm -rf {there}").strip()
    if not found.isdigit() or int(found) == 0:
        raise WrongOutcomeError(f"what was staged is not what tar staged: {found[:200]}")
