"""Which kind of file system a directory is on, and whether more than one machine may see it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

NETWORK_FILE_SYSTEMS: Final = frozenset(
    kind
    for line in (
        "9p acfs afs beegfs ceph cifs coda dvs fhgfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs panfs",
        "prl_fs pvfs2 quobyte smb2 smb3 smbfs vboxsf virtiofs wekafs",
        "fuse.beegfs fuse.ceph fuse.ceph-fuse fuse.curlftpfs fuse.davfs fuse.davfs2 fuse.gcsfuse fuse.glusterfs",
        "fuse.grpcfuse fuse.juicefs fuse.lizardfs fuse.mfs fuse.moosefs fuse.orangefs fuse.osxfs fuse.quobyte",
        "fuse.rclone fuse.s3fs fuse.smbnetfs fuse.sshfs fuse.weka fuse.xtreemfs",
    )
    for kind in line.split(" ")
)
"""Types, as the kernel names them, whose files other machines may have open too (or whose locks end at a host)."""

ENVIRONMENT: Final = "PENSTOCK_NETWORK_FILE_SYSTEMS"
"""The variable that names others instead, with commas between; a daemon sets it for its workers."""

UNKNOWN: Final = "unknown"
_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A line of `/proc/self/mountinfo`: the device as `major:minor`, where it is mounted, and its type."""

    device: str
    point: str
    kind: str


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts in the kernel's order: of two at one place, the later one covers the earlier. Odd lines are left out.

    See proc_pid_mountinfo(5): `36 35 98:0 /root /point options optional... - type source options`.
    """
    mounts = []
    for line in text.split("\n"):
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")[0]
        if dash and kind and len(fields) > 5:
            mounts.append(Mount(fields[2], _unescape(fields[4]), _unescape(kind)))
    return mounts


def read_mounts() -> list[Mount]:
    """The mounts that this process sees; none where the kernel does not tell."""
    try:
        return parse_mountinfo(os.fsdecode(_MOUNTINFO.read_bytes()))
    except OSError:
        return []


def _unescape(text: str) -> str:
    """Blanks, tabs, newlines and backslashes are written in octal, a byte each."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def kind_of(mounts: Iterable[Mount], device: str, path: str) -> str:
    """The type of the file system that `path` (absolute, without links) is on, by its device, else by its place.

    The device tells through bind mounts, overmounts and changed roots; file systems with many devices (btrfs, some
    overlays) are found by the mount that is deepest above the path, the last one of several.
    """
    kind, depth = UNKNOWN, -1
    for mount in mounts:
        if mount.device == device:
            return mount.kind
        point = mount.point.rstrip("/")
        if (path == point or path.startswith(f"{point}/")) and len(point) >= depth:
            kind, depth = mount.kind, len(point)
    return kind


def file_system_of(path: Path) -> str:
    """The type of the file system that `path` is on, or would be on if it existed; `unknown` where nobody tells.

    Raises OSError when the file system itself does not answer (a stale NFS handle).
    """
    resolved = path.resolve()
    while True:
        try:
            device = resolved.stat().st_dev
            break
        except (FileNotFoundError, NotADirectoryError):
            resolved = resolved.parent
    return kind_of(read_mounts(), f"{os.major(device)}:{os.minor(device)}", str(resolved))


def network_types(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """The types that count as network file systems: the environment's, else the usual ones."""
    given = (os.environ if environ is None else environ).get(ENVIRONMENT)
    if given is None:
        return NETWORK_FILE_SYSTEMS
    return frozenset(kind.strip() for kind in given.split(",") if kind.strip())
