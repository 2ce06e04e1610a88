"""The command `penstockctl`. A command's module is imported only when that command runs."""

from __future__ import annotations

try:
    import importlib
    import io
    import os
    import sys
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any, Final

    import click
    import msgspec

    from penstock.ctl.options import socket_option
    from penstock.ctl.output import Ctl
    from penstock.ctl.text import clean
    from penstock.domain.errors import (
        BusyError,
        ClusterError,
        ForbiddenError,
        InternalError,
        OutputError,
        PenstockError,
        ProtocolError,
        SpecError,
        StoreError,
        UnreachableError,
    )
except KeyboardInterrupt:  # loading takes long enough to be interrupted; that is no reason for a traceback
    raise SystemExit(130) from None

EXIT_FAILED: Final = 1
EXIT_WRONG_USE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_INTERRUPTED: Final = 130

_NO_CONVERSATION: Final = (UnreachableError, ProtocolError, ForbiddenError, BusyError)
_NOT_THE_USERS: Final = (InternalError, StoreError, ClusterError, OutputError)
_MODULES: Final = {
    "submit": "submit",
    "list": "query",
    "status": "query",
    "jobs": "query",
    "show": "query",
    "summary": "query",
    "table": "query",
    "results": "results",
    "report": "results",
    "why": "query",
    "log": "daemon_log",
    "logs": "follow",
    "watch": "follow",
    "top": "top.command",
    "pause": "change",
    "resume": "change",
    "cancel": "change",
    "retry": "change",
    "mark": "change",
    "resolve": "change",
    "rescan": "review",
    "recompute-metrics": "review",
    "reset-missing": "review",
    "set-job": "review",
    "set": "change",
    "on-complete": "change",
    "create": "offline",
    "adopt": "offline",
    "sync": "offline",
    "sweeps": "sweep",
    "sweep": "sweep",
    "compare": "sweep",
    "export": "change",
    "import": "importing",
    "executions": "importing",
    "execution": "importing",
    "backup": "backup",
    "merge": "merging",
    "archive": "life",
    "archives": "life",
    "restore": "life",
    "delete": "life",
    "clean": "life",
    "du": "life",
    "retention": "life",
    "clusters": "cluster",
    "cluster": "cluster",
    "locks": "locks",
    "doctor": "doctor.command",
    "diagnose": "diagnose",
    "remedies": "diagnose",
    "hull": "hull",
    "trace": "trace",
    "contexts": "contexts",
    "service": "service",
    "config": "about",
    "ping": "about",
    "version": "about",
    "completion": "about",
    "plan": "plan",
    "new": "new",
    "templates": "templates",
}


class _PipeClosedError(Exception):
    """Whoever read our output has enough; click would call that a failure."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _MODULES:
            return None
        module = importlib.import_module(f"penstock.ctl.{_MODULES[cmd_name]}")
        found: click.Command = module.COMMANDS[cmd_name]
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        given = args[0]
        if given not in _MODULES and not given.startswith("-") and not ctx.resilient_parsing:
            from penstock.domain.spec import nearest

            hint = nearest(given, _MODULES) or f"there are {', '.join(_MODULES)}"
            raise click.UsageError(f"no such command {given!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _PipeClosedError from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@socket_option
def cli() -> None:
    """Run simulation workflows through penstockd."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) names; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    ctl = Ctl()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode is no reason to fail
    try:
        result = cli.main(arguments, "penstockctl", standalone_mode=False, obj=ctl)
        sys.stdout.flush()
    except PenstockError as error:
        _report(ctl, error)
        return exit_code_of(error)
    except click.ClickException as error:
        if "--json" in arguments:
            _report_json("usage", error.format_message())
        else:
            error.show()
        return EXIT_WRONG_USE
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except (_PipeClosedError, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit has somewhere to go
        return 0
    except OSError as error:  # a full disk under the output, a working directory that is gone
        if "--json" in arguments:
            _report_json("system", _system_message(error))
        else:
            click.echo(f"penstockctl: {clean(_system_message(error))}", err=True)
        return EXIT_FAILED
    finally:
        ctl.close()
    return result if isinstance(result, int) else 0


def exit_code_of(error: PenstockError) -> int:
    """2 what the user must mend, 3 no conversation with the daemon, 1 what went wrong beyond both."""
    if isinstance(error, _NO_CONVERSATION):
        return EXIT_UNREACHABLE
    return EXIT_FAILED if isinstance(error, _NOT_THE_USERS) else EXIT_WRONG_USE


def _system_message(error: OSError) -> str:
    try:
        Path.cwd()
    except OSError:
        return "the working directory is gone; change into one that exists"
    return f"{error.filename}: {error.strerror}" if error.filename else f"the output cannot be written: {error}"


def _report(ctl: Ctl, error: PenstockError) -> None:
    if not ctl.json:
        click.echo(f"penstockctl: {clean(_relative(str(error)))}", err=True)
    elif isinstance(error, SpecError):
        _report_json(error.code, error.message, error.file, error.line, error.key)
    else:
        _report_json(error.code, str(error))


def _report_json(
    code: str, message: str, file: str | None = None, line: int | None = None, key: str | None = None
) -> None:
    error = {"code": code, "message": message, "file": file, "line": line, "key": key}
    click.echo(msgspec.json.encode({"error": error}), err=True)


def _relative(message: str) -> str:
    """A message that begins with a path below the working directory, with that path shortened."""
    try:
        return message.removeprefix(f"{Path.cwd()}{os.sep}")
    except FileNotFoundError:
        return message


if __name__ == "__main__":
    sys.exit(main())
