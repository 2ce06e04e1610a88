"""Numbers that no database can hold are refused before anything is asked of one."""

from __future__ import annotations

import pytest

from penstock.control.bounds import LARGEST, check_numbers
from penstock.control.messages import AnyRequest, GetJob, ListJobs, Logs, Mark, Pause, SetWorkflow, Watch
from penstock.domain.errors import SpecError
from penstock.domain.views import Selection


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (GetJob("w", LARGEST + 1), "job"),
        (ListJobs("w", limit=LARGEST + 1), "limit"),
        (ListJobs("w", offset=LARGEST + 1), "offset"),
        (Mark("w", Selection((1, LARGEST + 1, 2)), never_rerun=True), "selection"),
        (SetWorkflow("w", LARGEST + 1), "slots"),
        (Logs("w", 1, LARGEST + 1), "attempt"),
        (Logs("w", 1, tail_bytes=2**70), "tail_bytes"),
        (Watch("w", since=LARGEST + 1), "since"),
    ],
)
def test_a_number_too_large_is_named(request_: AnyRequest, key: str) -> None:
    with pytest.raises(SpecError, match="is too large") as caught:
        check_numbers(request_)
    assert caught.value.key == key


def test_the_largest_number_and_none_at_all_are_fine() -> None:
    check_numbers(Logs("w", LARGEST, None))
    check_numbers(Pause("w", Selection((LARGEST,))))
    check_numbers(Pause("w"))
