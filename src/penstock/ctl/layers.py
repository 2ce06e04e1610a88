"""The settings found on the client's side of the socket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from penstock.domain.errors import SpecError
from penstock.domain.settings import Layer, check_layer, command_line_layer, environment_layer
from penstock.domain.spec import parse_toml

SETTINGS_FILE: Final = ".penstock.toml"


def client_layers(options: Mapping[str, Any]) -> tuple[Layer, ...]:
    """`.penstock.toml` of the working directory, the environment, and the command line's `options`, by dotted key."""
    path = Path.cwd() / SETTINGS_FILE
    found = [environment_layer(os.environ), command_line_layer(options)]
    if path.exists():
        text = read_text(path)
        found.insert(0, check_layer(Layer(str(path), parse_toml(text, str(path))), text))
    return tuple(layer for layer in found if layer.values)


def read_text(path: Path) -> str:
    """The text of a file the user names; SpecError says why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise SpecError(f"not UTF-8 text (byte {error.start})", file=str(path)) from error
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=str(path)) from error
