"""A demo through a real Slurm on this machine, reached over SSH: `python -m examples.demo_slurm g2|elastic [FOLDER]`.

Starts what the test suite starts (tests/services), and stops and removes it in the end. Needs root.
"""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.services.pw import RealPw
from tests.services.slurm import RealSlurm
from tests.services.sshd import RealSshd

EXAMPLES = Path(__file__).parent


def main() -> int:
    """The demo's exit code; 77 where the services cannot be started."""
    example, *folder = sys.argv[1:]
    needs_pw = RealPw.missing() if example == "elastic" else None
    if why := RealSlurm.missing() or RealSshd.missing() or needs_pw:
        print(f"This demo starts a real Slurm and OpenSSH server, which cannot be done here: {why}", file=sys.stderr)
        return 77
    signal.signal(signal.SIGTERM, leave)
    cores = len(os.sched_getaffinity(0))
    print(f"Slurm with {cores} cores and sshd, both on the loopback interface: ", end="", flush=True)
    with RealSlurm(nodes=1, cpus=cores) as slurm, RealSshd(environment=slurm.environment) as sshd:
        print(f"ssh -p {sshd.port} {sshd.host} sbatch", flush=True)
        config = slurm.home.file("config.toml", render_config(slurm.home.path, sshd))
        results = folder[0] if folder else "demo-results"
        options = ["--cluster", "slurm", "--slots", str(cores)]
        demo = subprocess.Popen([EXAMPLES / example / "demo.sh", results, config, *options], start_new_session=True)
        for number in (signal.SIGINT, signal.SIGTERM):  # it cleans up first; only then may the cluster go
            signal.signal(number, lambda number, _frame: os.killpg(demo.pid, number))
        return demo.wait()


def render_config(folder: Path, sshd: RealSshd) -> str:
    """The daemon's settings for this cluster. Jobs run as this account, which surely may use this Python."""
    table = {
        "kind": "slurm",
        "host": sshd.host,
        "port": sshd.port,
        "user": getpass.getuser(),
        "identity": str(sshd.client_key),
        "known_hosts": str(sshd.known_hosts),
        "spool": str(folder / "penstock" / "spool"),
        "work_dir": str(folder / "penstock" / "work"),
        "python": sys.executable,
    }
    # strings and numbers are written alike in JSON and TOML
    return "[clusters.slurm]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End by SIGTERM as by Ctrl-C: what has been started is stopped."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
