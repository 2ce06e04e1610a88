"""One run of ORCA, as far as it is known while its output is read."""

from __future__ import annotations

import math
from typing import NamedTuple

from penstock.domain.report import Optimization
from penstock.engines.marker_scan import Hit
from penstock.engines.orca.signs import Found, Sign


class Text(NamedTuple):
    """A table of the output and where it stands."""

    data: bytes
    offset: int

    def decode(self) -> str:
        """The table with plain line ends."""
        return self.data.decode("utf-8", "replace").replace("\r", "")


class Optimisation:
    """What is known of a geometry optimisation; of one after the other in a relaxed scan."""

    def __init__(self) -> None:
        self.cycles_before = 0
        self.cycle = 0
        self.converged = False
        self.all_converged = True
        self.energy: float | None = None
        self.at_stationary_point = False
        self.is_over = False
        self.offset = 0
        self.line = ""

    def begin_cycle(self, number: int, hit: Hit) -> None:
        """A cycle begins; with a number that is not the next, another optimisation does."""
        if number <= self.cycle:
            self.all_converged = self.all_converged and self.converged
            self.cycles_before += self.cycle
            self.converged = False
        self.at_stationary_point = self.is_over = False
        self.cycle, self.offset, self.line = number, hit.offset, hit.line()

    def take_energy(self, energy: float | None) -> None:
        """A final energy was printed; it is this optimisation's unless that is over."""
        if not self.is_over:
            self.energy = energy
            self.is_over = self.at_stationary_point

    @property
    def has_converged(self) -> bool:
        """Whether every optimisation of the run did."""
        return self.converged and self.all_converged

    def result(self) -> Optimization | None:
        """As a report has it; None before the first cycle."""
        if not self.cycle:
            return None
        return Optimization(self.has_converged, self.cycles_before + self.cycle, finite(self.energy))


class Run:
    """One run of ORCA, as far as it is known. `*_at` is where an energy stands: byte and line.

    `orbitals` and `frequencies` are the last headings of their tables: looked for the end of only when all is read.
    """

    def __init__(self) -> None:
        self.version: str | None = None
        self.has_banner = False
        self.has_ended = False
        self.wall_time_s: float | None = None
        self.sum_of_times_s: float | None = None
        self.energy: float | None = None
        self.energy_at: tuple[int, str] | None = None
        self.scf_energy: float | None = None
        self.scf_energy_at: tuple[int, str] | None = None
        self.scf_cycles: int | None = None
        self.max_gradient: float | None = None
        self.gradient: Text | None = None
        self.geometry: Text | None = None
        self.optimisation: Optimisation | None = None
        self.cores: int | None = None
        self.processes: int | None = None
        self.orbitals: Hit | None = None
        self.frequencies: Hit | None = None
        self.excitations_ev: dict[str, list[float]] = {}
        self.states = ""
        self.labelled: dict[str, float] = {}
        self.found: dict[Sign, Found] = {}


def finite(value: float | None) -> float | None:
    """`value`, unless it is NaN."""
    return None if value is None or math.isnan(value) else value
