"""Which real services the suite can start here. `python -m tests.services packages`, or `... left-out`."""

from __future__ import annotations

import sys

from .file_server import RealFileServer
from .flux import RealFlux
from .prometheus import RealPrometheus
from .pw import RealPw
from .slurm import RealSlurm
from .sshd import RealSshd
from .systemd import RealSystemd, systemd_packages_missing
from .tmux import RealTmux


def packages() -> list[str]:
    """The Debian packages that are missing."""
    services = (RealSlurm, RealSshd, RealPw, RealPrometheus, RealTmux, RealFileServer)
    return sorted({*systemd_packages_missing(), *(name for service in services for name in service.packages_missing())})


def left_out() -> list[str]:
    """The suites that will be left out, and why."""
    reasons = {
        "real Slurm": RealSlurm.missing(),
        "real SSH": RealSshd.missing(),
        "real pw.x": RealPw.missing(),
        "real Prometheus": RealPrometheus.missing(),
        "real tmux": RealTmux.missing(),
        "real Flux": RealFlux.missing(),
        "real file server": RealFileServer.missing(),
        "real systemd": RealSystemd.missing(),
    }
    return [f"left out: {service} ({why})" for service, why in reasons.items() if why is not None]


if __name__ == "__main__":
    print(*{"packages": packages, "left-out": left_out}[sys.argv[1]](), sep="\n")  # noqa: T201
