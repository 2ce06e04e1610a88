"""What a recipe is shown when something is derived from results, and the jobs that it makes of them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from penstock.domain.calculation import HARTREE_EV
from penstock.domain.geometry import parse_geometry
from penstock.domain.properties import Conclusion

WHOLE: Final = "all"
"""What the subject is called that all subjects together are."""


class JobRecord(msgspec.Struct, frozen=True):
    """A job and what came of it. Geometries as in `Structure`; `label` is what its recipe made it with.

    `directory` is that of the attempt that gave the result, absolute, and may be elsewhere for results of others.
    """

    id: int
    step: str  # key
    subject: str  # name of the source's material that it is about
    name: str
    state: str
    geometry: str
    charge: int = 0
    multiplicity: int = 1
    label: dict[str, Any] = {}
    attempt: int = 0
    went_on: bool = False  # its result began where an earlier attempt of its own had stopped
    energy_hartree: float | None = None
    max_force_hartree_per_bohr: float | None = None
    final_geometry: str | None = None
    properties: dict[str, Any] = {}
    parameters: dict[str, Any] = {}  # the engine's, as the job was made with them
    failure: str | None = None  # its message, of a job that has not completed
    directory: str | None = None
    origin: str | None = None  # workflow:job.attempt, of a result that another workflow calculated

    @property
    def is_completed(self) -> bool:
        """Whether it has a result."""
        return self.state == "completed"

    @property
    def energy_ev(self) -> float | None:
        """Its energy, in eV."""
        return None if self.energy_hartree is None else self.energy_hartree * HARTREE_EV

    @property
    def energy_ev_per_atom(self) -> float:
        """Its energy over the atoms that it is of: some programs calculate a smaller cell than they are given.

        ValueError where it has no energy.
        """
        if self.energy_ev is None:
            raise ValueError(f"job {self.id} ({self.name}) has no energy")
        atoms = self.properties.get("atoms", len(parse_geometry(self.geometry).symbols))
        return self.energy_ev / int(atoms)

    @property
    def end_geometry(self) -> str:
        """The geometry that its result is of."""
        return self.final_geometry or self.geometry

    @property
    def attempt_name(self) -> str:
        """The attempt that gave the result, as properties name it."""
        return self.origin or f"{self.id}.{self.attempt}"


class Subject(msgspec.Struct, frozen=True):
    """What something is derived from: a material of the source with all its jobs, or all of them together.

    `concluded` are the conclusions that earlier steps of the plan have come to of it, by step.
    """

    name: str
    jobs: tuple[JobRecord, ...]
    concluded: dict[str, Conclusion] = {}

    def of_step(self, step: str) -> list[JobRecord]:
        """Its jobs of one step, in the order they were made."""
        return [job for job in self.jobs if job.step == step]


class Unfolded(msgspec.Struct, frozen=True):
    """A job that is made of results. `engine`: parameters over those of its step. Geometry as in `Structure`."""

    name: str
    geometry: str
    label: dict[str, Any] = {}
    engine: dict[str, Any] = {}
    charge: int = 0
    multiplicity: int = 1


def overlaid(parameters: str, own: str | None) -> str:
    """An engine's parameters (JSON), with those that a job was made with put over them."""
    if own is None:
        return parameters
    return msgspec.json.encode(msgspec.json.decode(parameters) | msgspec.json.decode(own)).decode()
