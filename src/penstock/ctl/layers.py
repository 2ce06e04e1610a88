"""The settings found on the client's side of the socket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.domain.settings import Layer, command_line_layer, environment_layer, project_layer


def client_layers(options: Mapping[str, Any]) -> tuple[Layer, ...]:
    """`.penstock.toml` of the working directory, the environment, and the command line's `options`, by dotted key."""
    found = [environment_layer(os.environ), command_line_layer(options)]
    if (own := project_layer(Path.cwd())) is not None:
        found.insert(0, own)
    return tuple(layer for layer in found if layer.values)
