"""Programs that stand before sbatch, squeue and sacct on a PATH and misbehave when they are told to.

An order is for one call of sbatch; a mode lasts. Some orders ask for something that only the storm can do (kill the
daemon, cut the connection) at a point that nobody else can hit: they leave a file and wait until it is gone.
"""

from __future__ import annotations

import contextlib
import itertools
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.services.daemons import SYSTEM_PATH

KILLING: Final = ("kill-before", "die-before", "kill-created", "die-created")
"""Orders that ask for the daemon's death; where they `die` the wrapper around sbatch goes with it."""
CUTTING: Final = ("cut-before", "cut-created")
"""Orders that ask for the connection to be cut."""
LYING: Final = ("timeout-created", "timeout-nothing", "hang-created", "hang-nothing", "late-created", "twice")
"""Orders that need nobody: sbatch says that it timed out, takes long, creates after the daemon's death, or two jobs."""

_SBATCH: Final = r"""#!/bin/sh
real={real} folder={folder}
order=
for file in "$folder"/orders/*; do
    if [ -e "$file" ] && mv "$file" "$folder/taken/$$" 2>/dev/null; then
        order=${{file##*/}} order=${{order#*.}}
        break
    fi
done
ask() {{ # the storm does it, and removes the file when it is done
    printf '%s' "$order" >"$folder/asked/.$$" && mv "$folder/asked/.$$" "$folder/asked/$$"
    tries=0
    while [ -e "$folder/asked/$$" ] && [ "$tries" -lt 1000 ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
}}
fail() {{
    echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2
    exit 1
}}
case $order in
*-created | twice)
    case $order in
    hang-*) sleep 2 ;;
    late-*)
        ask
        sleep 8
        ;;
    esac
    answer=$("$real" "$@")
    code=$?
    case $order in
    timeout-*) fail ;;
    twice) answer=$("$real" "$@") code=$? ;;
    late-* | hang-*) ;;
    *) ask ;;
    esac
    case $order in
    die-*) kill -9 "$PPID" ;;
    esac
    [ -z "$answer" ] || printf '%s\n' "$answer"
    exit "$code"
    ;;
timeout-nothing) fail ;;
hang-nothing)
    sleep 2
    fail
    ;;
die-before)
    ask
    kill -9 "$PPID"
    exit 1
    ;;
*-before) ask ;;
esac
exec "$real" "$@"
"""
_ASKING: Final = r"""#!/bin/sh
real={real} folder={folder}
if [ ! -e "$folder/modes/{tool}" ]; then
    exec "$real" "$@"
fi
{mode}
"""
_FORGETTING: Final = r"""# shows nothing that has ended, as where MinJobAge is short
answer=$("$real" "$@") || exit
printf '%s\n' "$answer" | grep -E '^[^|]*\|(PENDING|CONFIGURING|RUNNING|COMPLETING)\||^(ERROR|slurm)'
exit 0"""
_SILENT: Final = "exit 0 # knows of nothing yet"


class Ask(NamedTuple):
    """A call of sbatch that waits for the storm: `order` is what it was told. `grant` lets it go on."""

    order: str
    path: Path

    def grant(self) -> None:
        """What it asked for is done."""
        self.path.unlink(missing_ok=True)


class Shims:
    """The programs, in `bin`, and the orders for them. Every account may use them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self._numbers = itertools.count(1)
        for name in ("orders", "taken", "asked", "modes", "bin"):
            (folder / name).mkdir(parents=True)
            (folder / name).chmod(0o1777 if name == "taken" else 0o777)
        self._write("sbatch", _SBATCH, "")
        self._write("squeue", _ASKING, _FORGETTING)
        self._write("sacct", _ASKING, _SILENT)

    @property
    def path(self) -> str:
        """A PATH on which they come first."""
        return f"{self.bin}:{SYSTEM_PATH}"

    def order(self, what: str) -> Path:
        """The next call of sbatch does this. The file is there until it has been taken."""
        file = self.folder / "orders" / f"{next(self._numbers):06d}.{what}"
        file.touch()
        return file

    @contextlib.contextmanager
    def accounts_late(self) -> Iterator[None]:
        """sacct knows nothing, squeue forgets at once."""
        files = [self.folder / "modes" / tool for tool in ("squeue", "sacct")]
        for file in files:
            file.touch()
        yield
        for file in files:
            file.unlink()

    def asked(self) -> list[Ask]:
        """Who waits for the storm."""
        files = [file for file in (self.folder / "asked").iterdir() if not file.name.startswith(".")]
        return [Ask(file.read_text(encoding="ascii"), file) for file in files]

    def _write(self, tool: str, text: str, mode: str) -> None:
        real = shutil.which(tool, path=SYSTEM_PATH)
        assert real is not None
        file = self.bin / tool
        fields = {"real": shlex.quote(real), "folder": shlex.quote(str(self.folder)), "tool": tool, "mode": mode}
        file.write_text(text.format(**fields), encoding="utf-8")
        file.chmod(0o755)
