"""Commands about outputs and remedies, which need no daemon: diagnose, remedies."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Literal

import click
import msgspec

from penstock import engines
from penstock.ctl.options import command
from penstock.ctl.output import Ctl
from penstock.ctl.outputs import Reading, find_outputs, read_all
from penstock.ctl.text import counts, duration, number
from penstock.domain.calculation import FailureClass
from penstock.domain.errors import OutputError
from penstock.domain.remedy import TOTAL_DEFAULT, Rule, describe_rule, matching_rules
from penstock.domain.report import BandGapKind, Optimization, Report

_BLOCKS_MOST: Final = 20
"""As many files are told of at length; more of them in a table."""
_FAILED: Final = 1
_ENDS: Final = {
    "normal": "normally",
    "error": "with an error",
    "truncated": "without a word: killed, or still running",
}


class Place(msgspec.Struct, frozen=True):
    """A line of an output; `line` is 1-based."""

    line: int
    text: str


class Diagnosis(msgspec.Struct, frozen=True):
    """One file, as `diagnose --json` tells of it; fields as in `Report`, all null where the file is no output."""

    path: str
    engine: str | None = None
    version: str | None = None
    ended: Literal["normal", "error", "truncated"] | None = None
    converged: bool | None = None
    failure: FailureClass | None = None
    evidence: Place | None = None
    energy_hartree: float | None = None
    scf_cycles: int | None = None
    max_gradient_hartree_per_bohr: float | None = None
    optimization: Optimization | None = None
    band_gap_ev: float | None = None
    band_gap_kind: BandGapKind | None = None
    wall_time_s: float | None = None
    cores: int | None = None


@command("diagnose")
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
def diagnose(ctl: Ctl, paths: tuple[str, ...]) -> int | None:
    """Say what outputs of ORCA, CRYSTAL and Quantum ESPRESSO came to, and what would be done about it.

    PATH is a file, or a directory in which outputs are looked for. No daemon is needed. The exit code is 0, whatever
    the outputs say, and 1 if something could not be read.
    """
    found = list(find_outputs(paths))
    in_table = len(found) > _BLOCKS_MOST
    kept: list[tuple[str, Report]] = []
    problems: list[Reading] = []
    for reading in read_all(found):
        if ctl.json and (reading.report or reading.problem):
            ctl.emit(diagnosis_of(reading))
        if reading.problem is not None:
            problems.append(reading)
            ctl.note(f"penstockctl: {_shown(reading.path)}: {reading.problem}")
        elif reading.report is not None and not ctl.json:
            kept.append((_shown(reading.path), reading.report))
            if not in_table:
                _show_block(ctl, *kept[-1])
    if in_table and not ctl.json:
        _show_table(ctl, kept)
    if len(kept) > 1:
        _show_counts(ctl, kept)
    return _conclude(ctl, problems, bool(kept))


@command("remedies")
@click.argument("engine", required=False)
def remedies(ctl: Ctl, engine: str | None) -> None:
    """Show by which rules failed calculations are tried again, of one ENGINE or of all."""
    chosen = [engines.get(engine)] if engine else [engines.get(name) for name in engines.names()]
    tables = {one.name: one.rules for one in chosen if one.rules or engine}
    if ctl.json:
        ctl.emit({"total": TOTAL_DEFAULT, "engines": [_table(name, rules) for name, rules in tables.items()]})
        return
    for index, (name, rules) in enumerate(tables.items()):
        if index:
            ctl.line()
        _show_rules(ctl, name, rules)
    if not tables:
        ctl.note("no engine has remedies of its own")


def diagnosis_of(reading: Reading) -> Diagnosis:
    """A reading in the shape that programs get."""
    path = _shown(reading.path)
    report = reading.report
    if report is None:
        return Diagnosis(path)
    place = Place(report.evidence.line, report.evidence.text) if report.evidence else None
    same = {name: getattr(report, name) for name in Diagnosis.__struct_fields__ if name not in {"path", "evidence"}}
    return Diagnosis(path, evidence=place, **same)


def _shown(path: str) -> str:
    """A path as text; bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def _conclude(ctl: Ctl, problems: Sequence[Reading], any_read: bool) -> int | None:
    if not problems:
        if not any_read and not ctl.json:
            ctl.note("no output of ORCA, CRYSTAL or Quantum ESPRESSO is there")
        return None
    if ctl.json:
        more = f" ({len(problems) - 1} more could not be read)" if len(problems) > 1 else ""
        raise OutputError(f"{problems[0].problem}{more}", file=_shown(problems[0].path))
    return _FAILED


def _show_block(ctl: Ctl, path: str, report: Report) -> None:
    ctl.line(path)
    facts = [(name, value) for name, value in _facts(report) if value is not None]
    rules = [("would do" if not index else "", said) for index, said in enumerate(would_do(report))]
    ctl.pairs((f"  {name}", value) for name, value in facts + rules)
    ctl.line()


def _facts(report: Report) -> list[tuple[str, str | None]]:
    cycles = report.scf_cycles
    gradient = report.max_gradient_hartree_per_bohr
    failure = report.failure
    return [
        ("program", f"{report.engine} {report.version or 'of unknown version'}"),
        ("ended", _ENDS[report.ended]),
        ("converged", None if report.converged is None else "yes" if report.converged else "no"),
        ("energy", None if report.energy_hartree is None else f"{number(report.energy_hartree, 10)} Eh"),
        ("SCF cycles", None if cycles is None else str(cycles)),
        ("max gradient", None if gradient is None else f"{number(gradient, 8)} Eh/bohr"),
        ("optimisation", _optimization(report.optimization)),
        ("band gap", _band_gap(report)),
        ("wall time", None if report.wall_time_s is None else duration(report.wall_time_s)),
        ("cores", None if report.cores is None else str(report.cores)),
        ("failure", None if failure is None else f"{failure}: {report.message}" if report.message else str(failure)),
        ("evidence", f"line {report.evidence.line}: {report.evidence.text}" if report.evidence else None),
    ]


def _optimization(optimization: Optimization | None) -> str | None:
    if optimization is None:
        return None
    said = "converged" if optimization.converged else "not converged"
    if optimization.cycles is not None:
        said += f" after {optimization.cycles} cycle{'s' if optimization.cycles != 1 else ''}"
    energy = optimization.energy_hartree
    return said if energy is None else f"{said}, {number(energy, 10)} Eh"


def _band_gap(report: Report) -> str | None:
    said = [] if report.band_gap_ev is None else [f"{number(report.band_gap_ev, 4)} eV"]
    if report.band_gap_kind is not None:
        said.append(report.band_gap_kind)
    return ", ".join(said) or None


def would_do(report: Report) -> list[str]:
    """What the engine's own rules answer to a failed run, one line a rule, up to the first that needs a person."""
    if report.failure is None:
        return []
    text = "\n".join(filter(None, (report.message, report.evidence.text if report.evidence else None)))
    said = []
    for rule in matching_rules(engines.get(report.engine).rules, report.failure, text):
        said.append(_rule_line(rule))
        if rule.person:
            break
    return said or ["nothing; no rule answers this failure"]


def _rule_line(rule: Rule) -> str:
    done = "; ".join(describe_rule(rule))
    return f"{rule.name}: {done}" if rule.person else f"{rule.name} ({_times(rule.limit)}): {done}"


def _times(limit: int) -> str:
    return f"at most {'once' if limit == 1 else f'{limit} times'}"


def _show_table(ctl: Ctl, kept: Sequence[tuple[str, Report]]) -> None:
    ctl.table(("file", "engine", "ended", "converged", ">energy/Eh", ">time", "failure"), map(_row, kept))
    ctl.line()


def _show_counts(ctl: Ctl, kept: Sequence[tuple[str, Report]]) -> None:
    classes = Counter(str(report.failure or "good") for _, report in kept)
    ctl.line(f"{len(kept)} outputs: {counts({'good': classes.pop('good', 0), **dict(classes.most_common())})}")


def _row(one: tuple[str, Report]) -> tuple[str, ...]:
    path, report = one
    converged = {None: "-", True: "yes", False: "no"}[report.converged]
    energy = number(report.energy_hartree, 8)
    time = duration(report.wall_time_s)
    return path, report.engine, report.ended, converged, energy, time, str(report.failure or "-")


def _show_rules(ctl: Ctl, name: str, rules: Sequence[Rule]) -> None:
    if not rules:
        ctl.line(f"{name} has no remedies of its own")
        return
    ctl.line(f"{name}: the first rule that answers a failure and still may, at most {TOTAL_DEFAULT} remedies a job")
    for rule in rules:
        ctl.line()
        ctl.line(f"  {rule.name}  {rule.on}{'' if rule.person else f', {_times(rule.limit)}'}")
        if rule.when:
            ctl.line(f"      when the output says: {rule.when}")
        for said in describe_rule(rule):
            ctl.line(f"      {said}")
        if rule.why:
            ctl.line(f"      {rule.why}")


def _table(engine: str, rules: Sequence[Rule]) -> dict[str, Any]:
    return {"engine": engine, "rules": [_row_of(rule) for rule in rules]}


def _row_of(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "failure": rule.on,
        "when": rule.when or None,
        "limit": rule.limit,
        "does": describe_rule(rule),
        "person": rule.person or None,
        "why": rule.why or None,
        "rule": msgspec.to_builtins(rule),
    }


COMMANDS: Final = {"diagnose": diagnose, "remedies": remedies}
