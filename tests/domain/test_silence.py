"""A reason that says a file system is silent is known for one."""

from __future__ import annotations

import pytest

from penstock.domain.silence import is_silent, silent_reason


@pytest.mark.parametrize(
    ("reason", "silent"),
    [
        (silent_reason("/nfs/lab/a b"), True),
        ("the file system of /nfs/lab does not answer; what is there waits until it does", True),
        ("/nfs/lab/workflow.db: disk I/O error", False),
        ("cluster hpc does not answer", False),
        ("", False),
        (None, False),
    ],
)
def test_silence_is_told_from_other_reasons(reason: str | None, silent: bool) -> None:
    assert is_silent(reason) is silent
