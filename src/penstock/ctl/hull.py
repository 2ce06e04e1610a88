"""The command hull: which phases are stable, from energies that a person brings. It needs no daemon."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from penstock.ctl.hull_entries import EntryTable, read_entries
from penstock.ctl.options import command
from penstock.ctl.output import Ctl
from penstock.ctl.spec_files import refuse_existing, write_file
from penstock.domain.errors import SpecError
from penstock.domain.geometry import ATOMIC_NUMBERS
from penstock.domain.measured import measured

if TYPE_CHECKING:
    from penstock.analysis.chemical_potential import StabilityRegion
    from penstock.analysis.phase_diagram import HullUncertainty, PhaseDiagram

_UNSTABLE_SHOWN: Final = 50
_DRAWS: Final = 10**6
_SAMPLES: Final = (100, 1000)
_DIGITS: Final = 6
_PICTURES: Final = (".svg", ".html")


@command("hull")
@click.argument("entries", type=click.Path(), metavar="ENTRIES.csv")
@click.option("--reference", "references", multiple=True, metavar="EL=EV", help="An element's energy, eV/atom.")
@click.option("--error", type=float, metavar="EV", help="Standard error of energies without one, eV/atom.")
@click.option(
    "--tolerance", type=float, default=1e-8, metavar="EV", help="Above the hull, still stable.  [default: 1e-8]"
)
@click.option("--all", "show_all", is_flag=True, help=f"Show more than {_UNSTABLE_SHOWN} phases above the hull.")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Also draw it: a .svg, or a page as .html.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def hull(  # noqa: PLR0917 - options
    ctl: Ctl,
    entries: str,
    references: tuple[str, ...],
    error: float | None,
    tolerance: float,
    show_all: bool,
    output: str | None,
    overwrite: bool,
) -> None:
    """Say which phases of ENTRIES.csv are stable, and what the others decompose into. No daemon is needed.

    Columns: formula, or one for each element; energy_ev (of all atoms of the formula) or energy_ev_per_atom; if wanted
    name, and error_ev or error_ev_per_atom.
    """
    if error is not None and not (math.isfinite(error) and error >= 0):
        raise click.UsageError(f"--error: {error:g} is no standard error; give 0 or more, in eV/atom")
    picture = None if output is None else _picture(output, overwrite=overwrite)
    table = read_entries(Path(entries).absolute(), error)
    diagram = _diagram(table, _references(references), tolerance, entries)
    uncertainty = _uncertainty(diagram, tolerance)
    regions = _regions(diagram)
    if picture is not None:
        write_file(picture, _drawn(picture, diagram, uncertainty, regions), overwrite=overwrite)
    if ctl.json:
        ctl.emit(as_object(diagram, uncertainty, regions, table.lines))
        return
    if table.unused:
        ctl.note(f"columns that are not used: {', '.join(table.unused)}")
    _show(ctl, diagram, uncertainty, regions, show_all=show_all)
    if picture is not None:
        ctl.line()
        ctl.line(f"drawn in {output}")


def _picture(output: str, *, overwrite: bool) -> Path:
    path = Path(output).absolute()
    if path.suffix not in _PICTURES:
        raise click.UsageError(f"--output: {output} is neither .svg nor .html")
    if not path.parent.is_dir():
        raise SpecError("there is no such folder; make it first", file=str(path.parent))
    refuse_existing(path, overwrite=overwrite)
    return path


def _references(given: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given:
        element, _, value = text.partition("=")
        try:
            energy = float(value)
        except ValueError:
            energy = math.nan
        if element not in ATOMIC_NUMBERS or not math.isfinite(energy):
            raise click.UsageError(f"--reference {text}: write ELEMENT=ENERGY in eV/atom, such as Cu=-3.72")
        if element in found:
            raise click.UsageError(f"--reference: {element} is given twice")
        found[element] = energy
    return found


def _diagram(table: EntryTable, references: dict[str, float], tolerance: float, file: str) -> PhaseDiagram:
    from penstock.analysis.phase_diagram import compute_phase_diagram

    if strangers := [element for element in references if element not in table.elements]:
        raise click.UsageError(f"--reference: no phase of {file} contains {strangers[0]}")
    try:
        return compute_phase_diagram(table.entries, references or None, table.elements, tolerance)
    except ValueError as error:
        hint = "; here that is --reference ELEMENT=ENERGY" if "elemental reference" in str(error) else ""
        raise SpecError(f"{str(error).rstrip('.')}{hint}", file=str(Path(file).absolute())) from error


def _uncertainty(diagram: PhaseDiagram, tolerance: float) -> HullUncertainty | None:
    """Where all errors are known and not all are 0."""
    import numpy as np

    from penstock.analysis.phase_diagram import compute_hull_uncertainty

    errors = diagram.formation.error_ev
    if not (np.isfinite(errors).all() and errors.any()):
        return None
    least, most = _SAMPLES
    samples = min(most, max(least, _DRAWS // len(errors)))
    return compute_hull_uncertainty(diagram, samples=samples, tolerance_ev=tolerance)


def _regions(diagram: PhaseDiagram) -> list[StabilityRegion]:
    from penstock.analysis.chemical_potential import compute_stability_regions

    return compute_stability_regions(diagram) if len(diagram.elements) > 1 else []


def _drawn(
    path: Path, diagram: PhaseDiagram, uncertainty: HullUncertainty | None, regions: list[StabilityRegion]
) -> str:
    from penstock.analysis.phase_figures import figure_chemical_potential, figure_hull
    from penstock.analysis.plots import draw
    from penstock.ctl.hull_page import render_page

    try:
        figures = [figure_hull(diagram, uncertainty)]
    except ValueError as error:
        raise SpecError(str(error), file=str(path)) from error
    if path.suffix == ".svg":
        return draw(figures[0]).decode()
    figures.append(figure_chemical_potential(diagram, regions))
    return render_page([(figure, draw(figure)) for figure in figures], as_object(diagram, uncertainty, regions))


def as_object(
    diagram: PhaseDiagram,
    uncertainty: HullUncertainty | None,
    regions: list[StabilityRegion],
    lines: list[int] | None = None,
) -> dict[str, Any]:
    """The diagram as programs get it; energies in eV/atom, chemical potentials in eV against the references."""
    elements = diagram.elements
    ranges = {region.entry: region.range_ev for region in regions}
    phases = []
    for n, entry in enumerate(diagram.entries):
        phases.append(
            {
                "name": entry.name,
                "formula": formula(diagram, n),
                "line": lines[n] if lines and n < len(lines) else None,
                "formation_energy": float(diagram.formation_ev[n]),
                "formation_energy_error": _finite(diagram.formation.formation_error_ev[n]),
                "energy_above_hull": float(diagram.above_ev[n]),
                "energy_above_hull_error": None if uncertainty is None else float(uncertainty.above_error_ev[n]),
                "stable": bool(diagram.stable[n]),
                "stable_probability": None if uncertainty is None else float(uncertainty.stable_probability[n]),
                "below_others": _finite(diagram.below_others_ev[n]),
                "decomposition": [
                    {"phase": diagram.entries[part.entry].name, "share": part.share}
                    for part in diagram.decomposition(n)
                ],
                "chemical_potential": None
                if n not in ranges
                else {
                    element: [_finite(low), float(high)]
                    for element, (low, high) in zip(elements, ranges[n], strict=True)
                },
            }
        )
    return {
        "elements": list(elements),
        "references": dict(zip(elements, map(float, diagram.formation.reference_ev), strict=True)),
        "phases": phases,
        "equilibria": [
            {
                "phases": [diagram.entries[entry].name for entry in facet],
                "chemical_potential": dict(zip(elements, map(float, potential), strict=True)),
            }
            for facet, potential in zip(diagram.facets.tolist(), diagram.potential_ev, strict=True)
        ],
    }


def formula(diagram: PhaseDiagram, n: int) -> str:
    """A phase's reduced formula, the elements in the diagram's order."""
    from penstock.analysis.formation import reduced_formula

    counts = diagram.entries[n].composition
    return reduced_formula({element: counts[element] for element in diagram.elements if element in counts})


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _show(
    ctl: Ctl,
    diagram: PhaseDiagram,
    uncertainty: HullUncertainty | None,
    regions: list[StabilityRegion],
    *,
    show_all: bool,
) -> None:
    found = as_object(diagram, uncertainty, regions)
    stable = [phase for phase in found["phases"] if phase["stable"]]
    others = [phase for phase in found["phases"] if not phase["stable"]]
    ctl.line(f"{'-'.join(diagram.elements)}: {len(found['phases'])} phases, {len(stable)} of them stable")
    references = ", ".join(f"{element} {energy:.6f}" for element, energy in found["references"].items())
    ctl.line(f"against {references} eV/atom")
    ctl.line()
    ctl.line("stable, energies in eV/atom, chemical potentials in eV against the elements:")
    sure = (">on the hull",) if uncertainty is not None else ()
    heads = ("phase", "formula", ">formation energy", ">below others", *sure)
    potentials = tuple(f">{element}" for element in diagram.elements) if regions else ()
    ctl.table((*heads, *potentials), (_stable(phase, sure=bool(sure)) for phase in stable))
    if not others:
        return
    others.sort(key=lambda phase: phase["energy_above_hull"])
    shown = others if show_all else others[:_UNSTABLE_SHOWN]
    ctl.line()
    ctl.line("above the hull, energies in eV/atom:")
    ctl.table(
        ("phase", "formula", ">formation energy", ">above hull", *sure, "decomposes into"),
        (_unstable(phase, sure=bool(sure)) for phase in shown),
    )
    if len(shown) < len(others):
        ctl.note(f"{len(others) - len(shown)} more: --all, or --json")


def _stable(phase: dict[str, Any], *, sure: bool) -> list[str]:
    below = phase["below_others"]
    ranges = phase["chemical_potential"] or {}
    return [
        *(phase["name"], phase["formula"], measured(phase["formation_energy"], phase["formation_energy_error"])),
        "-" if below is None else _energy(below),
        *([f"{100 * phase['stable_probability']:.0f} %"] if sure else []),
        *(f"{'-∞' if low is None else _energy(low)} … {_energy(high)}" for low, high in ranges.values()),
    ]


def _unstable(phase: dict[str, Any], *, sure: bool) -> list[str]:
    parts = " + ".join(f"{part['share']:.4g} {part['phase']}" for part in phase["decomposition"])
    return [
        *(phase["name"], phase["formula"], measured(phase["formation_energy"], phase["formation_energy_error"])),
        measured(phase["energy_above_hull"], phase["energy_above_hull_error"]),
        *([f"{100 * phase['stable_probability']:.0f} %"] if sure else []),
        parts,
    ]


def _energy(value: float) -> str:
    text = f"{value:.{_DIGITS}f}"
    return text.removeprefix("-") if not float(text) else text


COMMANDS: Final = {"hull": hull}
