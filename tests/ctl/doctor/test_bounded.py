"""A check that does not answer costs its time and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from penstock.ctl.doctor.bounded import Check, run_checks, unanswered, within
from penstock.ctl.doctor.finding import well
from penstock.domain.errors import StoreError
from penstock.domain.views import Finding


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """What a check waits for in vain until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_what_answers_is_told_and_what_does_not_is_a_problem(stuck: threading.Event) -> None:
    def hangs() -> list[Finding]:
        stuck.wait(30)
        return [well("never")]

    def breaks() -> list[Finding]:
        raise KeyError("x")

    def refused() -> Iterator[Finding]:
        yield well("not told, since what follows failed")
        raise PermissionError(13, "Permission denied", "/etc/x")

    checks = [
        Check("a", "hanging", hangs, 0.05),
        Check("a", "breaking", breaks),
        Check("b", "refused", refused),
        Check("b", "good", lambda: [well("good", "so")]),
    ]
    found = list(run_checks(checks))
    assert [(finding.group, finding.what, finding.level) for finding in found] == [
        ("a", "hanging", "problem"),
        ("a", "breaking", "problem"),
        ("b", "refused", "problem"),
        ("b", "good", "ok"),
    ]
    assert [finding.detail for finding in found] == [
        "did not answer within 0.05 s",
        "the check itself broke: KeyError('x')",
        "/etc/x: Permission denied",
        "so",
    ]
    assert "file server is up" in found[0].remedy


def test_checks_wait_at_the_same_time() -> None:
    """Each waits for the other; one after the other, both would run out of patience."""
    barrier = threading.Barrier(2)

    def meet() -> list[Finding]:
        barrier.wait(30)
        return [well("met")]

    assert [finding.what for finding in run_checks([Check("", "", meet, 30), Check("", "", meet, 30)])] == ["met"] * 2


def test_within(stuck: threading.Event) -> None:
    assert within(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(lambda: 1 // 0)
    with pytest.raises(TimeoutError, match="did not answer within 0"):
        within(lambda: stuck.wait(30), 0.01)


def test_errors_of_our_own_say_what_they_say() -> None:
    assert unanswered("x", StoreError("it is so", healable=False)).detail == "it is so"
