"""What a program's output file says, whoever asks: an attempt that is collected, or a person with a file."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from penstock.domain.calculation import Evidence, FailureClass

BandGapKind = Literal["direct", "indirect", "unspecified", "alpha", "beta", "conducting"]


class Optimization(msgspec.Struct, frozen=True):
    """A geometry optimisation: whether it converged, after how many cycles, and the energy it ended with."""

    converged: bool
    cycles: int | None
    energy_hartree: float | None


class Report(msgspec.Struct, frozen=True):
    """All that the file states; None where it does not say.

    `ended` is what the program says of its own end: `truncated` where it says nothing. `converged` is True only if all
    that the run had to converge did. `failure` is None for a good run. `energy_hartree` is the final energy,
    `scf_cycles` the sum over all SCFs, `max_gradient_hartree_per_bohr` the largest Cartesian component, absolute.
    """

    engine: str
    version: str | None = None
    ended: Literal["normal", "error", "truncated"] = "truncated"
    converged: bool | None = None
    failure: FailureClass | None = FailureClass.TRUNCATED
    evidence: Evidence | None = None
    energy_hartree: float | None = None
    scf_cycles: int | None = None
    max_gradient_hartree_per_bohr: float | None = None
    optimization: Optimization | None = None
    band_gap_ev: float | None = None
    band_gap_kind: BandGapKind | None = None
    wall_time_s: float | None = None
    cores: int | None = None
    message: str | None = None  # what went wrong, in words, where `evidence.text` alone would not tell
    geometry: str | None = None  # the last one printed, in the one form of `domain.geometry`
    properties: dict[str, Any] = {}  # further results, as in `Outcome`
