"""What the service manager is to make of a daemon that did not start."""

from __future__ import annotations

import errno

import pytest

from penstock.daemon.daemon import BrokeDownError
from penstock.daemon.main import may_pass
from penstock.daemon.state_directory import AlreadyRunningError
from penstock.domain.errors import PenstockError, SpecError, StoreError


def caused(number: int) -> SpecError:
    error = SpecError("cannot be used")
    error.__cause__ = OSError(number, "because of this")
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (BrokeDownError("of itself"), True),
        (StoreError("full", healable=True), True),
        (StoreError("damaged", healable=False), False),
        (OSError(errno.ENOSPC, "full"), True),
        (OSError(errno.EACCES, "not yours"), False),
        (SpecError("wrong"), False),
        (AlreadyRunningError("there is one"), False),
        (caused(errno.EADDRINUSE), True),  # the port of an earlier daemon that is still ending
        (caused(errno.EACCES), False),
    ],
)
def test_whether_trying_again_may_help(error: PenstockError | OSError, passes: bool) -> None:
    assert may_pass(error) is passes
