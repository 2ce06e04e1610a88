"""The command new: a spec out of questions, options and templates."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from tomlkit import TOMLDocument

from penstock.control.messages import Planned
from penstock.ctl.built_answers import source_question
from penstock.ctl.interview import Interview, beside
from penstock.ctl.layers import client_layers
from penstock.ctl.options import Whole, command
from penstock.ctl.output import Ctl
from penstock.ctl.questions import (
    OPTIONS,
    RETENTION,
    Question,
    engine_questions,
    option_for,
    question_for,
    recipe_questions,
    value_for,
)
from penstock.ctl.spec_check import check_spec, engines_for
from penstock.ctl.spec_document import document_of, parse_document, plain, render, split_key
from penstock.ctl.spec_files import refuse_existing, write_file
from penstock.ctl.spec_words import ISOLATION
from penstock.ctl.template_files import Template, find_template, template_names
from penstock.daemon.config import load_config
from penstock.domain.errors import ForbiddenError, ProtocolError, SpecError, UnreachableError
from penstock.domain.ids import check_workflow_id
from penstock.domain.settings import find_config, resolve
from penstock.domain.spec import StructureSource, WorkflowSpec
from penstock.engines import names as engine_names
from penstock.recipes.registry import recipe_names
from penstock.recipes.structures.survey import Survey

_ASKED_ANYWAY: Final = frozenset({"recipe", "structures.source", "engine.name", "cluster", "isolation", "slots", "id"})
_ANSWERED_NO: Final = 2
_FIRST: Final = ("id", "recipe", "cluster", "slots", "priority", "isolation")


class _Surroundings(NamedTuple):
    """What is known without the spec: clusters, settings of lower rank, and whether a daemon can try the spec."""

    clusters: tuple[str, ...]
    settings: dict[str, Any]
    is_online: bool


def _complete_template(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in template_names() if name.startswith(incomplete)]


def _complete_engine(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in engine_names() if name.startswith(incomplete)]


@command("new")
@click.argument("path", required=False, type=click.Path(dir_okay=False))
@click.option("--from", "template", metavar="TEMPLATE", shell_complete=_complete_template, help="A name, or a file.")
@click.option("--recipe", type=click.Choice(recipe_names()), help="What is done with every structure.")
@click.option("--structures", type=click.Path(), help="A file, a folder or a glob.")
@click.option("--engine", metavar="NAME", shell_complete=_complete_engine, help="The simulation code.")
@click.option("--cluster", metavar="NAME", help="Where it runs.")
@click.option("--isolation", type=click.Choice(list(ISOLATION)), help="What it shares with other workflows.")
@click.option("--slots", type=Whole(), metavar="N", help="Jobs that may run at the same time.")
@click.option("--id", help="The workflow's name.")
@click.option("--archive-after", metavar="TIME", help="How long after its end, such as 30d.")
@click.option("--delete-after", metavar="TIME", help="How long after its end, such as 90d.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key, such as engine.method=GFN1-xTB.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: options, then defaults.")
@click.option("--overwrite", is_flag=True, help="Write over a file that exists.")
@click.option("--offline", is_flag=True, help="Leave the daemon out: no dry run, clusters from config.toml.")
def new(
    ctl: Ctl,
    path: str | None,
    template: str | None,
    settings: tuple[str, ...],
    *,
    yes: bool,
    overwrite: bool,
    offline: bool,
    **options: Any,
) -> int | None:
    """Write a spec: asks what it needs to know, shows what would be done, then writes PATH.

    Where standard input is no terminal, nothing is asked.
    """
    asks = not (yes or ctl.json) and sys.stdin.isatty()
    chosen = find_template(template) if template else None
    file = _file(path, chosen, asks=asks)
    refuse_existing(file, overwrite=overwrite)
    around = _look_around(ctl, offline=offline)
    document = chosen.document() if chosen else document_of({})
    opened = tuple(chosen.header.asks) if chosen else ()
    given = _given(options, settings, file)
    interview = Interview(ctl, document, file, given, opened, asks=asks)
    found = _conduct(ctl, interview, chosen, around, asks=asks)
    if chosen is None:
        interview.document = _in_order(plain(interview.document))
    text = render(interview.document, interview.meanings)
    plan = _try(ctl, text, file, around, given, asks=asks)
    if not ctl.json:
        _summarise(ctl, file, plain(parse_document(text, str(file))), found, plan, is_online=around.is_online)
    if asks and not click.confirm(f"Write {file.name}?", default=True, err=True):
        ctl.note("nothing is written")
        return _ANSWERED_NO
    write_file(file, text, overwrite=overwrite)
    if ctl.json:
        ctl.emit(
            {"path": str(file), "template": template, "spec": plain(parse_document(text, str(file))), "plan": plan}
        )
    else:
        ctl.line(f"wrote {file.name}; run it: penstockctl submit {os.path.relpath(file)}")
    return None


def _file(path: str | None, template: Template | None, *, asks: bool) -> Path:
    usual = f"{template.name if template else 'workflow'}.toml"
    if path is None:
        path = click.prompt("Spec to write", default=usual, err=True, value_proc=str) if asks else usual
    file = Path(path).absolute()
    if not file.parent.is_dir():
        raise SpecError("there is no such folder; make it first", file=str(file.parent))
    return file


def _given(options: dict[str, Any], settings: tuple[str, ...], file: Path) -> dict[str, Any]:
    """What options say, by dotted key; `--structures` is relative to where we are, `--set` as the spec has it."""
    named = {key: options[option.removeprefix("--").replace("-", "_")] for key, option in OPTIONS.items()}
    given = {key: value for key, value in named.items() if value is not None}
    if "structures.source" in given:
        given["structures.source"] = beside(given["structures.source"], file)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: write KEY=VALUE, such as slots=4")
        split_key(key)
        given[key.strip()] = value_for(key.strip(), value)
    return given


def _look_around(ctl: Ctl, *, offline: bool) -> _Surroundings:
    """Clusters and settings as the daemon knows them, where one answers; else as its configuration file has them."""
    layers = client_layers({})
    if not offline:
        try:
            clusters = tuple(info.name for info in ctl.client.clusters().clusters)
            found = {setting.key: setting.value for setting in ctl.client.settings(layers).settings}
            return _Surroundings(clusters, found, is_online=True)
        except (UnreachableError, ForbiddenError, ProtocolError) as error:
            ctl.note(f"without a dry run: {error}")
    config = load_config(find_config(os.environ))
    settings = {key: setting.value for key, setting in resolve([*config.layers(), *layers]).items()}
    return _Surroundings(tuple(config.clusters), settings, is_online=False)


def _conduct(ctl: Ctl, interview: Interview, template: Template | None, around: _Surroundings, *, asks: bool) -> Survey:
    """Every question in turn; what was found at the source of the structures."""
    texts = template.header.asks if template else {}
    interview.settle(Question("recipe", "Recipe", "campaign", tuple(recipe_names())))
    recipe = interview.value("recipe")
    found = interview.settle_source(texts.get("structures.source", source_question(recipe)))
    has_engine = interview.value("engine.name") is not None and template is not None
    for question in () if has_engine else recipe_questions(recipe):
        interview.settle(question)
    engines = tuple(engines_for(recipe, plain(interview.document)))
    interview.settle(Question("engine.name", "Engine", engines[0] if len(engines) == 1 else None, engines))
    asked = [question_for(key, text) for key, text in texts.items() if key not in _ASKED_ANYWAY]
    if not has_engine:
        asked += engine_questions(recipe, interview.value("engine.name"), are_decks=found.formats == ("d12",))
    for question in asked:
        interview.settle(question)
    interview.settle(Question("cluster", "Cluster", around.settings.get("cluster"), around.clusters))
    if asks:
        for mode, meaning in ISOLATION.items():
            ctl.note(f"  {mode:8}  {meaning}")
    interview.settle(Question("isolation", "Isolation", around.settings.get("isolation"), tuple(ISOLATION)))
    interview.settle(Question("slots", "Slots: jobs at the same time", around.settings.get("slots"), kind="value"))
    for question in RETENTION:
        interview.settle(question)
    interview.settle(
        Question("id", "Name of the workflow (- for one made up)", _usual_id(interview.file), needed=False)
    )
    return found


def _usual_id(file: Path) -> str | None:
    """The file's name, where that is one a workflow may have."""
    try:
        return check_workflow_id(file.stem)
    except SpecError:
        return None


def _in_order(tables: dict[str, Any]) -> TOMLDocument:
    """A document with the keys in the order in which the reference has them."""
    fields = [*_FIRST, *WorkflowSpec.__struct_fields__]
    ordered = {key: tables[key] for key in sorted(tables, key=lambda key: fields.index(key) if key in fields else 99)}
    known = StructureSource.__struct_fields__
    source, engine = ordered["structures"], ordered["engine"]
    ordered["structures"] = {key: source[key] for key in (*known, *(source.keys() - set(known))) if key in source}
    ordered["engine"] = {"name": engine["name"], **engine}
    return document_of(ordered)


def _try(
    ctl: Ctl, text: str, file: Path, around: _Surroundings, given: dict[str, Any], *, asks: bool
) -> Planned | None:
    """What the daemon would do, None where none answers. A spec that is wrong is an error, or a person's to keep."""
    try:
        check_spec(text, file)
        if around.is_online:
            return ctl.client.plan(text, str(file), str(Path.cwd()), client_layers({}))
    except SpecError as error:
        if error.key in given:
            raise click.UsageError(f"{option_for(error.key)}: {error.message}") from error
        if not asks:
            raise
        ctl.note(f"This spec cannot be submitted yet: {error}")
        click.confirm("Keep it, to mend it by hand?", default=False, abort=True, err=True)
    return None


def _summarise(
    ctl: Ctl, file: Path, spec: dict[str, Any], found: Survey, plan: Planned | None, *, is_online: bool
) -> None:
    engine = spec["engine"]
    what = ", ".join(str(engine[key]) for key in ("method", "basis", "task") if key in engine)
    steps = ", ".join(step.key for step in plan.steps) if plan and len(plan.steps) > 1 else ""
    pairs = [
        ("spec", str(file)),
        ("recipe", spec["recipe"] + (f": {steps}" if steps else "")),
        ("structures", f"{spec['structures'].get('source', 'built')}: {found}"),
        ("engine", engine["name"] + (f": {what}" if what else "")),
        ("cluster", spec.get("cluster", "local")),
        ("slots", str(spec.get("slots", 1))),
        ("isolation", f"{spec.get('isolation', 'isolated')}: {ISOLATION.get(spec.get('isolation', 'isolated'), '')}"),
    ]
    if plan:
        numbers = f"{plan.jobs} jobs, at most {plan.core_hours_limit:.1f} core hours"
        pairs.append(("dry run", f"{numbers}, {plan.rejected_total} records rejected"))
    elif not is_online:
        pairs.append(("dry run", "not tried: no daemon was asked"))
    ctl.pairs(pairs)


COMMANDS: Final = {"new": new}
