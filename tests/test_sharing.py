"""Each real Slurm is started once, also when the suite is shared out between processes."""

from __future__ import annotations

import pytest

from .sharing import SLURMS, share


@pytest.mark.parametrize(
    ("nodeid", "expected"),
    [
        ("tests/domain/test_ids.py::test_it[slurm]", "tests/domain/test_ids.py"),
        ("tests/system/test_backends.py::test_it[local]", "tests/system/test_backends.py"),
        ("tests/system/test_backends.py::test_it[slurm]", SLURMS),
        ("tests/system/test_backends.py::test_it[harsh-ssh]", SLURMS),
        ("tests/system/test_program_engines.py::test_it[orca-slurm]", SLURMS),
        ("tests/system/test_slurm_storm.py::test_it", SLURMS),
        ("tests/services/test_slurm.py::test_it", SLURMS),
        ("tests/services/test_sshd.py::test_it", "tests/services/test_sshd.py"),
    ],
)
def test_the_slurms_are_one_share_and_else_each_file_is(nodeid: str, expected: str) -> None:
    assert share(nodeid) == expected
