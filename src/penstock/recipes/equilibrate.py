"""Equilibrium structure and lattice: where forces and stress vanish, or on average at a temperature and pressure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from penstock.domain.errors import SpecError
from penstock.domain.geometry import parse_geometry
from penstock.domain.properties import Conclusion, Figure, PropertyResult
from penstock.domain.property_tables import EquilibrateTable
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import JobRecord, Subject
from penstock.engines.abilities import refuse_missing
from penstock.engines.dynamics import CELLS
from penstock.engines.engine import Ability, Role
from penstock.recipes.crystal_cell import cell_properties, to_conventional
from penstock.recipes.property_steps import check_step_names, job_step, refuse_decided, size_of
from penstock.recipes.recipe import ANALYSIS, Step, View
from penstock.recipes.segments import find_unbroken, load_segments

if TYPE_CHECKING:
    from penstock.analysis.averages import Mean
    from penstock.analysis.trajectory import Floats

RELAX: Final = "relax"
ANALYSE: Final = "equilibrate"
_SAMPLE_FS: Final = 20.0
_DECIDED: Final = {
    "pressure_gpa": "pressure_gpa",
    "ensemble": "temperature_k",
    "temperature_k": "temperature_k",
    "timestep_fs": "timestep_fs",
    "steps": "produce_ps",
    "sample_every": "produce_ps",
    "min_atoms": "min_atoms",
    "seed": "seed",
}
_ALIKE_ANGSTROM: Final = 1e-3  # axes of the relaxed crystal that differ by less are one and the same


def production(segment: int) -> str:
    """The key of a segment, from 1 on, of what is averaged."""
    return f"produce_{segment}"


class Equilibrate:
    """The structure relaxed at the pressure; with a temperature, segments of dynamics that go on from there."""

    name = "equilibrate"
    version = 1

    def steps(self, view: View) -> list[Step]:
        """Relaxation, segments if there is a temperature, analysis."""
        spec, table = view.spec, view.spec.equilibrate
        needed = {Ability.CELL: "an equilibrium lattice"}
        needed |= {Ability.PRESSURE: "an equilibrium under pressure"} if table.pressure_gpa else {}
        needed |= {Ability.DYNAMICS: "an equilibrium at a temperature"} if table.temperature_k is not None else {}
        refuse_missing(spec.engine_name, needed)
        pressure = {"pressure_gpa": table.pressure_gpa} if table.pressure_gpa else {}
        steps = [job_step(spec, RELAX, Role.RELAX_CELL, extra=pressure)]
        if table.temperature_k is not None:
            steps += _segments(spec, table)
        check_step_names(spec, [step.key for step in steps])
        refuse_decided(spec, _DECIDED, [step.key for step in steps])
        return [*steps, Step(ANALYSE, ANALYSIS, steps[-1].key)]

    def conclude(
        self,
        spec: WorkflowSpec,
        step: str,  # noqa: ARG002 - there is one
        subject: Subject,
    ) -> Conclusion:
        """Lattice parameters, volume and energy; ValueError where nothing is in equilibrium."""
        (relaxed,) = subject.of_step(RELAX)
        if not relaxed.is_completed:
            raise ValueError(f"its relaxation came to nothing: {relaxed.failure}")
        if spec.equilibrate.temperature_k is None:
            return _at_rest(spec, subject.name, relaxed)
        return _at_temperature(spec, subject, relaxed)


def _segments(spec: WorkflowSpec, table: EquilibrateTable) -> list[Step]:
    steps_in_all = round(1000 * table.produce_ps / table.timestep_fs)
    sample_every = max(1, round(_SAMPLE_FS / table.timestep_fs))
    if steps_in_all // table.segments < sample_every:
        message = f"too short: a segment has {_SAMPLE_FS:g} fs at least, or there would be no sample of the cell"
        raise SpecError(message, key="equilibrate.produce_ps")
    extra: dict[str, Any] = {
        "ensemble": "npt",
        "temperature_k": table.temperature_k,
        "pressure_gpa": table.pressure_gpa,
        "timestep_fs": table.timestep_fs,
        "steps": steps_in_all // table.segments,
        "sample_every": sample_every,
        "seed": table.seed,
        **size_of(spec, table.min_atoms),
    }
    steps: list[Step] = []
    after = RELAX
    for segment in range(1, table.segments + 1):
        steps.append(job_step(spec, production(segment), Role.DYNAMICS, after=after, extra=extra))
        after = steps[-1].key
    return steps


def _at_rest(spec: WorkflowSpec, name: str, relaxed: JobRecord) -> Conclusion:
    """What the relaxed structure is."""
    geometry = parse_geometry(relaxed.end_geometry)
    conditions: dict[str, Any] = {"pressure_gpa": spec.equilibrate.pressure_gpa, "temperature_k": 0.0}
    method = f"relaxed by engine {spec.engine_name}, without zero-point motion"
    properties = cell_properties(name, relaxed, conditions, method)
    atoms, attempts = len(geometry.symbols), (relaxed.attempt_name,)
    if relaxed.energy_ev is not None:
        properties.append(
            PropertyResult("energy", name, relaxed.energy_ev_per_atom, "eV/atom", None, conditions, method, attempts)
        )
    if geometry.lattice is not None:
        volume = _volume_angstrom3(geometry.lattice) / atoms
        properties.append(PropertyResult("volume", name, volume, "Å³/atom", None, conditions, method, attempts))
    return Conclusion(tuple(properties))


def _volume_angstrom3(lattice: Sequence[Sequence[float]]) -> float:
    (a1, a2, a3), (b1, b2, b3), (c1, c2, c3) = lattice
    return abs(a1 * (b2 * c3 - b3 * c2) + a2 * (b3 * c1 - b1 * c3) + a3 * (b1 * c2 - b2 * c1))


def _at_temperature(spec: WorkflowSpec, subject: Subject, relaxed: JobRecord) -> Conclusion:
    """Averages over the segments, in the conventional cell of the crystal that they began with."""
    import numpy as np

    from penstock.analysis.averages import average_cell
    from penstock.analysis.diffusion_figures import figure_time_series

    table = spec.equilibrate
    done, broken = find_unbroken(subject, [production(n) for n in range(1, table.segments + 1)])
    if not done:
        raise ValueError(f"its dynamics came to nothing: {broken}")
    notes = [f"averaged without what came after; {broken}"] if broken else []
    description, arrays = load_segments(done, CELLS)
    cells, atoms = np.concatenate(arrays), len(description.symbols)
    conventional = to_conventional(relaxed.end_geometry, spec.elastic.symprec_angstrom)
    repeats = _repeats(cells[0], atoms, relaxed.end_geometry)
    average = average_cell(conventional @ (cells / np.array(repeats, dtype=float)[:, None]))
    supercell = average_cell(cells)
    conditions: dict[str, Any] = {"pressure_gpa": table.pressure_gpa, "temperature_k": table.temperature_k}
    method = f"molecular dynamics (npt) of {atoms} atoms, engine {spec.engine_name}"
    attempts = tuple(job.attempt_name for job in done)
    lengths, _ = _lengths_of(relaxed, spec)
    properties = [
        PropertyResult(
            "lattice_parameter",
            subject.name,
            value,
            "Å",
            error,
            conditions | {"axis": axis, "cell": "conventional", "lower_95": value - reach, "upper_95": value + reach},
            method,
            attempts,
        )
        for axis, value, error, reach in _axes(lengths, average.lengths_a)
    ]
    volume = supercell.volume_a3
    properties.append(
        PropertyResult(
            "volume",
            subject.name,
            volume.value / atoms,
            "Å³/atom",
            volume.standard_error / atoms,
            conditions | {"lower_95": volume.interval[0] / atoms, "upper_95": volume.interval[1] / atoms},
            method,
            attempts,
        )
    )
    volumes = np.abs(np.linalg.det(cells)) / atoms
    mean = replace(volume, value=volume.value / atoms, standard_error=volume.standard_error / atoms)
    label, interval_fs = "Volume (Å³/atom)", description.timestep_fs * description.sample_every
    figures: list[Figure] = [
        figure_time_series({label: volumes}, interval_fs, {label: mean}, name="volume", title=subject.name)
    ]
    return Conclusion(tuple(properties), tuple(figures), tuple(notes))


def _repeats(supercell: Floats, atoms: int, geometry: str) -> tuple[int, int, int]:
    """How often the cell of `geometry` was repeated along each of its vectors, to hold `atoms`.

    The barostat keeps the cell's shape, and atoms say how many cells there are: so what is due to the pressure and the
    heat is known and taken off. Twenty cells that have grown by 3 % would otherwise count as twenty-one.
    """
    import numpy as np

    crystal = parse_geometry(geometry)
    cell = np.array(crystal.lattice, dtype=float)
    volume = abs(float(np.linalg.det(cell))) * atoms / len(crystal.symbols)
    grown = (abs(float(np.linalg.det(supercell))) / volume) ** (1 / 3)
    a, b, c = (round(float(x)) for x in np.linalg.norm(supercell, axis=1) / np.linalg.norm(cell, axis=1) / grown)
    return a, b, c


def _lengths_of(relaxed: JobRecord, spec: WorkflowSpec) -> tuple[list[float], list[float]]:
    from penstock.recipes.crystal_cell import conventional_cell

    return conventional_cell(relaxed.end_geometry, spec.elastic.symprec_angstrom)


def _axes(lengths: Sequence[float], means: Sequence[Mean]) -> list[tuple[str, float, float, float]]:
    """For each axis a value, its error, and how far 95 % reach; those that symmetry makes alike are averaged."""
    found: list[tuple[str, float, float, float]] = []
    taken: set[int] = set()
    for n, name in enumerate("abc"):
        if n in taken:
            continue
        alike = [m for m in range(n, 3) if abs(lengths[m] - lengths[n]) < _ALIKE_ANGSTROM]
        taken |= set(alike)
        value = sum(means[m].value for m in alike) / len(alike)
        # Lengths that fluctuate together are not independent: the error of the mean is taken as that of one.
        widest = max((means[m] for m in alike), key=lambda mean: mean.standard_error)
        found.append((name, value, widest.standard_error, widest.interval[1] - widest.value))
    return found
