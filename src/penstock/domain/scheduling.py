"""What a person may ask of a scheduler beyond cores, memory and time."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNPRINTABLE_IN_LINES: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_DIRECTIVE: Final = re.compile(r"--([a-z][a-z-]*)(?:=.*)?")
_WORDS: Final = ("partition", "account", "qos", "constraint", "licenses", "reservation")
_RESOURCES: Final = "use [resources] for it"
_OURS: Final = "Penstock sets it itself"
_ELSEWHERE: Final[dict[str, str]] = {
    "partition": "use scheduler.partition",
    "queue": "use scheduler.partition",
    "account": "use scheduler.account",
    "bank": "use scheduler.account",
    "qos": "use scheduler.qos",
    "constraint": "use scheduler.constraint",
    "requires": "use scheduler.constraint",
    "licenses": "use scheduler.licenses",
    "reservation": "use scheduler.reservation",
    **dict.fromkeys(
        (
            "time",
            "time-limit",
            "cpus-per-task",
            "cores-per-task",
            "cores-per-slot",
            "mem",
            "mem-per-cpu",
            "mem-per-gpu",
            "nodes",
            "ntasks",
            "ntasks-per-node",
            "nslots",
            "tasks-per-node",
            "gpus-per-task",
            "gpus-per-slot",
        ),
        _RESOURCES,
    ),
    **dict.fromkeys(
        (
            "job-name",
            "array",
            "output",
            "error",
            "input",
            "open-mode",
            "chdir",
            "cwd",
            "parsable",
            "requeue",
            "no-requeue",
            "wrap",
            "signal",
            "dry-run",
        ),
        _OURS,
    ),
    **dict.fromkeys(("wait", "test-only", "clusters", "help", "usage", "version"), "it does not go with Penstock"),
}


class SchedulerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and under whose name a submission runs; empty where the site's default is wanted.

    `partition` is Slurm's word; Flux calls it a queue. `setup` are lines of shell that run before the program, such as
    `module load orca/6.0`. `directives` are raw options of the scheduler, each beginning with `--`.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    licenses: str = ""
    reservation: str = ""
    launcher: tuple[str, ...] = ()  # what starts a parallel program, such as srun or flux run; empty: nothing does
    setup: str = ""
    directives: tuple[str, ...] = ()

    def over(self, defaults: SchedulerOptions) -> SchedulerOptions:
        """A workflow's options over its cluster's `defaults`.

        Lines of `setup` and `directives` add up, the cluster's first; everything else replaces where it is given.
        """
        merged: dict[str, Any] = {
            name: getattr(self, name) or getattr(defaults, name) for name in self.__struct_fields__
        }
        merged["setup"] = "\n".join(lines.rstrip("\n") for lines in (defaults.setup, self.setup) if lines)
        merged["directives"] = defaults.directives + self.directives
        return SchedulerOptions(**merged)


def check_options(options: SchedulerOptions, where: str = "scheduler") -> SchedulerOptions:
    """`options` itself if they can be handed to a scheduler, else SpecError with the key below `where`."""
    for word in _WORDS:
        _check_word(getattr(options, word), f"{where}.{word}")
    for n, word in enumerate(options.launcher):
        _check_printable(word, f"{where}.launcher")
        if not n and (not word or word.startswith("-")):
            raise SpecError(f"{word!r} is no program; begin with one, such as srun", key=f"{where}.launcher")
    if _UNPRINTABLE_IN_LINES.search(options.setup):
        raise SpecError("holds control characters; use lines of shell, no more", key=f"{where}.setup")
    for directive in options.directives:
        _check_directive(directive, f"{where}.directives")
    return options


def _check_printable(text: str, key: str) -> None:
    if _UNPRINTABLE.search(text):
        raise SpecError(f"{text!r} holds line ends or control characters; leave them out", key=key)


def _check_word(text: str, key: str) -> None:
    _check_printable(text, key)
    if text.startswith("-"):
        raise SpecError(f"{text!r} looks like an option; give the name alone", key=key)


def _check_directive(directive: str, key: str) -> None:
    """Refuses what would undo our own options; schedulers also take the beginnings of an option's name."""
    _check_printable(directive, key)
    match = _DIRECTIVE.fullmatch(directive)
    if match is None:
        raise SpecError(f"{directive!r} is no option; write it like '--comment=water'", key=key)
    name = match[1]
    meant = next((known for known in (name, *_ELSEWHERE) if known in _ELSEWHERE and known.startswith(name)), None)
    if meant is not None:
        raise SpecError(f"--{meant} cannot be given here: {_ELSEWHERE[meant]}", key=key)
