"""Elastic constants: the crystal relaxed, strained in as few ways as its symmetry leaves, and the stresses fitted.

The strained crystals are in the frame of the conventional cell, and so is the tensor, however the structure was given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from penstock import engines
from penstock.domain.geometry import Geometry, format_geometry, parse_geometry
from penstock.domain.properties import Conclusion, Figure, PropertyResult
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import JobRecord, Subject, Unfolded
from penstock.engines.abilities import refuse_missing
from penstock.engines.engine import Ability, Role
from penstock.recipes.crystal_cell import cell_properties
from penstock.recipes.property_steps import check_step_names, job_step
from penstock.recipes.recipe import ANALYSIS, UNFOLD, Step, View

if TYPE_CHECKING:
    from penstock.analysis.crystal_symmetry import CrystalSymmetry
    from penstock.analysis.elastic.fit import ElasticFit
    from penstock.analysis.voigt import Floats

RELAX: Final = "relax"
STRAIN: Final = "strain"
FIT: Final = "elastic"
_STRESS: Final = "stress_gpa"
_FIRST_STRESS: Final = "initial_stress_gpa"
_LINEAR: Final = 0.03
_SAME_CELL: Final = 1e-5  # of its longest side: far below any strain


class Elastic:
    """Relax, strain, fit, for every structure of the source by itself."""

    name = "elastic"
    version = 1

    def steps(self, view: View) -> list[Step]:
        """The three steps; SpecError where the engine gives no stress or cannot relax."""
        spec, table = view.spec, view.spec.elastic
        needed = {Ability.STRESS: "an elastic tensor"}
        needed |= {Ability.CELL: "relaxing a crystal before it is strained"} if table.relax else {}
        needed |= {Ability.PRESSURE: "an elastic tensor under pressure"} if table.pressure_gpa else {}
        refuse_missing(spec.engine_name, needed)
        role = Role.RELAX_CELL if table.relax else Role.SINGLE_POINT
        extra = {"pressure_gpa": table.pressure_gpa} if table.pressure_gpa else {}
        relax = job_step(spec, RELAX, role, extra=extra)
        strain = job_step(spec, STRAIN, Role.RELAX_IONS, kind=UNFOLD, after=RELAX, optional=True)
        check_step_names(spec, (RELAX, STRAIN))
        return [relax, strain, Step(FIT, ANALYSIS, STRAIN)]

    def unfold(
        self,
        spec: WorkflowSpec,
        step: str,  # noqa: ARG002 - there is one
        subject: Subject,  # noqa: ARG002
        parent: JobRecord | None,
    ) -> list[Unfolded]:
        """The strained crystals of a relaxed one; ValueError for what is no crystal."""
        from penstock.analysis.elastic.strain import deform, plan_strains

        assert parent is not None
        table = spec.elastic
        crystal, symmetry = _in_standard_frame(parent, table.symprec_angstrom)
        amplitudes = [sign * size for size in table.amplitudes for sign in (-1.0, 1.0)]
        plan = plan_strains(symmetry if table.symmetry else None, amplitudes)
        engine = engines.get(spec.engine_name)
        parameters = msgspec.convert(parent.parameters, engine.parameters_type)
        alike = dict(engine.comparable(parameters, parent.geometry))  # as it was for the relaxation
        return [
            Unfolded(
                f"{parent.name} {strain.label}",
                _block(deform(crystal, strain)),
                {"strain": strain.voigt},
                alike,
                parent.charge,
                parent.multiplicity,
            )
            for strain in plan.strains
        ]

    def conclude(
        self,
        spec: WorkflowSpec,
        step: str,  # noqa: ARG002 - there is one
        subject: Subject,
    ) -> Conclusion:
        """Tensor, moduli and what follows, with what the ions contribute; ValueError where nothing is determined."""
        (relaxed,) = subject.of_step(RELAX)
        if not relaxed.is_completed:
            raise ValueError(f"its relaxation came to nothing: {relaxed.failure}")
        return _Fits(spec, subject, relaxed).conclude()


class _Fits:
    """The fits of one crystal: with relaxed ions, and with ions clamped to where the strain took them."""

    def __init__(self, spec: WorkflowSpec, subject: Subject, relaxed: JobRecord) -> None:
        self._spec = spec
        self._subject = subject
        self._relaxed = relaxed
        self._crystal, self._symmetry = _in_standard_frame(relaxed, spec.elastic.symprec_angstrom)
        made = subject.of_step(STRAIN)
        strained = [job for job in made if _is_wanted(job, spec.elastic.amplitudes)]
        self._dropped = len(made) - len(strained)
        self._done = [job for job in strained if job.is_completed and _STRESS in job.properties]
        self._failed = [job for job in strained if job not in self._done]
        self._refuse_foreign()

    def _refuse_foreign(self) -> None:
        """ValueError where a strained crystal is not that of this one: its strain would be another than its label's."""
        import numpy as np

        from penstock.analysis.crystal_symmetry import crystal_cell
        from penstock.analysis.voigt import strain_matrix

        cell = crystal_cell(self._crystal)
        for job in self._done:
            strained = cell @ (np.eye(3) + strain_matrix(job.label["strain"]))
            if np.abs(crystal_cell(parse_geometry(job.geometry)) - strained).max() > _SAME_CELL * np.abs(cell).max():
                raise ValueError(
                    f"job {job.id} ({job.name}) was made of another result of the relaxation than there is now, or "
                    "under another symmetry tolerance; submit the workflow again as another one"
                )

    def conclude(self) -> Conclusion:
        if not self._done:
            reasons = "; ".join(f"{job.name}: {job.failure or 'no stress'}" for job in self._failed[:3])
            raise ValueError(f"none of the {len(self._failed)} strained crystals gave a stress: {reasons}")
        fit = self._fit(_STRESS, self._done)
        notes = [*fit.notes, *(f"left out: {job.name}: {job.failure or 'no stress'}" for job in self._failed)]
        if (largest := max(self._spec.elastic.amplitudes)) > _LINEAR:
            notes.append(f"strains of {largest:g} are beyond linear elasticity in most crystals; 0.01 is usual")
        if self._dropped:
            notes.append(f"left out: {self._dropped} strained crystals of amplitudes that are not asked for any more")
        symprec = self._spec.elastic.symprec_angstrom
        properties = cell_properties(self._subject.name, self._relaxed, self._conditions(fit), self._method(), symprec)
        properties += [self._tensor("elastic_tensor", fit)]
        figures = [self._stress_strain(fit)]
        if fit.undetermined:
            missing = f"not determined: {', '.join(fit.undetermined)}, since strained crystals are missing"
            return Conclusion(tuple(properties), tuple(figures), tuple(notes), missing)
        clamped = self._clamped(notes)
        properties += [self._tensor("elastic_tensor_clamped", clamped)] if clamped else []
        derived, more_figures = self._derived(fit, notes)
        return Conclusion((*properties, *derived), (*figures, *more_figures), tuple(notes))

    def _fit(self, stress: str, jobs: Sequence[JobRecord]) -> ElasticFit:
        from penstock.analysis.elastic.fit import fit_elastic

        operations = self._symmetry.operations if self._spec.elastic.symmetry else None
        return fit_elastic(*_data(stress, jobs), "compression", operations, self._reference())

    def _stress_strain(self, fit: ElasticFit) -> Figure:
        from penstock.analysis.elastic.figures import figure_stress_strain

        return figure_stress_strain(
            fit, *_data(_STRESS, self._done), "compression", self._subject.name, self._reference()
        )

    def _reference(self) -> Floats | None:
        """The stress of the relaxed crystal, turned as it was; of one that was not relaxed it may be of other ions."""
        import numpy as np

        stress = self._relaxed.properties.get(_STRESS)
        if stress is None or not self._spec.elastic.relax:
            return None
        turn = self._symmetry.to_standard
        turned: Floats = turn @ np.array(stress, dtype=float).reshape(3, 3) @ turn.T
        return turned

    def _clamped(self, notes: list[str]) -> ElasticFit | None:
        """The fit to the stresses before the ions relaxed; None where these say too little.

        Of an attempt that went on from where another had stopped, the first stress is not that of the strained crystal.
        """
        whole = [job for job in self._done if _FIRST_STRESS in job.properties and not job.went_on]
        try:
            fit = self._fit(_FIRST_STRESS, whole)
        except ValueError:
            fit = None
        if fit is None or fit.undetermined:
            notes.append("no clamped-ion tensor: there are too few stresses from before the ions relaxed")
            return None
        return fit

    def _conditions(self, fit: ElasticFit) -> dict[str, float | int | str | bool]:
        return {"pressure_gpa": round(fit.pressure_gpa, 3) + 0.0}  # and never -0

    def _method(self) -> str:
        return f"stress over strain, {len(self._done)} strained crystals, engine {self._spec.engine_name}"

    def _attempts(self) -> tuple[str, ...]:
        return tuple(job.attempt_name for job in (self._relaxed, *self._done))

    def _property(self, name: str, value: Any, unit: str, error: Any, conditions: dict[str, Any]) -> PropertyResult:
        return PropertyResult(
            name, self._subject.name, value, unit, error, conditions, self._method(), self._attempts()
        )

    def _tensor(self, name: str, fit: ElasticFit) -> PropertyResult:
        error = None if fit.standard_error_gpa is None else _numbers(fit.standard_error_gpa)
        conditions = self._conditions(fit) | {
            "space_group": self._symmetry.space_group,
            "symmetry_distance": round(fit.symmetry_distance, 6),
            "conventional_cell": self._axes(),
        }
        return self._property(name, _numbers(fit.tensor_gpa), "GPa", error, conditions)

    def _axes(self) -> str:
        """The conventional cell's vectors in those of the crystal's cell: they say which way x, y and z point.

        Where a crystal has several cells like that, as quartz has with a and with -a, the sign of C14 hangs on it.
        """
        vectors = zip("abc", self._symmetry.conventional.tolist(), strict=True)
        return ", ".join(f"{name} = {' '.join(f'{x + 0.0:.4g}' for x in numbers)}" for name, numbers in vectors)

    def _derived(self, fit: ElasticFit, notes: list[str]) -> tuple[list[PropertyResult], list[Figure]]:
        """Moduli, anisotropy and sound; of a crystal that is not stable only that it is not."""
        from penstock.analysis.elastic.figures import figure_elastic_surface, figure_elastic_tensor
        from penstock.analysis.elastic.moduli import compute_moduli, compute_stability, moduli_errors
        from penstock.analysis.elastic.sound import compute_sound, crystal_density, sound_errors

        stability = compute_stability(fit.tensor_gpa, fit.covariance)
        conditions = self._conditions(fit)
        least, stable = float(stability.eigenvalues_gpa[0]), bool(stability.is_stable)
        found = [self._property("born_stability", least, "GPa", stability.error_gpa, conditions | {"stable": stable})]
        title = self._subject.name
        if not stability.is_stable:
            notes.append(f"not stable: the smallest eigenvalue of the tensor is {least:.4g} GPa; no moduli are given")
            return found, [figure_elastic_tensor(fit, title)]
        moduli = compute_moduli(fit.tensor_gpa)
        errors = None if fit.covariance is None else moduli_errors(fit.tensor_gpa, fit.covariance)
        for name, field, unit in _MODULI:
            error = None if errors is None else float(getattr(errors, field))
            found.append(self._property(name, float(getattr(moduli, field)), unit, error, conditions))
        density = crystal_density(self._crystal)
        sound = compute_sound(fit.tensor_gpa, density)
        error = None if fit.covariance is None else sound_errors(fit.tensor_gpa, fit.covariance, density).debye_exact_k
        found.append(self._property("debye_temperature", sound.debye_exact_k, "K", error, conditions))
        return found, [figure_elastic_tensor(fit, title), figure_elastic_surface(fit.tensor_gpa, title)]


_MODULI: Final = (
    ("bulk_modulus_vrh", "bulk_hill_gpa", "GPa"),
    ("bulk_modulus_voigt", "bulk_voigt_gpa", "GPa"),
    ("bulk_modulus_reuss", "bulk_reuss_gpa", "GPa"),
    ("shear_modulus_vrh", "shear_hill_gpa", "GPa"),
    ("shear_modulus_voigt", "shear_voigt_gpa", "GPa"),
    ("shear_modulus_reuss", "shear_reuss_gpa", "GPa"),
    ("young_modulus", "young_gpa", "GPa"),
    ("poisson_ratio", "poisson_ratio", "1"),
    ("universal_anisotropy", "anisotropy", "1"),
)


def _data(stress: str, jobs: Sequence[JobRecord]) -> tuple[Floats, Floats]:
    """Strains (n, 6) and stresses (n, 3, 3) in GPa, positive where the crystal wants to expand."""
    import numpy as np

    strains = np.array([job.label["strain"] for job in jobs], dtype=float).reshape(-1, 6)
    return strains, np.array([job.properties[stress] for job in jobs], dtype=float).reshape(-1, 3, 3)


def _in_standard_frame(job: JobRecord, symprec_angstrom: float) -> tuple[Geometry, CrystalSymmetry]:
    """The crystal that a job came to, turned into the frame of its conventional cell, and its symmetry there."""
    from penstock.analysis.crystal_symmetry import find_symmetry, turn_crystal

    given = parse_geometry(job.end_geometry)
    found = find_symmetry(given, symprec_angstrom)
    turn = found.to_standard
    turned = turn_crystal(given, turn)
    return turned, found._replace(operations=turn @ found.operations @ turn.T)


def _is_wanted(job: JobRecord, amplitudes: Sequence[float]) -> bool:
    """Whether its strain is of an amplitude that the spec has; it may have had others when the job was made."""
    size = max(abs(component) for component in job.label["strain"])
    return any(math.isclose(size, amplitude, rel_tol=1e-9) for amplitude in amplitudes)


def _block(crystal: Geometry) -> str:
    return format_geometry(*crystal)


def _numbers(array: Floats) -> list[list[float | None]]:
    """A matrix as lists; what is not determined is null, and what is 0 but for rounding is 0."""
    import numpy as np

    least = 1e-12 * float(np.nanmax(np.abs(array)))
    return [[None if np.isnan(x) else float(x) if abs(x) > least else 0.0 for x in row] for row in array]
