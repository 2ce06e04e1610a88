"""The commands about templates of specs: list, show, save, add, remove."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from penstock.ctl.options import command, complete_id, json_option
from penstock.ctl.output import Ctl
from penstock.ctl.spec_files import refuse_existing, write_file
from penstock.ctl.template_files import (
    FILE,
    PROJECT,
    USER,
    Template,
    check_name,
    check_template,
    find_template,
    folders,
    list_templates,
    load_template,
    template_names,
)
from penstock.ctl.text import clean_block
from penstock.domain.errors import ConflictError, NotFoundError, SpecError
from penstock.domain.settings import read_text


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in template_names() if name.startswith(incomplete)]


_project: Final = click.option("--project", is_flag=True, help="In .penstock-templates/ here, not among your own.")
_overwrite: Final = click.option("--overwrite", is_flag=True, help="Write over a template of that name.")


@click.group("templates", invoke_without_command=True)
@json_option
@click.pass_context
def templates(context: click.Context) -> None:
    """Show, save and share templates of specs; without a command: list them."""
    if context.invoked_subcommand is None:
        context.invoke(_list)


@command("list")
def _list(ctl: Ctl) -> None:
    """Show the templates there are, and where each comes from."""
    found = list_templates()
    if ctl.json:
        ctl.emit({"templates": [dict(zip(template._fields, template, strict=True)) for template in found]})
        return
    ctl.table(("name", "origin", "description"), ((t.name, t.origin, t.problem or t.description) for t in found))


@command("show")
@click.argument("name", shell_complete=_complete)
def _show(ctl: Ctl, name: str) -> None:
    """Print a template: one of the list, or a file."""
    template = find_template(name)
    if ctl.json:
        _emit(ctl, template)
    else:
        click.echo(clean_block(template.text), nl=False)


@command("save")
@click.argument("name")
@click.option("--from-workflow", "id", required=True, metavar="ID", shell_complete=complete_id, help="Whose spec.")
@click.option("--description", default="", help="What it is for.")
@_project
@_overwrite
def _save(ctl: Ctl, name: str, *, id: str, description: str, project: bool, overwrite: bool) -> None:
    """Save a workflow's spec as a template NAME, with a question in the place of every path."""
    from penstock.ctl.template_saving import template_text

    path = _path(name, project=project)
    refuse_existing(path, overwrite=overwrite)
    text = template_text(ctl.client.spec(id).spec, description or f"as workflow {id}")
    _keep(ctl, path, text, overwrite=overwrite, project=project)
    ctl.note("look through it before you share it: commands and setup lines are as the workflow had them")


@command("add")
@click.argument("file", type=click.Path())
@click.option("--name", help="Its name here; else the file's.")
@_project
@_overwrite
def _add(ctl: Ctl, file: str, *, name: str | None, project: bool, overwrite: bool) -> None:
    """Add a template that somebody shared: FILE is checked, then copied."""
    source = Path(file).absolute()
    check_template(load_template(source, FILE))
    path = _path(name or source.stem, project=project)
    refuse_existing(path, overwrite=overwrite)
    _keep(ctl, path, read_text(source), overwrite=overwrite, project=project)


@command("remove")
@click.argument("name", shell_complete=_complete)
@_project
def _remove(ctl: Ctl, name: str, *, project: bool) -> None:
    """Remove one of your templates."""
    path = _path(name, project=project)
    if not path.is_file():
        found = next((template for template in list_templates() if template.name == name), None)
        if found is None:
            raise NotFoundError(f"there is no template {name!r}")
        raise ConflictError(f"template {name} is {found.origin}: {_whose(found.origin)}")
    try:
        path.unlink()
    except OSError as error:
        raise SpecError(f"cannot be removed: {error.strerror}", file=str(path)) from error
    if ctl.json:
        ctl.emit({"name": name, "origin": PROJECT if project else USER, "path": str(path)})
    else:
        ctl.line(f"removed {path}")


def _whose(origin: str) -> str:
    return {PROJECT: "add --project", USER: "leave --project out"}.get(origin, "it comes with Penstock and stays")


def _path(name: str, *, project: bool) -> Path:
    return folders()[PROJECT if project else USER] / f"{check_name(name)}.toml"


def _keep(ctl: Ctl, path: Path, text: str, *, overwrite: bool, project: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"cannot be made: {error.strerror}", file=str(path.parent)) from error
    write_file(path, text, overwrite=overwrite)
    template = load_template(path, PROJECT if project else USER)
    if ctl.json:
        _emit(ctl, template)
    else:
        ctl.line(f"template {template.name} is in {path}; use it: penstockctl new --from {template.name}")


def _emit(ctl: Ctl, template: Template) -> None:
    ctl.emit(
        {
            "name": template.name,
            "origin": template.origin,
            "path": str(template.path),
            "description": template.header.description,
            "asks": template.header.asks,
            "text": template.text,
        }
    )


for _command in (_list, _show, _save, _add, _remove):
    templates.add_command(_command)

COMMANDS: Final = {"templates": templates}
