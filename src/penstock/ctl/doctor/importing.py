"""Importing in a process of its own, which may crash or hang, and may be of another Python."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from typing import Final

ONE_OF_THEM: Final = "(one of them)"
"""Stands for the name where the process ended before it could say at which."""
IMPORTING_S: Final = 30.0
_PROGRAM: Final = """
import importlib, json, sys
failed = {{}}
for name in sys.argv[1:]:
    try:
        {statement}
    except BaseException as error:
        failed[name] = f"{{type(error).__name__}}: {{error}}"[:500]
print(json.dumps(failed))
"""


def run_imports(
    python: str, statement: str, names: Iterable[str], environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Those for which `statement`, which may use `name` and `importlib`, raises, and what.

    It begins in the root directory: what lies where somebody happens to stand is nobody's package. `environ` is this
    process's own where it is None. TimeoutError when it takes too long, OSError where there is no such `python`.
    """
    argv = [python, "-c", _PROGRAM.format(statement=statement), *names]
    try:
        ran = subprocess.run(
            argv, capture_output=True, timeout=IMPORTING_S, check=False, stdin=subprocess.DEVNULL, env=environ, cwd="/"
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"nothing was imported within {IMPORTING_S:g} s") from error
    try:
        failed: dict[str, str] = json.loads(ran.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {ONE_OF_THEM: f"importing ended with exit code {ran.returncode}"}
    return failed
