"""What standard error and the exit of a program add to an output that has no name for its failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.domain.calculation import Evidence, Exit, FailureClass
from penstock.domain.report import Report
from penstock.engines.program_report import conclude

FAILED = Exit(1, None, 0.0, 1.0)
EVIDENCE = Evidence("stdout", 7, "ended with an error")


@pytest.mark.parametrize("failure", [FailureClass.TRUNCATED, FailureClass.MODULE_CRASH])
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("There are not enough slots available in the system to satisfy the 8", FailureClass.MPI_ERROR),
        ("All nodes which are allocated for this job are already filled.", FailureClass.MPI_ERROR),
        ("sh: 1: mpirun: not found", FailureClass.MPI_ERROR),
        ("bash: line 1: mpiexec: command not found", FailureClass.MPI_ERROR),
        ("MPI_ABORT was invoked on rank 3 in communicator MPI_COMM_WORLD", FailureClass.MPI_ERROR),
        ("forrtl: No space left on device", FailureClass.DISK),
        ("slurmstepd: error: Detected 1 oom-kill event(s)", FailureClass.OUT_OF_MEMORY),
    ],
)
def test_standard_error_names_what_the_output_does_not(
    tmp_path: Path, failure: FailureClass, text: str, named: FailureClass
) -> None:
    (tmp_path / "stderr").write_text(f"-----\n  {text}\n\nEither request fewer slots\navailable for use.\n")
    outcome = conclude(Report("orca", failure=failure, evidence=EVIDENCE), FAILED, tmp_path)
    assert outcome.failure is named
    assert outcome.evidence == EVIDENCE
    if named is FailureClass.MPI_ERROR:
        assert outcome.message == text  # what a rule's `when` is searched in


def test_what_the_output_names_stands_whatever_mpi_says_of_it(tmp_path: Path) -> None:
    (tmp_path / "stderr").write_text("MPI_ABORT was invoked on rank 0\n")
    outcome = conclude(Report("orca", failure=FailureClass.SCF_NOT_CONVERGED), FAILED, tmp_path)
    assert outcome.failure is FailureClass.SCF_NOT_CONVERGED
    good = Report("orca", ended="normal", failure=None)
    assert conclude(good, Exit(0, None, 0.0, 1.0), tmp_path).failure is None
