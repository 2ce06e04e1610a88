"""What diffusion comes to: coefficients from the trajectories of a material, activation energies from these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from penstock.domain.properties import Conclusion, Figure, PropertyResult
from penstock.domain.property_tables import DiffusionTable
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import JobRecord, Subject
from penstock.engines.dynamics import POSITIONS
from penstock.recipes.segments import find_unbroken, load_segments

if TYPE_CHECKING:
    from penstock.analysis.arrhenius import Arrhenius
    from penstock.analysis.diffusion import Diffusion as Coefficient
    from penstock.analysis.trajectory import Floats, Trajectory
    from penstock.engines.dynamics import Description

_AXES: Final = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
_WARM: Final = 0.05  # of the temperature asked for: a mean further away is worth a remark
_PRESSED_GPA: Final = 1.0  # beyond it either way: a cell of another density than at normal pressure
_CUBIC: Final = 1e-3  # of its length: how far from a cube a box may be


def production(temperature_k: float, segment: int) -> str:
    """The key of a segment, from 1 on, of what is analysed."""
    return f"produce_{temperature_k:g}K_{segment}"


def productions(table: DiffusionTable, temperature_k: float) -> list[str]:
    """The keys of all segments of a temperature."""
    return [production(temperature_k, segment) for segment in range(1, table.segments + 1)]


class DiffusionAnalysis:
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
        """All of it; ValueError where nothing can be said."""
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
        if not self._figures:
            raise ValueError("; ".join(self._failures) or "there is no trajectory")
        return Conclusion(
            tuple(self._properties), tuple(self._figures), tuple(self._notes), "; ".join(self._failures) or None
        )

    def _segments(self, temperature_k: float) -> list[JobRecord]:
        """The segments of a temperature that follow one another without a gap."""
        done, broken = find_unbroken(self._subject, productions(self._table, temperature_k))
        if broken is not None and done:
            self._notes.append(f"{temperature_k:g} K: analysed without what came after; {broken}")
        elif broken is not None:
            self._failures.append(f"{temperature_k:g} K: {broken}")
        return done

    def _coefficients(self, temperature_k: float, segments: Sequence[JobRecord]) -> dict[str, Coefficient]:
        from penstock.analysis.diffusion import fit_diffusion
        from penstock.analysis.diffusion_figures import figure_msd
        from penstock.analysis.msd import compute_msd

        self._look_at_temperature(temperature_k, segments)
        self._look_at_pressure(temperature_k, segments)
        try:
            description, arrays = load_segments(segments, POSITIONS)
            msd = compute_msd(load_trajectory(description, arrays), self._table.species or None)
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
            self._unbounded(name, temperature_k, coefficient, segments, description)
        if found and description.thermostat == "langevin":
            self._look_at_friction(temperature_k, description, segments[-1])
        title = f"{self._subject.name}, {temperature_k:g} K"
        self._figures.append(
            figure_msd(msd, {**found, **refused}, directions, name=f"msd_{temperature_k:g}K", title=title)
        )
        return found

    def _look_at_temperature(self, temperature_k: float, segments: Sequence[JobRecord]) -> None:
        mean = _mean("temperature_k", segments)
        if mean is not None and abs(mean - temperature_k) > _WARM * temperature_k:
            self._notes.append(f"{temperature_k:g} K: the mean temperature was {mean:.4g} K; equilibrate for longer")

    def _look_at_pressure(self, temperature_k: float, segments: Sequence[JobRecord]) -> None:
        mean = _mean("pressure_gpa", segments)
        if mean is not None and abs(mean) > _PRESSED_GPA:
            size = "small" if mean > 0 else "large"
            self._notes.append(
                f"{temperature_k:g} K: the mean pressure was {mean:.3g} GPa: the cell keeps the size it was given, "
                f"too {size} for this temperature; D and melting are those under pressure"
            )

    def _look_at_friction(self, temperature_k: float, description: Description, segment: JobRecord) -> None:
        """The drift that friction makes is taken out all the same: with it a whole crystal would seem to diffuse."""
        from scipy.constants import Boltzmann, atomic_mass, femto

        note = f"{temperature_k:g} K: the thermostat's friction slows the atoms; D is that with friction"
        if friction_per_fs := segment.parameters.get("friction_per_fs"):
            mass_kg = sum(description.masses_amu) * atomic_mass
            drift_m2_s = Boltzmann * temperature_k * femto / (mass_kg * friction_per_fs)
            note += (
                f", without the {drift_m2_s:.2g} m²/s by which the centre of mass diffuses (in a liquid D is too small "
                "by up to as much)"
            )
        self._notes.append(note)

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
        pressure = _mean("pressure_gpa", segments)
        if pressure is not None:
            conditions["pressure_gpa"] = round(pressure, 3)
        attempts = tuple(job.attempt_name for job in segments)
        method = f"mean-squared displacement, generalised least squares, engine {self._spec.engine_name}"
        self._properties.append(
            PropertyResult(
                "diffusion_coefficient",
                self._subject.name,
                coefficient.d_m2_s,
                "m²/s",
                coefficient.standard_error_m2_s,
                conditions,
                method,
                attempts,
            )
        )
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
        self._notes += [f"{name} at {temperature_k:g} K: {note}" for note in coefficient.notes]

    def _unbounded(
        self,
        name: str,
        temperature_k: float,
        coefficient: Coefficient,
        segments: Sequence[JobRecord],
        description: Description,
    ) -> None:
        """The coefficient in an unbounded liquid, where its viscosity is given."""
        from penstock.analysis.finite_size import correct_finite_size

        viscosity = self._table.viscosity_pa_s
        if viscosity is None:
            return
        length = _cube_length_angstrom(description)
        if description.thermostat == "langevin":
            self._notes.append(
                f"{name} at {temperature_k:g} K: not corrected for the finite size, friction stops the flow that the "
                "correction is about; use the thermostat bussi"
            )
            return
        if length is None:
            self._notes.append(f"{name} at {temperature_k:g} K: not corrected for the finite size, the box is no cube")
            return
        corrected = correct_finite_size(coefficient.d_m2_s, temperature_k, viscosity, length)
        factor = corrected / coefficient.d_m2_s
        self._properties.append(
            PropertyResult(
                "diffusion_coefficient_unbounded",
                self._subject.name,
                corrected,
                "m²/s",
                coefficient.standard_error_m2_s,
                {"species": name, "temperature_k": temperature_k, "viscosity_pa_s": viscosity, "correction": factor},
                "corrected for the box after Yeh and Hummer (2004); the uncertainty is that of the box's coefficient",
                tuple(job.attempt_name for job in segments),
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


def _mean(name: str, segments: Sequence[JobRecord]) -> float | None:
    """Of a property of segments that are equally long; None where none has it."""
    known = [job.properties[name] for job in segments if name in job.properties]
    return sum(known) / len(known) if known else None


def load_trajectory(description: Description, arrays: Sequence[Floats]) -> Trajectory:
    """The trajectory of segments that follow one another; nothing of it is read yet."""
    from penstock.analysis.trajectory import make_trajectory

    a, b, c = description.pbc
    return make_trajectory(
        arrays,
        description.symbols,
        description.timestep_fs * description.sample_every,
        cells=description.cell_angstrom,
        periodic=(a, b, c),
        masses_u=description.masses_amu,
    )


def _cube_length_angstrom(description: Description) -> float | None:
    """The length of a cubic box, None where it is none."""
    cell = description.cell_angstrom
    if cell is None or not all(description.pbc):
        return None
    length = cell[0][0]
    cube = [[length if row == column else 0.0 for column in range(3)] for row in range(3)]
    away = max(abs(cell[row][column] - cube[row][column]) for row in range(3) for column in range(3))
    return length if away < _CUBIC * length else None
