"""Which file system a path is on, by texts of mountinfo that kernels write."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.files.kinds import (
    ENVIRONMENT,
    NETWORK_FILE_SYSTEMS,
    UNKNOWN,
    Mount,
    file_system_of,
    kind_of,
    network_types,
    parse_mountinfo,
)

MOUNTS = r"""22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
30 22 0:25 / /home rw,relatime shared:5 master:1 - nfs4 server:/export/home rw,vers=4.2
31 22 0:26 / /scratch\040of\011all rw - lustre 10.0.0.1@o2ib:/scratch rw
32 30 8:3 / /home/me/local rw - xfs /dev/sdb1 rw
33 22 0:26 /mine /mnt/mine rw - lustre 10.0.0.1@o2ib:/scratch rw
34 22 0:40 / /net rw - autofs systemd-1 rw,fd=30
35 34 0:41 / /net rw - nfs other:/net rw
36 22 0:50 / /data rw - btrfs /dev/sdc rw,subvol=/
37 22 0:60 / /remote rw - fuse.sshfs me@there:/ rw
38 22 0:70 / /back\134slash rw - gpfs gpfs0 rw
no mount at all
39 22 0:71 / - ext4
"""


def test_places_are_read_as_the_kernel_writes_them() -> None:
    mounts = parse_mountinfo(MOUNTS)
    assert mounts[0] == Mount("8:2", "/", "ext4")
    assert mounts[2].point == "/scratch of\tall"
    assert mounts[9] == Mount("0:70", "/back\\slash", "gpfs")
    assert len(mounts) == 10


@pytest.mark.parametrize(
    ("device", "path", "kind"),
    [
        ("8:2", "/var/lib", "ext4"),
        ("0:25", "/home/me", "nfs4"),
        ("?", "/home/me", "nfs4"),
        ("?", "/home/me/local/work", "xfs"),
        ("?", "/homework", "ext4"),
        ("0:26", "/some/bind/mount/of/it", "lustre"),  # in a container, where its place has another name
        ("?", "/mnt/mine", "lustre"),
        ("?", "/scratch of\tall/x", "lustre"),
        ("0:41", "/net/x", "nfs"),
        ("?", "/net/x", "nfs"),  # the later mount covers the earlier
        ("0:57", "/data/subvolume", "btrfs"),  # every subvolume has a device of its own
        ("?", "/remote/x", "fuse.sshfs"),
    ],
)
def test_a_file_system_is_known_by_its_device_or_else_its_place(device: str, path: str, kind: str) -> None:
    assert kind_of(parse_mountinfo(MOUNTS), device, path) == kind


def test_nothing_mounted_is_unknown() -> None:
    assert kind_of([], "8:1", "/x") == UNKNOWN


def test_a_directory_that_is_to_be_made_is_where_its_parents_are(tmp_path: Path) -> None:
    assert file_system_of(tmp_path / "a" / "b") == file_system_of(tmp_path) != UNKNOWN
    (tmp_path / "link").symlink_to("/proc")
    assert file_system_of(tmp_path / "link") == "proc"


def test_the_usual_types_and_those_of_the_environment() -> None:
    assert network_types({}) is NETWORK_FILE_SYSTEMS
    assert network_types({ENVIRONMENT: " nfs, ext4 ,"}) == {"nfs", "ext4"}
    assert network_types({ENVIRONMENT: ""}) == set()
    assert {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "fuse.sshfs", "9p"} <= NETWORK_FILE_SYSTEMS
    assert not {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.fuse-overlayfs"} & NETWORK_FILE_SYSTEMS
