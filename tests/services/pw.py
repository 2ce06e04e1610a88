"""Quantum ESPRESSO on this machine: where pw.x and the pseudopotentials are."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .daemons import SYSTEM_PATH, not_installed, programs_missing

_EXAMPLES = Path("/usr/share/doc/quantum-espresso/examples")
_PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")


class RealPw:
    """`program` and `pseudo_dir`, as Debian's packages put them."""

    pseudo_dir = _PSEUDOPOTENTIALS

    @property
    def program(self) -> str:
        """The absolute path of pw.x."""
        found = shutil.which("pw.x", path=_path())
        assert found is not None
        return found

    @staticmethod
    def reference_outputs() -> list[Path]:
        """The outputs that come with its examples, of many programs and versions, gzipped or not."""
        return [path for path in sorted(_EXAMPLES.rglob("*.out*")) if path.is_file()]

    @staticmethod
    def packages_missing() -> list[str]:
        """The Debian packages it needs that are not there."""
        data = [] if (_PSEUDOPOTENTIALS / "Si.pz-vbc.UPF").is_file() else ["quantum-espresso-data"]
        return [*programs_missing({"pw.x": "quantum-espresso"}), *data]

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot be run here, or None."""
        packages = cls.packages_missing()
        return not_installed(packages) if packages else None

    def run(self, directory: Path, argv: list[str], *, file_size_kb: int | None = None) -> int:
        """Run an attempt to its end, its output in `directory`/stdout; the exit code, negative for a signal.

        With `file_size_kb` it is killed once it writes a longer file, as at a full quota.
        """
        limited = ["prlimit", f"--fsize={file_size_kb * 1024}", *argv] if file_size_kb else argv
        environment = os.environ | {"PATH": _path(), "OMP_NUM_THREADS": "1"}
        with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
            return subprocess.run(
                limited, cwd=directory, stdout=out, stderr=err, env=environment, check=False
            ).returncode


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_PATH])
