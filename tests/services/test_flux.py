"""The real Flux is what tests of the scheduler take it for."""

from __future__ import annotations

from .flux import RealFlux


def test_runs_a_job_and_remembers_it(real_flux: RealFlux) -> None:
    assert real_flux.run(["flux", "run", "--ntasks=1", "--cores-per-task=2", "echo", "done"]) == "done\n"
    assert real_flux.run(["flux", "jobs", "-a", "--no-header", "--format={name} {result}"]) == "echo COMPLETED\n"


def test_a_job_that_is_left_is_ended(real_flux: RealFlux) -> None:
    job = real_flux.run(["flux", "submit", "sleep", "600"]).strip()
    assert real_flux.mend() == [real_flux.run(["flux", "job", "id", "--to=dec", job]).strip()]
    assert real_flux.run(["flux", "jobs", "--no-header"]) == ""
