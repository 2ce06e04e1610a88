"""Segments of molecular dynamics as recipes find them: which follow one another, and the arrays that they left."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from penstock.domain.subject import JobRecord, Subject
from penstock.engines.dynamics import Description, read_description

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIKE: Final = ("symbols", "pbc", "cell_angstrom", "timestep_fs", "sample_every")


def find_unbroken(subject: Subject, steps: Sequence[str]) -> tuple[list[JobRecord], str | None]:
    """The jobs of `steps` that were completed before one that was not, and what is to be said of that one."""
    jobs = [job for step in steps for job in subject.of_step(step)]
    done = list(itertools.takewhile(lambda job: job.is_completed, jobs))
    if len(done) == len(steps):
        return done, None
    if len(done) == len(jobs):
        return done, f"segment {len(done) + 1} of {len(steps)} was never begun"
    broken = jobs[len(done)]
    return done, f"segment {len(done) + 1} of {len(steps)} ({broken.step}): {broken.failure or broken.state}"


def load_segments(jobs: Iterable[JobRecord], name: str) -> tuple[Description, list[NDArray[Any]]]:
    """The arrays called `name` of segments, as memory maps, and the last one's description.

    ValueError where one is gone or damaged, and where they are not those of one run.
    """
    descriptions: list[Description] = []
    arrays: list[NDArray[Any]] = []
    for job in jobs:
        description, array = _load(job, name)
        if descriptions:
            _refuse_a_gap(job, descriptions[-1], description, len(arrays[-1]))
        descriptions.append(description)
        arrays.append(array)
    return descriptions[-1], arrays


def _load(job: JobRecord, name: str) -> tuple[Description, NDArray[Any]]:
    import numpy as np

    if job.directory is None:
        raise ValueError(f"the trajectory of job {job.id} is not kept; retry it")
    directory = Path(job.directory)
    try:
        return read_description(directory), np.load(directory / name, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"the trajectory of job {job.id} cannot be read: {error}; retry it") from error


def _refuse_a_gap(job: JobRecord, before: Description, after: Description, frames: int) -> None:
    """Frames belong to multiples of `sample_every` from the first segment on, so it is known how many there were."""
    for name in _ALIKE:
        if getattr(before, name) != getattr(after, name):
            raise ValueError(f"{job.step} (job {job.id}) has another {name} than the segment before it; retry both")
    every = after.sample_every
    if after.first_step // every - before.first_step // every != frames:
        raise ValueError(f"{job.step} (job {job.id}) does not begin where the segment before it ended; retry it")
