"""The conversation in which a spec comes about: asked where a person is there, else taken from options and defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from tomlkit import TOMLDocument

from penstock import engines
from penstock.ctl.built_answers import built_of
from penstock.ctl.output import Ctl
from penstock.ctl.questions import COLUMNS, ORDERINGS, Question, option_for
from penstock.ctl.spec_check import check_tables, why_not
from penstock.ctl.spec_document import drop, parse_value, plain, put, value_at
from penstock.ctl.text import clean
from penstock.domain.build_table import KEY as BUILD
from penstock.domain.errors import SpecError
from penstock.domain.spec import StructureSource, nearest
from penstock.recipes.structures.survey import Survey, columns_at, guess_columns, survey

_NOTHING: Final = "-"
_UNDER: Final[dict[str, Any]] = {
    "recipe": "campaign",
    "structures": {"source": "any"},
    "engine": {"name": "command", "command": "any"},
}
"""What an unfinished spec is put over when one answer is checked."""


class Interview:
    """Fills a document. `given` are keys whose values stand; `anew` those that a template wants asked anew.

    `meanings` says of keys what the choice was. An answer of `-` leaves a key out that may be.

    Without `asks` nobody is asked: defaults are taken, and what has none is a usage error that names the option.
    """

    def __init__(
        self, ctl: Ctl, document: TOMLDocument, file: Path, given: Mapping[str, Any], anew: Collection[str], asks: bool
    ) -> None:
        self.document = document
        self.meanings: dict[str, str] = {}
        self._ctl = ctl
        self.file = file
        self._given = given
        self._anew = anew
        self._asks = asks
        for key, value in given.items():
            put(document, key, value)

    def value(self, key: str) -> Any:
        """What the document has for a dotted key now; None for nothing."""
        return value_at(plain(self.document), key)

    def settle(self, question: Question) -> None:
        """See to it that the question's key has a value, or is left out where it may be."""
        key, present = question.key, self.value(question.key)
        if question.unless and self.value(question.unless) is not None:
            return
        if question.when and self.value(question.when) is None:
            return
        if question.choices and key.startswith("engine.") and key != "engine.name":
            self.meanings[key] = ", ".join(question.choices)
        if key in self._given:
            if wrong := self._wrong_with(question):
                raise click.UsageError(f"{option_for(key)}: {wrong}")
        elif present is None or key in self._anew:
            default = question.default if present is None else present
            if self._asks:
                self._ask(question, default)
            elif default is not None:
                self._take_default(question, default)
            elif question.needed:
                raise click.UsageError(f"{option_for(key)} is missing: {question.text}{_listed(question.choices)}")

    def settle_source(self, question: str) -> Survey:
        """Ask where the structures are until they can be read, and for the columns of a table; what was found.

        Nothing is asked where the document says what is to be built. An answer may say that too.
        """
        key = "structures.source"
        while True:
            self._take_for_built()  # an option may say it
            if is_answer := self._is_asked_for_source():
                self.settle(Question(key, question, kind="file"))
                self._take_for_built()
            try:
                found = self._survey()
            except SpecError as error:
                if not (self._asks and is_answer) or error.key == "structures" or {key, error.key} & self._given.keys():
                    raise click.UsageError(f"{self._option_of(error, key)}: {error.message}") from error
                self._ctl.note(f"  {error.message}")
                drop(self.document, key)
                drop(self.document, BUILD)
                continue
            if self._asks:
                self._ctl.note(f"  {found}")
            return found

    def _is_asked_for_source(self) -> bool:
        """Whether nothing says yet what is to be built; how, such as up to which size, may be said."""
        build = self.value(BUILD)
        return build is None or not build.keys() & {"system", "elements"}

    def _take_for_built(self) -> None:
        """An answer such as `Cu`, where there is no such file, becomes what is to be built."""
        answer = self.value("structures.source")
        bare = Path(answer or "").name  # as the person wrote it, wherever the spec will be
        if not (bare and self._is_asked_for_source() and beside(bare, self.file) == answer):
            return
        build = built_of(bare, self.value("recipe"), Path.cwd())
        if build is None:
            return
        drop(self.document, "structures.source")
        put(self.document, BUILD, build | (self.value(BUILD) or {}))
        for question in ORDERINGS if "elements" in build else ():
            self.settle(question)

    def _survey(self) -> Survey:
        if self.value(BUILD) is None:
            self._settle_columns()
            return survey(self._source(), self._source_path())
        check_tables(_over(_UNDER, {"structures": plain(self.document)["structures"]}), "", self.file)
        return survey(self._source(), None)

    def _option_of(self, error: SpecError, key: str) -> str:
        """The option that what is wrong with the structures was said by."""
        wrong = error.key or (key if self.value(BUILD) is None else BUILD)
        return option_for(key if key in self._given and wrong.startswith(BUILD) else wrong)

    # ---- one question -----------------------------------------------------------------------------------------------

    def _ask(self, question: Question, default: Any) -> None:
        while True:
            answer = self._prompt(question, default)
            before = self.value(question.key)
            if answer in {"", _NOTHING} and not question.needed:
                drop(self.document, question.key)
                return
            try:
                put(self.document, question.key, self._value_of(question, answer, default))
                wrong = self._wrong_with(question)
            except SpecError as error:
                wrong = error.message
            if not wrong:
                return
            self._ctl.note(f"  {wrong}")
            drop(self.document, question.key) if before is None else put(self.document, question.key, before)

    def _prompt(self, question: Question, default: Any) -> str:
        shown = "" if default is None and not question.needed else default
        shown = msgspec.json.encode(shown).decode() if isinstance(shown, dict | list) else shown
        offered = f" [{shown}]" if shown not in {None, ""} else ""
        text = clean(f"{question.text}{_listed(question.choices)}{offered}")
        return str(click.prompt(text, default=shown, show_default=False, err=True, value_proc=str)).strip()

    def _value_of(self, question: Question, answer: str, default: Any) -> Any:
        if default is not None and answer == str(default):
            return default
        match question.kind:
            case "value" | "values":
                return parse_value(answer) if question.kind == "value" else _values(answer)
            case "file":
                return beside(answer, self.file)
            case "files":
                paths = [beside(path, self.file) for path in answer.split()]
                return {Path(path).name.removesuffix(".template"): path for path in paths}
            case _ if isinstance(default, int):
                return parse_value(answer)
            case _:
                return answer

    def _take_default(self, question: Question, default: Any) -> None:
        if self.value(question.key) != default:
            put(self.document, question.key, default)
        if wrong := self._wrong_with(question):
            raise click.UsageError(f"{option_for(question.key)}: {wrong}")

    def _wrong_with(self, question: Question) -> str:
        """Why the value that the question's key has cannot be; empty where it can, as far as one key shows it."""
        value = self.value(question.key)
        if question.choices and value not in question.choices:
            if question.key == "engine.name" and value in engines.names():
                return (
                    why_not(self.value("recipe"), value, plain(self.document))
                    or f"use one of {', '.join(question.choices)}"
                )
            hint = nearest(str(value), question.choices) or f"use one of {', '.join(question.choices)}"
            return f"{value!r} is none of them; {hint}"
        try:
            check_tables(_over(_UNDER, plain(self.document)), "", self.file)
        except SpecError as error:
            found = error.key or ""
            if found == question.key or found.startswith((f"{question.key}.", f"{question.key}[")):
                return error.message
        return ""

    # ---- structures -------------------------------------------------------------------------------------------------

    def _source(self) -> StructureSource:
        try:
            return msgspec.convert(plain(self.document)["structures"], StructureSource)
        except msgspec.ValidationError as error:
            raise SpecError(str(error), key="structures") from error

    def _source_path(self) -> Path:
        return self.file.parent / Path(self._source().source).expanduser()

    def _settle_columns(self) -> None:
        """The columns that a table has, guessed by name and content; what a template says stays where it fits."""
        names = columns_at(_bare(self._source()), self._source_path())
        for name in COLUMNS:
            key = f"structures.{name}"
            if key not in self._given and self.value(key) not in names:
                drop(self.document, key)
        if not names:
            return
        guessed = guess_columns(_bare(self._source()), self._source_path())
        for name, text in COLUMNS.items():
            if not self._says_spin_already(name):
                self._settle_column(name, text, names, guessed.get(name))

    def _says_spin_already(self, name: str) -> bool:
        other = {"multiplicity_column": "unpaired_column", "unpaired_column": "multiplicity_column"}.get(name)
        return other is not None and self.value(f"structures.{other}") is not None

    def _settle_column(self, name: str, text: str, names: list[str], guessed: str | None) -> None:
        key, needed = f"structures.{name}", name == "geometry_column"
        choices = tuple(names) if needed else (*names, _NOTHING)
        more = "" if needed else f"; {_NOTHING} for none"
        self.settle(Question(key, f"{text}{more}", guessed or (None if needed else _NOTHING), choices))
        if self.value(key) == _NOTHING:
            drop(self.document, key)


def beside(path: str, file: Path) -> str:
    """A path as a person where we are means it, as it is written in `file`."""
    if path.startswith(("/", "~")):
        return path
    return os.path.relpath(Path.cwd() / path, file.parent) if path else path


def _values(answer: str) -> list[Any]:
    """Several values, however they are written."""
    value = parse_value(answer)
    return value if isinstance(value, list) else [parse_value(part) for part in re.split(r"[,\s]+", answer) if part]


def _listed(choices: Iterable[str]) -> str:
    listed = ", ".join(choices)
    return f" ({listed})" if listed else ""


def _bare(source: StructureSource) -> StructureSource:
    return StructureSource(source.source, source.format)


def _over(under: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under) | dict(tables)
    for key in ("structures", "engine"):
        own = tables.get(key, {})
        if key == "engine" and isinstance(own, dict) and own.get("name") not in (None, "command"):
            merged[key] = own
        elif isinstance(own, dict):
            merged[key] = own if "build" in own else under[key] | own
    return merged
