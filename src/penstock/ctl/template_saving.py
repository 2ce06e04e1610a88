"""A workflow's stored spec becomes a template: without what is its own, and with questions for paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from penstock.ctl.questions import names_file
from penstock.ctl.spec_document import document_of, drop, quoted, render, split_key
from penstock.ctl.spec_words import MEANINGS
from penstock.ctl.template_files import HEADER
from penstock.domain.build_table import BuildTable
from penstock.domain.errors import ConflictError
from penstock.domain.spec import IMPORTED, StructureSource, WorkflowSpec
from penstock.recipes.registry import ONLY_KEPT

_ITS_OWN: Final = ("id", "metadata")
_PATH: Final = re.compile(r"""(?:^|[\s'"=:])[/~]\w""")
_OF_STEP: Final = re.compile(r"^steps\.[^.]+\.")
_SOURCE: Final = "structures.source"
_EMPTY: Final = msgspec.json.decode(
    msgspec.json.encode(WorkflowSpec("", StructureSource(build=BuildTable()), {})), type=dict[str, Any]
)
"""What a spec that says nothing has, down to what is built."""


def template_text(spec: Mapping[str, Any], description: str) -> str:
    """The template that says what the stored `spec` says.

    Its name, its metadata and the place of its structures stay behind, and so do paths: what has one is asked for. What
    is built is built again.
    ConflictError where it does not say how to run anything.
    """
    if spec["recipe"] in ONLY_KEPT:
        raise ConflictError("its spec does not say how to run anything; take a workflow that was submitted")
    said = _said({key: value for key, value in spec.items() if key not in _ITS_OWN}, _EMPTY)
    said["structures"].pop("source", None)
    if said["structures"].get("format") == IMPORTED:
        said["structures"].pop("format")
    document = document_of({"recipe": said.pop("recipe"), **said})
    asks = {} if "build" in said["structures"] else {_SOURCE: "Structures: a file, a folder or a glob"}
    for key, value in [*_leaves("engine", said["engine"]), *_leaves("steps", said.get("steps", {}))]:
        if names_file(_OF_STEP.sub("", key)) or _holds_path(value):
            asks[key] = _question(key)
            drop(document, key)
    document[HEADER] = {"description": description, "asks": asks}
    return render(document, without_hints=True)


def _said(given: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """What of `given` differs from `default`; nothing of what is null or an empty table."""
    said: dict[str, Any] = {}
    for key, value in given.items():
        if value == default.get(key):
            continue
        pure = _pure(value)
        if isinstance(pure, dict):
            pure = _said(pure, default.get(key) or {})
        if pure is not None and pure != {}:
            said[key] = pure
    return said


def _pure(value: Any) -> Any:
    """`value` without nulls, which TOML does not have."""
    if isinstance(value, dict):
        return {key: _pure(inner) for key, inner in value.items() if inner is not None}
    return [_pure(inner) for inner in value if inner is not None] if isinstance(value, list) else value


def _leaves(way: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield way, value
        return
    for key, inner in value.items():
        yield from _leaves(f"{way}.{quoted(key)}", inner)


def _holds_path(value: Any) -> bool:
    """Whether a text, or one of a list, names something by an absolute path or below the home."""
    texts = value if isinstance(value, list) else [value]
    return any(isinstance(text, str) and _PATH.search(text) for text in texts)


def _question(key: str) -> str:
    *_, table, name = split_key(key)
    text = f"template file for {name}" if table == "templates" else MEANINGS.get(key, f"{key}, which was a path")
    text = text.partition(";")[0]
    return text[:1].upper() + text[1:]
