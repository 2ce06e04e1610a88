"""`python -m penstock.engines run NAME [DIR]`: one attempt of a Python engine in a process of its own."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from penstock import engines
from penstock.domain.errors import SpecError


def main(arguments: list[str] | None = None) -> int:
    """Runs it; what it raises goes to stderr, the last line being `Type: message`, and makes the exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m penstock.engines")
    parser.add_argument("action", choices=["run"])
    parser.add_argument("engine")
    parser.add_argument("directory", nargs="?", type=Path, default=Path())
    options = parser.parse_args(arguments)
    try:
        _run(options.engine, options.directory)
    except Exception as error:  # noqa: BLE001 - a failed calculation is a value
        traceback.print_exc()
        message = " ".join(str(error).split())
        sys.stderr.write(f"{type(error).__name__}: {message}\n")
        return 1
    return 0


def _run(name: str, directory: Path) -> None:
    if engines.get(name).kind != "python":
        raise SpecError(f"engine {name!r} is a program; it does not run in Python", key="engine.name")
    engine = engines.get_python(name)
    engine.load()
    engine.run(directory)


if __name__ == "__main__":
    sys.exit(main())
