"""Diffusion: molecular dynamics at several temperatures, in segments that go on from one another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from penstock.domain.errors import SpecError
from penstock.domain.properties import Conclusion, Figure, PropertyResult
from penstock.domain.property_tables import DiffusionTable
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import JobRecord, Subject, Unfolded
from penstock.engines.abilities import refuse_missing
from penstock.engines.dynamics import CELLS, POSITIONS, read_description
from penstock.engines.engine import Ability, Role
from penstock.recipes.periodic_box import look_at_box
from penstock.recipes.property_steps import check_step_names, job_step
from penstock.recipes.recipe import ANALYSIS, Step, View

if TYPE_CHECKING:
    from penstock.analysis.arrhenius import Arrhenius
    from penstock.analysis.diffusion import Diffusion as Coefficient
    from penstock.analysis.trajectory import Trajectory

START: Final = "start"
ANALYSE: Final = "diffusion"
_AXES: Final = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
_WARM: Final = 0.05  # of the temperature asked for: a mean further away is worth a remark


def equilibration(temperature_k: float) -> str:
    """The key of the step that brings the atoms to a temperature."""
    return f"equilibrate_{temperature_k:g}K"


def production(temperature_k: float, segment: int) -> str:
    """The key of a segment, from 1 on, of what is analysed."""
    return f"produce_{temperature_k:g}K_{segment}"


class Diffusion:
    """The structure as it is or relaxed; for each temperature an equilibration, then segment after segment."""

    name = "diffusion"
    version = 1

    def steps(self, view: View) -> list[Step]:
        """Start, equilibrations and productions, and the analysis of them all."""
        spec, table = view.spec, view.spec.diffusion
        refuse_missing(spec.engine_name, {Ability.DYNAMICS: "diffusion"})
        steps = [job_step(spec, START, Role.RELAX_CELL if table.relax else Role.SINGLE_POINT)]
        for temperature_k in table.temperatures_k:
            steps += _at_temperature(spec, table, temperature_k)
        check_step_names(spec, [step.key for step in steps])
        return [*steps, Step(ANALYSE, ANALYSIS, steps[-1].key)]

    def unfold(
        self,
        spec: WorkflowSpec,  # noqa: ARG002
        step: str,  # noqa: ARG002
        subject: Subject,  # noqa: ARG002
        parent: JobRecord | None,  # noqa: ARG002
    ) -> list[Unfolded]:
        """Nothing: the plan has no such step."""
        return []

    def conclude(
        self,
        spec: WorkflowSpec,
        step: str,  # noqa: ARG002 - there is one
        subject: Subject,
    ) -> Conclusion:
        """Diffusion coefficients by species and temperature, and the activation energies that follow from them."""
        return _Analysis(spec, subject).conclude()


class _Analysis:
    """The analysis of one material's trajectories."""

    def __init__(self, spec: WorkflowSpec, subject: Subject) -> None:
        self._spec = spec
        self._table = spec.diffusion
        self._subject = subject
        self._notes: list[str] = []
        self._failures: list[str] = []
        self._properties: list[PropertyResult] = []
        self._figures: list[Figure] = []

    def conclude(self) -> Conclusion:
        found: dict[str, dict[float, Coefficient]] = {}
        attempts: dict[float, tuple[str, ...]] = {}
        for temperature_k in self._table.temperatures_k:
            segments = self._segments(temperature_k)
            if not segments:
                continue
            attempts[temperature_k] = tuple(job.attempt_name for job in segments)
            for name, coefficient in self._coefficients(temperature_k, segments).items():
                found.setdefault(name, {})[temperature_k] = coefficient
        self._activate(found, attempts)
        if not self._properties:
            raise ValueError("; ".join(self._failures) or "there is no trajectory")
        return Conclusion(
            tuple(self._properties), tuple(self._figures), tuple(self._notes), "; ".join(self._failures) or None
        )

    def _segments(self, temperature_k: float) -> list[JobRecord]:
        """The segments of a temperature that follow one another without a gap."""
        jobs = [
            job
            for number in range(1, self._table.segments + 1)
            for job in self._subject.of_step(production(temperature_k, number))
        ]
        done = list(itertools.takewhile(lambda job: job.is_completed, jobs))
        if len(done) < len(jobs):
            broken = jobs[len(done)]
            said = f"{temperature_k:g} K: segment {len(done) + 1} of {len(jobs)} ({broken.step}): {broken.failure}"
            (self._notes if done else self._failures).append(said)
        return done

    def _coefficients(self, temperature_k: float, segments: Sequence[JobRecord]) -> dict[str, Coefficient]:
        from penstock.analysis.diffusion import fit_diffusion
        from penstock.analysis.diffusion_figures import figure_msd
        from penstock.analysis.msd import compute_msd

        self._look_at_temperature(temperature_k, segments)
        try:
            msd = compute_msd(load_trajectory(segments), self._table.species or None)
        except ValueError as error:
            self._failures.append(f"{temperature_k:g} K: {error}")
            return {}
        directions = [_AXES[axis] for axis in self._table.dimensions]
        found: dict[str, Coefficient] = {}
        refused: dict[str, str] = {}
        for name, displacement in msd.items():
            try:
                found[name] = fit_diffusion(displacement, directions)
            except ValueError as error:
                refused[name] = str(error)
        self._failures += [f"{name} at {temperature_k:g} K: {reason}" for name, reason in refused.items()]
        for name, coefficient in found.items():
            self._coefficient(name, temperature_k, coefficient, segments)
        title = f"{self._subject.name}, {temperature_k:g} K"
        self._figures.append(
            figure_msd(msd, {**found, **refused}, directions, name=f"msd_{temperature_k:g}K", title=title)
        )
        return found

    def _look_at_temperature(self, temperature_k: float, segments: Sequence[JobRecord]) -> None:
        known = [job.properties["temperature_k"] for job in segments if "temperature_k" in job.properties]
        mean = sum(known) / len(known) if known else temperature_k
        if abs(mean - temperature_k) > _WARM * temperature_k:
            self._notes.append(f"{temperature_k:g} K: the mean temperature was {mean:.4g} K; equilibrate for longer")

    def _coefficient(
        self, name: str, temperature_k: float, coefficient: Coefficient, segments: Sequence[JobRecord]
    ) -> None:
        low, high = coefficient.interval_m2_s
        conditions: dict[str, float | int | str | bool] = {
            "species": name,
            "temperature_k": temperature_k,
            "dimension": coefficient.dimension,
            "lower_95": low,
            "upper_95": high,
        }
        attempts = tuple(job.attempt_name for job in segments)
        method = f"mean-squared displacement, generalised least squares, engine {self._spec.engine_name}"
        result = PropertyResult(
            "diffusion_coefficient",
            self._subject.name,
            coefficient.d_m2_s,
            "m²/s",
            coefficient.standard_error_m2_s,
            conditions,
            method,
            attempts,
        )
        self._properties.append(result)
        corrected, notes = look_at_box(result, segments[-1], self._table.viscosity_pa_s)
        self._properties += corrected
        self._notes += [f"{name} at {temperature_k:g} K: {note}" for note in (*notes, *coefficient.notes)]
        self._properties.append(
            PropertyResult(
                "diffusion_tensor",
                self._subject.name,
                coefficient.tensor_m2_s.tolist(),
                "m²/s",
                coefficient.tensor_standard_error_m2_s.tolist(),
                {"species": name, "temperature_k": temperature_k},
                method,
                attempts,
            )
        )

    def _activate(self, found: dict[str, dict[float, Coefficient]], attempts: dict[float, tuple[str, ...]]) -> None:
        """Activation energies of the species that have coefficients at several temperatures."""
        from penstock.analysis.arrhenius import fit_arrhenius
        from penstock.analysis.diffusion_figures import figure_arrhenius

        points, fits = {}, {}
        for name, by_temperature in found.items():
            temperatures = sorted(by_temperature)
            values = [by_temperature[t].d_m2_s for t in temperatures]
            errors = [by_temperature[t].standard_error_m2_s for t in temperatures]
            points[name] = (temperatures, values, errors)
            try:
                fits[name] = fit_arrhenius(temperatures, values, errors)
            except ValueError as error:
                self._notes.append(f"no activation energy of {name}: {error}")
                continue
            self._activation(name, fits[name], temperatures, [a for t in temperatures for a in attempts[t]])
        if fits:
            title = f"{self._subject.name}: diffusion over temperature"
            self._figures.append(figure_arrhenius(points, fits, title=title))

    def _activation(self, name: str, fit: Arrhenius, temperatures_k: list[float], attempts: list[str]) -> None:
        low, high = fit.activation_energy_interval_ev
        conditions: dict[str, float | int | str | bool] = {
            "species": name,
            "from_k": temperatures_k[0],
            "to_k": temperatures_k[-1],
        }
        energy = conditions | {"lower_95": low, "upper_95": high}
        low, high = fit.d0_interval_m2_s
        prefactor = conditions | {"lower_95": low, "upper_95": high, "error_factor": fit.d0_factor}
        method = f"Arrhenius fit to {len(temperatures_k)} temperatures, engine {self._spec.engine_name}"
        self._properties += [
            PropertyResult(
                "activation_energy",
                self._subject.name,
                fit.activation_energy_ev,
                "eV",
                fit.activation_energy_error_ev,
                energy,
                method,
                tuple(attempts),
            ),
            PropertyResult(
                "diffusion_prefactor",
                self._subject.name,
                fit.d0_m2_s,
                "m²/s",
                None,
                prefactor,
                method,
                tuple(attempts),
            ),
        ]
        self._notes += [f"{name}: {note}" for note in fit.notes]


def load_trajectory(segments: Sequence[JobRecord]) -> Trajectory:
    """The trajectory of segments that follow one another; no positions are read yet. ValueError where it is gone."""
    import numpy as np

    from penstock.analysis.trajectory import make_trajectory

    arrays, cells = [], []
    for job in segments:
        try:
            directory = Path(job.directory or "")
            description = read_description(directory)
            arrays.append(np.load(directory / POSITIONS, mmap_mode="r"))
            if description.ensemble == "npt":
                cells.append(np.load(directory / CELLS))
        except OSError as error:
            raise ValueError(f"the trajectory of job {job.id} cannot be read: {error}; retry it") from error
    a, b, c = description.pbc
    return make_trajectory(
        arrays,
        description.symbols,
        description.timestep_fs * description.sample_every,
        cells=np.concatenate(cells) if cells else description.cell_angstrom,
        periodic=(a, b, c),
        masses_u=description.masses_amu,
    )


def _at_temperature(spec: WorkflowSpec, table: DiffusionTable, temperature_k: float) -> list[Step]:
    shared = {
        "temperature_k": temperature_k,
        "timestep_fs": table.timestep_fs,
        "sample_every": max(1, round(table.sample_fs / table.timestep_fs)),
        "min_atoms": table.min_atoms,
        "seed": table.seed,
    }
    segment_steps = _steps_of(table.produce_ps / table.segments, table, "diffusion.produce_ps")
    steps: list[Step] = []
    after = START
    if table.equilibrate_ps:
        length = _steps_of(table.equilibrate_ps, table, "diffusion.equilibrate_ps")
        extra: dict[str, Any] = {**shared, "steps": length, "thermostat": "langevin"}
        steps.append(job_step(spec, equilibration(temperature_k), Role.DYNAMICS, after=after, extra=extra))
        after = steps[-1].key
    for segment in range(1, table.segments + 1):
        extra = {**shared, "steps": segment_steps}
        steps.append(job_step(spec, production(temperature_k, segment), Role.DYNAMICS, after=after, extra=extra))
        after = steps[-1].key
    return steps


def _steps_of(length_ps: float, table: DiffusionTable, key: str) -> int:
    steps = round(1000 * length_ps / table.timestep_fs)
    if steps < 1:
        raise SpecError(f"{length_ps:g} ps are less than one step of {table.timestep_fs:g} fs", key=key)
    return steps
