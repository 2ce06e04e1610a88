"""What the daemon says when it cannot start."""

from __future__ import annotations

import errno
import os

import pytest

from penstock.daemon.daemon import unserved
from penstock.daemon.metrics.address import MetricsAddress

PORT = MetricsAddress("127.0.0.1", 9464)


@pytest.mark.parametrize(
    ("address", "number", "tells_how"),
    [
        (PORT, errno.EADDRINUSE, True),
        (PORT, errno.EADDRNOTAVAIL, False),
        (MetricsAddress(path="/run/m.sock"), errno.EADDRINUSE, False),
    ],
)
def test_who_has_a_port_can_be_found(address: MetricsAddress, number: int, tells_how: bool) -> None:
    said = unserved(address, OSError(number, os.strerror(number)))
    assert said.startswith(f"metrics cannot be served on {address}: {os.strerror(number)}; choose another address")
    assert ("ss -ltnp 'sport = :9464'" in said) is tells_how
