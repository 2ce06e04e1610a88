"""What each line that matters in ORCA's output adds to what is known of the run it belongs to."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Final

from penstock.domain.calculation import FailureClass
from penstock.engines.marker_scan import Hit
from penstock.engines.orca import sections
from penstock.engines.orca.run import Optimisation, Run, Text
from penstock.engines.orca.signs import SIGNS, Found, Sign, confirms, spellings

_TITLE: Final = b"O   R   C   A"
_MARGIN: Final = b"\n" + b" " * 33 + b"*"
"""How a run begins, also one that stops before its title is complete."""

SECTION_MAX: Final = 1 << 20
"""So long is no table."""
_BANNER: Final = re.compile(r"\s*\*{4}ORCA TERMINATED NORMALLY\*{4}\s*")
_COUNT: Final = r"(\d{1,9})"
_RUN_TIME: Final = re.compile(
    rf"\s*TOTAL RUN TIME:\s*{_COUNT} days\s+{_COUNT} hours\s+{_COUNT} minutes\s+{_COUNT} seconds\s+{_COUNT} msec\s*"
)
_CYCLES: Final = re.compile(r"SCF CONVERGED AFTER\s+(\d{1,9}) CYCLES")
_OPT_CYCLE: Final = re.compile(r"GEOMETRY OPTIMIZATION CYCLE\s+(\d{1,9})\b")
_MAX_GRADIENT: Final = re.compile(rf"MAX gradient\s+\.\.\.\s+({sections.NUMBER})\s*$")
_SUM_OF_TIMES: Final = re.compile(rf"Sum of individual times\s+\.\.\.\s+({sections.NUMBER}) sec \(=")
_PROCESSES: Final = re.compile(r"Program running with\s+(\d{1,6}) parallel MPI-processes")
_VERSION: Final = re.compile(r"Program Version\s+(\S+)")
_TOTAL_ENERGY: Final = re.compile(r"Total Energy\s+:\s+(\S+)\s+Eh")
_STATE: Final = re.compile(rf"STATE\s+\d+:\s+E=\s*{sections.NUMBER}\s+au\s+({sections.NUMBER})\s+eV.*")
_ROOT: Final = re.compile(rf"IROOT=\s*{_COUNT}:\s+{sections.NUMBER}\s+au\s+({sections.NUMBER})\s+eV")
_LABELLED: Final[dict[bytes, tuple[str, re.Pattern[str]]]] = {
    marker: (name, re.compile(rf"{pattern}\s+({sections.NUMBER})(?:\s.*)?$"))
    for marker, name, pattern in (
        (b"Dispersion correction  ", "dispersion_hartree", r"Dispersion correction"),
        (b"Magnitude (Debye)", "dipole_debye", r"Magnitude \(Debye\)\s*:"),
        (b"Expectation value of <S**2>", "s_squared", r"Expectation value of <S\*\*2>\s*:"),
        (b"Zero point energy", "zero_point_energy_hartree", r"Zero point energy\s+\.\.\."),
        (b"Total Enthalpy", "enthalpy_hartree", r"Total Enthalpy\s+\.\.\."),
        (b"Final Gibbs free en", "gibbs_energy_hartree", r"Final Gibbs free en(?:ergy|thalpy)\s+\.\.\."),
    )
}
_THERMOCHEMISTRY: Final = ("zero_point_energy_hartree", "enthalpy_hartree", "gibbs_energy_hartree")


def take(run: Run, hit: Hit, marker: bytes) -> Run:
    """The run that the hit belongs to, with what the hit's line adds."""
    if (marker is _MARGIN and not run.has_ended) or _is_echo(hit):
        return run
    if marker is _TITLE or marker is _MARGIN:
        return Run()
    if (handle := _HANDLERS.get(marker)) is not None:
        handle(run, hit)
    elif (sign := _SIGN_OF.get(marker)) is not None:
        _note_sign(run, hit, sign)
    return run


def _is_echo(hit: Hit) -> bool:
    """Whether the line is one of the echoed input, where anything may stand."""
    _, data, start, _ = hit
    return data.startswith(b"|", data.rfind(b"\n", start - 4096 if start > 4096 else 0, start) + 1)


def _section(hit: Hit, blank_lines: int) -> Text | None:
    """The text from a heading to the blank line that ends its table; None where the file stops before."""
    data = hit.data
    end_of_line = data.find(b"\n", hit.start)
    separator = b"\r\n\r\n" if data[end_of_line - 1 : end_of_line] == b"\r" else b"\n\n"
    end = hit.start
    for _ in range(blank_lines):
        end = data.find(separator, end + 1, hit.start + SECTION_MAX)
        if end < 0:
            return None
    return Text(data[end_of_line + 1 : end], hit.offset)


def text_until(hit: Hit, end: bytes) -> Text:
    """The text that follows a heading, as far as `end`."""
    begin = hit.data.find(b"\n", hit.start) + 1
    stop = hit.data.find(end, begin, begin + SECTION_MAX)
    return Text(hit.data[begin : stop if stop >= 0 else begin + SECTION_MAX], hit.offset)


def _on_version(run: Run, hit: Hit) -> None:
    if match := _VERSION.search(hit.line()):
        run.version = match[1]


def _on_banner(run: Run, hit: Hit) -> None:
    run.has_banner = _BANNER.fullmatch(hit.line()) is not None


def _on_run_time(run: Run, hit: Hit) -> None:
    match = _RUN_TIME.fullmatch(hit.line())
    if match is None:
        return
    days, hours, minutes, seconds, milliseconds = map(int, match.groups())
    seconds += ((days * 24 + hours) * 60 + minutes) * 60
    run.wall_time_s = round(seconds + milliseconds / 1000, 3)
    run.has_ended = run.has_banner


def _on_sum_of_times(run: Run, hit: Hit) -> None:
    if match := _SUM_OF_TIMES.search(hit.line()):
        run.sum_of_times_s = sections.parse_number(match[1])


def _on_energy(run: Run, hit: Hit) -> None:
    line = hit.line()
    run.energy = sections.parse_energy(line.partition("FINAL SINGLE POINT ENERGY")[2])
    run.energy_at = (hit.offset, line)
    if run.optimisation is not None:
        run.optimisation.take_energy(run.energy)


def _on_scf_energy(run: Run, hit: Hit) -> None:
    line = hit.line()
    if match := _TOTAL_ENERGY.search(line):
        run.scf_energy = sections.parse_energy(match[1])
        run.scf_energy_at = (hit.offset, line)


def _on_scf_converged(run: Run, hit: Hit) -> None:
    if match := _CYCLES.search(hit.line()):
        run.scf_cycles = (run.scf_cycles or 0) + int(match[1])


def _on_optimisation_run(run: Run, hit: Hit) -> None:
    """It is announced before its first cycle, so that one whose cycles are lost is still known to want convergence."""
    if run.optimisation is None:
        run.optimisation = Optimisation()
        run.optimisation.offset, run.optimisation.line = hit.offset, hit.line()


def _on_optimisation_cycle(run: Run, hit: Hit) -> None:
    match = _OPT_CYCLE.search(hit.line())
    if match is None:
        return
    if run.optimisation is None:
        run.optimisation = Optimisation()
    run.optimisation.begin_cycle(int(match[1]), hit)
    _move_on(run)


def _on_stationary_point(run: Run, _hit: Hit) -> None:
    if run.optimisation is not None:
        run.optimisation.at_stationary_point, run.optimisation.is_over = True, False
        _move_on(run)


def _move_on(run: Run) -> None:
    """The atoms are elsewhere now: vibrations are those of another geometry, and an SCF that failed is made up for."""
    run.frequencies = None
    for name in _THERMOCHEMISTRY:
        run.labelled.pop(name, None)
    run.found = {sign: one for sign, one in run.found.items() if sign.failure is not FailureClass.SCF_NOT_CONVERGED}


def _on_optimised(run: Run, _hit: Hit) -> None:
    if run.optimisation is not None:
        run.optimisation.converged = True


def _on_other_job(run: Run, _hit: Hit) -> None:
    """What follows is no part of the optimisation any more."""
    if run.optimisation is not None:
        run.optimisation.is_over = True


def _on_next_job(run: Run, hit: Hit) -> None:
    _on_other_job(run, hit)
    run.labelled.pop("dispersion_hartree", None)


def _on_max_gradient(run: Run, hit: Hit) -> None:
    if match := _MAX_GRADIENT.search(hit.line()):
        run.max_gradient = sections.parse_number(match[1])
        run.gradient = None


def _on_gradient(run: Run, hit: Hit) -> None:
    blank_lines = 2 if hit.line().strip() == "CARTESIAN GRADIENT" else 1
    run.gradient = _section(hit, blank_lines) or run.gradient


def _on_geometry(run: Run, hit: Hit) -> None:
    run.geometry = _section(hit, 1) or run.geometry


def _on_input(run: Run, hit: Hit) -> None:
    end = hit.data.find(b"END OF INPUT", hit.start, hit.start + SECTION_MAX)
    if end < 0:
        return
    echo = hit.data[hit.start : end].decode("utf-8", "replace").replace("\r", "")
    run.cores = sections.parse_cores(echo) or run.cores


def _on_processes(run: Run, hit: Hit) -> None:
    if match := _PROCESSES.search(hit.line()):
        run.processes = int(match[1])


def _on_orbitals(run: Run, hit: Hit) -> None:
    run.orbitals = hit


def _on_frequencies(run: Run, hit: Hit) -> None:
    run.frequencies = hit
    _on_other_job(run, hit)


def _on_excited_states(run: Run, hit: Hit) -> None:
    run.states = hit.line().partition("EXCITED STATES")[2].strip()
    run.excitations_ev[run.states] = []


def _on_state(run: Run, hit: Hit) -> None:
    match = _STATE.fullmatch(hit.line().strip())
    energy = sections.parse_number(match[1]) if match else None
    if energy is not None:
        run.excitations_ev.setdefault(run.states, []).append(energy)


def _on_root(run: Run, hit: Hit) -> None:
    """A root of an equation of motion; those of ionised states are printed likewise, but before."""
    match = _ROOT.search(hit.line())
    energy = sections.parse_number(match[2]) if match else None
    if match is None or energy is None:
        return
    if int(match[1]) == 1:
        run.excitations_ev["roots"] = []
    run.excitations_ev.setdefault("roots", []).append(energy)


def _on_labelled(marker: bytes, run: Run, hit: Hit) -> None:
    name, pattern = _LABELLED[marker]
    match = pattern.search(hit.line())
    value = sections.parse_number(match[1]) if match else None
    if value is not None:
        run.labelled[name] = value


def _note_sign(run: Run, hit: Hit, sign: Sign) -> None:
    if sign in run.found:
        return
    line = hit.line()
    if confirms(sign, line):
        after = next((text.strip() for text in hit.lines_after(4096) if text.strip()), "")
        run.found[sign] = Found(sign, hit.offset, line, after)


_STATES: Final[dict[bytes, Callable[[Run, Hit], None]]] = {
    b"EXCITED STATES": _on_excited_states,
    b"STATE ": _on_state,
    b"IROOT=": _on_root,
}
_HANDLERS: Final[dict[bytes, Callable[[Run, Hit], None]]] = {
    b"Program Version": _on_version,
    b"****ORCA TERMINATED NORMALLY****": _on_banner,
    b"TOTAL RUN TIME:": _on_run_time,
    b"Sum of individual times": _on_sum_of_times,
    b"FINAL SINGLE POINT ENERGY": _on_energy,
    b"Total Energy       :": _on_scf_energy,
    b"SCF CONVERGED AFTER": _on_scf_converged,
    b"* Geometry Optimization Run *": _on_optimisation_run,
    b"GEOMETRY OPTIMIZATION CYCLE": _on_optimisation_cycle,
    b"FINAL ENERGY EVALUATION AT THE STATIONARY POINT": _on_stationary_point,
    b"THE OPTIMIZATION HAS CONVERGED": _on_optimised,
    b"  JOB NUMBER ": _on_next_job,
    b"ORCA NUMERICAL FREQUENCIES": _on_other_job,
    b"MAX gradient": _on_max_gradient,
    b"CARTESIAN GRADIENT": _on_gradient,
    b"The cartesian gradient:": _on_gradient,
    b"The final MP2 gradient": _on_gradient,
    b"CARTESIAN COORDINATES (ANGSTROEM)": _on_geometry,
    b"INPUT FILE": _on_input,
    b"Program running with": _on_processes,
    b"ORBITAL ENERGIES": _on_orbitals,
    b"VIBRATIONAL FREQUENCIES": _on_frequencies,
    **_STATES,
    **{marker: functools.partial(_on_labelled, marker) for marker in _LABELLED},
}
_SIGN_OF: Final = {spelling: sign for sign in SIGNS for spelling in spellings(sign)}
MARKERS: Final = (_TITLE, _MARGIN, *_HANDLERS, *_SIGN_OF)


def _stems(texts: Iterable[bytes]) -> list[bytes]:
    """Few texts of which each of `texts` holds at least one: they differ most in the case of their first letters."""
    stems: list[bytes] = []
    for text in sorted({text[1:12] for text in texts}, key=len):
        if not any(stem in text for stem in stems):
            stems.append(text)
    return stems


DOUBTS: Final = (b"EXCITED STATES", b"IROOT=", *_stems(text for text, sign in _SIGN_OF.items() if sign.fatal))
"""Where one of these stands, all markers are wanted: it may spoil a run that ends well, or there are states to read."""
FIRST_MARKERS: Final = (_TITLE, _MARGIN, *(marker for marker in _HANDLERS if marker not in _STATES), *DOUBTS)
"""All that most runs which end well are judged by."""
