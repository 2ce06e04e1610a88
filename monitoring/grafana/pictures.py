"""Draws the pictures of docs/monitoring.md anew: `python -m monitoring.grafana.pictures [MINUTES]`, as root on Debian.

For so many minutes a real daemon works on a real Slurm behind SSH, with all that its tests provoke and some campaigns
more, while a real Prometheus scrapes it each second. Then every dashboard is drawn from what Prometheus has.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.services.slurm import RealSlurm
from tests.services.sshd import RealSshd
from tests.system.backends import NAME, Backend, Site
from tests.system.conftest import Penstockd
from tests.system.monitored import Monitored

from .draw import Span, draw_all

_OUT: Final = Path(__file__).parents[2] / "docs" / "monitoring"
_WAVE_S: Final = 20.0


def take(minutes: float) -> None:
    """Runs all of it, and draws."""
    home = Path(tempfile.mkdtemp(prefix="ps-"))
    with RealSlurm() as slurm, RealSshd(environment=slurm.environment) as sshd:
        backend = Backend(Site("slurm-ssh", slurm, sshd), Penstockd(home), home)
        try:
            with Monitored.ready(backend) as monitored:
                began = time.time()
                monitored.begin(backend.gate(), jobs=int(150 * minutes))
                _work(monitored, began + 60 * minutes)
                draw_all(Span(monitored.prometheus.url, began, time.time(), monitored.values), _OUT)
                monitored.daemon.client.cancel("screen")
        finally:
            backend.close()
            shutil.rmtree(home)


def _work(monitored: Monitored, until: float) -> None:
    """A campaign now and then, until it is time."""
    for number in itertools.count(1):
        if time.time() + _WAVE_S > until:
            time.sleep(max(0.0, until - time.time()))
            return
        monitored.submit(f"wave-{number}", "sleep 0.$((PENSTOCK_JOB_ID % 9))", NAME, 12, slots=4)
        monitored.submit(f"local-{number}", "sleep 1; test $((PENSTOCK_JOB_ID % 7)) != 0", "local", 14, slots=2)
        monitored.submit_orca(f"orca-{number}")
        time.sleep(_WAVE_S)


if __name__ == "__main__":
    assert os.geteuid() == 0, "slurmd needs root"
    take(float(sys.argv[1]) if len(sys.argv) > 1 else 6.0)
