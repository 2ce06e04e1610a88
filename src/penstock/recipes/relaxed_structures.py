"""What became of structures when they relaxed: another symmetry, or the same structure as another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from penstock.domain.geometry import Geometry, parse_geometry
from penstock.domain.subject import JobRecord

SYMPREC_ANGSTROM: Final = 0.02
"""What a relaxation leaves of a position is less; what breaks a symmetry is more."""
_SAME_EV_PER_ATOM: Final = 1e-4
_SAME_VOLUME: Final = 0.005


class Relaxed(NamedTuple):
    """A structure's space group after relaxing, before it where that was another, and the job that it now equals."""

    space_group: str
    before: str | None
    same_as: JobRecord | None


def look_at_relaxed(jobs: Sequence[JobRecord], formulas: Sequence[str]) -> dict[int, Relaxed]:
    """By job id, what became of each crystal among `jobs`; of what is no crystal nothing is said.

    `formulas` are the reduced ones. Two structures are the same where formula, energy, volume and then everything
    agrees.
    """
    ends = {job.id: parse_geometry(job.end_geometry) for job in jobs}
    same = _same(jobs, formulas, ends)
    found = {}
    for job in jobs:
        after = _space_group(ends[job.id])
        if after is None:
            continue
        before = _space_group(parse_geometry(job.geometry))
        found[job.id] = Relaxed(after, before if before != after else None, same.get(job.id))
    return found


def _space_group(geometry: Geometry) -> str | None:
    from penstock.analysis.crystal_symmetry import space_group

    if geometry.lattice is None or not all(geometry.pbc):
        return None
    try:
        return space_group(geometry, SYMPREC_ANGSTROM)
    except ValueError:
        return None


def _same(jobs: Sequence[JobRecord], formulas: Sequence[str], ends: dict[int, Geometry]) -> dict[int, JobRecord]:
    """By job id, the job before it whose structure it shares."""
    from penstock.analysis.crystal_likeness import first_equal

    found: dict[int, JobRecord] = {}
    for alike in _of_one_energy(jobs, formulas, ends):
        for job, first in zip(alike, first_equal([ends[job.id] for job in alike]), strict=True):
            if alike[first] is not job:
                found[job.id] = alike[first]
    return found


def _of_one_energy(
    jobs: Sequence[JobRecord], formulas: Sequence[str], ends: dict[int, Geometry]
) -> Iterable[list[JobRecord]]:
    """Groups of two and more crystals of one formula, with energies and volumes per atom that follow closely."""
    ordered = sorted(
        (formula, job.energy_ev_per_atom, job.id, job)
        for formula, job in zip(formulas, jobs, strict=True)
        if ends[job.id].lattice is not None and all(ends[job.id].pbc)
    )
    group: list[JobRecord] = []
    last: tuple[str, float, float] = ("", 0.0, 0.0)
    for formula, energy, _, job in ordered:
        volume = _volume(ends[job.id])
        near = abs(energy - last[1]) <= _SAME_EV_PER_ATOM and abs(volume - last[2]) <= _SAME_VOLUME * volume
        if formula != last[0] or not near:
            if len(group) > 1:
                yield sorted(group, key=lambda job: job.id)
            group = []
        group.append(job)
        last = (formula, energy, volume)
    if len(group) > 1:
        yield sorted(group, key=lambda job: job.id)


def _volume(crystal: Geometry) -> float:
    """Of an atom, Å³."""
    assert crystal.lattice is not None
    (a, b, c), (d, e, f), (g, h, i) = crystal.lattice
    return abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)) / len(crystal.symbols)
