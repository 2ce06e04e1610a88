"""Templates of specs: spec files with a table `[template]` that says what they are for and what is to be asked.

There are those that come with Penstock, the user's and the project's; a nearer one hides others of its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from tomlkit import TOMLDocument

from penstock.ctl.spec_check import check_tables
from penstock.ctl.spec_document import parse_document, plain, put, split_key, value_at
from penstock.domain.errors import NotFoundError, SpecError
from penstock.domain.settings import read_text
from penstock.domain.spec import locate_key, nearest
from penstock.engines.engine import check_table

HEADER: Final = "template"
PROJECT_FOLDER: Final = ".penstock-templates"
BUILT_IN: Final = "built-in"
USER: Final = "user"
PROJECT: Final = "project"
FILE: Final = "file"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Header(msgspec.Struct, frozen=True):
    """`[template]`: what it is for, and the questions for keys that every new spec must be asked for."""

    description: str = ""
    asks: dict[str, str] = {}


class Template(NamedTuple):
    """A template; `origin` is `built-in`, `user`, `project` or `file`."""

    name: str
    origin: str
    path: Path
    header: Header
    text: str

    def document(self) -> TOMLDocument:
        """The spec without the table that makes it a template."""
        document = parse_document(self.text, str(self.path))
        document.pop(HEADER)
        return document


class Listed(NamedTuple):
    """A template as it is listed; `problem` says why it cannot be used, empty if it can."""

    name: str
    origin: str
    path: str
    description: str
    problem: str


def user_folder(environ: Mapping[str, str]) -> Path:
    """Where a user's templates are: `templates` beside the daemon's `config.toml`."""
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".config")
    return Path(base) / "penstock" / "templates"


def folders() -> dict[str, Path]:
    """The folders that are looked through, the nearest first."""
    return {
        PROJECT: Path.cwd() / PROJECT_FOLDER,
        USER: user_folder(os.environ),
        BUILT_IN: Path(__file__).with_name("spec_templates"),
    }


def list_templates() -> list[Listed]:
    """Every template by name, hidden ones left out; one that cannot be read is listed with the reason."""
    found: dict[str, Listed] = {}
    for origin, folder in folders().items():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, _listed(path, origin))
    return [found[name] for name in sorted(found)]


def template_names() -> list[str]:
    """The names that `find_template` knows."""
    return sorted({path.stem for folder in folders().values() for path in folder.glob("*.toml")})


def find_template(name: str) -> Template:
    """The template of a name or, where that has a slash or ends in `.toml`, of a path. NotFoundError, SpecError."""
    if "/" in name or name.endswith(".toml"):
        return load_template(Path(name).absolute(), FILE)
    for origin, folder in folders().items():
        path = folder / f"{name}.toml"
        if _NAME.fullmatch(name) and path.is_file():
            return load_template(path, origin)
    hint = nearest(name, template_names()) or f"known: {', '.join(template_names())}"
    raise NotFoundError(f"there is no template {name!r}; {hint}")


def load_template(path: Path, origin: str) -> Template:
    """The template in a file; SpecError says where it is none."""
    text = read_text(path)
    table = plain(parse_document(text, str(path))).get(HEADER)
    if not isinstance(table, dict):
        raise SpecError("no template: add a table [template] with a description", file=str(path), key=HEADER)
    try:
        header = check_table(table, Header, HEADER)
        for key in header.asks:
            split_key(key)
    except SpecError as error:
        raise _located(error, text, path) from error
    return Template(path.stem, origin, path, header, text)


def check_template(template: Template) -> None:
    """SpecError unless the spec can be meant once it has what it asks for."""
    document = template.document()
    tables = plain(document)
    unanswered = [key for key in template.header.asks if value_at(tables, key) is None]
    try:
        if "structures.source" in unanswered:
            put(document, "structures.source", "asked")
        check_tables(plain(document), "", template.path)
    except SpecError as error:
        key = error.key or ""
        elsewhere = error.file not in {None, str(template.path)}
        if elsewhere or any(key == asked or key.startswith(f"{asked}.") for asked in unanswered):
            return  # a file beside the spec that is to be, or what will have an answer then
        raise _located(error, template.text, template.path) from error


def check_name(name: str) -> str:
    """The name itself if a template can have it, else SpecError."""
    if _NAME.fullmatch(name) is None or name.endswith(".toml"):
        raise SpecError(f"{name!r} is no name for a template; use letters, digits and _ . -, at most 64")
    return name


def _listed(path: Path, origin: str) -> Listed:
    try:
        return Listed(path.stem, origin, str(path), load_template(path, origin).header.description, "")
    except SpecError as error:
        return Listed(path.stem, origin, str(path), "", str(error))


def _located(error: SpecError, text: str, path: Path) -> SpecError:
    line = error.line or (locate_key(text, error.key) if error.key else None)
    return SpecError(error.message, file=str(path), line=line, key=error.key)
